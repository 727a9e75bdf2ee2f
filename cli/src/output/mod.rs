//! Results, on their way to stdout or a file.

mod destination;
mod picture;
mod record;
mod table;
mod text;

pub use destination::{Destination, Target, print, write_file};
pub use picture::write_picture;
pub use record::{FailureRecord, OutputRecord};
pub use table::{Column, Table, TableFormat, markdown_text};
pub use text::{answer_text, heading, printable};

use serde::Serialize;

use crate::error::{Error, Result};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// One JSON array (one object, where there is always one result)
    Json,
    /// One JSON object a line, as results come
    Jsonl,
}

/// Text or JSON, for commands with a single result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportFormat {
    /// For people
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

/// Writes JSON records as they come: as lines, or as the elements of one array.
pub struct RecordWriter {
    array: bool,
    written: usize,
}

impl RecordWriter {
    /// For JSON lines, or (`array`) one array.
    pub fn new(array: bool) -> Self {
        Self { array, written: 0 }
    }

    /// Writes one record and flushes it.
    pub fn write(&mut self, out: &mut Destination, record: &impl Serialize) -> Result<()> {
        let before = match (self.array, self.written) {
            (false, _) => "",
            (true, 0) => "[\n",
            (true, _) => ",\n",
        };
        self.written += 1;
        let after = if self.array { "" } else { "\n" };
        out.write(&format!("{before}{}{after}", json(record)?))?;
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

/// A value as JSON in one line.
pub fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::stdout(error.into()))
}

/// A value as indented JSON.
pub fn json_pretty(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map(|json| json + "\n")
        .map_err(|error| Error::stdout(error.into()))
}
