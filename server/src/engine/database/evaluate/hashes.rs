//! Commands of hashes.

use datadb::command::{Command, Reply};

use super::{Scene, Stop};
use crate::record::effect::DataType;

impl Scene<'_> {
    /// Carries out a command of hashes.
    pub(super) fn hashes_command(&mut self, command: &Command) -> Result<Reply, Stop> {
        Ok(match command {
            Command::Hset(args) => Reply::Integer(self.put(&args.key, DataType::Hash, &args.pairs)?),
            Command::Hmset(args) => {
                self.put(&args.key, DataType::Hash, &args.pairs)?;
                Reply::ok()
            }
            Command::Hget(args) => Reply::value(self.element(&args.key, DataType::Hash, &args.member)?),
            Command::Hmget(args) => {
                let found = self.find(&args.key, DataType::Hash)?;
                let values = args.members.iter().map(|member| self.get(found.as_ref(), member));
                Reply::Values(values.collect::<Result<_, _>>()?)
            }
            Command::Hgetall(args) => Reply::Map(self.whole(&args.key, DataType::Hash)?),
            Command::Hkeys(args) => Reply::Values(
                self.whole(&args.key, DataType::Hash)?.into_iter().map(|(field, _)| Some(field)).collect(),
            ),
            Command::Hvals(args) => Reply::Values(
                self.whole(&args.key, DataType::Hash)?.into_iter().map(|(_, value)| Some(value)).collect(),
            ),
            Command::Hlen(args) => self.count(&args.key, DataType::Hash)?,
            Command::Hexists(args) => {
                Reply::Integer(i64::from(self.element(&args.key, DataType::Hash, &args.member)?.is_some()))
            }
            Command::Hdel(args) => Reply::Integer(self.remove(&args.key, DataType::Hash, &args.members)?),
            Command::Hscan(args) => self.scan_key(args, DataType::Hash)?,
            other => return Err(super::stray(other)),
        })
    }
}
