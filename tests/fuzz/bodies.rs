//! One function a target: it takes any bytes and panics where a promise does not hold. `tests/fuzzed.rs` runs the same.

use bytes::{Bytes, BytesMut};
use datadb::{
    Backup, Meta, Object, api,
    codec::{Reader, Writer},
    command::{Call, Command, Reply, pattern::matches, reply::Refusal, spec},
    limits,
    object::set_members,
};
use datadb_resp::frame::{ProtocolError, Requests};
use prost::Message;

use super::{
    index::keys,
    record::{Record, effect::Effect},
};

/// A target.
pub type Body = fn(&[u8]);

/// All of them by name.
pub const BODIES: [(&str, Body); 9] = [
    ("call", call),
    ("reply", reply),
    ("words", words),
    ("keys", keys),
    ("record", record),
    ("effect", effect),
    ("object", object),
    ("backup", backup),
    ("resp", resp),
];

/// What is accepted travels back as the same.
fn travels(call: &Call) {
    let message = api::Command::decode(&*api::Command::from(call).encode_to_vec()).expect("what was encoded decodes");
    assert_eq!(Call::try_from(message).as_ref(), Ok(call));
    assert!(call.command.name() == "exec" || spec(call.command.name().as_bytes()).is_some());
    assert!(
        call.command.size_hint() >= 64
            && call.command.keys().iter().all(|key| key.as_str().len() <= limits::KEY_BYTES_MAX)
    );
}

fn is_worded(refusal: &Refusal) {
    let is_code = !refusal.code.is_empty() && refusal.code.bytes().all(|byte| byte.is_ascii_uppercase());
    assert!(is_code && refusal.code != "ARITY" && !refusal.message.is_empty(), "{refusal:?}");
}

/// A command from the wire is refused in words, or is one that both sides write the same.
pub fn call(bytes: &[u8]) {
    let Ok(message) = api::Command::decode(bytes) else { return };
    match Call::try_from(message) {
        Ok(call) => travels(&call),
        Err(refusal) => is_worded(&refusal),
    }
}

/// Every reply from the wire is understood, and then means the same on both sides.
pub fn reply(bytes: &[u8]) {
    let Ok(message) = api::Reply::decode(bytes) else { return };
    let reply = Reply::from(message);
    let message = api::Reply::decode(&*api::Reply::from(&reply).encode_to_vec()).expect("what was encoded decodes");
    assert_eq!(Reply::from(message), reply);
}

/// Words, a line each, are refused in one line, or are a command that travels. Any two words are a pattern and a text.
pub fn words(bytes: &[u8]) {
    let words: Vec<Bytes> = bytes.split(|byte| *byte == b'\n').map(Bytes::copy_from_slice).collect();
    match Command::parse(&words) {
        Ok(command) => travels(&command.into()),
        Err(refusal) => {
            is_worded(&refusal);
            assert!(!refusal.message.contains(['\r', '\n']), "{refusal:?}");
        }
    }
    if let [.., pattern, text] = &words[..] {
        // Behind it a star may belong to a class that was not closed, or to a backslash.
        let starred = [b"*", &pattern[..]].concat();
        assert!(!matches(pattern, text) || matches(&starred, text), "a star more fits no less");
        assert!(matches(b"*", text));
    }
}

/// Keys are told apart, keep their order, and none lies among those of another database or of another key.
pub fn keys(bytes: &[u8]) {
    if let Some((host, path)) = keys::parse_name(bytes) {
        assert_eq!(keys::name(&host, &path), bytes);
    }
    let text = String::from_utf8_lossy(bytes);
    let parts: Vec<&str> = text.split('\n').collect();
    let [one, other, key, next, element] = parts[..] else { return };
    let is_database = |name: &str| !name.is_empty() && name.len() <= limits::DATABASE_BYTES_MAX && !name.contains('\0');
    let is_key = |key: &str| key.len() <= limits::KEY_BYTES_MAX;
    if ![one, other].into_iter().all(is_database) || ![key, next].into_iter().all(is_key) {
        return;
    }
    let (here, there) = (keys::data(one, key.as_bytes()), keys::data(one, next.as_bytes()));
    assert_eq!(keys::data_key(one, &here), key.as_bytes());
    assert_eq!(here.cmp(&there), key.cmp(next));
    assert!(keys::data(one, b"") <= here && here < keys::data_end(one));
    let begins = |key: &[u8], all: &[u8]| key.starts_with(all);
    let whole = keys::element(one, key, element.as_bytes());
    assert!(begins(&whole, &keys::element(one, key, b"")));
    assert!(key == next || !begins(&whole, &keys::element(one, next, b"")));
    if one != other {
        assert!(!(keys::data(other, b"")..keys::data_end(other)).contains(&here));
        assert!(!begins(&whole, &keys::element(other, next, b"")));
        assert_ne!(keys::data_count(one), keys::data_count(other));
    }
}

/// Bytes are an error, or the record that is written as them.
pub fn record(bytes: &[u8]) {
    if let Ok(record) = Record::decode(bytes) {
        assert_eq!(record.encode(), bytes);
        assert!(record.entries.iter().map(|entry| entry.size_hint()).sum::<usize>() <= 256 * bytes.len() + 1024);
    }
}

/// The same of a single change.
pub fn effect(bytes: &[u8]) {
    let mut r = Reader::new(bytes);
    if let Ok(effect) = Effect::decode(&mut r) {
        let mut w = Writer::default();
        effect.encode(&mut w);
        let (written, read) = (w.finish(), bytes.len() - r.remaining());
        assert_eq!(written, &bytes[..read]);
        assert!(written.len() <= effect.size_hint() + 16);
    }
}

/// Bytes are an error, or the one object that is written as them.
pub fn object(bytes: &[u8]) {
    if let Ok(object) = Object::decode(bytes) {
        assert_eq!(object.encode(bytes[0]), bytes);
        let _named = (object.blobs(), object.children());
    }
    if let Ok(meta) = Meta::decode(bytes) {
        assert_eq!(meta.encode(), bytes);
    }
    if let Ok(members) = set_members(bytes) {
        assert!(members.iter().map(|member| member.len()).sum::<usize>() <= bytes.len());
    }
}

/// Bytes are an error, or begin with the one backup that is written as them.
pub fn backup(bytes: &[u8]) {
    let mut r = Reader::new(bytes);
    if let Ok(backup) = Backup::decode(&mut r) {
        let mut w = Writer::default();
        backup.encode(&mut w);
        assert_eq!(w.finish(), &bytes[..bytes.len() - r.remaining()]);
        assert_eq!(backup.key().to_string().len(), 40);
    }
}

fn requests(bytes: &[u8], piece_bytes: usize) -> (Vec<Vec<Bytes>>, Option<ProtocolError>) {
    let (mut requests, mut input, mut found) = (Requests::default(), BytesMut::new(), Vec::new());
    for piece in bytes.chunks(piece_bytes) {
        input.extend_from_slice(piece);
        loop {
            match requests.next(&mut input) {
                Ok(Some(words)) => found.push(words),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

/// What a client of Redis sends is the same in pieces of any size, and what was understood is understood again.
pub fn resp(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let (whole, error) = requests(rest, rest.len().max(1));
    assert_eq!(requests(rest, usize::from(*first) + 1), (whole.clone(), error));
    let mut again = Vec::new();
    for words in &whole {
        assert!(!words.is_empty());
        again.extend(format!("*{}\r\n", words.len()).bytes());
        for word in words {
            again.extend(format!("${}\r\n", word.len()).bytes());
            again.extend_from_slice(word);
            again.extend(b"\r\n");
        }
    }
    assert_eq!(requests(&again, again.len().max(1)), (whole, None));
}
