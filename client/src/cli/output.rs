//! What goes to stdout. A reader that went away (`| head`) ends the program quietly.

use std::io::{self, ErrorKind, Write as _};

use datadb::{Fault, Kind};
use serde_json::Value;

/// The fault of a stdout that can't be written to; one that nobody reads any more ends the program.
fn fault(error: &io::Error) -> Fault {
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    let kind = if error.kind() == ErrorKind::StorageFull { Kind::Full } else { Kind::Internal };
    Fault::new(kind, format!("can't write to stdout: {error}"))
}

/// Prints a line.
pub fn line(text: &str) -> Result<(), Fault> {
    writeln!(io::stdout().lock(), "{text}").map_err(|error| fault(&error))
}

/// Prints a JSON object as a line.
pub fn json(value: &Value) -> Result<(), Fault> {
    line(&value.to_string())
}

/// Writes bytes as they are.
pub fn raw(bytes: &[u8]) -> Result<(), Fault> {
    io::stdout().lock().write_all(bytes).map_err(|error| fault(&error))
}

/// Sees to it that everything is out.
pub fn flush() -> Result<(), Fault> {
    io::stdout().lock().flush().map_err(|error| fault(&error))
}

/// Text for JSON: as it is if it is UTF-8, else with what is not replaced.
pub fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

/// A table: columns as wide as their widest cell; numbers (columns named in `right`) to the right.
pub fn table(head: &[&str], right: &[usize], rows: &[Vec<String>]) -> Result<(), Fault> {
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let all = || std::iter::once(&head).chain(rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for row in all() {
        let mut text = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - cell.chars().count());
            let gap = if column == 0 { "" } else { "  " };
            text += &if right.contains(&column) { format!("{gap}{pad}{cell}") } else { format!("{gap}{cell}{pad}") };
        }
        line(text.trim_end())?;
    }
    Ok(())
}
