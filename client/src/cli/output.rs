//! What goes to stdout. A reader that went away (`| head`) ends the program quietly.

use std::io::{self, ErrorKind, Write as _};

use datadb::{Fault, Kind, terminal::escape_json};
use serde_json::{Value, json};

use crate::report::Status;

/// The fault of a stdout that can't be written to; one that nobody reads any more ends the program.
pub fn fault(error: &io::Error) -> Fault {
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    let kind = if error.kind() == ErrorKind::StorageFull { Kind::Full } else { Kind::Internal };
    Fault::new(kind, format!("can't write to stdout: {error}"))
}

/// Prints a line, in which nothing of others is left that steers a terminal.
pub fn line(text: &str) -> Result<(), Fault> {
    writeln!(io::stdout().lock(), "{text}").map_err(|error| fault(&error))
}

/// Prints a JSON object as a line.
pub fn json(value: &Value) -> Result<(), Fault> {
    line(&json_text(value))
}

/// A JSON object as a line that can't steer a terminal.
pub fn json_text(value: &Value) -> String {
    escape_json(&value.to_string())
}

/// Writes bytes as they are.
pub fn raw(bytes: &[u8]) -> Result<(), Fault> {
    io::stdout().lock().write_all(bytes).map_err(|error| fault(&error))
}

/// Sees to it that everything is out.
pub fn flush() -> Result<(), Fault> {
    io::stdout().lock().flush().map_err(|error| fault(&error))
}

/// Prints how far a run is. A reader that went away does not end the run for that.
pub fn status(status: &Status) {
    // What follows on stdout tells of the trouble, if there is any.
    writeln!(io::stdout().lock(), "{}", json_text(&status_json(status))).ok();
}

/// How far a run is, as an object.
pub fn status_json(status: &Status) -> Value {
    let mut value = json!({
        "type": "status",
        "files": status.files,
        "bytes": status.bytes,
        "wire_bytes": status.wire_bytes,
        "errors": status.errors,
        "seconds": status.seconds,
        "bytes_per_second": status.rate,
        "current": text(&status.current),
    });
    if let Some(expected) = status.bytes_expected {
        value["bytes_expected"] = json!(expected);
    }
    if let Some(left) = status.seconds_left {
        value["seconds_left"] = json!(left);
    }
    value
}

/// Text for JSON: as it is if it is UTF-8, else with what is not replaced.
pub fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

/// Rows in columns as wide as their widest cell so far, so that a long list needs not be in memory to be aligned.
#[derive(Debug)]
pub struct Columns {
    /// Columns of numbers, which stand to the right.
    right: &'static [usize],
    indent: &'static str,
    widths: Vec<usize>,
}

impl Columns {
    /// No rows so far.
    pub const fn new(right: &'static [usize]) -> Self {
        Self { right, indent: "", widths: Vec::new() }
    }

    /// The same, each row behind these spaces.
    pub fn indented(self, indent: &'static str) -> Self {
        Self { indent, ..self }
    }

    /// Prints the next rows, aligned with each other and as far as possible with those before.
    pub fn print(&mut self, rows: &[Vec<String>]) -> Result<(), Fault> {
        let columns = rows.first().map_or(0, Vec::len);
        self.widths.resize(columns, 0);
        for (column, width) in self.widths.iter_mut().enumerate() {
            let widest = rows.iter().map(|row| row[column].chars().count()).max();
            *width = widest.unwrap_or(0).max(*width);
        }
        let text: String = rows.iter().map(|row| self.row(row)).collect();
        raw(text.as_bytes())
    }

    fn row(&self, row: &[String]) -> String {
        let mut text = self.indent.to_owned();
        let last = row.iter().rposition(|cell| !cell.is_empty()).unwrap_or(0);
        for (column, cell) in row.iter().enumerate().take(last + 1) {
            let pad = " ".repeat(self.widths[column] - cell.chars().count());
            let gap = if column == 0 { "" } else { "  " };
            let is_right = self.right.contains(&column);
            let (before, after) = if is_right { (&pad[..], "") } else { ("", if column == last { "" } else { &pad }) };
            text += &format!("{gap}{before}{cell}{after}");
        }
        text + "\n"
    }
}

/// The first row of a table.
pub fn head(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|&cell| cell.to_owned()).collect()
}
