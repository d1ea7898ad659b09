//! Directories: they are made, or found, when something comes to lie in them; their metadata follow in the end.

use std::{path, sync::Arc};

use datadb::{Fault, FileType, Kind, Meta};
use rustix::{fd::AsFd, io::Errno};

use super::Maker;
use crate::fs::at::At;
use crate::restore::{
    decide::{Act, Found, decide, metadata_only},
    dir::Dir,
    shared::{Overwrite, Pass},
    wanted::Wanted,
};

impl Maker<'_> {
    /// The target; with the metadata of a directory of the backup, unless only what lies below it is wanted.
    pub fn target(&mut self, path: &path::Path, meta: Option<&Meta>, is_chosen: bool) -> Result<Arc<Dir>, Fault> {
        let fault = |error| target_fault(path, &error);
        let is_imagined = self.shared.pass == Pass::Rehearse && !path.try_exists().map_err(fault)?;
        let root = if is_imagined {
            Dir::imagined(None, b"", self.shared)
        } else {
            Dir::target(path, self.shared).map_err(fault)?
        };
        let Some(mut meta) = meta.filter(|_| root.is_new || is_chosen).cloned() else { return Ok(root) };
        let below = || b".".to_vec();
        self.tell_error(&below, &meta);
        self.shared.untrusted.admits(&mut meta);
        let act = self.decide_target(&root, &meta).map_err(|error| fault(error.into()))?;
        if self.goes(&below, act, &meta)? {
            self.fetch_xattrs(&mut meta, act, &below)?;
            self.set_meta(&root, meta, act);
        }
        self.shared.done(act);
        Ok(root)
    }

    fn decide_target(&mut self, root: &Dir, meta: &Meta) -> Result<Act, Errno> {
        if root.is_new {
            return Ok(Act::Create);
        }
        if self.shared.overwrite == Overwrite::Never {
            return Ok(Act::Leave);
        }
        let fd = root.fd()?;
        let at = At::Open(fd.as_fd());
        Ok(metadata_only(self.shared, at, &at.stat()?, meta, &mut self.reader))
    }

    /// What was there before stays as it is if nothing may be overwritten.
    fn set_meta(&self, dir: &Dir, meta: Meta, act: Act) {
        if dir.is_new || self.shared.overwrite != Overwrite::Never {
            dir.set_meta(meta, act != Act::Leave);
        }
    }

    /// A directory; one that is not chosen itself stays as it is if it is there. `None`: there is none now, which was
    /// told.
    pub fn directory(&mut self, mut wanted: Wanted, is_chosen: bool) -> Result<Option<Arc<Dir>>, Fault> {
        self.shared.untrusted.admits(&mut wanted.meta);
        let path = || wanted.dir.path_of(&wanted.name);
        let Found { act, stat } = match decide(self.shared, &wanted, &mut self.reader) {
            Ok(found) => found,
            Err(error) => return Ok(self.told(&path, error)),
        };
        let is_there = stat.is_some_and(|stat| stat.file_type == Some(FileType::Dir));
        if is_there && !is_chosen {
            return Ok(wanted.dir.present(&wanted.name).map_or_else(|error| self.told(&path, error), Some));
        }
        if act == Act::Leave && !is_there {
            self.shared.trouble(&path(), "is there and not a directory, and --overwrite never leaves it");
            return Ok(None);
        }
        self.tell_error(&path, &wanted.meta);
        self.lose(act, stat, &wanted.meta);
        let goes = self.goes(&path, act, &wanted.meta)?;
        if goes {
            self.fetch_xattrs(&mut wanted.meta, act, &path)?;
        }
        let Wanted { dir, name, meta } = &wanted;
        let found = match self.shared.pass {
            _ if is_there => dir.present(name),
            _ if goes => dir.child(name),
            Pass::Rehearse => Ok(Dir::imagined(Some(dir), name, self.shared)),
            // It is not there to be read back.
            Pass::Restore | Pass::Verify { .. } => return Ok(None),
        };
        Ok(match found {
            Ok(found) => {
                if goes {
                    self.set_meta(&found, meta.clone(), act);
                }
                self.shared.done(act);
                Some(found)
            }
            Err(error) => self.told(&path, error),
        })
    }

    /// A directory that was made before, and now gets more content, and the metadata of where that comes from. It is
    /// `live` if somebody may still write into it.
    pub fn join(&mut self, wanted: Wanted, live: Option<Arc<Dir>>) -> Result<Option<Arc<Dir>>, Fault> {
        let Wanted { dir, name, mut meta } = wanted;
        self.shared.untrusted.admits(&mut meta);
        let path = || dir.path_of(&name);
        let imagined = || Dir::imagined(Some(&dir), &name, self.shared);
        let joined = match (live, self.shared.pass) {
            (Some(live), _) => Ok(live),
            (None, Pass::Restore) => dir.child(&name),
            (None, Pass::Rehearse) if dir.is_new => Ok(imagined()),
            (None, Pass::Rehearse) => match dir.present(&name) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(imagined()),
                found => found,
            },
            (None, Pass::Verify { .. }) => dir.present(&name),
        };
        let joined = match joined {
            Ok(joined) => joined,
            Err(error) => return Ok(self.told(&path, error)),
        };
        if self.shared.pass == Pass::Restore {
            self.fetch_xattrs(&mut meta, Act::Create, &path)?;
            self.set_meta(&joined, meta, Act::Create);
        }
        Ok(Some(joined))
    }
}

fn target_fault(path: &path::Path, error: &std::io::Error) -> Fault {
    let (kind, words) = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC) => (Kind::Full, crate::fs::words(Errno::NOSPC)),
        Some(Errno::EXIST | Errno::NOTDIR) => {
            (Kind::Invalid, "is there, and not a directory: name another --target".to_owned())
        }
        Some(error) => (Kind::Internal, crate::fs::words(error)),
        None => (Kind::Internal, error.to_string()),
    };
    Fault::new(kind, format!("{}: {words}", path.display()))
}
