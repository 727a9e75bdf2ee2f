//! Output formats, and writing to stdout or a file.

mod annotated;
mod destination;
mod record;
mod table;
mod text;

pub use annotated::{encoded, write_annotated};
pub use destination::{Destination, Target, print, remove_temporaries, write_file};
pub use record::{FailureRecord, OutputRecord, RecordForm};
pub use table::{Column, Table, TableFormat, markdown_text};
pub use text::{answer_text, heading, printable, task_text};

use florence2::CoordinateFormat;
use serde::Serialize;

use crate::error::{Error, Result};

/// The format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text for people
    Text,
    /// A JSON array
    Json,
    /// One JSON object per line, each written at once
    Jsonl,
}

/// The format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportFormat {
    /// Text for people
    Text,
    /// JSON
    Json,
}

impl ReportFormat {
    /// Writes a report to stdout, as JSON or as the text that `text` returns.
    pub fn print(self, report: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        print(&match self {
            ReportFormat::Json => json_pretty(report)?,
            ReportFormat::Text => text(),
        })
    }
}

/// A writer of JSON records, as lines or as the elements of one array.
pub struct RecordWriter {
    array: bool,
    written: usize,
}

impl RecordWriter {
    /// Returns a writer of one array if `array` is set, else of lines.
    pub fn new(array: bool) -> Self {
        Self { array, written: 0 }
    }

    /// Writes a record and flushes it.
    pub fn write(&mut self, out: &mut Destination, record: &impl Serialize) -> Result<()> {
        let json = json(record)?;
        out.write(&match (self.array, self.written) {
            (false, _) => format!("{json}\n"),
            (true, 0) => format!("[\n{json}"),
            (true, _) => format!(",\n{json}"),
        })?;
        self.written += 1;
        out.flush()
    }

    /// Closes the array.
    pub fn close(&self, out: &mut Destination) -> Result<()> {
        match (self.array, self.written) {
            (false, _) => Ok(()),
            (true, 0) => out.write("[]\n"),
            (true, _) => out.write("\n]\n"),
        }
    }
}

/// Returns a value as JSON in one line.
pub fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::stdout(error.into()))
}

/// Returns a value as indented JSON with a newline at its end.
pub fn json_pretty(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map(|json| json + "\n")
        .map_err(|error| Error::stdout(error.into()))
}

/// Returns the format of coordinates: integers if `strict`, as transformers writes them.
pub fn coordinate_format(strict: bool) -> CoordinateFormat {
    if strict {
        CoordinateFormat::Integer
    } else {
        CoordinateFormat::Float
    }
}
