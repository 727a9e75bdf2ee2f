//! A table for people: in columns, or in Markdown.

use crate::output::{Column, Table, printable};

/// Columns and rows of text; an empty cell says that there is nothing to say.
pub struct Grid {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// Rows have a cell for each column.
    pub fn new(columns: Vec<Column>, rows: Vec<Vec<String>>) -> Self {
        Self { columns, rows }
    }

    /// Without the columns that say nothing in any row.
    pub fn without_empty_columns(self) -> Self {
        let says_something = |index: usize| {
            let mut cells = self.rows.iter().filter_map(|row| row.get(index));
            cells.any(|cell| !cell.is_empty())
        };
        let kept: Vec<bool> = (0..self.columns.len()).map(says_something).collect();
        let rows = self.rows.into_iter().map(|row| keep(row, &kept));
        Self {
            rows: rows.collect(),
            columns: keep(self.columns, &kept),
        }
    }

    /// In columns.
    pub fn text(&self) -> String {
        let mut table = Table::new(&self.columns, 0);
        for row in &self.rows {
            table.row(row.iter().map(|cell| dash(cell)));
        }
        table.render()
    }

    /// As GitHub's Markdown has tables.
    pub fn markdown(&self) -> String {
        let (titles, rules): (Vec<&str>, Vec<&str>) = self
            .columns
            .iter()
            .map(|column| match column {
                Column::Text(title) => (*title, "---"),
                Column::Number(title) => (*title, "---:"),
            })
            .unzip();
        let mut text = line(titles) + &line(rules);
        for row in &self.rows {
            text.push_str(&line(row.iter().map(|cell| escaped(dash(cell)))));
        }
        text
    }
}

fn keep<T>(items: Vec<T>, kept: &[bool]) -> Vec<T> {
    let items = items.into_iter().zip(kept);
    items.filter_map(|(item, &kept)| kept.then_some(item)).collect()
}

fn dash(cell: &str) -> &str {
    match cell {
        "" => "-",
        cell => cell,
    }
}

fn line<T: AsRef<str>>(cells: impl IntoIterator<Item = T>) -> String {
    let mut line = String::from("|");
    for cell in cells {
        line.push(' ');
        line.push_str(cell.as_ref());
        line.push_str(" |");
    }
    line.push('\n');
    line
}

/// Text that means itself in Markdown, in one line.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in printable(text).chars() {
        match character {
            '\n' => escaped.push(' '),
            '|' | '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '~' | '#' => {
                escaped.extend(['\\', character])
            }
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid::new(
            vec![Column::Text("model"), Column::Number("ms"), Column::Number("GPU")],
            vec![
                vec!["a|b_c".into(), "1.5".into(), String::new()],
                vec!["two\nlines".into(), String::new(), String::new()],
            ],
        )
    }

    #[test]
    fn markdown_means_what_it_says() {
        assert_eq!(
            grid().markdown(),
            "| model | ms | GPU |\n| --- | ---: | ---: |\n| a\\|b\\_c | 1.5 | - |\n| two lines | - | - |\n"
        );
    }

    #[test]
    fn empty_columns_can_be_left_out() {
        let text = grid().without_empty_columns().text();
        assert_eq!(text, "model       ms\na|b_c      1.5\ntwo⏎lines    -\n");
    }
}
