//! What each command answers, and what it changes.

use bytes::Bytes;
use datadb::{
    command::{
        Call, Command, Key, Refusal, Reply,
        pattern::matches,
        shape::{KeyRangeArgs, KeyScanArgs, ScanArgs, SetArgs, SliceArgs},
    },
    limits,
};

use super::{
    Cursors, DEFAULT, Stop,
    backups::{self, Shown},
};
use crate::{
    db::{
        Index,
        data::{Among, Element, Overlay},
    },
    engine::EngineError,
    log::effect::{Change, DataType, Effect, Spot},
};

/// Elements that one page of a scan looks at, whatever is asked for.
const SCAN_MAX: u64 = 1 << 12;

/// Carries out commands one after the other on an index and what an overlay has changed of it. Gives their replies and
/// what they changed.
pub fn all(
    index: &Index,
    overlay: &mut Overlay,
    cursors: &Cursors,
    now: i64,
    calls: &[Call],
) -> Result<(Vec<Reply>, Vec<Effect>), EngineError> {
    let mut scene = Scene { index, overlay, cursors, now, effects: Vec::new(), database: String::new() };
    let replies = calls.iter().map(|call| scene.answer(call)).collect::<Result<_, _>>()?;
    Ok((replies, scene.effects))
}

struct Scene<'a> {
    index: &'a Index,
    overlay: &'a mut Overlay,
    cursors: &'a Cursors,
    now: i64,
    effects: Vec<Effect>,
    database: String,
}

/// A key that is there and has the type that was asked for.
enum Found {
    Stored(Spot, u64),
    Shown(Shown),
}

impl Found {
    fn count(&self) -> u64 {
        match self {
            Self::Stored(_, count) => *count,
            Self::Shown(shown) => shown.elements.len() as u64,
        }
    }
}

fn reply_bytes(reply: &Reply) -> usize {
    let sum = |values: &mut dyn Iterator<Item = usize>| values.map(|len| len + 8).sum();
    match reply {
        Reply::Value(value) => value.len(),
        Reply::Values(values) => sum(&mut values.iter().map(|value| value.as_ref().map_or(0, Bytes::len))),
        Reply::Set(values) | Reply::Page(_, values) => sum(&mut values.iter().map(Bytes::len)),
        Reply::Map(pairs) => sum(&mut pairs.iter().map(|(field, value)| field.len() + value.len() + 8)),
        Reply::Integers(integers) => integers.len() * 10,
        _ => 16,
    }
}

fn too_large() -> Refusal {
    Refusal::err(format!(
        "the reply has more than {} elements or {} bytes: ask for it in parts",
        limits::REPLY_ELEMENTS_MAX,
        limits::REPLY_BYTES_MAX
    ))
}

fn index_of(element: &[u8]) -> Result<u64, Stop> {
    let bytes = element.try_into().map_err(|_| Refusal::err("the list holds an entry without an index"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// Values, or index and value one after the other.
fn entries(elements: Vec<Element>, with_index: bool) -> Result<Vec<Option<Bytes>>, Stop> {
    let mut values = Vec::with_capacity(elements.len());
    for (element, value) in elements {
        if with_index {
            values.push(Some(index_of(&element)?.to_string().into()));
        }
        values.push(Some(value));
    }
    Ok(values)
}

fn at_most(limit: u64) -> usize {
    if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) }
}

fn element_of(index: u64) -> Bytes {
    Bytes::copy_from_slice(&index.to_be_bytes())
}

impl Scene<'_> {
    fn answer(&mut self, call: &Call) -> Result<Reply, EngineError> {
        let name = if call.database.is_empty() { DEFAULT } else { &call.database };
        if name.len() > limits::DATABASE_BYTES_MAX || name.contains('\0') {
            let max = limits::DATABASE_BYTES_MAX;
            return Ok(Reply::Error(Refusal::err(format!(
                "a database's name has at most {max} bytes, none of them 0"
            ))));
        }
        self.database = name.to_owned();
        match self.carry_out(&call.command) {
            Ok(reply) if reply_bytes(&reply) > limits::REPLY_BYTES_MAX => Ok(Reply::Error(too_large())),
            Ok(reply) => Ok(reply),
            Err(Stop::Refused(refusal)) => Ok(Reply::Error(refusal)),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn carry_out(&mut self, command: &Command) -> Result<Reply, Stop> {
        use DataType::{Hash, List, Set};
        Ok(match command {
            Command::Batch(calls) => self.batch(calls)?,
            Command::Dbsize(_) => Reply::count(self.overlay.len(self.index, &self.database)?),
            Command::Now(_) => Reply::Integer(self.now),
            Command::Time(_) => Reply::Values(vec![Some(self.now.to_string().into()), Some("0".into())]),
            Command::Exists(args) => {
                let mut there = 0;
                for key in &args.keys {
                    there += i64::from(self.kind(key)?.is_some());
                }
                Reply::Integer(there)
            }
            Command::Type(args) => Reply::Status(self.kind(&args.key)?.map_or("none", DataType::word).to_owned()),
            Command::Del(args) => self.del(&args.keys)?,
            Command::Scan(args) => self.scan(args)?,
            Command::Keys(args) => self.keys(&args.pattern)?,
            Command::Get(args) => Reply::value(self.string(&args.key)?),
            Command::Set(args) => self.set(args)?,
            Command::Mget(args) => {
                let mut values = Vec::new();
                let mut bytes = 0;
                for key in &args.keys {
                    let value = match self.string(key) {
                        Err(Stop::Refused(_)) => None,
                        other => other?,
                    };
                    bytes += value.as_ref().map_or(0, Bytes::len);
                    if bytes > limits::REPLY_BYTES_MAX {
                        return Err(too_large().into());
                    }
                    values.push(value);
                }
                Reply::Values(values)
            }
            Command::Strlen(args) => Reply::count(self.string(&args.key)?.map_or(0, |value| value.len() as u64)),
            Command::Range(args) => self.range(&args.start, &args.end, args.limit)?,
            Command::Hset(args) => Reply::Integer(self.put(&args.key, Hash, &args.pairs)?),
            Command::Hmset(args) => {
                self.put(&args.key, Hash, &args.pairs)?;
                Reply::ok()
            }
            Command::Hget(args) => Reply::value(self.element(&args.key, Hash, &args.member)?),
            Command::Hmget(args) => {
                let found = self.find(&args.key, Hash)?;
                let values = args.members.iter().map(|member| self.get(found.as_ref(), member));
                Reply::Values(values.collect::<Result<_, _>>()?)
            }
            Command::Hgetall(args) => Reply::Map(self.whole(&args.key, Hash)?),
            Command::Hkeys(args) => {
                Reply::Values(self.whole(&args.key, Hash)?.into_iter().map(|(field, _)| Some(field)).collect())
            }
            Command::Hvals(args) => {
                Reply::Values(self.whole(&args.key, Hash)?.into_iter().map(|(_, value)| Some(value)).collect())
            }
            Command::Hlen(args) => self.count(&args.key, Hash)?,
            Command::Hexists(args) => Reply::Integer(i64::from(self.element(&args.key, Hash, &args.member)?.is_some())),
            Command::Hdel(args) => Reply::Integer(self.remove(&args.key, Hash, &args.members)?),
            Command::Hscan(args) => self.scan_key(args, Hash)?,
            Command::Sadd(args) => {
                let pairs: Vec<_> = args.members.iter().map(|member| (member.clone(), Bytes::new())).collect();
                Reply::Integer(self.put(&args.key, Set, &pairs)?)
            }
            Command::Srem(args) => Reply::Integer(self.remove(&args.key, Set, &args.members)?),
            Command::Smembers(args) => {
                Reply::Set(self.whole(&args.key, Set)?.into_iter().map(|(member, _)| member).collect())
            }
            Command::Scard(args) => self.count(&args.key, Set)?,
            Command::Sismember(args) => {
                Reply::Integer(i64::from(self.element(&args.key, Set, &args.member)?.is_some()))
            }
            Command::Smismember(args) => {
                let found = self.find(&args.key, Set)?;
                let there = |member: &Bytes| Ok::<_, Stop>(i64::from(self.get(found.as_ref(), member)?.is_some()));
                Reply::Integers(args.members.iter().map(there).collect::<Result<_, _>>()?)
            }
            Command::Sscan(args) => self.scan_key(args, Set)?,
            Command::Srange(args) => self.srange(args)?,
            Command::Ladd(args) => {
                Reply::Integer(self.put(&args.key, List, &[(element_of(args.index), args.value.clone())])?)
            }
            Command::Lrem(args) => Reply::Integer(self.remove(&args.key, List, &[element_of(args.index)])?),
            Command::Lindex(args) => {
                let element = element_of(args.index);
                let value = self.element(&args.key, List, &element)?;
                one(value.map(|value| (element, value)), args.with_index)?
            }
            Command::Lrange(args) => Reply::Values(entries(self.slice(args)?, args.with_index)?),
            Command::Lmrange(args) => {
                let mut found = self.slice(args)?;
                if found.is_empty() {
                    found.extend(self.at_or_before(&args.key, args.from)?);
                }
                Reply::Values(entries(found, true)?)
            }
            Command::Liter(args) => Reply::Values(entries(self.whole(&args.key, List)?, args.with_index)?),
            Command::Lfirst(args) => {
                let first = self.some(&args.key, List, &Among::default(), 1)?.pop();
                one(first, args.with_index)?
            }
            Command::Llast(args) => one(self.at_or_before(&args.key, u64::MAX)?, args.with_index)?,
            Command::Lprev(args) => one(self.at_or_before(&args.key, args.index)?, args.with_index)?,
            Command::Llen(args) => self.count(&args.key, List)?,
            other => return Err(Refusal::err(format!("'{}' can't stand in a transaction", other.name())).into()),
        })
    }

    /// One after the other; what goes wrong with one doesn't stop the rest.
    fn batch(&mut self, calls: &[Call]) -> Result<Reply, Stop> {
        let size: usize = calls.iter().map(|call| call.command.size_hint()).sum();
        if size > limits::TRANSACTION_BYTES_MAX {
            let max = limits::TRANSACTION_BYTES_MAX;
            return Err(Refusal::err(format!("a transaction has at most {max} bytes")).into());
        }
        let (mut replies, mut bytes) = (Vec::with_capacity(calls.len()), 0);
        for call in calls {
            let mut reply = match &call.command {
                Command::Batch(_) => Reply::Error(Refusal::err("MULTI calls can not be nested")),
                _ => self.answer(call)?,
            };
            bytes += reply_bytes(&reply);
            if bytes > limits::REPLY_BYTES_MAX {
                reply = Reply::Error(too_large());
            }
            replies.push(reply);
        }
        Ok(Reply::Replies(replies))
    }

    fn spot(&self, key: &Key) -> Spot {
        Spot { database: self.database.clone(), key: key.as_str().to_owned() }
    }

    fn kind(&self, key: &Key) -> Result<Option<DataType>, Stop> {
        let spot = self.spot(key);
        if backups::is_reserved(&spot) {
            return Ok(backups::read(self.index, &spot.key)?.map(|shown| shown.kind));
        }
        Ok(self.overlay.kind(self.index, &spot)?.map(|(kind, _)| kind))
    }

    fn find(&self, key: &Key, wanted: DataType) -> Result<Option<Found>, Stop> {
        let spot = self.spot(key);
        if backups::is_reserved(&spot) {
            return match backups::read(self.index, &spot.key)? {
                Some(shown) if shown.kind != wanted => Err(Refusal::wrong_type().into()),
                shown => Ok(shown.map(Found::Shown)),
            };
        }
        match self.overlay.kind(self.index, &spot)? {
            Some((kind, _)) if kind != wanted => Err(Refusal::wrong_type().into()),
            found => Ok(found.map(|(_, count)| Found::Stored(spot, count))),
        }
    }

    fn get(&self, found: Option<&Found>, element: &[u8]) -> Result<Option<Bytes>, Stop> {
        Ok(match found {
            None => None,
            Some(Found::Stored(spot, _)) => self.overlay.get(self.index, spot, element)?,
            Some(Found::Shown(shown)) => {
                shown.elements.iter().find(|(known, _)| *known == element).map(|(_, value)| value.clone())
            }
        })
    }

    fn element(&self, key: &Key, kind: DataType, element: &[u8]) -> Result<Option<Bytes>, Stop> {
        self.get(self.find(key, kind)?.as_ref(), element)
    }

    fn string(&self, key: &Key) -> Result<Option<Bytes>, Stop> {
        self.element(key, DataType::String, &[])
    }

    fn count(&self, key: &Key, kind: DataType) -> Result<Reply, Stop> {
        Ok(Reply::count(self.find(key, kind)?.map_or(0, |found| found.count())))
    }

    fn some(&self, key: &Key, kind: DataType, among: &Among, max: usize) -> Result<Vec<Element>, Stop> {
        let elements = match self.find(key, kind)? {
            None => Vec::new(),
            // One more than a reply may have tells that there are more.
            Some(Found::Stored(spot, _)) => {
                let max = max.min(limits::REPLY_ELEMENTS_MAX + 1);
                self.overlay.elements(self.index, &spot, among, max)?
            }
            Some(Found::Shown(shown)) => {
                let is_among = |element: &Element| !shown.is_sorted || among.holds(&element.0);
                let mut elements: Vec<Element> = shown.elements.into_iter().filter(is_among).collect();
                if among.is_backward {
                    elements.reverse();
                }
                elements.truncate(max);
                elements
            }
        };
        let bytes: usize = elements.iter().map(|(element, value)| element.len() + value.len()).sum();
        if elements.len() > limits::REPLY_ELEMENTS_MAX || bytes > limits::REPLY_BYTES_MAX {
            return Err(too_large().into());
        }
        Ok(elements)
    }

    fn whole(&self, key: &Key, kind: DataType) -> Result<Vec<Element>, Stop> {
        self.some(key, kind, &Among::default(), usize::MAX)
    }

    fn slice(&self, args: &SliceArgs) -> Result<Vec<Element>, Stop> {
        let high = Some(element_of(args.to));
        let among = Among { low: element_of(args.from), high, is_backward: false };
        self.some(&args.key, DataType::List, &among, at_most(args.limit))
    }

    fn at_or_before(&self, key: &Key, index: u64) -> Result<Option<Element>, Stop> {
        let among = Among { low: Bytes::new(), high: Some(element_of(index)), is_backward: true };
        Ok(self.some(key, DataType::List, &among, 1)?.pop())
    }

    fn srange(&self, args: &KeyRangeArgs) -> Result<Reply, Stop> {
        if let Some(Found::Shown(Shown { is_sorted: false, .. })) = self.find(&args.key, DataType::Set)? {
            return Err(Refusal::err("a directory's set is in the order of names: SMEMBERS lists it").into());
        }
        let among = Among { low: args.start.clone(), high: Some(args.end.clone()), is_backward: false };
        let members = self.some(&args.key, DataType::Set, &among, at_most(args.limit))?;
        Ok(Reply::Values(members.into_iter().map(|(member, _)| Some(member)).collect()))
    }

    /// Goes through the database's keys from one on until told to stop.
    fn each_key(
        &self,
        mut from: String,
        mut each: impl FnMut(String, DataType) -> Result<bool, Stop>,
    ) -> Result<(), Stop> {
        loop {
            let page = self.overlay.keys(self.index, &self.database, &from)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            from = format!("{last}\0");
            for (key, kind) in page {
                if !each(key, kind)? {
                    return Ok(());
                }
            }
        }
    }

    fn keys(&self, pattern: &[u8]) -> Result<Reply, Stop> {
        let mut found = Vec::new();
        self.each_key(String::new(), |key, _| {
            if matches(pattern, key.as_bytes()) {
                found.push(Some(key.into()));
            }
            if found.len() > limits::REPLY_ELEMENTS_MAX { Err(too_large().into()) } else { Ok(true) }
        })?;
        Ok(Reply::Values(found))
    }

    fn range(&self, start: &[u8], end: &[u8], limit: u64) -> Result<Reply, Stop> {
        let Ok(from) = std::str::from_utf8(start) else {
            return Err(Refusal::err("keys are UTF-8, and the start is not").into());
        };
        let (mut values, mut bytes) = (Vec::new(), 0);
        self.each_key(from.to_owned(), |key, kind| {
            if key.as_bytes() > end {
                return Ok(false);
            }
            if kind == DataType::String {
                let spot = Spot { database: self.database.clone(), key };
                let value = self.overlay.get(self.index, &spot, &[])?;
                bytes += value.as_ref().map_or(0, Bytes::len);
                values.push(value);
            }
            if bytes > limits::REPLY_BYTES_MAX || values.len() > limits::REPLY_ELEMENTS_MAX {
                return Err(too_large().into());
            }
            Ok(values.len() < at_most(limit))
        })?;
        Ok(Reply::Values(values))
    }

    fn after(&self, cursor: u64) -> Result<Option<Bytes>, Stop> {
        if cursor == 0 {
            return Ok(None);
        }
        let last = self.cursors.find(cursor);
        last.map(Some).ok_or_else(|| Refusal::err("the cursor is not known any more: start again with 0").into())
    }

    fn scan(&self, args: &ScanArgs) -> Result<Reply, Stop> {
        let after = self.after(args.cursor)?.map(|last| format!("{}\0", String::from_utf8_lossy(&last)));
        let (mut found, mut seen, mut cursor) = (Vec::new(), 0, 0);
        let mut last = String::new();
        self.each_key(after.unwrap_or_default(), |key, kind| {
            if seen == args.count.min(SCAN_MAX) {
                cursor = self.cursors.keep(std::mem::take(&mut last).into());
                return Ok(false);
            }
            seen += 1;
            let is_wanted = args.kind.is_empty() || args.kind == kind.word();
            last.clone_from(&key);
            if is_wanted && args.pattern.as_ref().is_none_or(|pattern| matches(pattern, key.as_bytes())) {
                found.push(key.into());
            }
            Ok(true)
        })?;
        Ok(Reply::Page(cursor, found))
    }

    fn scan_key(&self, args: &KeyScanArgs, kind: DataType) -> Result<Reply, Stop> {
        let after = self.after(args.cursor)?;
        let max = args.count.min(SCAN_MAX) as usize;
        let mut page = match self.find(&args.key, kind)? {
            None => Vec::new(),
            Some(Found::Stored(spot, _)) => {
                let low = after.map(|last| [&last[..], &[0]].concat().into()).unwrap_or_default();
                let among = Among { low, high: None, is_backward: false };
                self.overlay.elements(self.index, &spot, &among, max + 1)?
            }
            Some(Found::Shown(shown)) => {
                let at = after.map_or(0, |last| {
                    shown.elements.iter().position(|(element, _)| *element == last).map_or(0, |at| at + 1)
                });
                shown.elements.into_iter().skip(at).take(max + 1).collect()
            }
        };
        // Long values make a short page, of at least one.
        let mut bytes = 0;
        let is_over = |(element, value): &Element| {
            bytes += element.len() + value.len();
            bytes > limits::PAGE_BYTES
        };
        let fitting = page.iter().position(is_over).unwrap_or(page.len()).clamp(1, max);
        let is_cut = page.len() > fitting;
        page.truncate(fitting);
        let cursor = match page.last() {
            Some((last, _)) if is_cut => self.cursors.keep(last.clone()),
            _ => 0,
        };
        let is_wanted = |element: &[u8]| args.pattern.as_ref().is_none_or(|pattern| matches(pattern, element));
        let mut values = Vec::with_capacity(page.len());
        for (element, value) in page.into_iter().filter(|(element, _)| is_wanted(element)) {
            values.push(element);
            if kind == DataType::Hash {
                values.push(value);
            }
        }
        Ok(Reply::Page(cursor, values))
    }

    fn change(&mut self, spot: &Spot, change: Change) -> Result<(), Stop> {
        let effect = Effect { spot: spot.clone(), change };
        self.overlay.apply(self.index, &effect)?;
        self.effects.push(effect);
        Ok(())
    }

    /// The key, if it may be written and is of this type or not there.
    fn writable(&self, key: &Key, kind: DataType) -> Result<Spot, Stop> {
        let spot = self.spot(key);
        backups::check_writable(&spot)?;
        match self.overlay.kind(self.index, &spot)? {
            Some((had, _)) if had != kind => Err(Refusal::wrong_type().into()),
            _ => Ok(spot),
        }
    }

    /// Sets elements; gives how many are new.
    fn put(&mut self, key: &Key, kind: DataType, elements: &[Element]) -> Result<i64, Stop> {
        let spot = self.writable(key, kind)?;
        let before = self.overlay.kind(self.index, &spot)?.map_or(0, |(_, count)| count);
        for (element, value) in elements {
            // A member that is there already changes nothing, and needs no record.
            if self.overlay.get(self.index, &spot, element)?.as_ref() != Some(value) {
                self.change(&spot, Change::Put(kind, element.clone(), value.clone()))?;
            }
        }
        let after = self.overlay.kind(self.index, &spot)?.map_or(0, |(_, count)| count);
        Ok(i64::try_from(after - before).unwrap_or(i64::MAX))
    }

    /// Removes elements; gives how many were there.
    fn remove(&mut self, key: &Key, kind: DataType, elements: &[Bytes]) -> Result<i64, Stop> {
        let spot = self.writable(key, kind)?;
        let mut removed = 0;
        for element in elements {
            if self.overlay.kind(self.index, &spot)?.is_some()
                && self.overlay.get(self.index, &spot, element)?.is_some()
            {
                self.change(&spot, Change::Remove(element.clone()))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn del(&mut self, keys: &[Key]) -> Result<Reply, Stop> {
        for key in keys {
            backups::check_writable(&self.spot(key))?;
        }
        let mut removed = 0;
        for key in keys {
            let spot = self.spot(key);
            if self.overlay.kind(self.index, &spot)?.is_some() {
                self.change(&spot, Change::Drop)?;
                removed += 1;
            }
        }
        Ok(Reply::Integer(removed))
    }

    fn set(&mut self, args: &SetArgs) -> Result<Reply, Stop> {
        let spot = self.spot(&args.key);
        backups::check_writable(&spot)?;
        let before = if args.get { Reply::value(self.string(&args.key)?) } else { Reply::ok() };
        let had = self.overlay.kind(self.index, &spot)?;
        if (args.if_missing && had.is_some()) || (args.if_there && had.is_none()) {
            return Ok(if args.get { before } else { Reply::Nil });
        }
        if had.is_some_and(|(kind, _)| kind != DataType::String) {
            self.change(&spot, Change::Drop)?;
        }
        self.change(&spot, Change::Put(DataType::String, Bytes::new(), args.value.clone()))?;
        Ok(before)
    }
}

fn one(entry: Option<Element>, with_index: bool) -> Result<Reply, Stop> {
    Ok(match entry {
        None => Reply::Nil,
        Some((_, value)) if !with_index => Reply::Value(value),
        Some(entry) => Reply::Values(entries(vec![entry], true)?),
    })
}
