//! Text of others as it may stand on a terminal. Whatever came from a server, a file system or a person goes through here
//! before it is shown: names, paths, tags, and the lines of errors.

use std::fmt::Write as _;

/// Control characters (C0, DEL, C1), marks that turn the direction of text, and what is not UTF-8 as `\xNN`; all else as it
/// is. What has gone through here once comes through unchanged.
pub fn escape(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            if steers(c) {
                let mut utf8 = [0; 4];
                hex(&mut out, c.encode_utf8(&mut utf8).as_bytes());
            } else {
                out.push(c);
            }
        }
        hex(&mut out, chunk.invalid());
    }
    out
}

/// A JSON text with the same characters as `\uNNNN`: it stays the same for programs.
pub fn escape_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            let written = write!(out, "\\u{:04x}", u32::from(c));
            debug_assert!(written.is_ok(), "writing to a String never fails");
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a terminal does something else with it than showing it.
fn steers(c: char) -> bool {
    c.is_control() || is_bidi(c)
}

/// Marks that turn the direction of text, by which a name can look like another.
const fn is_bidi(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let written = write!(out, "\\x{byte:02x}");
        debug_assert!(written.is_ok(), "writing to a String never fails");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(escape(b"a\x1b[2Jb\n\xff"), "a\\x1b[2Jb\\x0a\\xff");
        assert_eq!(escape("äß \u{202e}".as_bytes()), "äß \\xe2\\x80\\xae");
    }

    #[test]
    fn no_control_or_direction_is_left_and_all_else_is() {
        let controls = (0..0x20).chain(0x7f..0xa0).filter_map(char::from_u32);
        let marks = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        for c in controls.chain(marks.chars()) {
            let text = String::from(c);
            assert!(escape(text.as_bytes()).bytes().all(|byte| byte.is_ascii_graphic()), "{c:?}");
            let json = format!("\"{}\"", escape_json(&text));
            assert!(json.bytes().all(|byte| byte.is_ascii_graphic()), "{c:?}");
        }
        let harmless = "plain \\x1b text, ünïcode, 漢字 ☃ \u{a0}";
        assert_eq!(escape(harmless.as_bytes()), harmless);
        assert_eq!(escape_json(harmless), harmless);
    }

    #[test]
    fn what_was_escaped_stays_as_it_is() {
        let once = escape("\u{9b}31m \u{2066}a\\b\r".as_bytes());
        assert_eq!(escape(once.as_bytes()), once);
    }
}
