//! The judge of invariant 7: walks two trees with code of its own and names every difference.
//!
//! Compared are names, types, bytes, sizes, modes, owners, mtimes to the nanosecond, symlink targets, device numbers,
//! groups of hard links, maps of holes (in steps of 4 KiB), allocated blocks, and all extended attributes, ACLs among
//! them. Not compared: access and change times, inode numbers, sizes of directories. Sockets of the first tree are
//! passed over, because they are never part of a backup.

use std::{
    collections::BTreeMap,
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom},
    io::Errno,
};

/// Holes are compared in steps of this many bytes, the page and block size of the file systems in question.
const HOLE_STEP: u64 = 4096;

/// How many bytes more than its source a restored file may take: metadata of extents, a tail that is rounded up.
const BLOCKS_SLACK_BYTES: u64 = 64 << 10;

/// One way in which two trees differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Below the roots; empty for the roots themselves.
    pub path: Vec<u8>,
    /// What differs, in one word: `bytes`, `mode`, `xattr user.x` …
    pub what: String,
    /// What the two sides have.
    pub sides: (String, String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut path = self.path.escape_ascii().to_string();
        if path.len() > 200 {
            path = format!("{}…({} bytes)", &path[..200], self.path.len());
        }
        write!(f, "/{path}: {} is {}, then {}", self.what, self.sides.0, self.sides.1)
    }
}

/// Every difference between two trees (or two files), in the order of their paths.
pub fn differences(first: &Path, second: &Path) -> Vec<Difference> {
    let mut a = Tree::read(first).unwrap_or_else(|error| panic!("{}: {error}", first.display()));
    let b = Tree::read(second).unwrap_or_else(|error| panic!("{}: {error}", second.display()));
    a.entries.retain(|_, entry| entry.file_type != FileType::Socket);
    let mut found = Vec::new();
    for (path, entry) in &a.entries {
        match b.entries.get(path) {
            Some(other) => entry.compare(other, &mut |what, x, y| {
                found.push(Difference { path: path.clone(), what, sides: (x, y) });
            }),
            None => found.push(presence(path, "there", "missing")),
        }
    }
    found
        .extend(b.entries.keys().filter(|path| !a.entries.contains_key(*path)).map(|p| presence(p, "absent", "there")));
    found
}

fn presence(path: &[u8], first: &str, second: &str) -> Difference {
    Difference { path: path.to_vec(), what: "presence".into(), sides: (first.into(), second.into()) }
}

/// Ends the test with the first differences unless the trees are equal; gives how many entries were compared.
#[track_caller]
pub fn assert_same(first: &Path, second: &Path) -> usize {
    let found = differences(first, second);
    let shown: Vec<String> = found.iter().take(40).map(ToString::to_string).collect();
    assert!(found.is_empty(), "{} differences, the first of them:\n{}", found.len(), shown.join("\n"));
    Tree::read(first).expect("the tree was just read").entries.len()
}

#[derive(Default)]
struct Tree {
    entries: BTreeMap<Vec<u8>, Entry>,
}

struct Entry {
    file_type: FileType,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    size: u64,
    allocated_bytes: u64,
    rdev: u64,
    inode: (u64, u64),
    target: Option<Vec<u8>>,
    digest: Option<blake3::Hash>,
    /// From and to, rounded outwards to `HOLE_STEP`.
    data: Vec<(u64, u64)>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path below the root that is the same file, if there is another than this.
    same_as: Option<Vec<u8>>,
}

impl Tree {
    fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.visit(CWD, root.as_os_str().as_encoded_bytes(), &mut Vec::new())?;
        let mut firsts: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::new();
        for (path, entry) in &mut tree.entries {
            if entry.file_type != FileType::Directory {
                let first = firsts.entry(entry.inode).or_insert_with(|| path.clone());
                entry.same_as = (first != path).then(|| first.clone());
            }
        }
        Ok(tree)
    }

    fn visit(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &mut Vec<u8>) -> io::Result<()> {
        let told = |error: Errno| io::Error::new(error.kind(), format!("{}: {error}", path.escape_ascii()));
        let entry = Entry::read(parent, name).map_err(told)?;
        let is_dir = entry.file_type == FileType::Directory;
        self.entries.insert(path.clone(), entry);
        if !is_dir {
            return Ok(());
        }
        let dir = open(parent, name, OFlags::DIRECTORY).map_err(told)?;
        for child in names(&dir).map_err(told)? {
            let len = path.len();
            if len > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&child);
            self.visit(dir.as_fd(), &child, path)?;
            path.truncate(len);
        }
        Ok(())
    }
}

impl Entry {
    fn read(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Self, Errno> {
        let stat = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let is_file = file_type == FileType::RegularFile;
        let file = if is_file { Some(open(parent, name, OFlags::empty())?) } else { None };
        let size = u64::try_from(stat.st_size).expect("sizes are not negative");
        let data = file.as_ref().map_or(Ok(Vec::new()), |file| data_map(file, size))?;
        Ok(Self {
            file_type,
            mode: stat.st_mode & 0o7777,
            owner: (stat.st_uid, stat.st_gid),
            mtime: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).expect("below a second")),
            size: if is_file { size } else { 0 },
            allocated_bytes: if is_file { stat.st_blocks as u64 * 512 } else { 0 },
            rdev: if matches!(file_type, FileType::CharacterDevice | FileType::BlockDevice) { stat.st_rdev } else { 0 },
            inode: (stat.st_dev, stat.st_ino),
            target: if file_type == FileType::Symlink {
                Some(fs::readlinkat(parent, name, Vec::new())?.into_bytes())
            } else {
                None
            },
            digest: file.as_ref().map(|file| hash(file, &data, size)).transpose()?,
            data,
            xattrs: xattrs(parent, name)?,
            same_as: None,
        })
    }

    fn compare(&self, other: &Self, report: &mut dyn FnMut(String, String, String)) {
        if self.file_type != other.file_type {
            return report("type".into(), format!("{:?}", self.file_type), format!("{:?}", other.file_type));
        }
        let mut differ = |what: &str, a: &dyn fmt::Debug, b: &dyn fmt::Debug, equal: bool| {
            if !equal {
                report(what.into(), format!("{a:?}"), format!("{b:?}"));
            }
        };
        let octal = |mode: u32| format!("{mode:04o}");
        differ("mode", &octal(self.mode), &octal(other.mode), self.mode == other.mode);
        differ("owner", &self.owner, &other.owner, self.owner == other.owner);
        differ("mtime", &self.mtime, &other.mtime, self.mtime == other.mtime);
        differ("size", &self.size, &other.size, self.size == other.size);
        differ("rdev", &self.rdev, &other.rdev, self.rdev == other.rdev);
        let shown = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| bytes.escape_ascii().to_string());
        differ("target", &shown(&self.target), &shown(&other.target), self.target == other.target);
        differ("bytes", &self.digest, &other.digest, self.digest == other.digest);
        differ("holes", &Runs(&self.data), &Runs(&other.data), self.data == other.data);
        let takes_more = other.allocated_bytes > self.allocated_bytes + BLOCKS_SLACK_BYTES;
        differ("allocated bytes", &self.allocated_bytes, &other.allocated_bytes, !takes_more);
        differ("hard link", &shown(&self.same_as), &shown(&other.same_as), self.same_as == other.same_as);
        let all: std::collections::BTreeSet<_> = self.xattrs.keys().chain(other.xattrs.keys()).collect();
        for name in all {
            let (a, b) = (self.xattrs.get(name), other.xattrs.get(name));
            let shown = |value: Option<&Vec<u8>>| value.map(|v| v[..v.len().min(64)].escape_ascii().to_string());
            differ(&format!("xattr {}", name.escape_ascii()), &shown(a), &shown(b), a == b);
        }
    }
}

/// Runs of data, the first few of them.
struct Runs<'a>(&'a [(u64, u64)]);

impl fmt::Debug for Runs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} runs of data {:?}", self.0.len(), &self.0[..self.0.len().min(6)])
    }
}

fn open(parent: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    fs::openat(parent, name, flags, Mode::empty())
}

fn names(dir: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Where a file holds data, as `SEEK_DATA` and `SEEK_HOLE` tell.
fn data_map(file: &OwnedFd, size: u64) -> Result<Vec<(u64, u64)>, Errno> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error),
        };
        let end = fs::seek(file, SeekFrom::Hole(start))?;
        let rounded = (start / HOLE_STEP * HOLE_STEP, end.next_multiple_of(HOLE_STEP));
        match runs.last_mut() {
            Some(last) if last.1 >= rounded.0 => last.1 = rounded.1,
            _ => runs.push(rounded),
        }
        at = end;
    }
    Ok(runs)
}

/// The hash of a file's runs of data, each with its place; bytes of holes are zeros by definition.
fn hash(file: &OwnedFd, data: &[(u64, u64)], size: u64) -> Result<blake3::Hash, Errno> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    let zeros = [0; HOLE_STEP as usize];
    for &(start, end) in data {
        let mut at = start;
        while at < end.min(size) {
            let want = usize::try_from(end.min(size) - at).unwrap_or(usize::MAX).min(buffer.len());
            let got = rustix::io::pread(file, &mut buffer[..want], at)?;
            if got == 0 {
                break;
            }
            // Pages of zeros count nothing, so that a hole more or less is told apart from other bytes.
            for (index, page) in buffer[..got].chunks(HOLE_STEP as usize).enumerate() {
                if page != &zeros[..page.len()] {
                    hasher.update(&(at + index as u64 * HOLE_STEP).to_be_bytes()).update(page);
                }
            }
            at += got as u64;
        }
    }
    Ok(hasher.finalize())
}

/// All extended attributes, through a short path, because the real one may be longer than the kernel takes.
fn xattrs(parent: BorrowedFd<'_>, name: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Errno> {
    let path = below(parent, name);
    let mut list = vec![0u8; 64 << 10];
    let len = match fs::llistxattr(&path[..], &mut list[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let mut all = BTreeMap::new();
    for name in list[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0u8; 64 << 10];
        let len = fs::lgetxattr(&path[..], name, &mut value[..])?;
        all.insert(name.to_vec(), value[..len].to_vec());
    }
    Ok(all)
}

/// A path of few bytes to an entry of an open directory.
pub fn below(parent: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    if parent.as_raw_fd() == CWD.as_raw_fd() {
        return name.to_vec();
    }
    [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), name].concat()
}
