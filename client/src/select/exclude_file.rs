//! Files of `--exclude-file`: a pattern a line, `#` begins a comment, white space at both ends of a line means nothing
//! unless a backslash stands before it.

use std::{fs::File, io::Read as _, path::Path};

use datadb::{Fault, Kind, limits::PATTERN_FILE_BYTES_MAX};

use super::gitignore::trim_end_spaces;
use crate::glob::{Case, Globs};

/// The patterns of a file. It may be a pipe. Errors name the file and, where there is one, the line.
pub fn read(path: &Path) -> Result<Vec<String>, Fault> {
    let invalid = |what: String| Fault::new(Kind::Invalid, format!("{}{what}", path.display()));
    let mut bytes = Vec::new();
    let max = PATTERN_FILE_BYTES_MAX as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(max).read_to_end(&mut bytes));
    read.map_err(|error| super::unreadable(path, &error))?;
    if bytes.len() > PATTERN_FILE_BYTES_MAX {
        return Err(invalid(format!(": longer than {} KiB", PATTERN_FILE_BYTES_MAX >> 10)));
    }
    let mut patterns = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        patterns.extend(pattern(line).map_err(|why| invalid(format!(":{number}: {why}")))?);
    }
    Ok(patterns)
}

fn pattern(line: &[u8]) -> Result<Option<String>, String> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = trim_end_spaces(line.trim_ascii_start());
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(None);
    }
    let text = std::str::from_utf8(line).map_err(|_| "not UTF-8: write ? for each byte that isn't".to_owned())?;
    Globs::new([(text, Case::Sensitive)]).map_err(|fault| fault.message)?;
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_patterns_comments_or_nothing() {
        for (line, expected) in [
            ("*.o", Some("*.o")),
            ("  *.o  \r", Some("*.o")),
            ("name\\ ", Some("name\\ ")),
            ("# a comment", None),
            ("   # too", None),
            ("\\#name", Some("\\#name")),
            ("", None),
            (" \t", None),
        ] {
            assert_eq!(pattern(line.as_bytes()), Ok(expected.map(ToOwned::to_owned)), "{line:?}");
        }
        assert!(pattern(b"\xff").is_err() && pattern(b"[a").is_err());
    }
}
