//! A configuration that changes while the scheduler runs.

use std::{collections::BTreeMap, sync::Arc};

use datadb::Fault;

use super::{
    daemon::{Daemon, Slot, internal},
    watch::Stamp,
};
use crate::{clock, config::Config};

impl Daemon {
    /// Takes a new configuration, or says what is wrong with it and keeps the old one.
    pub(super) fn reload(&mut self) {
        self.stamp = Stamp::of(&self.file);
        match Config::read(&self.file).and_then(|config| self.take(config)) {
            Ok(()) => tracing::info!(snapshots = self.slots.len(), "the configuration was read again"),
            Err(fault) => tracing::error!("{fault}; the configuration that was valid before goes on"),
        }
    }

    fn take(&mut self, config: Config) -> Result<(), Fault> {
        let now = clock::now();
        let old = std::mem::replace(&mut self.config, Arc::new(config));
        let mut slots = BTreeMap::new();
        let mut changed = Vec::new();
        for entry in &self.config.entries {
            let name = entry.name().to_owned();
            let slot = match self.slots.get(&name) {
                Some(slot) => {
                    let policy = self.config.policy(entry)?;
                    let is_new = slot.entry.schedule != entry.schedule || old.timezone != self.config.timezone;
                    let mut progress = slot.progress.clone();
                    if is_new {
                        progress.reschedule(now);
                        changed.push(name.clone());
                    }
                    let (is_running, said, is_overdue) = (slot.is_running, None, slot.is_overdue);
                    Ok(Slot { entry: Arc::new(entry.clone()), policy, progress, is_running, said, is_overdue })
                }
                None => self.slot(Arc::new(entry.clone())),
            };
            match slot {
                Ok(slot) => drop(slots.insert(name, slot)),
                Err(fault) => {
                    self.config = old;
                    return Err(fault);
                }
            }
        }
        self.slots = slots;
        self.configs.send_replace(self.config.clone());
        for slot in changed.iter().filter_map(|name| self.slots.get(name)).filter(|slot| !slot.is_running) {
            self.history.lock().keep(slot.entry.name(), &slot.entry.schedule.0, &slot.progress).map_err(internal)?;
        }
        self.promise();
        Ok(())
    }
}
