//! Results as they come, in the format asked for.

use florence2::{Output, OutputKind, Task};

use crate::commands::images::Input;
use crate::commands::parse::coordinate_format;
use crate::console::Console;
use crate::error::Result;
use crate::output::{
    Destination, FailureRecord, Format, OutputRecord, RecordWriter, Target, answer_text, heading, printable,
};

/// Writes answers and failures.
pub struct ResultWriter {
    out: Destination,
    format: Format,
    records: RecordWriter,
    /// Whether texts say which image and task they are about.
    headings: bool,
    strict: bool,
    /// Whether the text of the present answer is out already.
    streamed: bool,
    /// Whether something was written that the next heading stands apart from.
    begun: bool,
}

impl ResultWriter {
    pub fn open(target: &Target, format: Format, headings: bool, strict: bool) -> Result<Self> {
        Ok(Self {
            out: Destination::open(target)?,
            format,
            records: RecordWriter::new(format == Format::Json),
            headings,
            strict,
            streamed: false,
            begun: false,
        })
    }

    /// Writes the answers to one task on one image, the best first.
    pub fn answers(&mut self, input: &Input, answers: &[Output], console: &Console) -> Result<()> {
        let path = input.to_string();
        console.suspend(|| match self.format {
            Format::Json | Format::Jsonl => {
                match OutputRecord::new(&path, answers, coordinate_format(self.strict)) {
                    Some(record) => self.records.write(&mut self.out, &record),
                    None => Ok(()),
                }
            }
            Format::Text => self.texts(&path, answers),
        })
    }

    /// Writes that an image, or a task on it, failed. In text this is for stderr alone.
    pub fn failure(&mut self, input: &Input, task: Option<&Task>, error: &str) -> Result<()> {
        match self.format {
            Format::Text => Ok(()),
            Format::Json | Format::Jsonl => {
                let record = FailureRecord {
                    path: &input.to_string(),
                    task: task.map(Task::tag),
                    error,
                };
                self.records.write(&mut self.out, &record)
            }
        }
    }

    fn texts(&mut self, path: &str, answers: &[Output]) -> Result<()> {
        let indent = if self.headings { 2 } else { 0 };
        for (rank, output) in answers.iter().enumerate() {
            let text = answer_text(&output.parsed, indent);
            if self.streamed {
                // Of a plain text there is nothing more to say.
                let more = if output.task.output_kind() == OutputKind::PureText {
                    ""
                } else {
                    &text
                };
                self.out.write(&format!("\n{more}"))?;
            } else {
                if rank == 0 {
                    self.heading(path, &output.task)?;
                }
                if answers.len() > 1 {
                    let place = format!("sequence {} of {}", rank + 1, answers.len());
                    self.out
                        .write(&heading(&place, &format!("score {:.4}", output.score)))?;
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
        self.out.write(&format!("{gap}{}", heading(path, task.tag())))
    }

    /// Writes a piece of an answer that is shown as it grows; start and end tokens are left out.
    pub fn stream(&mut self, input: &Input, task: &Task, text: &str, console: &Console) -> Result<()> {
        let text = ["<s>", "</s>"]
            .iter()
            .fold(text.to_owned(), |text, token| text.replace(token, ""));
        console.suspend(|| {
            if !self.streamed {
                self.streamed = true;
                self.heading(&input.to_string(), task)?;
            }
            self.out.write(&printable(&text))?;
            self.out.flush()
        })
    }

    /// Closes the JSON array, so that what is there is whole even if there was to be more.
    pub fn close(&mut self) -> Result<()> {
        self.records.close(&mut self.out)?;
        self.out.flush()
    }

    /// Puts the file in its place, if it is one.
    pub fn commit(self) -> Result<()> {
        self.out.commit()
    }
}
