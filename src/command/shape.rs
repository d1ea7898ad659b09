//! The shapes of arguments: how they are read from words, and written as words again.

use std::{borrow::Borrow, fmt};

use bytes::Bytes;

use super::Refusal;
use crate::{BlobId, limits};

/// A key: UTF-8 of at most [`limits::KEY_BYTES_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// Takes a text that is not too long.
    pub fn new(text: impl Into<String>) -> Result<Self, Refusal> {
        let text = text.into();
        if text.len() > limits::KEY_BYTES_MAX {
            return Err(Refusal::err(format!("a key has at most {} bytes", limits::KEY_BYTES_MAX)));
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&Bytes> for Key {
    type Error = Refusal;
    fn try_from(bytes: &Bytes) -> Result<Self, Refusal> {
        Self::new(std::str::from_utf8(bytes).map_err(|_| Refusal::err("a key must be UTF-8, and this one is not"))?)
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes a value, a member or a field that is not too long.
pub fn checked_value(value: Bytes) -> Result<Bytes, Refusal> {
    if value.len() > limits::VALUE_BYTES_MAX {
        let max = limits::VALUE_BYTES_MAX;
        return Err(Refusal::err(format!("a value has at most {max} bytes: put larger ones as blobs (BPUT)")));
    }
    Ok(value)
}

/// Takes a member or a field that is not too long.
pub fn checked_member(member: Bytes) -> Result<Bytes, Refusal> {
    if member.len() > limits::MEMBER_BYTES_MAX {
        let max = limits::MEMBER_BYTES_MAX;
        return Err(Refusal::err(format!("a member or field has at most {max} bytes")));
    }
    Ok(member)
}

fn number(word: &[u8]) -> Result<u64, Refusal> {
    let text = std::str::from_utf8(word).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).ok_or_else(|| Refusal::err("value is not an integer or out of range"))
}

fn cursor(word: &[u8]) -> Result<u64, Refusal> {
    number(word).map_err(|_| Refusal::err("invalid cursor"))
}

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

/// Takes `WITH INDEX` off the end.
fn with_index(words: &[Bytes]) -> (&[Bytes], bool) {
    match words {
        [rest @ .., with, index] if is(with, "with") && is(index, "index") => (rest, true),
        all => (all, false),
    }
}

/// How arguments are read, and what they name.
pub trait Shape: Sized {
    /// Reads them from the words behind the command's name, as many as its arity lets through.
    fn parse(words: &[Bytes]) -> Result<Self, Refusal>;

    /// Keys that they name.
    fn keys(&self) -> Vec<&Key> {
        Vec::new()
    }

    /// Roughly their bytes.
    fn size_hint(&self) -> usize;

    /// As words again, which `parse` reads as the same.
    fn words(&self) -> Vec<Bytes>;
}

/// Defines a shape with one key.
macro_rules! shape {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* } keys($this:ident) $keys:expr; size $size:expr; words $written:expr; parse($words:ident) $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl Shape for $name {
            fn parse($words: &[Bytes]) -> Result<Self, Refusal> {
                $parse
            }

            fn keys(&self) -> Vec<&Key> {
                let $this = self;
                $keys
            }

            fn size_hint(&self) -> usize {
                let $this = self;
                $size
            }

            fn words(&self) -> Vec<Bytes> {
                let $this = self;
                $written
            }
        }
    };
}

fn sum(values: &[Bytes]) -> usize {
    values.iter().map(|value| value.len() + 32).sum()
}

fn word(text: impl ToString) -> Bytes {
    text.to_string().into()
}

/// Adds `WITH INDEX` where it is wanted.
fn and_index(mut words: Vec<Bytes>, with_index: bool) -> Vec<Bytes> {
    if with_index {
        words.extend(["WITH", "INDEX"].map(Bytes::from));
    }
    words
}

fn values(words: &[Bytes], check: fn(Bytes) -> Result<Bytes, Refusal>) -> Result<Vec<Bytes>, Refusal> {
    words.iter().cloned().map(check).collect()
}

shape! {
    /// Nothing. (`INFO` takes a section, which changes nothing.)
    NoArgs {}
    keys(_this) Vec::new(); size 0;
    words Vec::new();
    parse(_words) Ok(Self {})
}

shape! {
    /// A key.
    KeyArgs {
        /// The key.
        key: Key,
    }
    keys(this) vec![&this.key]; size this.key.0.len();
    words vec![word(&this.key)];
    parse(words) Ok(Self { key: Key::try_from(&words[0])? })
}

shape! {
    /// Keys.
    KeysArgs {
        /// At least one.
        keys: Vec<Key>,
    }
    keys(this) this.keys.iter().collect(); size this.keys.iter().map(|key| key.0.len() + 32).sum();
    words this.keys.iter().map(word).collect();
    parse(words) Ok(Self { keys: words.iter().map(Key::try_from).collect::<Result<_, _>>()? })
}

shape! {
    /// A pattern of keys.
    PatternArgs {
        /// See [`crate::command`].
        pattern: Bytes,
    }
    keys(_this) Vec::new(); size _this.pattern.len();
    words vec![_this.pattern.clone()];
    parse(words) Ok(Self { pattern: words[0].clone() })
}

/// Options of `SET` in Redis that give a key an end.
const EXPIRING: [&str; 4] = ["ex", "px", "exat", "pxat"];

shape! {
    /// Of `SET`.
    SetArgs {
        /// The key.
        key: Key,
        /// Its value.
        value: Bytes,
        /// Only where nothing is.
        if_missing: bool,
        /// Only where something is.
        if_there: bool,
        /// Answer the value before.
        get: bool,
    }
    keys(this) vec![&this.key]; size this.key.0.len() + this.value.len();
    words {
        let options = [(this.if_missing, "NX"), (this.if_there, "XX"), (this.get, "GET")];
        let options = options.into_iter().filter(|(is_set, _)| *is_set).map(|(_, option)| Bytes::from(option));
        [word(&this.key), this.value.clone()].into_iter().chain(options).collect()
    };
    parse(words) {
        let (key, value) = (Key::try_from(&words[0])?, checked_value(words[1].clone())?);
        let mut args = Self { key, value, if_missing: false, if_there: false, get: false };
        let mut options = words[2..].iter();
        while let Some(word) = options.next() {
            match word {
                word if is(word, "nx") && !args.if_there => args.if_missing = true,
                word if is(word, "xx") && !args.if_missing => args.if_there = true,
                word if is(word, "get") => args.get = true,
                // Nothing expires, so nothing is to keep.
                word if is(word, "keepttl") => {}
                word if EXPIRING.iter().any(|name| is(word, name)) && options.next().is_some() => {
                    return Err(Refusal::err("keys don't expire here: SET takes no EX, PX, EXAT or PXAT"));
                }
                _ => return Err(Refusal::syntax()),
            }
        }
        Ok(args)
    }
}

shape! {
    /// Of `RANGE`.
    RangeArgs {
        /// The first key.
        start: Bytes,
        /// The last key.
        end: Bytes,
        /// At most so many; 0: all.
        limit: u64,
    }
    keys(_this) Vec::new(); size _this.start.len() + _this.end.len();
    words vec![_this.start.clone(), _this.end.clone(), word(_this.limit)];
    parse(words) Ok(Self { start: words[0].clone(), end: words[1].clone(), limit: number(&words[2])? })
}

shape! {
    /// A key, fields and values.
    PairsArgs {
        /// The key.
        key: Key,
        /// At least one.
        pairs: Vec<(Bytes, Bytes)>,
    }
    keys(this) vec![&this.key]; size this.pairs.iter().map(|(field, value)| field.len() + value.len() + 64).sum();
    words {
        let pairs = this.pairs.iter().flat_map(|(field, value)| [field.clone(), value.clone()]);
        std::iter::once(word(&this.key)).chain(pairs).collect()
    };
    parse(words) {
        let (pairs, rest) = words[1..].as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Refusal::arity());
        }
        let pair = |[field, value]: &[Bytes; 2]| Ok((checked_member(field.clone())?, checked_value(value.clone())?));
        Ok(Self { key: Key::try_from(&words[0])?, pairs: pairs.iter().map(pair).collect::<Result<_, Refusal>>()? })
    }
}

shape! {
    /// A key and a member of its set, or a field of its hash.
    MemberArgs {
        /// The key.
        key: Key,
        /// Member or field.
        member: Bytes,
    }
    keys(this) vec![&this.key]; size this.member.len();
    words vec![word(&this.key), this.member.clone()];
    parse(words) Ok(Self { key: Key::try_from(&words[0])?, member: words[1].clone() })
}

shape! {
    /// A key and members of its set, or fields of its hash.
    MembersArgs {
        /// The key.
        key: Key,
        /// At least one.
        members: Vec<Bytes>,
    }
    keys(this) vec![&this.key]; size sum(&this.members);
    words std::iter::once(word(&this.key)).chain(this.members.iter().cloned()).collect();
    parse(words) Ok(Self { key: Key::try_from(&words[0])?, members: values(&words[1..], checked_member)? })
}

/// `[MATCH pattern] [COUNT count] [TYPE type]`.
fn scan_options(words: &[Bytes], with_type: bool) -> Result<(Option<Bytes>, u64, String), Refusal> {
    let (mut pattern, mut count, mut kind) = (None, 10, String::new());
    let (pairs, rest) = words.as_chunks::<2>();
    for [word, value] in pairs {
        match word {
            word if is(word, "match") => pattern = Some(value.clone()),
            word if is(word, "count") => match number(value)? {
                0 => return Err(Refusal::syntax()),
                other => count = other,
            },
            word if with_type && is(word, "type") => kind = String::from_utf8_lossy(value).to_ascii_lowercase(),
            _ => return Err(Refusal::syntax()),
        }
    }
    if rest.is_empty() { Ok((pattern, count, kind)) } else { Err(Refusal::syntax()) }
}

/// The same as words; 10 is what `COUNT` is where it is left out.
fn written_options(pattern: Option<&Bytes>, count: u64, kind: &str) -> Vec<Bytes> {
    let pattern = pattern.map(|pattern| ("MATCH", pattern.clone()));
    let count = (count != 10).then(|| ("COUNT", word(count)));
    let kind = (!kind.is_empty()).then(|| ("TYPE", word(kind)));
    [pattern, count, kind].into_iter().flatten().flat_map(|(name, value)| [Bytes::from(name), value]).collect()
}

shape! {
    /// Of `SCAN`.
    ScanArgs {
        /// 0, or the one of the page before.
        cursor: u64,
        /// `None`: any.
        pattern: Option<Bytes>,
        /// Keys of a page.
        count: u64,
        /// Empty: any.
        kind: String,
    }
    keys(_this) Vec::new(); size _this.pattern.as_ref().map_or(0, Bytes::len);
    words {
        let options = written_options(_this.pattern.as_ref(), _this.count, &_this.kind);
        std::iter::once(word(_this.cursor)).chain(options).collect()
    };
    parse(words) {
        let cursor = cursor(&words[0])?;
        let (pattern, count, kind) = scan_options(&words[1..], true)?;
        Ok(Self { cursor, pattern, count, kind })
    }
}

shape! {
    /// Of `HSCAN` and `SSCAN`.
    KeyScanArgs {
        /// The key.
        key: Key,
        /// 0, or the one of the page before.
        cursor: u64,
        /// `None`: any.
        pattern: Option<Bytes>,
        /// Elements of a page.
        count: u64,
        /// Options that make no sense, as they were given: refused once the key is known to be there, as Redis does.
        unread: Vec<Bytes>,
    }
    keys(this) vec![&this.key]; size this.pattern.as_ref().map_or(0, Bytes::len) + sum(&this.unread);
    words {
        let options = written_options(this.pattern.as_ref(), this.count, "");
        [word(&this.key), word(this.cursor)].into_iter().chain(options).chain(this.unread.iter().cloned()).collect()
    };
    parse(words) {
        let (key, cursor) = (Key::try_from(&words[0])?, cursor(&words[1])?);
        Ok(match scan_options(&words[2..], false) {
            Ok((pattern, count, _)) => Self { key, cursor, pattern, count, unread: Vec::new() },
            Err(_) => Self { key, cursor, pattern: None, count: 10, unread: words[2..].to_vec() },
        })
    }
}

impl KeyScanArgs {
    /// Refuses options that make no sense.
    pub fn check_options(&self) -> Result<(), Refusal> {
        scan_options(&self.unread, false).map(drop)
    }
}

shape! {
    /// Of `SRANGE`.
    KeyRangeArgs {
        /// The key.
        key: Key,
        /// The first member.
        start: Bytes,
        /// The last member.
        end: Bytes,
        /// At most so many; 0: all.
        limit: u64,
    }
    keys(this) vec![&this.key]; size this.start.len() + this.end.len();
    words vec![word(&this.key), this.start.clone(), this.end.clone(), word(this.limit)];
    parse(words) Ok(Self {
        key: Key::try_from(&words[0])?, start: words[1].clone(), end: words[2].clone(), limit: number(&words[3])?,
    })
}

shape! {
    /// Of `LADD`.
    LaddArgs {
        /// The key.
        key: Key,
        /// Where.
        index: u64,
        /// What.
        value: Bytes,
    }
    keys(this) vec![&this.key]; size this.value.len();
    words vec![word(&this.key), word(this.index), this.value.clone()];
    parse(words) Ok(Self {
        key: Key::try_from(&words[0])?, index: number(&words[1])?, value: checked_value(words[2].clone())?,
    })
}

shape! {
    /// An index of a list.
    IndexArgs {
        /// The key.
        key: Key,
        /// Which.
        index: u64,
        /// Answer index and value.
        with_index: bool,
    }
    keys(this) vec![&this.key]; size this.key.0.len();
    words and_index(vec![word(&this.key), word(this.index)], this.with_index);
    parse(words) {
        let (words, with_index) = with_index(words);
        let [key, index] = words else { return Err(Refusal::syntax()) };
        Ok(Self { key: Key::try_from(key)?, index: number(index)?, with_index })
    }
}

shape! {
    /// A list.
    EntryArgs {
        /// The key.
        key: Key,
        /// Answer index and value.
        with_index: bool,
    }
    keys(this) vec![&this.key]; size this.key.0.len();
    words and_index(vec![word(&this.key)], this.with_index);
    parse(words) {
        let (words, with_index) = with_index(words);
        let [key] = words else { return Err(Refusal::syntax()) };
        Ok(Self { key: Key::try_from(key)?, with_index })
    }
}

shape! {
    /// A part of a list.
    SliceArgs {
        /// The key.
        key: Key,
        /// The first index.
        from: u64,
        /// The last index.
        to: u64,
        /// At most so many; 0: all.
        limit: u64,
        /// Answer index and value.
        with_index: bool,
    }
    keys(this) vec![&this.key]; size this.key.0.len();
    words {
        let words = vec![word(&this.key), word(this.from), word(this.to), word(this.limit)];
        and_index(words, this.with_index)
    };
    parse(words) {
        let (words, with_index) = with_index(words);
        let (key, from, to, limit) = match words {
            [key, from, to] => (key, from, to, 0),
            [key, from, to, limit] => (key, from, to, number(limit)?),
            _ => return Err(Refusal::syntax()),
        };
        Ok(Self { key: Key::try_from(key)?, from: number(from)?, to: number(to)?, limit, with_index })
    }
}

shape! {
    /// A blob's bytes.
    DataArgs {
        /// At most [`limits::BLOB_BYTES_MAX`].
        data: Bytes,
    }
    keys(_this) Vec::new(); size _this.data.len();
    words vec![_this.data.clone()];
    parse(words) Ok(Self { data: words[0].clone() })
}

/// Reads the 40 hex digits of a blob's id.
pub fn blob_id(word: &[u8]) -> Result<BlobId, Refusal> {
    let id = std::str::from_utf8(word).ok().and_then(|text| text.parse().ok());
    id.ok_or_else(|| Refusal::err("a blob is named by the 40 hex digits of its SHA-1"))
}

shape! {
    /// A blob.
    BlobArgs {
        /// Which.
        blob: BlobId,
    }
    keys(_this) Vec::new(); size 20;
    words vec![word(_this.blob)];
    parse(words) Ok(Self { blob: blob_id(&words[0])? })
}

shape! {
    /// Blobs.
    BlobsArgs {
        /// At least one.
        blobs: Vec<BlobId>,
    }
    keys(_this) Vec::new(); size _this.blobs.len() * 20;
    words _this.blobs.iter().map(word).collect();
    parse(words) Ok(Self { blobs: words.iter().map(|word| blob_id(word)).collect::<Result<_, _>>()? })
}

shape! {
    /// Of `TXINIT`.
    TxinitArgs {
        /// Empty: the server gives one.
        id: String,
    }
    keys(_this) Vec::new(); size _this.id.len();
    words Some(&_this.id).filter(|id| !id.is_empty()).map(word).into_iter().collect();
    parse(words) match words {
        [] => Ok(Self { id: String::new() }),
        [id] => Ok(Self { id: String::from_utf8_lossy(id).into_owned() }),
        _ => Err(Refusal::arity()),
    }
}
