//! A command as a monitor shows it.

use std::fmt;

use bytes::Bytes;

use super::{Call, Command};
use crate::limits;

/// A command, when it came and from whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Commands that this reader missed before this one.
    pub lost: u64,
    /// Unix seconds.
    pub seconds: i64,
    /// Microseconds of the second.
    pub micros: u32,
    /// Empty is `default`.
    pub database: String,
    /// An address, or what a client that asks for others calls them.
    pub client: String,
    /// In lower case.
    pub name: String,
    /// As words: a blob's body as its length; what goes beyond [`limits::SEEN_BYTES_MAX`] is cut.
    pub arguments: Vec<Bytes>,
}

impl Seen {
    /// Copies what is shown, so that nothing of the message is kept.
    pub fn new(call: &Call, client: &str, seconds: i64, micros: u32) -> Self {
        Self {
            lost: 0,
            seconds,
            micros,
            database: call.database.clone(),
            client: client.to_owned(),
            name: call.command.name().to_owned(),
            arguments: shown(&call.command),
        }
    }
}

fn shown(command: &Command) -> Vec<Bytes> {
    if let Command::Bput(args) | Command::Hash(args) = command {
        return vec![args.data.len().to_string().into()];
    }
    let words = command.arguments();
    let mut left = limits::SEEN_BYTES_MAX;
    let mut shown = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if left == 0 {
            shown.push(format!("…{} more", words.len() - at).into());
            break;
        }
        shown.push(cut(word, left));
        // A short word takes room as well.
        left = left.saturating_sub(word.len() + 16);
    }
    shown
}

fn cut(word: &Bytes, bytes_max: usize) -> Bytes {
    if word.len() <= bytes_max {
        return Bytes::copy_from_slice(word);
    }
    let end = std::str::from_utf8(word).map_or(bytes_max, |text| text.floor_char_boundary(bytes_max));
    [&word[..end], "…".as_bytes()].concat().into()
}

/// A word as it is where that is plain, else in quotes and with escapes: one line, whatever is in it.
fn quoted(f: &mut fmt::Formatter<'_>, word: &[u8]) -> fmt::Result {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\\' | '[' | ']');
    match std::str::from_utf8(word) {
        Ok(text) if !text.is_empty() && !text.contains(is_odd) => f.write_str(text),
        Ok(text) => write!(f, "{text:?}"),
        Err(_) => write!(f, "\"{}\"", word.escape_ascii()),
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} command  with args [", self.name)?;
        for (at, word) in self.arguments.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            quoted(f, word)?;
        }
        write!(f, "] from client: {}", self.client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(words: &[&[u8]]) -> Seen {
        let words: Vec<Bytes> = words.iter().map(|word| Bytes::copy_from_slice(word)).collect();
        Seen::new(&Command::parse(&words).expect("a command").into(), "127.0.0.1:42179", 1, 2)
    }

    #[test]
    fn a_command_is_one_line_whatever_it_holds() {
        let line = seen(&[b"HGETALL", b"2c07"]).to_string();
        assert_eq!(line, "hgetall command  with args [2c07] from client: 127.0.0.1:42179");
        let line = seen(&[b"set", b"two words", b"\xff\n"]).to_string();
        assert_eq!(line, r#"set command  with args ["two words" "\xff\n"] from client: 127.0.0.1:42179"#);
        let line = seen(&[b"sadd", "größe".as_bytes(), b"", b"a\r\ndata: b", b"[x]"]).to_string();
        assert_eq!(line, r#"sadd command  with args [größe "" "a\r\ndata: b" "[x]"] from client: 127.0.0.1:42179"#);
    }

    #[test]
    fn a_blob_is_shown_as_its_length() {
        assert_eq!(seen(&[b"bput", &[0; 12345]]).arguments, ["12345"]);
        assert_eq!(seen(&[b"hash", b""]).arguments, ["0"]);
    }

    #[test]
    fn long_arguments_are_cut() {
        let long = "ä".repeat(100_000);
        let shown = seen(&[b"set", b"k", long.as_bytes(), b"nx"]);
        assert_eq!(shown.arguments.len(), 3);
        assert!(shown.arguments[1].ends_with("ä…".as_bytes()), "cut between letters");
        assert_eq!(shown.arguments[2], "…1 more");
        let many: Vec<&[u8]> = [&b"sadd"[..], b"k"].into_iter().chain(std::iter::repeat_n(&b""[..], 60_000)).collect();
        let shown = seen(&many);
        assert!(shown.arguments.len() < 300, "{}", shown.arguments.len());
        assert!(shown.arguments.iter().map(Bytes::len).sum::<usize>() < limits::SEEN_BYTES_MAX + 64);
    }
}
