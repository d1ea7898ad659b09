//! What a database must answer, in obvious lines: keys in a map, and in each what its type says.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use datadb::command::{Command, Refusal, Reply, shape::SliceArgs};

/// What a key holds; never nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(Bytes),
    Hash(BTreeMap<Bytes, Bytes>),
    Set(BTreeSet<Bytes>),
    List(BTreeMap<u64, Bytes>),
}

/// A database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model(pub BTreeMap<String, Value>);

/// Works on a key of one type: one that isn't there is empty, one that ends up empty is not there.
macro_rules! of_type {
    ($name:ident, $variant:ident, $inner:ty) => {
        fn $name(&mut self, key: &str, work: impl FnOnce(&mut $inner) -> Reply) -> Reply {
            let mut inner = match self.0.remove(key) {
                None => <$inner>::new(),
                Some(Value::$variant(inner)) => inner,
                Some(other) => {
                    self.0.insert(key.to_owned(), other);
                    return Reply::Error(Refusal::wrong_type());
                }
            };
            let reply = work(&mut inner);
            if !inner.is_empty() {
                self.0.insert(key.to_owned(), Value::$variant(inner));
            }
            reply
        }
    };
}

fn count(number: usize) -> Reply {
    Reply::Integer(number as i64)
}

fn some(values: impl IntoIterator<Item = Bytes>) -> Reply {
    Reply::Values(values.into_iter().map(Some).collect())
}

fn limited(limit: u64) -> usize {
    if limit == 0 { usize::MAX } else { limit as usize }
}

fn flat<'a>(entries: impl IntoIterator<Item = (&'a u64, &'a Bytes)>, with_index: bool) -> Reply {
    let index = |index: &u64| with_index.then(|| Bytes::from(index.to_string()));
    some(entries.into_iter().flat_map(|(at, value)| index(at).into_iter().chain([value.clone()])))
}

fn one(entry: Option<(&u64, &Bytes)>, with_index: bool) -> Reply {
    match entry {
        None => Reply::Nil,
        Some(entry) if with_index => flat([entry], true),
        Some((_, value)) => Reply::Value(value.clone()),
    }
}

fn slice<'a>(list: &'a BTreeMap<u64, Bytes>, args: &SliceArgs) -> Vec<(&'a u64, &'a Bytes)> {
    let is_in = |(index, _): &(&u64, &Bytes)| (args.from..=args.to).contains(*index);
    list.iter().filter(is_in).take(limited(args.limit)).collect()
}

impl Model {
    of_type!(hash, Hash, BTreeMap<Bytes, Bytes>);
    of_type!(set, Set, BTreeSet<Bytes>);
    of_type!(list, List, BTreeMap<u64, Bytes>);

    fn text(&self, key: &str) -> Result<Option<Bytes>, Reply> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Reply::Error(Refusal::wrong_type())),
        }
    }

    /// Carries out a command.
    pub fn answer(&mut self, command: &Command) -> Reply {
        match command {
            Command::Batch(calls) => Reply::Replies(calls.iter().map(|call| self.answer(&call.command)).collect()),
            Command::Exists(args) => count(args.keys.iter().filter(|key| self.0.contains_key(key.as_str())).count()),
            Command::Del(args) => count(args.keys.iter().filter(|key| self.0.remove(key.as_str()).is_some()).count()),
            Command::Type(args) => Reply::Status(self.word(args.key.as_str()).to_owned()),
            _ => self.answer_text(command),
        }
    }

    fn word(&self, key: &str) -> &'static str {
        match self.0.get(key) {
            None => "none",
            Some(Value::Text(_)) => "string",
            Some(Value::Hash(_)) => "hash",
            Some(Value::Set(_)) => "set",
            Some(Value::List(_)) => "list",
        }
    }

    fn answer_text(&mut self, command: &Command) -> Reply {
        match command {
            Command::Get(args) => self.text(args.key.as_str()).map_or_else(|error| error, Reply::value),
            Command::Strlen(args) => {
                self.text(args.key.as_str()).map_or_else(|error| error, |text| count(text.map_or(0, |text| text.len())))
            }
            Command::Mget(args) => {
                Reply::Values(args.keys.iter().map(|key| self.text(key.as_str()).ok().flatten()).collect())
            }
            Command::Range(args) => {
                let keys =
                    self.0.iter().filter(|(key, _)| key.as_bytes() >= &*args.start && key.as_bytes() <= &*args.end);
                let texts = keys.filter_map(|(_, value)| if let Value::Text(text) = value { Some(text) } else { None });
                some(texts.take(limited(args.limit)).cloned())
            }
            Command::Set(args) => {
                let key = args.key.as_str();
                let before = match self.text(key) {
                    Err(error) if args.get => return error,
                    before => before.ok().flatten(),
                };
                let is_there = self.0.contains_key(key);
                let is_set = !(args.if_missing && is_there || args.if_there && !is_there);
                if is_set {
                    self.0.insert(key.to_owned(), Value::Text(args.value.clone()));
                }
                match (args.get, is_set) {
                    (true, _) => Reply::value(before),
                    (false, true) => Reply::ok(),
                    (false, false) => Reply::Nil,
                }
            }
            _ => self.answer_hash(command),
        }
    }

    fn answer_hash(&mut self, command: &Command) -> Reply {
        match command {
            Command::Hset(args) => self.hash(args.key.as_str(), |hash| {
                let before = hash.len();
                hash.extend(args.pairs.iter().cloned());
                count(hash.len() - before)
            }),
            Command::Hget(args) => self.hash(args.key.as_str(), |hash| Reply::value(hash.get(&args.member).cloned())),
            Command::Hmget(args) => self.hash(args.key.as_str(), |hash| {
                Reply::Values(args.members.iter().map(|field| hash.get(field).cloned()).collect())
            }),
            Command::Hgetall(args) => {
                self.hash(args.key.as_str(), |hash| Reply::Map(hash.clone().into_iter().collect()))
            }
            Command::Hkeys(args) => self.hash(args.key.as_str(), |hash| some(hash.keys().cloned())),
            Command::Hvals(args) => self.hash(args.key.as_str(), |hash| some(hash.values().cloned())),
            Command::Hlen(args) => self.hash(args.key.as_str(), |hash| count(hash.len())),
            Command::Hexists(args) => {
                self.hash(args.key.as_str(), |hash| Reply::Integer(hash.contains_key(&args.member).into()))
            }
            Command::Hdel(args) => self.hash(args.key.as_str(), |hash| {
                count(args.members.iter().filter(|field| hash.remove(*field).is_some()).count())
            }),
            _ => self.answer_set(command),
        }
    }

    fn answer_set(&mut self, command: &Command) -> Reply {
        match command {
            Command::Sadd(args) => self.set(args.key.as_str(), |set| {
                count(args.members.iter().filter(|member| set.insert((*member).clone())).count())
            }),
            Command::Srem(args) => self
                .set(args.key.as_str(), |set| count(args.members.iter().filter(|member| set.remove(*member)).count())),
            Command::Smembers(args) => self.set(args.key.as_str(), |set| Reply::Set(set.iter().cloned().collect())),
            Command::Scard(args) => self.set(args.key.as_str(), |set| count(set.len())),
            Command::Sismember(args) => {
                self.set(args.key.as_str(), |set| Reply::Integer(set.contains(&args.member).into()))
            }
            Command::Smismember(args) => self.set(args.key.as_str(), |set| {
                Reply::Integers(args.members.iter().map(|member| set.contains(member).into()).collect())
            }),
            Command::Srange(args) => self.set(args.key.as_str(), |set| {
                let is_in = |member: &&Bytes| **member >= args.start && **member <= args.end;
                some(set.iter().filter(is_in).take(limited(args.limit)).cloned())
            }),
            _ => self.answer_list(command),
        }
    }

    fn answer_list(&mut self, command: &Command) -> Reply {
        match command {
            Command::Ladd(args) => self.list(args.key.as_str(), |list| {
                count(usize::from(list.insert(args.index, args.value.clone()).is_none()))
            }),
            Command::Lrem(args) => {
                self.list(args.key.as_str(), |list| count(usize::from(list.remove(&args.index).is_some())))
            }
            Command::Lindex(args) => {
                self.list(args.key.as_str(), |list| one(list.get_key_value(&args.index), args.with_index))
            }
            Command::Lprev(args) => {
                self.list(args.key.as_str(), |list| one(list.range(..=args.index).next_back(), args.with_index))
            }
            Command::Lfirst(args) => self.list(args.key.as_str(), |list| one(list.first_key_value(), args.with_index)),
            Command::Llast(args) => self.list(args.key.as_str(), |list| one(list.last_key_value(), args.with_index)),
            Command::Liter(args) => self.list(args.key.as_str(), |list| flat(&*list, args.with_index)),
            Command::Lrange(args) => self.list(args.key.as_str(), |list| flat(slice(list, args), args.with_index)),
            Command::Lmrange(args) => self.list(args.key.as_str(), |list| match slice(list, args) {
                none if none.is_empty() => flat(list.range(..=args.from).next_back(), true),
                found => flat(found, true),
            }),
            Command::Llen(args) => self.list(args.key.as_str(), |list| count(list.len())),
            other => panic!("the model has no {}", other.name()),
        }
    }
}
