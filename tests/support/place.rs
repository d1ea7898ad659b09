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

/// A disk that keeps what it has while it is not mounted: a file with a file system in it.
pub struct LoopDisk {
    image: tempfile::NamedTempFile,
    dir: PathBuf,
    is_mounted: bool,
}

impl LoopDisk {
    /// Makes one and mounts it on a directory; `None`, with a line that says so, where that isn't permitted.
    pub fn mount(dir: &Path) -> Option<Self> {
        std::fs::create_dir_all(dir).expect("a mount point");
        let image = tempfile::NamedTempFile::new().expect("a file");
        image.as_file().set_len(96 << 20).expect("an image");
        let made = Command::new("mkfs.ext4").arg("-q").arg(image.path()).output();
        if !made.is_ok_and(|made| made.status.success()) {
            println!("skipped: no file system can be made here");
            return None;
        }
        let mut disk = Self { image, dir: dir.to_owned(), is_mounted: false };
        if !disk.try_mount() {
            println!("skipped: no image of a disk can be mounted here");
            return None;
        }
        std::fs::remove_dir(dir.join("lost+found")).expect("a new file system has it");
        Some(disk)
    }

    fn try_mount(&mut self) -> bool {
        let mount = Command::new("mount").args(["-o", "loop"]).arg(self.image.path()).arg(&self.dir).status();
        self.is_mounted = mount.is_ok_and(|status| status.success());
        self.is_mounted
    }

    /// Unmounts it; what is in it stays.
    #[track_caller]
    pub fn unmount(&mut self) {
        let unmounted = Command::new("umount").arg(&self.dir).status().expect("umount runs");
        assert!(unmounted.success(), "{} is still in use", self.dir.display());
        self.is_mounted = false;
    }

    /// Mounts it again.
    #[track_caller]
    pub fn mount_again(&mut self) {
        assert!(self.try_mount(), "what could be mounted once can be mounted again");
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if self.is_mounted {
            let unmounted = Command::new("umount").arg("-l").arg(&self.dir).status();
            if !unmounted.is_ok_and(|status| status.success()) {
                eprintln!("{} is still mounted", self.dir.display());
            }
        }
    }
}
