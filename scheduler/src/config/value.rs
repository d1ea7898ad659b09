//! Values of the configuration that are more than a text: each says what is wrong with it.

use std::{collections::BTreeMap, fmt};

use jiff::tz::TimeZone;
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

use crate::plan::{Schedule, duration::parse_seconds};

/// Words of one command.
const WORDS_MAX: usize = 1000;

/// A duration in seconds, written as a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seconds(pub i64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        parse_seconds(&String::deserialize(value)?).map(Self).map_err(de::Error::custom)
    }
}

/// A schedule as it was written; it is understood in the zone of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleText(pub String);

impl<'de> Deserialize<'de> for ScheduleText {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let text = String::deserialize(value)?;
        if text.len() > datadb::limits::SCHEDULE_BYTES_MAX {
            return Err(de::Error::custom("is longer than 255 bytes"));
        }
        Schedule::parse(&text, &TimeZone::UTC).map_err(de::Error::custom)?;
        Ok(Self(text))
    }
}

/// A time zone by its name, such as `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone(pub TimeZone);

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let name = String::deserialize(value)?;
        TimeZone::get(&name)
            .map(Self)
            .map_err(|_| de::Error::custom(format!("{name:?} is not a time zone: write one such as Europe/Berlin")))
    }
}

/// The name of an entry: what is said on command lines, in files and to the server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(pub String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let name = String::deserialize(value)?;
        let is_word = |c: char| c.is_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > 64 || name.starts_with('-') || !name.chars().all(is_word) {
            let line = format!("{name:?} is not a name: write up to 64 letters, digits, dots, dashes and underscores");
            return Err(de::Error::custom(line));
        }
        Ok(Self(name))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An address of the web.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(pub String);

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let url = String::deserialize(value)?;
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let is_whole = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
        if !is_whole || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            let line = format!("{url:?} is not an address: write https://HOST/PATH or http://HOST/PATH");
            return Err(de::Error::custom(line));
        }
        Ok(Self(url))
    }
}

/// A command: a text for the shell, or a list of words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine(pub Vec<String>);

impl<'de> Deserialize<'de> for CommandLine {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let words = value.deserialize_any(WordsOrText)?;
        match words {
            Words::Text(text) if text.trim().is_empty() => Err(de::Error::custom("the command is empty")),
            Words::Text(text) => Ok(Self(vec!["sh".to_owned(), "-c".to_owned(), text])),
            Words::List(list) if list.is_empty() => Err(de::Error::custom("the command is empty")),
            Words::List(list) => Ok(Self(list)),
        }
    }
}

enum Words {
    Text(String),
    List(Vec<String>),
}

struct WordsOrText;

impl<'de> Visitor<'de> for WordsOrText {
    type Value = Words;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a command for the shell, or a list of words")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Words, E> {
        Ok(Words::Text(text.to_owned()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
        let mut words = Vec::new();
        while let Some(word) = list.next_element()? {
            if words.len() == WORDS_MAX {
                return Err(de::Error::custom(format!("more than {WORDS_MAX} words")));
            }
            words.push(word);
        }
        Ok(Words::List(words))
    }
}

/// How the disk is shared with others, as `ionice` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoNice(pub Vec<String>);

impl<'de> Deserialize<'de> for IoNice {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let text = String::deserialize(value)?;
        let (class, level) = text.split_once(':').map_or((&*text, None), |(class, level)| (class, Some(level)));
        let class = match class {
            "realtime" => "1",
            "best-effort" => "2",
            "idle" => "3",
            _ => "",
        };
        let is_level = level
            .is_none_or(|level| level.len() == 1 && level.bytes().all(|byte| byte.is_ascii_digit() && byte < b'8'));
        if class.is_empty() || !is_level || (class == "3" && level.is_some()) {
            let line = format!(
                "{text:?} is not a class: write idle, best-effort, best-effort:0 to best-effort:7, or realtime"
            );
            return Err(de::Error::custom(line));
        }
        let mut words = vec!["-c".to_owned(), class.to_owned()];
        words.extend(level.into_iter().flat_map(|level| ["-n".to_owned(), level.to_owned()]));
        Ok(Self(words))
    }
}

/// A number that a nice value can be.
pub fn nice<'de, D: Deserializer<'de>>(value: D) -> Result<Option<i8>, D::Error> {
    match i8::deserialize(value)? {
        nice @ -20..=19 => Ok(Some(nice)),
        other => Err(de::Error::custom(format!("{other} is not a nice value: write -20 to 19"))),
    }
}

/// How many retries there may be.
pub fn retries<'de, D: Deserializer<'de>>(value: D) -> Result<u32, D::Error> {
    match u32::deserialize(value)? {
        retries @ 0..=100 => Ok(retries),
        other => Err(de::Error::custom(format!("{other} is too many: write 0 to 100"))),
    }
}

/// How many runs there may be at the same time.
pub fn parallel<'de, D: Deserializer<'de>>(value: D) -> Result<usize, D::Error> {
    match usize::deserialize(value)? {
        parallel @ 1..=16 => Ok(parallel),
        other => Err(de::Error::custom(format!("{other} does not fit: write 1 to 16"))),
    }
}

/// Tags, as `--tag KEY=VALUE` takes them.
pub fn tags<'de, D: Deserializer<'de>>(value: D) -> Result<BTreeMap<String, String>, D::Error> {
    let tags = BTreeMap::<String, String>::deserialize(value)?;
    match tags.keys().find(|key| key.is_empty() || key.contains('=')) {
        Some(key) => Err(de::Error::custom(format!("{key:?} is not the key of a tag: it is empty or holds ="))),
        None => Ok(tags),
    }
}
