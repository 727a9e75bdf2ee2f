//! Columns for people.

use comfy_table::{Cell, CellAlignment, ContentArrangement, presets};

use super::printable;

/// A table without lines: columns as wide as they need to be, numbers to the right.
pub struct Table {
    table: comfy_table::Table,
    indent: usize,
}

/// A column.
#[derive(Clone, Copy)]
pub enum Column {
    /// Text, to the left.
    Text(&'static str),
    /// A number, to the right.
    Number(&'static str),
}

impl Table {
    /// An empty table, `indent` columns from the left.
    pub fn new(columns: &[Column], indent: usize) -> Self {
        let mut table = Self::without_header(indent);
        table.table.set_header(columns.iter().map(|column| match column {
            Column::Text(name) => Cell::new(name),
            Column::Number(name) => Cell::new(name).set_alignment(CellAlignment::Right),
        }));
        for (column, kind) in table.table.column_iter_mut().zip(columns) {
            if let Column::Number(_) = kind {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    /// An empty table of text columns.
    pub fn without_header(indent: usize) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        Self { table, indent }
    }

    /// Adds a row; control characters are made visible.
    pub fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.table.add_row(
            cells
                .into_iter()
                .map(|cell| printable(cell.as_ref()).replace('\n', "⏎")),
        );
    }

    /// The table's lines.
    pub fn render(mut self) -> String {
        self.table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 2));
        });
        let indent = " ".repeat(self.indent);
        self.table
            .lines()
            .map(|line| format!("{indent}{}\n", line.trim_end()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_whatever_the_script() {
        let mut table = Table::new(
            &[Column::Text("label"), Column::Number("x1"), Column::Text("end")],
            2,
        );
        table.row(["猫", "1.5", "a"]);
        table.row(["wheel\nnut", "100.0", "b"]);
        assert_eq!(
            table.render(),
            "  label         x1  end\n  猫           1.5  a\n  wheel⏎nut  100.0  b\n"
        );
    }
}
