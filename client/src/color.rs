//! Colours, for people who look at a terminal: everything reads the same without them.

use std::{
    borrow::Cow,
    io::{IsTerminal as _, stderr, stdout},
    sync::OnceLock,
};

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    #[default]
    Auto,
    /// Wherever it goes.
    Always,
    /// Nowhere.
    Never,
}

/// What a colour means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hue {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its bytes are others.
    Content,
    /// Its metadata are others.
    Metadata,
    /// Something is wrong.
    Trouble,
    /// A directory.
    Dir,
    /// A symlink.
    Symlink,
}

impl Hue {
    const fn code(self) -> &'static str {
        match self {
            Self::Added => "32",
            Self::Removed => "31",
            Self::Content => "33",
            Self::Metadata | Self::Symlink => "36",
            Self::Trouble => "1;31",
            Self::Dir => "1;34",
        }
    }
}

/// Whether stdout and stderr have colours; until somebody decides, none has.
static DECIDED: OnceLock<(bool, bool)> = OnceLock::new();

/// Decides for the whole run; the first decision counts.
pub fn decide(when: When) {
    let is_wanted = |is_terminal: bool| match when {
        When::Always => true,
        When::Never => false,
        When::Auto => is_terminal && !is_unwelcome(),
    };
    DECIDED.get_or_init(|| (is_wanted(stdout().is_terminal()), is_wanted(stderr().is_terminal())));
}

fn is_unwelcome() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_set("NO_COLOR") || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// A text for stdout, which is never padded behind this.
pub fn out(hue: Hue, text: &str) -> Cow<'_, str> {
    paint(DECIDED.get().is_some_and(|(out, _)| *out), hue, text)
}

/// A text for stderr.
pub fn err(hue: Hue, text: &str) -> Cow<'_, str> {
    paint(DECIDED.get().is_some_and(|(_, err)| *err), hue, text)
}

fn paint(is_on: bool, hue: Hue, text: &str) -> Cow<'_, str> {
    if is_on && !text.is_empty() {
        Cow::Owned(format!("\x1b[{}m{text}\x1b[0m", hue.code()))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_same_without_colours() {
        assert_eq!(paint(false, Hue::Added, "+ /a"), "+ /a");
        assert_eq!(paint(true, Hue::Added, "+ /a"), "\x1b[32m+ /a\x1b[0m");
        assert_eq!(paint(true, Hue::Added, ""), "");
    }
}
