//! The table writer: aligned text, Markdown and CSV.

use comfy_table::{Cell, CellAlignment, ContentArrangement, presets};

use super::printable;
use crate::error::{Error, Result};

/// The forms of a report whose figures are a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TableFormat {
    /// Aligned columns
    Table,
    /// A Markdown table
    Markdown,
    /// Comma-separated values with plain numbers
    Csv,
    /// The whole report, as JSON
    Json,
}

/// A column's title and alignment.
#[derive(Debug, Clone, Copy)]
pub enum Column<'a> {
    /// Left-aligned.
    Text(&'a str),
    /// Right-aligned.
    Number(&'a str),
}

/// Rows of text cells, one cell for each column.
#[derive(Debug, Clone, Default)]
pub struct Table {
    columns: Vec<(String, CellAlignment)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Returns a table without rows.
    pub fn new<'a>(columns: impl IntoIterator<Item = Column<'a>>) -> Self {
        let columns = columns.into_iter().map(|column| match column {
            Column::Text(title) => (title.to_owned(), CellAlignment::Left),
            Column::Number(title) => (title.to_owned(), CellAlignment::Right),
        });
        Self {
            columns: columns.collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Drops the columns whose cells are all empty or `-`.
    pub fn without_empty_columns(mut self) -> Self {
        for index in (0..self.columns.len()).rev() {
            let is_empty = |row: &Vec<String>| {
                row.get(index)
                    .is_none_or(|cell| matches!(cell.as_str(), "" | "-"))
            };
            if self.rows.iter().all(is_empty) {
                self.columns.remove(index);
                for row in self.rows.iter_mut().filter(|row| index < row.len()) {
                    row.remove(index);
                }
            }
        }
        self
    }

    /// Returns aligned text without rules, every line indented by `indent` spaces. Control characters are made visible.
    /// A table without columns has no header.
    pub fn text(&self, indent: usize) -> String {
        let mut table = comfy_table::Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        if !self.columns.is_empty() {
            table.set_header(self.columns.iter().map(|(title, _)| title));
        }
        for row in &self.rows {
            table.add_row(
                row.iter()
                    .map(|cell| Cell::new(printable(cell).replace('\n', "⏎"))),
            );
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if let Some((_, alignment)) = self.columns.get(index) {
                column.set_cell_alignment(*alignment);
            }
        }
        let indent = " ".repeat(indent);
        let lines = table.lines();
        lines
            .map(|line| format!("{indent}{}\n", line.trim_end()))
            .collect()
    }

    /// Returns a table of GitHub's Markdown.
    pub fn markdown(&self) -> String {
        let titles = self.columns.iter().map(|(title, _)| title.clone());
        let rules = self.columns.iter().map(|(_, alignment)| match alignment {
            CellAlignment::Right => "---:".to_owned(),
            CellAlignment::Left | CellAlignment::Center => "---".to_owned(),
        });
        let rows = self
            .rows
            .iter()
            .map(|row| markdown_line(row.iter().map(|cell| markdown_text(cell))));
        [markdown_line(titles), markdown_line(rules)]
            .into_iter()
            .chain(rows)
            .collect()
    }

    /// Returns the table as RFC 4180 has it.
    ///
    /// # Errors
    /// [`Error::Stream`] if a row has more or fewer cells than there are columns.
    pub fn csv(&self) -> Result<String> {
        let failed = |error: csv::Error| Error::stdout(error.into());
        let mut writer = csv::Writer::from_writer(Vec::new());
        let titles = self.columns.iter().map(|(title, _)| title);
        writer.write_record(titles).map_err(failed)?;
        for row in &self.rows {
            writer.write_record(row).map_err(failed)?;
        }
        let bytes = writer
            .into_inner()
            .map_err(|error| Error::stdout(error.into_error()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn markdown_line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// Returns `text` in one line, with Markdown's special characters escaped.
pub fn markdown_text(text: &str) -> String {
    let mut escaped = String::new();
    for character in printable(text).chars() {
        match character {
            '\n' => escaped.push(' '),
            '|' | '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '~' | '#' => {
                escaped.extend(['\\', character]);
            }
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new([Column::Text("model"), Column::Number("ms"), Column::Number("GPU")]);
        table.row(["a|b_c", "1.5", ""]);
        table.row(["two\nlines, \"quoted\"", "-", "-"]);
        table
    }

    #[test]
    fn text_is_aligned_by_display_width() {
        let mut table = Table::new([Column::Text("label"), Column::Number("x1"), Column::Text("end")]);
        table.row(["猫", "1.5", "a"]);
        table.row(["wheel\nnut", "100.0", "b"]);
        assert_eq!(
            table.text(2),
            "  label         x1  end\n  猫           1.5  a\n  wheel⏎nut  100.0  b\n"
        );
    }

    #[test]
    fn a_table_without_columns_has_no_header() {
        let mut table = Table::default();
        table.row(["key", "value"]);
        assert_eq!(table.text(1), " key  value\n");
    }

    #[test]
    fn markdown_is_escaped() {
        assert_eq!(
            table().markdown(),
            "| model | ms | GPU |\n| --- | ---: | ---: |\n| a\\|b\\_c | 1.5 |  |\n\
             | two lines, \"quoted\" | - | - |\n"
        );
    }

    #[test]
    fn csv_is_quoted() {
        assert_eq!(
            table().csv().unwrap(),
            "model,ms,GPU\na|b_c,1.5,\n\"two\nlines, \"\"quoted\"\"\",-,-\n"
        );
        let mut ragged = table();
        ragged.row(["one"]);
        assert!(ragged.csv().is_err());
    }

    #[test]
    fn empty_columns_are_dropped() {
        let text = table().without_empty_columns().text(0);
        assert_eq!(text.lines().next(), Some("model                 ms"), "{text}");
    }
}
