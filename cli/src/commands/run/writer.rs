//! Writes each result at once, as text or JSON.

use florence2::{Output, Parsed, Task};

use crate::commands::images::Input;
use crate::console::Console;
use crate::error::Result;
use crate::output::{
    Destination, FailureRecord, Format, OutputRecord, RecordForm, RecordWriter, Target, answer_text, heading,
    printable, task_text,
};

/// A writer of answers and failures.
pub struct ResultWriter {
    out: Destination,
    format: Format,
    records: RecordWriter,
    /// Whether texts have headings with their image and task.
    headings: bool,
    form: RecordForm,
    /// The number of results and failures written.
    written: usize,
    /// Whether the text of the current answer was written while it was generated.
    streamed: bool,
    /// Whether a heading was written, so that the next one follows an empty line.
    begun: bool,
}

impl ResultWriter {
    pub fn open(target: &Target, format: Format, headings: bool, form: RecordForm) -> Result<Self> {
        Ok(Self {
            out: Destination::open(target)?,
            format,
            records: RecordWriter::new(format == Format::Json),
            headings,
            form,
            written: 0,
            streamed: false,
            begun: false,
        })
    }

    /// Writes the answer to one task on one image, with its alternatives.
    pub fn answer(&mut self, input: &Input, answer: &Output, console: &Console) -> Result<()> {
        let path = input.to_string();
        self.written += 1;
        console.suspend(|| match self.format {
            Format::Json | Format::Jsonl => {
                let record = OutputRecord::new(&path, answer, self.form);
                self.records.write(&mut self.out, &record)
            }
            Format::Text => self.texts(&path, answer),
        })
    }

    /// Writes the failure of an image, or of a task on it. In the text format, failures go to stderr only.
    pub fn failure(&mut self, input: &Input, task: Option<&Task>, error: &str) -> Result<()> {
        self.written += 1;
        match self.format {
            Format::Text => Ok(()),
            Format::Json | Format::Jsonl => {
                let record = FailureRecord {
                    path: input.to_string(),
                    task: task.map(|task| task.tag().to_owned()),
                    error: error.to_owned(),
                };
                self.records.write(&mut self.out, &record)
            }
        }
    }

    fn texts(&mut self, path: &str, answer: &Output) -> Result<()> {
        let indent = if self.headings { 2 } else { 0 };
        for (rank, output) in answer.sequences().enumerate() {
            let text = answer_text(&output.parsed, indent);
            if self.streamed {
                // A plain text was streamed completely.
                let more = match &output.parsed {
                    Parsed::Text(_) => "",
                    _ => &text,
                };
                self.out.write(&format!("\n{more}"))?;
            } else {
                if rank == 0 {
                    self.heading(path, &output.task)?;
                }
                if !answer.alternatives.is_empty() {
                    let rank = format!("sequence {} of {}", rank + 1, answer.sequences().count());
                    self.out
                        .write(&heading(&rank, &format!("score {:.4}", output.score)))?;
                }
                self.out.write(&text)?;
            }
        }
        self.streamed = false;
        self.out.flush()
    }

    fn heading(&mut self, path: &str, task: &Task) -> Result<()> {
        if !self.headings {
            return Ok(());
        }
        let gap = if self.begun { "\n" } else { "" };
        self.begun = true;
        self.out
            .write(&format!("{gap}{}", heading(path, &task_text(task))))
    }

    /// Writes a piece of a streamed answer.
    pub fn stream(&mut self, input: &Input, task: &Task, text: &str, console: &Console) -> Result<()> {
        console.suspend(|| {
            if !self.streamed {
                self.streamed = true;
                self.heading(&input.to_string(), task)?;
            }
            self.out.write(&printable(text))?;
            self.out.flush()
        })
    }

    /// Returns the number of results and failures written.
    pub fn written(&self) -> usize {
        self.written
    }

    /// Closes the JSON array, which makes the output valid even if results are missing.
    pub fn close(&mut self) -> Result<()> {
        self.records.close(&mut self.out)?;
        self.out.flush()
    }

    /// Moves an output file to its path.
    pub fn commit(self) -> Result<()> {
        self.out.commit()
    }
}
