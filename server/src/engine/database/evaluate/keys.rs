//! Commands of keys of any type.

use datadb::{
    command::{Command, Key, Reply, pattern::matches},
    limits,
};

use super::{Scene, Stop, scene::too_large};
use crate::{
    engine::database::backups,
    record::effect::{Change, DataType},
};

impl Scene<'_> {
    /// Carries out a command of keys.
    pub(super) fn keys_command(&mut self, command: &Command) -> Result<Reply, Stop> {
        Ok(match command {
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
            other => return Err(super::stray(other)),
        })
    }

    fn del(&mut self, keys: &[Key]) -> Result<Reply, Stop> {
        for key in keys {
            backups::check_writable(&self.spot(key))?;
        }
        let mut removed = 0;
        for key in keys {
            let spot = self.spot(key);
            if self.overlay.at(self.index, spot.clone())?.kind().is_some() {
                self.change(&spot, Change::Drop)?;
                removed += 1;
            }
        }
        Ok(Reply::Integer(removed))
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
}
