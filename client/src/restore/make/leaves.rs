//! Everything but directories: files go into the queue, hard links wait for their first name, the rest is made at once.

use std::sync::Arc;

use crossbeam_channel::Sender;
use datadb::{Fault, FileType};
use rustix::fd::AsFd;

use super::Maker;
use crate::{
    fetch::chunks::Source,
    fs::FileId,
    fs::at::At,
    restore::{
        check::{Check, Differing, Trouble},
        decide::{Act, Found, decide, decide_link},
        dir::Dir,
        file::File,
        links::{Another, Link},
        metadata,
        shared::Overwrite,
        special,
        wanted::Wanted,
    },
};

impl Maker<'_> {
    /// Anything but a directory.
    pub fn leaf(&mut self, root: &Arc<Dir>, mut wanted: Wanted) -> Result<(), Fault> {
        while let Ok(differing) = self.checks.1.try_recv() {
            self.again(differing)?;
        }
        self.tell_error(&|| wanted.path(), &wanted.meta);
        if wanted.is_lost() {
            return Ok(());
        }
        if let Some(first) = wanted.meta.link.and_then(|link| self.links.get(&link.id)).cloned() {
            return self.another_name(&first, wanted);
        }
        if !self.shared.untrusted.admits(&mut wanted.meta) {
            return Ok(());
        }
        let found = match decide(self.shared, &wanted, &mut self.reader) {
            Ok(found) => found,
            Err(error) => {
                self.shared.error(&wanted.path(), "", error);
                return Ok(());
            }
        };
        let (act, kept) = self.claim(&wanted, found)?;
        let link = wanted.meta.link.map(|link| {
            let first = Link::new(root, &wanted.dir, &wanted.name, kept);
            self.links.insert(link.id, Arc::clone(&first));
            first
        });
        if !self.goes(&|| wanted.path(), act, &wanted.meta)? {
            self.shared.done_file(act, wanted.meta.size);
            return Ok(());
        }
        self.lose(act, found.stat, &wanted.meta);
        if act.makes() { self.make(wanted, act, link) } else { self.keep(wanted, act, link) }
    }

    /// Of a file with several names, which file it is if it stays. It is made anew if it is there for another one of the
    /// backup, or if its bytes differ: the names behind it rely on it.
    fn claim(&mut self, wanted: &Wanted, found: Found) -> Result<(Act, Option<FileId>), Fault> {
        let (Some(_), Some(stat), false) = (wanted.meta.link, found.stat, found.act.makes()) else {
            return Ok((found.act, None));
        };
        let is_kept = self.kept.insert(stat.id()) || self.shared.overwrite == Overwrite::Never;
        if is_kept && wanted.meta.file_type == FileType::File && self.is_verifying() {
            let mut check = self.check(wanted.clone(), self.checks.0.clone());
            match check.compare(self.shared, &mut Vec::new()) {
                Ok(()) => {}
                Err(Trouble::File(_)) => return Ok((Act::Replace, None)),
                Err(Trouble::Server(fault)) => check.tell(self.shared, fault),
            }
        }
        Ok(if is_kept { (found.act, Some(stat.id())) } else { (Act::Replace, None) })
    }

    fn another_name(&mut self, first: &Link, wanted: Wanted) -> Result<(), Fault> {
        let act = match decide_link(self.shared, &wanted, first.kept) {
            Ok(act) => act,
            Err(error) => {
                self.shared.error(&wanted.path(), "", error);
                return Ok(());
            }
        };
        if self.goes(&|| wanted.path(), act, &wanted.meta)? {
            first.add(self.shared, Another { dir: wanted.dir, name: wanted.name, act });
        } else {
            self.shared.done_file(act, 0);
        }
        Ok(())
    }

    fn make(&mut self, mut wanted: Wanted, act: Act, link: Option<Arc<Link>>) -> Result<(), Fault> {
        self.fetch_xattrs(&mut wanted.meta, act, &|| wanted.dir.path_of(&wanted.name))?;
        if wanted.meta.file_type == FileType::File {
            let (source, size) = (Source::of(self.handle, self.connection, &wanted.meta.content), wanted.meta.size);
            return self.queue.fetch(File::new(self.shared, wanted, act, link), size, source);
        }
        let made = special::make(self.shared, &wanted);
        match made {
            Ok(()) => self.shared.done_file(act, 0),
            Err(error) => self.shared.error(&wanted.path(), "", error),
        }
        if let Some(link) = link {
            link.finish(self.shared, made.is_ok());
        }
        Ok(())
    }

    fn keep(&mut self, mut wanted: Wanted, act: Act, link: Option<Arc<Link>>) -> Result<(), Fault> {
        if let Act::Metadata(unlike) = act {
            self.fetch_xattrs(&mut wanted.meta, act, &|| wanted.dir.path_of(&wanted.name))?;
            let path = || wanted.path();
            match wanted.dir.fd() {
                Ok(fd) => metadata::apply(self.shared, At::Name(fd.as_fd(), &wanted.name), &wanted.meta, unlike, &path),
                Err(error) => self.shared.error(&path(), "", error),
            }
        }
        // Of a file with several names the bytes were compared before it was kept.
        let is_unknown = link.is_none() && wanted.meta.file_type == FileType::File && self.is_verifying();
        if let Some(link) = link {
            link.finish(self.shared, true);
        }
        if is_unknown {
            let check = self.check(wanted, self.checks.0.clone());
            return self.queue.check(Box::new(check));
        }
        self.shared.done_file(act, wanted.meta.size);
        Ok(())
    }

    fn check(&self, wanted: Wanted, differing: Sender<Differing>) -> Check {
        let source = Source::of(self.handle, self.connection, &wanted.meta.content);
        Check { wanted, source, differing }
    }

    /// Restores what a worker found to differ.
    pub(super) fn again(&mut self, Differing { wanted, what }: Differing) -> Result<(), Fault> {
        if self.differs(&wanted.path(), &what) {
            self.make(wanted, Act::Replace, None)?;
        }
        Ok(())
    }
}
