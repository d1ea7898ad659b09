//! Requests as a line of words, as a person types them with netcat.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{INLINE_BYTES_MAX, ProtocolError, broken, http};

/// Takes a line off the beginning; `None`: it is not all there yet. An empty one has no words.
pub fn next(input: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
    let window = &input[..input.len().min(INLINE_BYTES_MAX)];
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if window.len() < INLINE_BYTES_MAX { Ok(None) } else { broken("too big inline request") };
    };
    let line = input.split_to(end + 1);
    let line = &line[..end];
    if http::begins(line) {
        return Err(ProtocolError::Http);
    }
    split(line.strip_suffix(b"\r").unwrap_or(line)).map(Some)
}

/// Words are parted by blanks; in double quotes `\n`, `\xHH` and their like count, in single quotes only `\'`.
fn split(line: &[u8]) -> Result<Vec<Bytes>, ProtocolError> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let mut word = BytesMut::new();
        rest = one(rest, &mut word)?.trim_ascii_start();
        words.push(word.freeze());
    }
    Ok(words)
}

const UNBALANCED: &str = "unbalanced quotes in request";

/// Reads one word; gives what is behind it.
fn one<'a>(mut rest: &'a [u8], word: &mut BytesMut) -> Result<&'a [u8], ProtocolError> {
    while let Some((first, behind)) = rest.split_first() {
        rest = match first {
            b'"' | b'\'' => return quoted(*first, behind, word),
            blank if blank.is_ascii_whitespace() => return Ok(rest),
            byte => {
                word.put_u8(*byte);
                behind
            }
        };
    }
    Ok(rest)
}

fn quoted<'a>(quote: u8, mut rest: &'a [u8], word: &mut BytesMut) -> Result<&'a [u8], ProtocolError> {
    loop {
        rest = match rest {
            [] => return broken(UNBALANCED),
            [end, behind @ ..] if *end == quote => {
                // A closing quote ends the word.
                let is_end = behind.first().is_none_or(u8::is_ascii_whitespace);
                return if is_end { Ok(behind) } else { broken(UNBALANCED) };
            }
            [b'\\', b'\'', behind @ ..] if quote == b'\'' => put(word, b'\'', behind),
            [b'\\', b'x', high, low, behind @ ..] if quote == b'"' && hex(*high).is_some() && hex(*low).is_some() => {
                put(word, hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0), behind)
            }
            [b'\\', escaped, behind @ ..] if quote == b'"' => put(word, unescaped(*escaped), behind),
            [byte, behind @ ..] => put(word, *byte, behind),
        };
    }
}

fn put<'a>(word: &mut BytesMut, byte: u8, behind: &'a [u8]) -> &'a [u8] {
    word.put_u8(byte);
    behind
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

const fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}
