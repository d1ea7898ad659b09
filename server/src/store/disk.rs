//! The file layer below packs: few calls, so that a test can put a disk in its place that loses what was not synced.
//!
//! **A remote medium** that said no, or nothing, answers with an error that carries a [`datadb::Fault`]. It says nothing of
//! the bytes: they are not damaged, and after a `sync` that failed so the file is as it was and may be synced again.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt as _},
    path::Path,
    sync::Arc,
};

/// A file that packs are kept in.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Reads at an offset; fewer bytes than asked for only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of it at an offset.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when everything written so far, and the length, are on the medium. After an error nobody knows what is,
    /// and asking again may lie, unless the error carries a [`datadb::Fault`].
    fn sync(&self) -> io::Result<()>;
    /// Length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Cuts the file (or fills with zeros) to this length.
    fn truncate(&self, len: u64) -> io::Result<()>;
}

/// What tells a directory from another one that takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirIdentity {
    /// The device.
    pub device: u64,
    /// The inode.
    pub inode: u64,
    /// Whether another file system begins here.
    pub is_mount_point: bool,
}

/// A file system with directories of packs.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Makes a new file for reading and writing; fails if it exists.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Names and lengths of the files in a directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>>;
    /// Which directory it is; `None` if it is missing.
    fn identity(&self, dir: &Path) -> io::Result<Option<DirIdentity>>;
    /// Makes a directory unless it is there; it, and what had to be made above it, is on the medium then.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Returns when the directory's entries are on the medium.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes that may still be written below a directory; `None` if nobody knows.
    fn free_bytes(&self, dir: &Path) -> Option<u64>;
}

/// The machine's own file system.
#[derive(Debug, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(true).create_new(true).open(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        fs::read_dir(dir)?
            .map(|entry| {
                let entry = entry?;
                Ok((entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len()))
            })
            .collect()
    }

    fn identity(&self, dir: &Path) -> io::Result<Option<DirIdentity>> {
        // Through links: the directory that they name may be a mount point.
        let (dir, meta) = match dir.canonicalize().and_then(|dir| fs::metadata(&dir).map(|meta| (dir, meta))) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !meta.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let is_mount_point = match dir.parent() {
            Some(parent) => meta.dev() != fs::metadata(parent)?.dev(),
            None => true,
        };
        Ok(Some(DirIdentity { device: meta.dev(), inode: meta.ino(), is_mount_point }))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let new: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
        fs::create_dir_all(dir)?;
        new.into_iter()
            .filter_map(Path::parent)
            .filter(|above| above.is_dir())
            .try_for_each(|above| self.sync_dir(above))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> Option<u64> {
        let stat = rustix::fs::statvfs(dir).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}
