//! The fields of one table: each is taken by name, and what nobody took is an error.

use std::path::Path;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::ConfigError;

/// The text that is read, and the name that errors give it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub file: &'a Path,
    pub text: &'a str,
}

impl<'a> Source<'a> {
    /// The table of the whole file.
    pub fn parse(&self) -> Result<Spanned<DeTable<'a>>, ConfigError> {
        DeTable::parse(self.text).map_err(|error| ConfigError::Syntax {
            file: self.file.to_owned(),
            line: error.span().map_or(1, |span| self.line(span.start)),
            what: error.message().to_owned(),
        })
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }

    /// An error at a key.
    pub fn refuse(&self, line: usize, key: impl Into<String>, what: impl Into<String>) -> ConfigError {
        ConfigError::Key { file: self.file.to_owned(), line, key: key.into(), what: what.into() }
    }
}

type Value<'i> = Spanned<DeValue<'i>>;

/// The line of a field, and its number or, as the error, its text.
pub(super) type NumberOrText = (usize, Result<u64, String>);

/// The fields of a table that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Fields<'t, 'i> {
    source: &'t Source<'i>,
    key: String,
    line: usize,
    /// Of all fields, taken or not.
    lines: Vec<(&'t str, usize)>,
    left: Vec<(&'t str, usize, &'t Value<'i>)>,
}

impl<'t, 'i> Fields<'t, 'i> {
    /// Those of the whole file.
    pub fn top(source: &'t Source<'i>, table: &'t DeTable<'i>) -> Self {
        Self::of(source, String::new(), 1, table)
    }

    fn of(source: &'t Source<'i>, key: String, line: usize, table: &'t DeTable<'i>) -> Self {
        let field = |(name, value): (&'t Spanned<_>, &'t Value<'i>)| {
            let line = source.line(name.span().start);
            let name: &'t std::borrow::Cow<'i, str> = name.get_ref();
            (&**name, line, value)
        };
        let mut left: Vec<_> = table.iter().map(field).collect();
        // The first that is wrong is told first.
        left.sort_by_key(|(_, line, _)| *line);
        let lines = left.iter().map(|(name, line, _)| (*name, *line)).collect();
        Self { source, key, line, lines, left }
    }

    /// The line of the table.
    pub const fn line(&self) -> usize {
        self.line
    }

    /// An error about a field of this table, or, with no name, about the table.
    pub fn refuse(&self, name: &str, what: impl Into<String>) -> ConfigError {
        let line = self.lines.iter().find(|(known, _)| *known == name).map_or(self.line, |(_, line)| *line);
        self.refuse_at(line, name, what)
    }

    fn refuse_at(&self, line: usize, name: &str, what: impl Into<String>) -> ConfigError {
        self.source.refuse(line, self.path(name), what)
    }

    fn path(&self, name: &str) -> String {
        match (self.key.is_empty(), name.is_empty()) {
            (true, _) => name.to_owned(),
            (false, true) => self.key.clone(),
            (false, false) => format!("{}.{name}", self.key),
        }
    }

    fn take(&mut self, name: &str) -> Option<(usize, &'t Value<'i>)> {
        let at = self.left.iter().position(|(left, ..)| *left == name)?;
        let (_, line, value) = self.left.remove(at);
        Some((line, value))
    }

    /// A text that must not be empty.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, ConfigError> {
        let Some((line, value)) = self.take(name) else { return Ok(None) };
        match value.get_ref().as_str() {
            Some("") => Err(self.refuse_at(line, name, "must not be empty")),
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(self.refuse_at(line, name, "must be a text")),
        }
    }

    /// The same of a field that must be there.
    pub fn need_text(&mut self, name: &str) -> Result<String, ConfigError> {
        self.text(name)?.ok_or_else(|| self.refuse(name, "is missing"))
    }

    /// One text, or an array of them.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>, ConfigError> {
        let Some((line, value)) = self.take(name) else { return Ok(Vec::new()) };
        let wrong = || self.refuse_at(line, name, "must be a text, or an array of texts");
        let text = |value: &DeValue<'_>| match value.as_str() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(wrong()),
        };
        match value.get_ref().as_array() {
            Some(array) => array.iter().map(|one| text(one.get_ref())).collect(),
            None => Ok(vec![text(value.get_ref())?]),
        }
    }

    /// `true` or `false`; `false` where it is not said.
    pub fn flag(&mut self, name: &str) -> Result<bool, ConfigError> {
        let Some((line, value)) = self.take(name) else { return Ok(false) };
        value.get_ref().as_bool().ok_or_else(|| self.refuse_at(line, name, "must be true or false"))
    }

    /// A whole number or a text.
    pub fn number_or_text(&mut self, name: &str) -> Result<Option<NumberOrText>, ConfigError> {
        let Some((line, value)) = self.take(name) else { return Ok(None) };
        let value = value.get_ref();
        if let Some(text) = value.as_str() {
            return Ok(Some((line, Err(text.to_owned()))));
        }
        let number = value.as_integer().and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
        match number {
            Some(number) => Ok(Some((line, Ok(number)))),
            None => Err(self.refuse_at(line, name, "must be a number or a text")),
        }
    }

    /// An error at a line that was told before.
    pub fn refuse_line(&self, line: usize, name: &str, what: impl Into<String>) -> ConfigError {
        self.refuse_at(line, name, what)
    }

    /// A table within this one.
    pub fn table(&mut self, name: &str) -> Result<Option<Self>, ConfigError> {
        let Some((line, value)) = self.take(name) else { return Ok(None) };
        match value.get_ref().as_table() {
            Some(table) => Ok(Some(Self::of(self.source, self.path(name), line, table))),
            None => Err(self.refuse_at(line, name, "must be a table")),
        }
    }

    /// The same of a table that must be there.
    pub fn need_table(&mut self, name: &str) -> Result<Self, ConfigError> {
        self.table(name)?.ok_or_else(|| self.refuse(name, format!("is missing: write a table [{}]", self.path(name))))
    }

    /// An array of tables.
    pub fn tables(&mut self, name: &str) -> Result<Vec<Self>, ConfigError> {
        let Some((line, value)) = self.take(name) else { return Ok(Vec::new()) };
        let wrong = || self.refuse_at(line, name, format!("must be an array of tables: [[{}]]", self.path(name)));
        let array = value.get_ref().as_array().ok_or_else(wrong)?;
        let table = |(at, one): (usize, &'t Value<'i>)| {
            let table = one.get_ref().as_table().ok_or_else(wrong)?;
            let line = self.source.line(one.span().start);
            Ok(Self::of(self.source, format!("{}[{at}]", self.path(name)), line, table))
        };
        array.iter().enumerate().map(table).collect()
    }

    /// Refuses the first field that nobody took.
    pub fn end(self) -> Result<(), ConfigError> {
        match self.left.first() {
            None => Ok(()),
            Some((name, line, _)) => Err(self.refuse_at(*line, name, "is not a key that is known here")),
        }
    }
}
