//! The mount itself: how it begins, and how it ends.

use std::{io, path::Path, thread};

use fuser::{Config, MountOption, Session, SessionACL};
use rustix::{
    io::Errno,
    mount::{UnmountFlags, unmount},
};
use tokio::sync::oneshot;

use super::Adapter;

/// Threads that take what the kernel asks. They wait for nobody.
const THREADS: usize = 4;

/// How far the kernel reads ahead, in KiB: two chunks of a large file.
const READ_AHEAD_KIB: &str = "1024";

/// Begins to serve; gives what says that it has ended.
pub fn mount(
    adapter: Adapter,
    mountpoint: &Path,
    source: &str,
    is_shared: bool,
) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::FSName(source.to_owned()),
        // Told to the kernel, so that the type shows as fuse.datadb.
        MountOption::CUSTOM("subtype=datadb".to_owned()),
    ];
    if is_shared {
        config.mount_options.push(MountOption::DefaultPermissions);
        config.acl = SessionACL::All;
    }
    config.n_threads = Some(THREADS);
    let session = Session::new(adapter, mountpoint, &config)?.spawn()?;
    raise_read_ahead(mountpoint);
    let (sender, ended) = oneshot::channel();
    thread::Builder::new().name("session".to_owned()).spawn(move || drop(sender.send(session.join())))?;
    Ok(ended)
}

/// The kernel reads ahead no further than its default unless it is told to, for which one has to be root. Otherwise a
/// large file takes a few more questions.
fn raise_read_ahead(mountpoint: &Path) {
    if let Ok(stat) = rustix::fs::stat(mountpoint) {
        let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        drop(std::fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), READ_AHEAD_KIB));
    }
}

/// Why it is still mounted.
#[derive(Debug)]
pub enum Still {
    /// Somebody uses it.
    Busy,
    /// Something else.
    Failed(String),
}

/// Unmounts; or only takes it out of sight, so that it ends when nobody uses it any more.
pub fn end(mountpoint: &Path, lazily: bool) -> Result<(), Still> {
    let flags = if lazily { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match unmount(mountpoint, flags) {
        // Somebody else was faster.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(Errno::BUSY) => Err(Still::Busy),
        Err(Errno::PERM) => by_helper(mountpoint, lazily),
        Err(error) => Err(Still::Failed(error.to_string())),
    }
}

/// Who is not root has a helper to unmount.
fn by_helper(mountpoint: &Path, lazily: bool) -> Result<(), Still> {
    let mut helper = std::process::Command::new("fusermount3");
    helper.arg("-u").args(lazily.then_some("-z")).arg("--").arg(mountpoint);
    let done = helper.output().map_err(|error| Still::Failed(format!("fusermount3: {error}")))?;
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    match done.status.success() {
        true => Ok(()),
        false if said.contains("busy") => Err(Still::Busy),
        false => Err(Still::Failed(said)),
    }
}
