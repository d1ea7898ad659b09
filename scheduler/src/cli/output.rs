//! What goes to stdout. A reader that went away (`| head`) ends the program quietly.

use std::io::{self, ErrorKind, Write as _};

use datadb::{Fault, Kind, terminal::escape_json};
use serde_json::Value;

/// Prints a line.
pub fn line(text: &str) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        Fault::new(Kind::Internal, format!("can't write to stdout: {error}"))
    })
}

/// Prints an object as a line.
pub fn json(value: &Value) -> Result<(), Fault> {
    line(&escape_json(&value.to_string()))
}

/// Prints rows in columns; the first is their heading.
pub fn table(rows: &[Vec<String>]) -> Result<(), Fault> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
