//! A pattern as git matches it: bytes, not text, and no braces.
//!
//! `?`, `*` and `[…]` stop at slashes. `**/` at the beginning of a name is nothing or any directories, `**` where it is the
//! rest of the pattern is anything; any other run of stars is one star. A pattern that ends within `[` or behind a
//! backslash matches nothing. As in git, a `**` right behind the first bytes without a wildcard counts as the beginning of
//! a name, so that `a**/b` matches `ab`.

use super::set::Set;

/// A part of a pattern.
#[derive(Clone, Debug)]
enum Token {
    /// This byte.
    Byte(u8),
    /// Any byte but `/`.
    One,
    /// A byte of the set.
    Of(Box<Set>),
    /// Any bytes but `/`.
    Star,
    /// Nothing, or anything that ends with `/`.
    Dirs,
    /// Anything.
    Anything,
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(wanted) => *wanted == byte,
            Self::One => byte != b'/',
            Self::Of(set) => set.holds(byte),
            Self::Star | Self::Dirs | Self::Anything => false,
        }
    }
}

/// A place to go on from when the present way fails: the token behind the wildcard, and where it was tried last.
#[derive(Clone, Copy)]
struct Retry {
    token: usize,
    at: usize,
}

/// A pattern, ready to match.
#[derive(Clone, Debug)]
pub struct Wild {
    /// What the text begins with, byte for byte.
    prefix: Box<[u8]>,
    tokens: Box<[Token]>,
}

impl Wild {
    /// Understands a pattern; `None` is one that never matches.
    pub fn new(pattern: &[u8]) -> Option<Self> {
        let is_special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
        let literal = pattern.iter().position(is_special).unwrap_or(pattern.len());
        let (prefix, rest) = pattern.split_at(literal);
        Some(Self { prefix: prefix.into(), tokens: tokens(rest)?.into() })
    }

    /// Whether all of the text matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        text.strip_prefix(&*self.prefix).is_some_and(|rest| self.matches_rest(rest))
    }

    /// Forward with the last wildcard of each kind remembered: a later one can take whatever an earlier one would.
    fn matches_rest(&self, text: &[u8]) -> bool {
        let (mut token, mut at) = (0, 0);
        let (mut star, mut deep) = (None, None);
        loop {
            match self.tokens.get(token) {
                None if at == text.len() => return true,
                Some(Token::Star) => {
                    token += 1;
                    star = Some(Retry { token, at });
                    continue;
                }
                Some(Token::Dirs | Token::Anything) => {
                    token += 1;
                    (star, deep) = (None, Some(Retry { token, at }));
                    continue;
                }
                Some(one) if text.get(at).is_some_and(|byte| one.takes(*byte)) => {
                    (token, at) = (token + 1, at + 1);
                    continue;
                }
                _ => {}
            }
            star = star.and_then(|retry: Retry| longer_star(text, retry));
            if star.is_none() {
                deep = deep.and_then(|retry: Retry| self.longer_deep(text, retry));
            }
            let Some(retry) = star.or(deep) else { return false };
            (token, at) = (retry.token, retry.at);
        }
    }

    fn longer_deep(&self, text: &[u8], retry: Retry) -> Option<Retry> {
        let rest = text.get(retry.at..).filter(|rest| !rest.is_empty())?;
        let skip = match self.tokens.get(retry.token - 1) {
            Some(Token::Dirs) => rest.iter().position(|byte| *byte == b'/')? + 1,
            _ => 1,
        };
        Some(Retry { at: retry.at + skip, ..retry })
    }
}

fn longer_star(text: &[u8], retry: Retry) -> Option<Retry> {
    text.get(retry.at).filter(|byte| **byte != b'/').map(|_| Retry { at: retry.at + 1, ..retry })
}

/// Of what begins with a wildcard.
fn tokens(pattern: &[u8]) -> Option<Vec<Token>> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(&byte) = pattern.get(at) {
        at += 1;
        tokens.push(match byte {
            b'\\' => {
                at += 1;
                Token::Byte(*pattern.get(at - 1)?)
            }
            b'?' => Token::One,
            b'[' => {
                let (set, end) = Set::parse(pattern, at)?;
                at = end;
                Token::Of(Box::new(set))
            }
            b'*' => {
                let first = at - 1;
                at += pattern[at..].iter().take_while(|byte| **byte == b'*').count();
                let is_run = at - first > 1;
                let begins_name = first == 0 || pattern[first - 1] == b'/';
                match &pattern[at..] {
                    [] | [b'\\', b'/', ..] if is_run && begins_name => Token::Anything,
                    [b'/', ..] if is_run && begins_name => {
                        at += 1;
                        Token::Dirs
                    }
                    _ => Token::Star,
                }
            }
            other => Token::Byte(other),
        });
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Wild::new(pattern.as_bytes()).is_some_and(|wild| wild.matches(text.as_bytes()))
    }

    #[test]
    fn wildcards_stop_at_slashes_unless_they_are_two_stars_of_their_own() {
        for (pattern, text) in [
            ("a*c", "abbc"),
            ("*.o", ".o"),
            ("a/**/b", "a/b"),
            ("a/**/b", "a/x/y/b"),
            ("**/b", "b"),
            ("a/**", "a/b/c"),
            ("a/***/b", "a/x/b"),
            ("a/**\\/b", "a/x/b"),
            ("a**/b", "ab"),
            ("x/a**", "x/a/b/c"),
            ("*a*b/c", "abab/c"),
            ("{a,b}", "{a,b}"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("a*c", "a/c"),
            ("a?c", "a/c"),
            ("a/*/b", "a/x/y/b"),
            ("a/**", "a"),
            ("a/**\\/b", "a/b"),
            ("?**/b", "xx/y/b"),
            ("{a,b}", "a"),
            ("a\\", "a"),
            ("[a", "[a"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn bytes_need_not_be_text() {
        assert!(Wild::new(b"\xff?[\x80-\x90]*").expect("a pattern").matches(b"\xff\xfe\x85"));
    }

    /// What a pattern says, tried in every way: slow and plain.
    fn plain(tokens: &[Token], text: &[u8]) -> bool {
        let Some((token, rest)) = tokens.split_first() else { return text.is_empty() };
        let ends = |may_end: &dyn Fn(&[u8]) -> bool| {
            (0..=text.len()).any(|end| may_end(&text[..end]) && plain(rest, &text[end..]))
        };
        match token {
            Token::Star => ends(&|taken| !taken.contains(&b'/')),
            Token::Dirs => ends(&|taken| taken.is_empty() || taken.ends_with(b"/")),
            Token::Anything => ends(&|_| true),
            one => text.split_first().is_some_and(|(byte, behind)| one.takes(*byte) && plain(rest, behind)),
        }
    }

    proptest! {
        #[test]
        fn going_back_to_the_last_wildcard_is_enough(pattern in "[ab/*?]{0,9}", text in "[ab]{1,3}(/[ab]{1,3}){0,3}") {
            let wild = Wild::new(pattern.as_bytes()).expect("a pattern");
            let slow = text.as_bytes().strip_prefix(&*wild.prefix).is_some_and(|rest| plain(&wild.tokens, rest));
            prop_assert_eq!(wild.matches(text.as_bytes()), slow);
        }
    }
}
