//! A disk whose power can be cut: it keeps apart what is durable from what was only written.
//!
//! Everything lies in memory. At a chosen operation the power goes: from then on every call fails. `after_the_cut` gives
//! the disk as the next start finds it: what was synced, and of the rest whatever chance kept, in any order, whole or torn.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::store::disk::{DirIdentity, Disk, DiskFile};

/// A sector: the unit in which a write is torn.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Truncate { len: u64 },
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes: new } => {
                let start = *offset as usize;
                let end = start + new.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(new);
            }
            Self::Truncate { len } => bytes.resize(*len as usize, 0),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last sync.
    changes: Vec<Change>,
    /// Whether the directory entry is durable.
    is_entry_durable: bool,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, Content>,
    operations: u64,
    power_fails_at: Option<u64>,
    /// The file or directory at whose operation the power went.
    cut_at: Option<PathBuf>,
    syncs: u64,
    sync_fails_at: Option<u64>,
    /// How the next reads fail, and how many of them.
    reads_fail: Option<(i32, u64)>,
    free_bytes: Option<u64>,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct CutDisk {
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for CutDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CutDisk")
    }
}

/// Numbers from a seed, the same ones every time.
#[derive(Debug)]
pub struct Chance(blake3::OutputReader);

impl Chance {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end.max(1)
    }
}

impl CutDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations that changed something, or made it durable, so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The power fails at this operation, counted from the beginning.
    pub fn cut_power_at(&self, operation: u64) {
        self.state().power_fails_at = Some(operation);
    }

    /// Where the power went: the file or directory whose operation was the first to fail.
    pub fn cut_at(&self) -> Option<PathBuf> {
        self.state().cut_at.clone()
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// This sync of a file fails, counted from the beginning, and no other.
    pub fn fail_sync_at(&self, sync: u64) {
        self.state().sync_fails_at = Some(sync);
    }

    /// The next sync of a file fails, once.
    pub fn fail_next_sync(&self) {
        let mut state = self.state();
        state.sync_fails_at = Some(state.syncs);
    }

    /// The next times that a file is opened or read, it fails with this error of the system.
    pub fn fail_reads(&self, errno: i32, times: u64) {
        self.state().reads_fail = (times > 0).then_some((errno, times));
    }

    /// Tells callers that so many bytes are free.
    pub fn set_free_bytes(&self, bytes: Option<u64>) {
        self.state().free_bytes = bytes;
    }

    /// The bytes of a file, as they are now.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        Some(self.state().files.get(path)?.live.clone())
    }

    /// Replaces a file durably, or removes it: damage.
    pub fn replace(&self, path: &Path, bytes: Option<Vec<u8>>) {
        let mut state = self.state();
        match bytes {
            Some(bytes) => {
                let content =
                    Content { live: bytes.clone(), durable: bytes, changes: Vec::new(), is_entry_durable: true };
                state.files.insert(path.to_owned(), content);
            }
            None => drop(state.files.remove(path)),
        }
    }

    /// All files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().files.keys().cloned().collect()
    }

    /// The disk as the next start finds it. The seed decides what of the unsynced survives.
    pub fn after_the_cut(&self, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let state = self.state();
        let mut files = BTreeMap::new();
        for (path, content) in &state.files {
            if !content.is_entry_durable && chance.below(2) == 0 {
                continue;
            }
            let mut bytes = content.durable.clone();
            for change in survivors(&content.changes, &mut chance) {
                change.apply(&mut bytes);
            }
            let content = Content { live: bytes.clone(), durable: bytes, changes: Vec::new(), is_entry_durable: true };
            files.insert(path.clone(), content);
        }
        let state = State { files, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }
}

/// What of the unsynced changes reaches the medium: nothing, all, or each sector by chance.
fn survivors(changes: &[Change], chance: &mut Chance) -> Vec<Change> {
    let mood = chance.below(4);
    let mut kept = Vec::new();
    for change in changes {
        match (mood, change) {
            (0, _) => {}
            (1, change) => kept.push(change.clone()),
            (_, Change::Truncate { .. }) => {
                if chance.below(2) == 0 {
                    kept.push(change.clone());
                }
            }
            (_, Change::Write { offset, bytes }) => {
                for (at, sector) in bytes.chunks(SECTOR).enumerate() {
                    if chance.below(3) != 0 {
                        let offset = offset + (at * SECTOR) as u64;
                        kept.push(Change::Write { offset, bytes: sector.to_vec() });
                    }
                }
            }
        }
    }
    kept
}

fn no_power() -> io::Error {
    io::Error::other("the power is gone")
}

impl State {
    /// Counts an operation on a file or directory; fails if the power is gone.
    fn step(&mut self, path: &Path) -> io::Result<()> {
        if self.power_fails_at.is_some_and(|at| self.operations >= at) {
            self.cut_at.get_or_insert_with(|| path.to_owned());
            return Err(no_power());
        }
        self.operations += 1;
        Ok(())
    }

    /// Fails if a read is to fail.
    fn read_step(&mut self) -> io::Result<()> {
        let Some((errno, times)) = &mut self.reads_fail else { return Ok(()) };
        let errno = *errno;
        match times.checked_sub(1) {
            Some(0) | None => self.reads_fail = None,
            Some(left) => *times = left,
        }
        Err(io::Error::from_raw_os_error(errno))
    }

    fn file(&mut self, path: &Path) -> io::Result<&mut Content> {
        self.files.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[derive(Debug)]
struct CutFile {
    disk: CutDisk,
    path: PathBuf,
}

impl DiskFile for CutFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.read_step()?;
        let live = &state.file(&self.path)?.live;
        let start = (offset as usize).min(live.len());
        let read = buf.len().min(live.len() - start);
        buf[..read].copy_from_slice(&live[start..start + read]);
        Ok(read)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step(&self.path)?;
        let content = state.file(&self.path)?;
        let change = Change::Write { offset, bytes: buf.to_vec() };
        change.apply(&mut content.live);
        content.changes.push(change);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step(&self.path)?;
        state.syncs += 1;
        if state.sync_fails_at == Some(state.syncs - 1) {
            return Err(io::Error::other("the medium failed"));
        }
        let content = state.file(&self.path)?;
        content.durable = content.live.clone();
        content.changes.clear();
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state().file(&self.path)?.live.len() as u64)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step(&self.path)?;
        let content = state.file(&self.path)?;
        let change = Change::Truncate { len };
        change.apply(&mut content.live);
        content.changes.push(change);
        Ok(())
    }
}

impl Disk for CutDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.step(path)?;
        if state.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.insert(path.to_owned(), Content::default());
        Ok(Arc::new(CutFile { disk: self.clone(), path: path.to_owned() }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.read_step()?;
        state.file(path)?;
        Ok(Arc::new(CutFile { disk: self.clone(), path: path.to_owned() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        let state = self.state();
        let inside = state.files.iter().filter(|(path, _)| path.parent() == Some(dir));
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(inside.map(|(path, content)| (name(path), content.live.len() as u64)).collect())
    }

    fn identity(&self, _: &Path) -> io::Result<Option<DirIdentity>> {
        Ok(Some(DirIdentity { device: 0, inode: 0, is_mount_point: false }))
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(dir)?;
        for (path, content) in &mut state.files {
            if path.parent() == Some(dir) {
                content.is_entry_durable = true;
            }
        }
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> Option<u64> {
        self.state().free_bytes
    }
}
