//! Commands of strings.

use bytes::Bytes;
use datadb::{
    command::{Command, Key, Refusal, Reply, shape::SetArgs},
    limits,
};

use super::{
    Scene, Stop,
    scene::{at_most, too_large},
};
use crate::{
    engine::database::backups,
    record::effect::{Change, DataType, Spot},
};

impl Scene<'_> {
    /// Carries out a command of strings.
    pub(super) fn strings_command(&mut self, command: &Command) -> Result<Reply, Stop> {
        Ok(match command {
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
            other => return Err(super::stray(other)),
        })
    }

    fn string(&self, key: &Key) -> Result<Option<Bytes>, Stop> {
        self.element(key, DataType::String, &[])
    }

    fn set(&mut self, args: &SetArgs) -> Result<Reply, Stop> {
        let spot = self.spot(&args.key);
        backups::check_writable(&spot)?;
        let before = if args.get { Reply::value(self.string(&args.key)?) } else { Reply::ok() };
        let had = self.overlay.at(self.index, spot.clone())?.kind();
        if (args.if_missing && had.is_some()) || (args.if_there && had.is_none()) {
            return Ok(if args.get { before } else { Reply::Nil });
        }
        if had.is_some_and(|kind| kind != DataType::String) {
            self.change(&spot, Change::Drop)?;
        }
        self.change(&spot, Change::Put(DataType::String, Bytes::new(), args.value.clone()))?;
        Ok(before)
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
}
