//! `florence2 parse`: parses a model's raw answer, without running a model.

use std::io::{self, Read};

use clap::Args;
use florence2::hub;
use florence2::postprocess::{self, ParseOptions, RawAnswer};
use florence2::{Bundle, BundleSource, ImageSize, OutputKind, Task};
use serde::Serialize;
use serde_json::Value;

use crate::args::{GlobalArgs, ModelArg, Tag, task_or_tag};
use crate::console::Console;
use crate::engine;
use crate::error::{Error, Outcome, Result};
use crate::output::{Destination, ReportFormat, Target, answer_text, coordinate_format, json};

/// Parse a model's raw answer to a task
///
/// No model is needed, except for the answer types of a fine-tune's own tags. The result has the shape of transformers' `post_process_generation`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  florence2 parse -t od -s 640x480 'car<loc_100><loc_200><loc_500><loc_750>'")]
pub struct ParseArgs {
    /// The task of the answer: od, ocr-with-region, ... or the tag (see `florence2 tasks`); also a fine-tune's own tag,
    /// whose answer is text unless --model has another type for it
    #[arg(short, long, value_parser = task_or_tag)]
    task: Tag,
    /// The model whose configuration has the answer type of a tag: a folder, or a cached model of a hub
    #[arg(short, long, value_name = "MODEL")]
    model: Option<ModelArg>,
    /// The image's size in pixels, as 640x480
    #[arg(short, long, value_name = "WxH", value_parser = image_size)]
    size: ImageSize,
    /// Parse exactly as transformers does: integer coordinates, only ASCII in labels, and so on
    #[arg(long)]
    strict: bool,
    /// The format of the result
    #[arg(long, value_enum, default_value_t = ReportFormat::Json)]
    format: ReportFormat,
    /// Write the result to this file instead of stdout
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: Target,
    /// The model's answer, special tokens kept; - reads it from stdin
    #[arg(value_name = "RAW", default_value = "-", allow_hyphen_values = true)]
    raw: String,
}

#[derive(Serialize)]
struct ParseRecord<'a> {
    width: u32,
    height: u32,
    task: &'a str,
    result: Value,
    raw_text: &'a str,
}

pub fn parse(args: &ParseArgs, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
    let raw = match args.raw.as_str() {
        "-" => from_stdin()?,
        raw => raw.to_owned(),
    };
    let bundle = args.bundle(globals, console)?;
    let (tag, output) = match &args.task {
        Tag::Task(kind) => (kind.spec().tag, kind.spec().output),
        Tag::Own(tag) => {
            let task = Task::Prompt(tag.clone());
            let of_model = bundle.as_ref().map(|bundle| bundle.output_kind(&task));
            (tag.as_str(), of_model.unwrap_or(OutputKind::PureText))
        }
    };
    let options = bundle.map_or_else(ParseOptions::default, |bundle| bundle.parse_options());
    let options = options.with_strict(args.strict);
    let parsed = postprocess::parse(output, &RawAnswer::from_text(&raw), args.size, &options);
    let text = match args.format {
        ReportFormat::Text => answer_text(&parsed, 0),
        ReportFormat::Json => {
            let record = ParseRecord {
                width: args.size.width,
                height: args.size.height,
                task: tag,
                result: parsed.to_transformers(tag, coordinate_format(args.strict)),
                raw_text: &raw,
            };
            json(&record)? + "\n"
        }
    };
    let mut out = Destination::open(&args.output)?;
    out.write(&text)?;
    out.commit()?;
    Ok(Outcome::AllGood)
}

impl ParseArgs {
    /// Opens the model's configuration, without a network.
    fn bundle(&self, globals: &GlobalArgs, console: &Console) -> Result<Option<Bundle>> {
        let source = match &self.model {
            None => return Ok(None),
            Some(ModelArg::Demo) => florence2::demo::bundle()?,
            Some(ModelArg::Folder(folder)) => BundleSource::Folder(folder.clone()),
            Some(ModelArg::Hub(id)) => {
                let offline = GlobalArgs {
                    offline: true,
                    ..globals.clone()
                };
                BundleSource::Folder(hub::prepare(id, &engine::load_options(&offline, console))?.folder)
            }
        };
        Ok(Some(Bundle::open(source)?))
    }
}

/// Reads standard input, without the newline that `echo` adds.
fn from_stdin() -> Result<String> {
    let mut bytes = Vec::new();
    let stdin = |source| Error::Stream {
        stream: "standard input",
        source,
    };
    io::stdin().lock().read_to_end(&mut bytes).map_err(stdin)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text
        .strip_suffix('\n')
        .map_or(text.as_ref(), |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(text.to_owned())
}

fn image_size(text: &str) -> Result<ImageSize, String> {
    let (width, height) = text
        .split_once(['x', 'X'])
        .ok_or("expected width x height, as 640x480")?;
    let side = |text: &str| match text.trim().parse::<u32>() {
        Ok(0) => Err("an image has at least one pixel each way".to_owned()),
        side => side.map_err(|error| format!("{text:?}: {error}")),
    };
    Ok(ImageSize::new(side(width)?, side(height)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(image_size("640x480"), Ok(ImageSize::new(640, 480)));
        for wrong in ["640", "640x", "0x5", "-1x5", "5x5x5", "99999999999x1"] {
            assert!(image_size(wrong).is_err(), "{wrong}");
        }
    }
}
