//! `[…]` in a pattern of git's: single bytes, ranges, the POSIX classes of ASCII.

/// Bytes that a `[…]` stands for; never `/`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Set([u64; 4]);

impl Set {
    /// Reads what follows the `[` up to its `]`; gives the place behind that, too. `None` where there is no end or no such
    /// class.
    pub fn parse(pattern: &[u8], mut at: usize) -> Option<(Self, usize)> {
        let is_negated = matches!(pattern.get(at)?, b'!' | b'^');
        at += usize::from(is_negated);
        let mut set = Self::default();
        // What a `-` would go on from.
        let mut from = None;
        loop {
            let byte = *pattern.get(at)?;
            match byte {
                b'-' if from.is_some() && pattern.get(at + 1).is_some_and(|next| *next != b']') => {
                    let (to, end) = one(pattern, at + 1)?;
                    from.take().into_iter().for_each(|from| (from..=to).for_each(|byte| set.add(byte)));
                    at = end;
                }
                b'[' if pattern.get(at + 1) == Some(&b':') => {
                    let close = at + 2 + pattern[at + 2..].iter().position(|byte| *byte == b']')?;
                    if let Some(name) = pattern[at + 2..close].strip_suffix(b":") {
                        let is_in = class(name)?;
                        (0..=u8::MAX).filter(is_in).for_each(|byte| set.add(byte));
                        (from, at) = (None, close + 1);
                    } else {
                        set.add(byte);
                        (from, at) = (Some(byte), at + 1);
                    }
                }
                _ => {
                    let (single, end) = one(pattern, at)?;
                    set.add(single);
                    (from, at) = (Some(single), end);
                }
            }
            if pattern.get(at) == Some(&b']') {
                return Some((set.finish(is_negated), at + 1));
            }
        }
    }

    /// Whether a byte is one of them.
    pub fn holds(&self, byte: u8) -> bool {
        let (word, bit) = place(byte);
        self.0[word] & bit != 0
    }

    fn add(&mut self, byte: u8) {
        let (word, bit) = place(byte);
        self.0[word] |= bit;
    }

    fn finish(mut self, is_negated: bool) -> Self {
        if is_negated {
            self.0.iter_mut().for_each(|word| *word = !*word);
        }
        let (word, bit) = place(b'/');
        self.0[word] &= !bit;
        self
    }
}

/// The word of a byte, and its bit there.
fn place(byte: u8) -> (usize, u64) {
    (usize::from(byte / 64), 1 << (byte % 64))
}

/// A byte that may be escaped, and the place behind it.
fn one(pattern: &[u8], at: usize) -> Option<(u8, usize)> {
    match *pattern.get(at)? {
        b'\\' => Some((*pattern.get(at + 1)?, at + 2)),
        byte => Some((byte, at + 1)),
    }
}

/// Whether a byte is in a class of this name; git's own classes, which know ASCII only and four kinds of space.
fn class(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| matches!(byte, b' '..=b'~'),
        b"punct" => u8::is_ascii_punctuation,
        b"space" => |byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a set that can be printed.
    fn held(pattern: &str) -> Option<String> {
        let (set, end) = Set::parse(pattern.as_bytes(), 1)?;
        assert_eq!(end, pattern.len(), "{pattern}");
        Some((b' '..=b'~').filter(|byte| set.holds(*byte)).map(char::from).collect())
    }

    #[test]
    fn sets_are_what_git_makes_of_them() {
        for (pattern, expected) in [
            ("[abc]", "abc"),
            ("[a-c]", "abc"),
            ("[]a]", "]a"),
            ("[a-]", "-a"),
            ("[-a]", "-a"),
            ("[a-c-e]", "-abce"),
            ("[z-a]", "z"),
            ("[\\]\\-x]", "-]x"),
            ("[a-\\c]", "abc"),
            ("[[:digit:]x]", "0123456789x"),
            ("[[:digit:]-x]", "-0123456789x"),
            ("[[:x]", ":[x"),
            ("[.-0]", ".0"),
        ] {
            let mut sorted: Vec<char> = expected.chars().collect();
            sorted.sort_unstable();
            assert_eq!(held(pattern), Some(sorted.into_iter().collect()), "{pattern}");
        }
        let others = held("[!a-z]").expect("a set");
        assert!(others.contains('A') && !others.contains('b') && !others.contains('/'));
        assert_eq!(held("[^a-z]"), Some(others));
    }

    #[test]
    fn a_set_without_an_end_is_none() {
        for pattern in ["[", "[a", "[]", "[!]", "[a\\", "[a-\\", "[[:digit:", "[[:nonsense:]]", "[[::]]"] {
            assert!(Set::parse(pattern.as_bytes(), 1).is_none(), "{pattern}");
        }
    }
}
