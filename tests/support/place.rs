//! Where tests keep their files: directories that end with the test, and small file systems that can be filled.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// A fresh directory on the disk that holds the build; it ends with the test.
pub fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("t").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch directory")
}

/// Whether the test runs as root; owners, devices and mounts need it.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A file system of its own in memory; unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts a tmpfs of so many MiB on a directory; `None`, with a line that says so, where mounting isn't permitted.
    pub fn mount(dir: &Path, mebibytes: u32) -> Option<Self> {
        std::fs::create_dir_all(dir).expect("a mount point");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m,mode=0755"), "tmpfs"])
            .arg(dir)
            .output();
        match mount {
            Ok(done) if done.status.success() => Some(Self(dir.to_owned())),
            Ok(refused) => {
                println!("skipped: no tmpfs can be mounted here: {}", String::from_utf8_lossy(&refused.stderr).trim());
                None
            }
            Err(error) => {
                println!("skipped: mount can't be run: {error}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.0.display());
        }
    }
}
