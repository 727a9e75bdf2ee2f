//! `florence2 inspect`: describes a model's files.

mod facts;
mod graphs;
mod onnx;
mod report;

use clap::Args;
use florence2::{Bundle, BundleSource, Florence2, Repair, hub};

use self::facts::facts;
use self::graphs::GraphRecord;
use self::report::Report;
use crate::args::{GlobalArgs, ModelArg};
use crate::console::Console;
use crate::engine;
use crate::error::{Error, Outcome, Result, describe};
use crate::output::ReportFormat;

/// Describe a model's files, and name missing ones
///
/// Configuration, graphs with their tensors, weights and metadata. Incomplete models are described as far as possible;
/// the exit code is 2 if the model cannot be used.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The model: a folder, a name on a hub (`organisation/name`), or `demo` for the one in this program
    #[arg(value_name = "MODEL", required_unless_present = "named")]
    model: Option<ModelArg>,
    /// The model, as other commands take it
    #[arg(short = 'm', long = "model", value_name = "MODEL", conflicts_with = "model")]
    named: Option<ModelArg>,
    /// How the report is written
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
}

pub fn inspect(args: &InspectArgs, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
    let source = match args.model.as_ref().or(args.named.as_ref()) {
        Some(ModelArg::Folder(folder)) => BundleSource::Folder(folder.clone()),
        Some(ModelArg::Hub(id)) => {
            BundleSource::Folder(hub::prepare(id, &engine::load_options(globals, console))?.folder)
        }
        Some(ModelArg::Demo) | None => florence2::demo::bundle()?,
    };
    let name = source.name();
    let dtypes = globals.dtype.clone().unwrap_or_default();
    let bundle = Bundle::open_with(source, dtypes, globals.names.clone())?;
    engine::start(globals, console)?;
    let report = examine(&bundle, globals, console);

    args.format.print(&report, || report.text())?;
    if report.usable {
        Ok(Outcome::AllGood)
    } else {
        Err(Error::Unusable(name))
    }
}

/// Describes all files, including invalid ones, and loads the model if all files are valid.
fn examine(bundle: &Bundle, globals: &GlobalArgs, console: &Console) -> Report {
    let missing = bundle.missing();
    let mut problems = Vec::new();
    match bundle.check() {
        // What is missing is listed.
        Ok(()) | Err(florence2::Error::DtypeNotFound { .. }) => {}
        Err(florence2::Error::IncompleteModel { found, .. }) if found.is_empty() => {}
        Err(error) => problems.push(describe(&error)),
    }
    let repair = bundle.needed_repair();
    let repair = repair
        .map_err(|error| problems.push(describe(&error)))
        .ok()
        .flatten();
    let mut graphs: Vec<GraphRecord> = bundle
        .layout
        .files
        .iter()
        .map(|(&graph, file)| {
            let _spinner = console.spinner(format!("reading {file}"));
            GraphRecord::read(graph, file, &bundle.source, globals)
        })
        .collect();
    problems.extend(graphs.iter().filter_map(|graph| graph.error.clone()));
    let model = if missing.is_empty() && problems.is_empty() {
        let _spinner = console.spinner("loading the model");
        let loaded = Florence2::load(bundle.source.clone(), engine::load_options(globals, console));
        loaded.map_err(|error| problems.push(describe(&error))).ok()
    } else {
        None
    };
    if let Some(model) = &model {
        let placements = model.placements();
        for graph in &mut graphs {
            let mut placements = placements.iter();
            let placement = placements.find(|placement| placement.graph == graph.graph);
            graph.placement = placement.map(|&placement| placement.clone());
        }
    }
    Report {
        model: bundle.source.name(),
        usable: model.is_some(),
        missing,
        problems,
        repairs: repair.iter().map(Repair::to_string).collect(),
        config: facts(bundle, model.as_ref()),
        graphs,
    }
}
