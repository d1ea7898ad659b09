//! Commands of lists, which are sorted by an index.

use bytes::Bytes;
use datadb::command::{Command, Key, Refusal, Reply, shape::SliceArgs};

use super::{Scene, Stop, scene::at_most};
use crate::{
    index::data::{Among, Element},
    record::effect::DataType,
};

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

fn element_of(index: u64) -> Bytes {
    Bytes::copy_from_slice(&index.to_be_bytes())
}

fn one(entry: Option<Element>, with_index: bool) -> Result<Reply, Stop> {
    Ok(match entry {
        None => Reply::Nil,
        Some((_, value)) if !with_index => Reply::Value(value),
        Some(entry) => Reply::Values(entries(vec![entry], true)?),
    })
}

impl Scene<'_> {
    /// Carries out a command of lists.
    pub(super) fn lists_command(&mut self, command: &Command) -> Result<Reply, Stop> {
        Ok(match command {
            Command::Ladd(args) => {
                Reply::Integer(self.put(&args.key, DataType::List, &[(element_of(args.index), args.value.clone())])?)
            }
            Command::Lrem(args) => Reply::Integer(self.remove(&args.key, DataType::List, &[element_of(args.index)])?),
            Command::Lindex(args) => {
                let element = element_of(args.index);
                let value = self.element(&args.key, DataType::List, &element)?;
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
            Command::Liter(args) => Reply::Values(entries(self.whole(&args.key, DataType::List)?, args.with_index)?),
            Command::Lfirst(args) => {
                let first = self.some(&args.key, DataType::List, &Among::default(), 1)?.pop();
                one(first, args.with_index)?
            }
            Command::Llast(args) => one(self.at_or_before(&args.key, u64::MAX)?, args.with_index)?,
            Command::Lprev(args) => one(self.at_or_before(&args.key, args.index)?, args.with_index)?,
            Command::Llen(args) => self.count(&args.key, DataType::List)?,
            other => return Err(super::stray(other)),
        })
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
}
