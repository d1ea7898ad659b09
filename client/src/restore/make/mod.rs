//! One entry after the other: what is to be done is told, or done, or only compared, as the pass wants it. `dirs` does so
//! with directories, `leaves` with everything else.

mod dirs;
mod leaves;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use datadb::{Fault, Meta};
use rustix::io::Errno;
use tokio::runtime::Handle;

use super::{
    Each,
    check::Differing,
    decide::Act,
    links::Link,
    metadata::Unlike,
    queue::Queue,
    shared::{Overwrite, Pass, Shared},
};
use crate::{
    connection::Connection,
    fetch::content,
    fs::xattrs::Reader,
    fs::{FileId, Stat},
    report::{count, escape},
};

/// Tells a path below the target, if it is asked for; that of the target is `.`.
type Path<'a> = &'a dyn Fn() -> Vec<u8>;

/// Whoever makes what the plan says.
pub struct Maker<'a> {
    handle: &'a Handle,
    connection: &'a Connection,
    shared: &'a Arc<Shared>,
    each: &'a mut Each<'a>,
    queue: Queue<'a>,
    links: HashMap<[u8; 16], Arc<Link>>,
    /// Files with several names that are kept: no two of the backup may be one.
    kept: HashSet<FileId>,
    reader: Reader,
    checks: (Sender<Differing>, Receiver<Differing>),
}

impl<'a> Maker<'a> {
    /// One that has made nothing.
    pub fn new(
        (handle, connection): (&'a Handle, &'a Connection),
        shared: &'a Arc<Shared>,
        queue: Queue<'a>,
        each: &'a mut Each<'a>,
    ) -> Self {
        let (links, kept, reader) = (HashMap::new(), HashSet::new(), Reader::default());
        Self { handle, connection, shared, each, queue, links, kept, reader, checks: unbounded() }
    }

    /// Hands everything to the workers; waits for what they compare.
    pub fn finish(&mut self) -> Result<(), Fault> {
        self.queue.flush()?;
        let (nobody, _) = unbounded();
        // From now on only the checks under way can send.
        drop(std::mem::replace(&mut self.checks.0, nobody));
        while let Ok(differing) = self.checks.1.recv() {
            self.again(differing)?;
            self.queue.flush()?;
        }
        Ok(())
    }

    fn is_verifying(&self) -> bool {
        matches!(self.shared.pass, Pass::Verify { .. })
    }

    /// Whether to do it: in a rehearsal it is only told; when the target is read back it is told first.
    fn goes(&mut self, path: Path<'_>, act: Act, meta: &Meta) -> Result<bool, Fault> {
        match (self.shared.pass, act) {
            (Pass::Restore, _) | (Pass::Verify { .. }, Act::Leave) => Ok(true),
            (Pass::Rehearse, Act::Leave) => Ok(false),
            (Pass::Rehearse, _) => {
                let path = path();
                let below = if path == b"." { &b""[..] } else { &path };
                (self.each)(&[b"/", below].concat(), act, meta)?;
                Ok(false)
            }
            (Pass::Verify { .. }, act) => Ok(self.differs(&path(), &words(act))),
        }
    }

    /// Tells what is not as in the backup; whether it is to be restored again.
    fn differs(&self, path: &[u8], what: &str) -> bool {
        if self.shared.failed.contains(path) {
            return false;
        }
        let repairs = self.shared.pass == Pass::Verify { repairs: true };
        if repairs {
            count(&self.shared.differing, 1);
            self.shared.report.line(&format!("{}: read back, {what}: restored again", escape(path)));
        } else {
            self.shared.trouble(path, &format!("read back, {what}"));
        }
        repairs
    }

    fn told<T>(&self, path: Path<'_>, error: Errno) -> Option<T> {
        self.shared.error(&path(), "", error);
        None
    }

    fn tell_error(&self, path: Path<'_>, meta: &Meta) {
        if let (Some(error), false) = (&meta.error, self.is_verifying()) {
            let error = escape(error.as_bytes());
            self.shared.trouble(&path(), &format!("could not be read when it was backed up: {error}"));
        }
    }

    /// Counts what is not tried, for want of permission, on something that stays.
    fn lose(&self, act: Act, stat: Option<Stat>, meta: &Meta) {
        let unlike = match act {
            Act::Metadata(unlike) => unlike,
            Act::Leave => Unlike::default(),
            Act::Create | Act::Replace => return,
        };
        if self.shared.pass != Pass::Restore || self.shared.overwrite == Overwrite::Never {
            return;
        }
        let rights = &self.shared.rights;
        let is_lost = |stat: Stat| rights.sets_owner() && !rights.is_owner((stat.uid, stat.gid), meta);
        if !unlike.owner && stat.is_some_and(is_lost) {
            count(&self.shared.owners_lost, 1);
        }
        if !unlike.xattrs && !unlike.owner {
            let lost = meta.xattrs.iter().filter(|xattr| !rights.sets_xattr(&xattr.name)).count();
            count(&self.shared.xattrs_lost, lost as u64);
        }
    }

    /// Values of attributes that are long, if they will be set.
    fn fetch_xattrs(&self, meta: &mut Meta, act: Act, path: Path<'_>) -> Result<(), Fault> {
        let is_needed = match act {
            Act::Create | Act::Replace => true,
            Act::Metadata(unlike) => unlike.xattrs || unlike.owner,
            Act::Leave => false,
        };
        if !is_needed {
            return Ok(());
        }
        content::fetch_xattrs(self.connection, meta, &mut |what| self.shared.trouble(&path(), what))
    }
}

fn words(act: Act) -> String {
    match act {
        Act::Create => "it is not there".to_owned(),
        Act::Replace => "it is not the same".to_owned(),
        Act::Metadata(unlike) => {
            let fields: Vec<&str> = unlike.fields().iter().map(|field| field.word()).collect();
            format!("its metadata differ ({})", fields.join(", "))
        }
        Act::Leave => "it is the same".to_owned(),
    }
}
