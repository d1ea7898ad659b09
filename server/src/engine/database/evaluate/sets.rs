//! Commands of sets, which are in lexicographic order.

use bytes::Bytes;
use datadb::command::{Command, Refusal, Reply, shape::KeyRangeArgs};

use super::{
    Scene, Stop,
    scene::{Found, at_most},
};
use crate::{engine::database::backups::Shown, index::data::Among, record::effect::DataType};

impl Scene<'_> {
    /// Carries out a command of sets.
    pub(super) fn sets_command(&mut self, command: &Command) -> Result<Reply, Stop> {
        Ok(match command {
            Command::Sadd(args) => {
                let pairs: Vec<_> = args.members.iter().map(|member| (member.clone(), Bytes::new())).collect();
                Reply::Integer(self.put(&args.key, DataType::Set, &pairs)?)
            }
            Command::Srem(args) => Reply::Integer(self.remove(&args.key, DataType::Set, &args.members)?),
            Command::Smembers(args) => {
                Reply::Set(self.whole(&args.key, DataType::Set)?.into_iter().map(|(member, _)| member).collect())
            }
            Command::Scard(args) => self.count(&args.key, DataType::Set)?,
            Command::Sismember(args) => {
                Reply::Integer(i64::from(self.element(&args.key, DataType::Set, &args.member)?.is_some()))
            }
            Command::Smismember(args) => {
                let found = self.find(&args.key, DataType::Set)?;
                let there = |member: &Bytes| Ok::<_, Stop>(i64::from(self.get(found.as_ref(), member)?.is_some()));
                Reply::Integers(args.members.iter().map(there).collect::<Result<_, _>>()?)
            }
            Command::Sscan(args) => self.scan_key(args, DataType::Set)?,
            Command::Srange(args) => self.srange(args)?,
            other => return Err(super::stray(other)),
        })
    }

    fn srange(&self, args: &KeyRangeArgs) -> Result<Reply, Stop> {
        if let Some(Found::Shown(Shown { is_sorted: false, .. })) = self.find(&args.key, DataType::Set)? {
            return Err(Refusal::err("a directory's set is in the order of names: SMEMBERS lists it").into());
        }
        let among = Among { low: args.start.clone(), high: Some(args.end.clone()), is_backward: false };
        let members = self.some(&args.key, DataType::Set, &among, at_most(args.limit))?;
        Ok(Reply::Values(members.into_iter().map(|(member, _)| Some(member)).collect()))
    }
}
