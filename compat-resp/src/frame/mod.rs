//! RESP: requests as clients write them, answers as they read them. The only room that names `redis-protocol`.
//!
//! A request is an array of bulk strings, or a line as a person types it. What it claims about its sizes is checked before
//! it is parsed: nothing is allocated for a claim, nothing nests, and what arrives in pieces is looked at once, not once a
//! piece.

mod answer;
mod http;
mod inline;
mod resp2;
mod resp3;

use bytes::{Buf as _, Bytes, BytesMut};
use redis_protocol::resp2::{decode::decode_bytes, types::BytesFrame};

pub use answer::{Answer, Protocol};

/// Bytes of a request: what fits a message to the server with what frames it there.
pub const REQUEST_BYTES_MAX: usize = 6 << 20;

/// Words of a request: each takes up to 8 bytes more in a message.
pub const REQUEST_WORDS_MAX: i64 = 1 << 17;

/// A line that is not an array.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// The line before an array or a string: its kind, a number, and the end.
const COUNT_BYTES_MAX: usize = 32;

/// Why the bytes are no request. The connection can't go on then: where the next one begins is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Whoever sent them is told what is wrong with them.
    #[error("Protocol error: {0}")]
    Broken(String),
    /// A program that speaks HTTP, and that a stranger's page may have sent here: it is told nothing.
    #[error("this is HTTP, not the protocol of Redis")]
    Http,
}

fn broken<T>(what: impl Into<String>) -> Result<T, ProtocolError> {
    Err(ProtocolError::Broken(what.into()))
}

/// Cuts requests out of what arrives. It remembers how far it has looked.
#[derive(Debug, Default)]
pub struct Requests {
    /// Words of the array that have not been looked at.
    words: i64,
    /// Where the next one begins; 0: between requests.
    position: usize,
}

impl Requests {
    /// Takes the next request off the beginning of `input`, as words; `None`: it is not all there yet.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        while self.position == 0 {
            match input.first() {
                None => return Ok(None),
                Some(b'*') => {
                    let Some((count, position)) = number(input, 0, "multibulk length")? else { return Ok(None) };
                    if count > REQUEST_WORDS_MAX {
                        return broken("invalid multibulk length");
                    }
                    if count <= 0 {
                        input.advance(position);
                        continue;
                    }
                    (self.words, self.position) = (count, position);
                }
                Some(_) => match inline::next(input)? {
                    Some(words) if words.is_empty() => {}
                    other => return Ok(other),
                },
            }
        }
        if !self.look(input)? {
            return Ok(None);
        }
        let whole = input.split_to(std::mem::take(&mut self.position)).freeze();
        decoded(&whole).map(Some)
    }

    /// Whether a request has begun that needs more than what is there.
    pub const fn is_within(&self) -> bool {
        self.position > 0
    }

    /// Looks at the words that have arrived; whether that is all of them.
    fn look(&mut self, input: &BytesMut) -> Result<bool, ProtocolError> {
        while self.words > 0 {
            match input.get(self.position) {
                None => return Ok(false),
                Some(b'$') => {}
                Some(other) => return broken(format!("expected '$', got '{}'", char::from(*other))),
            }
            let Some((len, begin)) = number(input, self.position, "bulk length")? else { return Ok(false) };
            let Some(len) = usize::try_from(len).ok().filter(|len| *len <= REQUEST_BYTES_MAX) else {
                return broken("invalid bulk length");
            };
            let end = begin + len + 2;
            if end > REQUEST_BYTES_MAX {
                return broken(format!("a request has at most {REQUEST_BYTES_MAX} bytes"));
            }
            if input.len() < end {
                return Ok(false);
            }
            (self.words, self.position) = (self.words - 1, end);
        }
        Ok(true)
    }
}

/// The number behind the byte at `begin`, and where its line ends.
fn number(input: &[u8], begin: usize, what: &str) -> Result<Option<(i64, usize)>, ProtocolError> {
    let line = &input[begin + 1..input.len().min(begin + COUNT_BYTES_MAX)];
    let Some(len) = line.iter().position(|byte| *byte == b'\r') else {
        return if line.len() + 1 < COUNT_BYTES_MAX { Ok(None) } else { broken(format!("invalid {what}")) };
    };
    if line.get(len + 1).is_none() && line.len() + 1 < COUNT_BYTES_MAX {
        return Ok(None);
    }
    let text = std::str::from_utf8(&line[..len]).ok().filter(|text| !text.starts_with('+'));
    match text.and_then(|text| text.parse().ok()) {
        Some(number) if line.get(len + 1) == Some(&b'\n') => Ok(Some((number, begin + 1 + len + 2))),
        _ => broken(format!("invalid {what}")),
    }
}

fn decoded(whole: &Bytes) -> Result<Vec<Bytes>, ProtocolError> {
    let frame = decode_bytes(whole).map_err(|error| ProtocolError::Broken(error.details().to_string()))?;
    let Some((BytesFrame::Array(words), _)) = frame else { return broken("not an array") };
    let word = |frame| match frame {
        BytesFrame::BulkString(word) => Ok(word),
        _ => broken("not a string"),
    };
    words.into_iter().map(word).collect()
}

#[cfg(test)]
mod tests;
