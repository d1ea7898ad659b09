//! Reading a restored file back.

use crossbeam_channel::Sender;
use datadb::Fault;
use rustix::{
    fs::{Advice, OFlags, fadvise},
    io::Errno,
};

use super::{decide::Act, shared::Shared, wanted::Wanted};
use crate::fetch::chunks::{Chunks, Source, is_of_the_file};
use crate::fetch::reading::{Reading, Stop};
use crate::fs::{Stat, open_quietly, words};

/// A file to be compared.
#[derive(Debug)]
pub struct Check {
    /// As it should be.
    pub wanted: Wanted,
    /// Its chunks.
    pub source: Source,
    /// Where it goes if it differs.
    pub differing: Sender<Differing>,
}

/// A file that is not as it should be.
#[derive(Debug)]
pub struct Differing {
    /// As it should be.
    pub wanted: Wanted,
    /// In what it differs.
    pub what: String,
}

/// Why a file is not known to be right.
#[derive(Debug)]
pub enum Trouble {
    /// It is wrong, or can't be read.
    File(String),
    /// Nobody can tell now.
    Server(Fault),
}

impl From<Errno> for Trouble {
    fn from(error: Errno) -> Self {
        Self::File(format!("can't be read back: {}", words(error)))
    }
}

impl From<Stop> for Trouble {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Disk(error) => error.into(),
            Stop::Server(fault) => Self::Server(fault),
        }
    }
}

impl Check {
    /// The list that has to be read first.
    pub const fn list(&self) -> Option<&Chunks> {
        match &self.source {
            Source::List(chunks) => Some(chunks),
            _ => None,
        }
    }

    /// Compares the file; tells whoever waits if it differs.
    pub fn run(mut self, shared: &Shared, buffer: &mut Vec<u8>) {
        if shared.is_over() {
            return;
        }
        match self.compare(shared, buffer) {
            // Cut short, it says nothing.
            _ if shared.is_over() => {}
            Ok(()) => shared.done_file(Act::Leave, self.wanted.meta.size),
            Err(Trouble::Server(fault)) => self.tell(shared, fault),
            Err(Trouble::File(what)) => {
                // The planner waits for all of them.
                drop(self.differing.send(Differing { wanted: self.wanted, what }));
            }
        }
    }

    /// Tells that nobody knows whether the file differs.
    pub fn tell(&self, shared: &Shared, fault: Fault) {
        if is_of_the_file(&fault) {
            shared.trouble(&self.wanted.path(), &format!("can't be compared: {}", fault.message));
        } else {
            shared.fail(fault);
        }
    }

    /// Reads the file and compares it.
    pub fn compare(&mut self, shared: &Shared, buffer: &mut Vec<u8>) -> Result<(), Trouble> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = open_quietly(self.wanted.dir.fd()?, &self.wanted.name, flags)?;
        let different = || Trouble::File("its content differs".to_owned());
        if Stat::of(&file)?.size != self.wanted.meta.size {
            return Err(different());
        }
        // What the disk has is meant, not what the kernel remembers. Where that is no disk it is the same.
        fadvise(&file, 0, None, Advice::DontNeed)?;
        fadvise(&file, 0, None, Advice::Sequential)?;
        let mut reading = Reading::new(&file, buffer);
        let is_same = reading.is_same(&self.wanted.meta, &mut self.source, &|| shared.is_over())?;
        if is_same { Ok(()) } else { Err(different()) }
    }
}
