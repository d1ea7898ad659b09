//! Walks through trees: whoever lists a directory after the one that holds it will list those that follow, too, so those
//! are asked for together and ahead, more the further the walk goes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use datadb::{Fault, ObjectKey, TreePath};
use tokio::sync::Notify;

use super::{
    dirs::{DIR_ENTRIES_MAX, Dir, Dirs},
    patient::Patient,
};
use crate::entry::Entry;

/// Entries that the first question of a walk asks for, and that the later ones do: twice as many each time.
const AHEAD_MIN: u32 = 512;
const AHEAD_MAX: u32 = 8192;

/// Walks that are remembered at the same time.
const WALKS_MAX: usize = 8;

/// A directory as a walk comes to it: the set of the tree's top, and the path below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The set of the top.
    pub top: ObjectKey,
    /// The path below it.
    pub path: TreePath,
    /// The directory's own set.
    pub set: ObjectKey,
}

#[derive(Debug)]
struct State {
    /// Where the next question begins; `None` where the tree has ended.
    next: Option<TreePath>,
    ahead: u32,
    is_asking: bool,
    /// Where the walk was seen last.
    seen: TreePath,
    /// Entries that came, and up to which of them the walk has come.
    came: u64,
    used: u64,
    /// Up to which entry each directory goes.
    ends: HashMap<ObjectKey, u64>,
    /// The directory that came last.
    last: Option<ObjectKey>,
}

#[derive(Debug)]
struct Walk {
    top: ObjectKey,
    state: Mutex<State>,
    changed: Notify,
}

/// All walks, the one that was seen last at the end.
#[derive(Debug, Default)]
pub struct Walks(Mutex<Vec<Arc<Walk>>>);

/// Whether one directory is told before another: by the names on the way to them.
fn is_before(one: &TreePath, other: &TreePath) -> bool {
    one.components().lt(other.components())
}

impl Walk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody came to a place; gives whether to ask for more.
    fn seen(&self, place: &Place) -> bool {
        let mut state = self.lock();
        state.seen = place.path.clone();
        if let Some(end) = state.ends.remove(&place.set) {
            state.used = state.used.max(end);
        }
        let is_low = state.came - state.used < u64::from(state.ahead) / 2;
        let is_wanted = is_low && !state.is_asking && state.next.is_some();
        state.is_asking |= is_wanted;
        is_wanted
    }

    /// Asks for the next directories.
    async fn ask(&self, dirs: &Dirs, server: &Patient) {
        let (from, ahead) = {
            let mut state = self.lock();
            let used = state.used;
            state.ends.retain(|_, end| *end > used);
            let ahead = state.ahead;
            state.ahead = (ahead * 2).min(AHEAD_MAX);
            (state.next.take(), ahead)
        };
        let next = match from {
            // Whoever waits asks for the directory alone, and hears what is wrong.
            Some(from) => self.take(dirs, server, &from, ahead).await.unwrap_or_default(),
            None => None,
        };
        let mut state = self.lock();
        (state.next, state.is_asking) = (next, false);
        drop(state);
        self.changed.notify_waiters();
    }

    async fn take(
        &self,
        dirs: &Dirs,
        server: &Patient,
        from: &TreePath,
        ahead: u32,
    ) -> Result<Option<TreePath>, Fault> {
        let top = &self.top;
        let mut tree =
            server.ask_once(|connection| async move { connection.list_tree(top, from, ahead).await }).await?;
        let mut open = Vec::new();
        while let Some(parts) = server.within(tree.page()).await? {
            for part in parts {
                open.extend(part.entries.into_iter().filter_map(|(mut meta, holes)| {
                    let name = meta.name.take()?;
                    Some((name, Arc::new(Entry::new(meta, holes))))
                }));
                if part.is_last {
                    self.came(dirs, part.set, Dir::new(std::mem::take(&mut open)));
                } else if open.len() >= DIR_ENTRIES_MAX {
                    open.clear();
                }
            }
        }
        Ok(tree.next().cloned())
    }

    fn came(&self, dirs: &Dirs, set: ObjectKey, dir: Dir) {
        let mut state = self.lock();
        state.came += dir.entries().len() as u64 + 1;
        let end = state.came;
        state.ends.insert(set, end);
        let before = state.last.replace(set);
        drop(state);
        dirs.put(set, Arc::new(dir));
        if let Some(before) = before {
            dirs.follows(&before, set);
        }
        self.changed.notify_waiters();
    }
}

impl Walks {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Walk>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The walk that comes to a place, or has just been there.
    fn find(&self, place: &Place) -> Option<Arc<Walk>> {
        let mut walks = self.lock();
        let is_on_the_way = |walk: &Arc<Walk>| walk.top == place.top && !is_before(&place.path, &walk.lock().seen);
        let at = walks.iter().rposition(is_on_the_way)?;
        let walk = walks.remove(at);
        walks.push(walk.clone());
        Some(walk)
    }

    fn begin(&self, place: &Place) -> Arc<Walk> {
        let state = State {
            next: Some(place.path.clone()),
            ahead: AHEAD_MIN,
            is_asking: true,
            seen: place.path.clone(),
            came: 0,
            used: 0,
            ends: HashMap::new(),
            last: None,
        };
        let walk = Arc::new(Walk { top: place.top, state: Mutex::new(state), changed: Notify::new() });
        let mut walks = self.lock();
        if walks.len() >= WALKS_MAX {
            walks.remove(0);
        }
        walks.push(walk.clone());
        walk
    }
}

/// Somebody lists a directory that a walk may have come to. Returns when it is in memory, or when it will not get there
/// by itself; `begins` if a walk should begin with it.
pub async fn come_to(dirs: &Arc<Dirs>, server: &Patient, place: &Place, begins: bool) {
    if let Some(walk) = dirs.walks.find(place) {
        if walk.seen(place) {
            spawn(dirs, server, &walk);
        }
        wait(dirs, server, place, &walk).await;
    }
    if begins && dirs.get(&place.set).is_none() {
        let walk = dirs.walks.begin(place);
        spawn(dirs, server, &walk);
        wait(dirs, server, place, &walk).await;
    }
}

/// Waits until a directory came, or until nothing more comes by itself.
async fn wait(dirs: &Arc<Dirs>, server: &Patient, place: &Place, walk: &Arc<Walk>) {
    loop {
        let mut changed = std::pin::pin!(walk.changed.notified());
        changed.as_mut().enable();
        if dirs.get(&place.set).is_some() || !walk.lock().is_asking {
            break;
        }
        changed.await;
    }
    // What just came is used: perhaps it is time to ask for more.
    if walk.seen(place) {
        spawn(dirs, server, walk);
    }
}

fn spawn(dirs: &Arc<Dirs>, server: &Patient, walk: &Arc<Walk>) {
    let (dirs, server, walk) = (dirs.clone(), server.clone(), walk.clone());
    drop(tokio::spawn(async move { walk.ask(&dirs, &server).await }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_directory_is_told_before_those_inside_it_and_those_behind_it() {
        let order = ["/", "/a", "/a/a", "/a/b", "/a.b", "/b"].map(path);
        for pair in order.windows(2) {
            assert!(is_before(&pair[0], &pair[1]) && !is_before(&pair[1], &pair[0]), "{pair:?}");
        }
        assert!(!is_before(&order[2], &order[2]));
    }

    #[test]
    fn a_walk_is_found_by_who_goes_on_and_not_by_who_goes_back() {
        let walks = Walks::default();
        let place =
            |top: u8, at: &str| Place { top: ObjectKey::new([top; 20]), path: path(at), set: ObjectKey::new([9; 20]) };
        walks.begin(&place(1, "/b"));
        assert!(walks.find(&place(1, "/c/d")).is_some() && walks.find(&place(1, "/b")).is_some());
        assert!(walks.find(&place(1, "/a")).is_none() && walks.find(&place(2, "/c")).is_none());
        for number in 0..20 {
            walks.begin(&place(3, &format!("/{number:02}")));
        }
        assert_eq!(walks.lock().len(), WALKS_MAX);
    }
}
