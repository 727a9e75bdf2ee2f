//! `florence2 devices`: the devices that can be used here, and what the others need.

use clap::Args;
use florence2::Error as EngineError;
use florence2::runtime::{Device, DeviceKind};
use serde::Serialize;

use crate::args::GlobalArgs;
use crate::console::Console;
use crate::engine;
use crate::error::{Outcome, Result};
use crate::output::{ReportFormat, heading, printable};

/// List the devices that graphs can run on: which can be used here, and what is missing for the others
///
/// A device can be used if a small graph runs on it. The devices of an ONNX Runtime library are fixed when it is built.
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// How the list is written
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
}

#[derive(Serialize)]
struct DeviceRecord {
    device: &'static str,
    provider: &'static str,
    in_library: bool,
    usable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<&'static str>,
}

pub fn devices(args: &DevicesArgs, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
    let options = engine::runtime_options(globals).with_devices(DeviceKind::ALL);
    engine::start_with(&options, globals, console)?;
    let records: Vec<DeviceRecord> = DeviceKind::ALL
        .iter()
        .map(|&kind| {
            let _spinner = console.spinner(format!("trying {kind}"));
            record(kind)
        })
        .collect::<Result<_>>()?;
    args.format.print(&records, || render(&records))?;
    Ok(Outcome::AllGood)
}

fn record(kind: DeviceKind) -> Result<DeviceRecord> {
    let problem = match Device::new(kind).usable() {
        Ok(()) => None,
        Err(EngineError::DeviceUnusable { problem, .. }) => Some(problem.to_string()),
        Err(other) => return Err(other.into()),
    };
    Ok(DeviceRecord {
        device: kind.name(),
        provider: kind.provider(),
        in_library: kind.is_in_library()?,
        usable: problem.is_none(),
        needs: problem.is_some().then(|| kind.needs()),
        problem,
    })
}

/// Formats the devices as text, usable devices first.
fn render(records: &[DeviceRecord]) -> String {
    let (usable, others): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.usable);
    usable.into_iter().chain(others).map(device).collect()
}

fn device(record: &DeviceRecord) -> String {
    let here = match (record.usable, record.in_library) {
        (true, _) => "can be used",
        (false, true) => "cannot be used",
        (false, false) => "not in this ONNX Runtime",
    };
    let mut text = heading(record.device, here);
    // A device that is not in the library is reported as such in the heading.
    if let Some(problem) = record.problem.as_deref().filter(|_| record.in_library) {
        text += &format!("  {}\n", printable(problem));
    }
    if let Some(needs) = record.needs {
        text += &format!("  It needs {needs}.\n");
    }
    text
}
