//! The plan: goes through the tree, picks what is chosen, and finds the directory where each entry comes to lie.

use std::sync::Arc;

use crossbeam_channel::Sender;
use datadb::{Fault, FileType, Meta, ObjectKey};
use tokio::runtime::Handle;

use super::{
    Each, Request,
    choice::{Choice, Pick},
    dir::Dir,
    make::Maker,
    merge::{self, Meeting, Merge},
    queue::Queue,
    shared::{Pass, Shared},
    wanted::Wanted,
    work::Job,
};
use crate::connection::Connection;
use crate::fetch::tree::{self, Look, Tree};

/// Where what lies in a directory of the backup comes to lie.
#[derive(Debug)]
enum Ground {
    /// In the target itself: there are no more names than are stripped.
    Target,
    /// There.
    Made(Arc<Dir>),
    /// In a directory that is made when something in it is restored.
    Later(Box<Meta>),
    /// Nowhere: the directory could not be made, which was told.
    Lost,
}

/// A directory on the way from the root to the present place.
#[derive(Debug)]
struct Level {
    ground: Ground,
    pick: Pick,
    /// Length of its path.
    path_len: usize,
}

struct Planner<'a> {
    request: &'a Request,
    shared: &'a Arc<Shared>,
    choice: Choice,
    maker: Maker<'a>,
    merge: Option<Merge>,
    target: Option<Arc<Dir>>,
    levels: Vec<Level>,
    /// Of the present entry, below the root.
    path: Vec<u8>,
    planned: Planned,
}

/// What a plan came to.
#[derive(Debug, Default)]
pub struct Planned {
    /// Entries that were chosen.
    pub chosen: u64,
    /// Entries that were chosen and left out, because nothing of their paths was left. Directories don't count.
    pub stripped: u64,
    /// Includes that matched nothing.
    pub unmatched: Vec<String>,
}

/// Plans the whole restore; the workers may still be busy when it returns.
pub fn plan<'a>(
    server: (&'a Handle, &'a Connection),
    request: &'a Request,
    shared: &'a Arc<Shared>,
    jobs: Sender<Job>,
    each: &'a mut Each<'a>,
) -> Result<Planned, Fault> {
    let maker = Maker::new(server, shared, Queue::new(shared, jobs), each);
    let mut planner = Planner::new(server, request, shared, maker)?;
    let planned = planner.run(server);
    if let Err(fault) = &planned {
        // Before the planner drops the files that wait: what they lack then is no news of theirs.
        shared.fail(fault.clone());
    }
    planned.map(|()| planner.planned)
}

impl<'a> Planner<'a> {
    fn new(
        (handle, connection): (&Handle, &Connection),
        request: &'a Request,
        shared: &'a Arc<Shared>,
        maker: Maker<'a>,
    ) -> Result<Self, Fault> {
        let choice = Choice::new(&request.options)?;
        let merge = merge::is_needed(handle, connection, request)?.then(Merge::default);
        let levels = vec![Level { ground: Ground::Target, pick: choice.root(), path_len: 0 }];
        let (path, planned) = (Vec::new(), Planned::default());
        Ok(Self { request, shared, choice, maker, merge, target: None, levels, path, planned })
    }

    fn run(&mut self, (handle, connection): (&Handle, &Connection)) -> Result<(), Fault> {
        if self.request.meta.file_type != FileType::Dir {
            self.entry(0, &self.request.name, self.request.meta.clone())?;
        } else if self.request.options.is_all() {
            self.target()?;
        }
        if let Some(set) = tree::set_of(&self.request.meta) {
            let look = self.choice.look(b"", self.choice.root());
            let mut tree = Tree::new(handle, connection, set, look);
            while let Some((depth, meta)) = tree.next()? {
                let name = meta.name_bytes().to_vec();
                if let Some((set, look)) = self.entry(depth, &name, meta)? {
                    tree.enter(set, look)?;
                }
                if self.shared.is_over() {
                    break;
                }
            }
        }
        // Directories that are left now get their metadata while the rest is fetched.
        self.levels.clear();
        self.maker.finish()?;
        self.planned.unmatched = self.choice.unmatched().map(ToOwned::to_owned).collect();
        Ok(())
    }

    /// Deals with one entry; gives the set of a directory that is to be looked into.
    fn entry(&mut self, depth: usize, name: &[u8], meta: Meta) -> Result<Option<(ObjectKey, Look)>, Fault> {
        self.levels.truncate(depth + 1);
        let Level { pick: parent, path_len, .. } = self.levels[depth];
        self.path.truncate(path_len);
        self.path.push(b'/');
        self.path.extend_from_slice(name);
        let is_dir = meta.file_type == FileType::Dir;
        let pick = self.choice.pick(&self.path, is_dir, parent);
        if pick == Pick::Out {
            return Ok(None);
        }
        let set = tree::set_of(&meta);
        let ground = if !is_dir {
            self.leaf(depth, name, meta)?;
            return Ok(None);
        } else if depth < self.choice.strip {
            Ground::Target
        } else if pick == Pick::Above {
            Ground::Later(Box::new(meta))
        } else {
            self.planned.chosen += 1;
            match self.dir(depth)? {
                Some(dir) => self.directory(&dir, name, meta, true)?,
                None => Ground::Lost,
            }
        };
        let (Some(set), false) = (set, matches!(ground, Ground::Lost)) else { return Ok(None) };
        self.levels.push(Level { ground, pick, path_len: self.path.len() });
        Ok(Some((set, self.choice.look(&self.path, pick))))
    }

    fn leaf(&mut self, depth: usize, name: &[u8], meta: Meta) -> Result<(), Fault> {
        if depth < self.choice.strip {
            self.planned.stripped += 1;
            return Ok(());
        }
        self.planned.chosen += 1;
        let Some(dir) = self.dir(depth)? else { return Ok(()) };
        if self.meet(&dir, name, meta.file_type)? == Meeting::Collides {
            return Ok(());
        }
        let target = self.target()?;
        self.maker.leaf(&target, Wanted { dir, name: name.to_vec(), meta })
    }

    /// The target; made now if it is needed for the first time.
    fn target(&mut self) -> Result<Arc<Dir>, Fault> {
        if let Some(target) = &self.target {
            return Ok(Arc::clone(target));
        }
        let Request { meta, target, .. } = self.request;
        let has_meta = meta.file_type == FileType::Dir && self.choice.strip == 0;
        let target = self.maker.target(target, has_meta.then_some(meta), self.choice.root() == Pick::In)?;
        self.target = Some(Arc::clone(&target));
        Ok(target)
    }

    /// The directory in which entries of this depth come to lie; made now, with those above it, if it is needed for the
    /// first time.
    fn dir(&mut self, depth: usize) -> Result<Option<Arc<Dir>>, Fault> {
        let mut at = depth;
        while matches!(self.levels[at].ground, Ground::Later(_)) {
            at -= 1;
        }
        let mut dir = match &self.levels[at].ground {
            Ground::Target => self.target()?,
            Ground::Made(dir) => Arc::clone(dir),
            Ground::Later(_) | Ground::Lost => return Ok(None),
        };
        for level in at + 1..=depth {
            let Ground::Later(meta) = std::mem::replace(&mut self.levels[level].ground, Ground::Lost) else { break };
            let name = meta.name_bytes().to_vec();
            self.levels[level].ground = self.directory(&dir, &name, *meta, false)?;
            let Ground::Made(made) = &self.levels[level].ground else { return Ok(None) };
            dir = Arc::clone(made);
        }
        Ok(Some(dir))
    }

    fn directory(&mut self, dir: &Arc<Dir>, name: &[u8], meta: Meta, is_chosen: bool) -> Result<Ground, Fault> {
        let wanted = Wanted { dir: Arc::clone(dir), name: name.to_vec(), meta };
        let made = match self.meet(dir, name, FileType::Dir)? {
            Meeting::Collides => return Ok(Ground::Lost),
            // Which metadata a directory of several has can't be told once more.
            Meeting::First if self.merge.is_some() && self.is_verifying() => self.maker.directory(wanted, false)?,
            Meeting::First => self.maker.directory(wanted, is_chosen)?,
            Meeting::Joins => {
                let live = self.merge.as_ref().and_then(|merge| merge.live(&wanted.path()));
                self.maker.join(wanted, live)?
            }
        };
        if let (Some(merge), Some(made)) = (&mut self.merge, &made) {
            merge.opened(dir.path_of(name), made);
        }
        Ok(made.map_or(Ground::Lost, Ground::Made))
    }

    fn is_verifying(&self) -> bool {
        matches!(self.shared.pass, Pass::Verify { .. })
    }

    /// Whether something else has come to lie at the place of an entry before.
    fn meet(&mut self, dir: &Dir, name: &[u8], file_type: FileType) -> Result<Meeting, Fault> {
        let Some(merge) = &mut self.merge else { return Ok(Meeting::First) };
        let path = dir.path_of(name);
        let meeting = merge.take(&path, file_type)?;
        // What is read back was told of when it was restored.
        if meeting == Meeting::Collides && !self.is_verifying() {
            let from = crate::report::escape(&self.path);
            self.shared.trouble(&path, &format!("{from} comes to lie here too, by --strip, and is left out"));
        }
        Ok(meeting)
    }
}
