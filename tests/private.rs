//! What the programs leave on disk is for its owner alone, however open the umask of whoever starts them; but what a person
//! asks for has the modes that were asked for.

mod support;

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::{fs::Mode, process::umask};
use support::{
    place::scratch,
    processes::{Client, Server, program},
    tree::{random_bytes, write},
};

/// How long a mount may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);

const MIRROR: &str = "[blobs]\ntype = \"mirror\"\n\
                      [[blobs.sides]]\ntype = \"blobsfile\"\npath = \"blobs\"\n\
                      [[blobs.sides]]\ntype = \"blobsfile\"\npath = \"SCRATCH/second\"\n";

/// Ends the test if anybody but the owner may do anything with what lies here; gives how many files and directories do.
#[track_caller]
fn private(root: &Path) -> usize {
    let mut open = vec![root.to_owned()];
    let mut seen = 0;
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).expect("it is there");
        assert_eq!(meta.mode() & 0o077, 0, "{} has mode {:o}", path.display(), meta.mode() & 0o7777);
        seen += 1;
        if meta.is_dir() {
            open.extend(fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()));
        }
    }
    seen
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o7777
}

#[test]
fn what_is_kept_is_for_its_owner_and_what_is_asked_for_is_as_it_was() {
    // This and all programs below it would let everybody do everything.
    umask(Mode::empty());
    let scratch = scratch();
    let at = |name: &str| scratch.path().join(name);
    write(at("stores.toml"), MIRROR.replace("SCRATCH", &scratch.path().display().to_string()));
    for file in 0..4 {
        write(at("tree").join(format!("file{file}")), random_bytes(file, 400_000));
    }
    for (name, mode) in [("tree", 0o777), ("tree/file0", 0o666), ("tree/file1", 0o644)] {
        fs::set_permissions(at(name), Permissions::from_mode(mode)).expect("a mode");
    }
    let config = at("stores.toml");
    let options = ["--config", config.to_str().expect("UTF-8"), "--pack-bytes", "300000"];
    let mut server = Server::with_options(&at("data"), &options);
    let client = server.client();
    let id = client.backup(&at("tree"));
    client.backup(&at("tree"));
    let cache = client.home().join("cache");
    assert!(private(&cache.join("datadb")) > 1, "a cache of the client");
    scheduled(&client, scratch.path());
    mounted(&client, scratch.path());
    server.stop();
    assert!(private(&at("data")) > 10 && private(&at("second")) > 2, "packs, index and log");
    server.start();
    let client = client.at(server.url());
    client.restore(&id, &at("back")).ok();
    assert_eq!([mode(&at("back")), mode(&at("back/file0")), mode(&at("back/file1"))], [0o777, 0o666, 0o644]);
    client.run(["dump".as_ref(), id.as_ref(), "-o".as_ref(), at("a.tar").as_os_str()]).ok();
    assert_eq!(mode(&at("a.tar")), 0o666, "as the umask of whoever asked for it says");
}

/// The history and the locks of the scheduler, and the cache of the client that it runs.
fn scheduled(client: &Client, scratch: &Path) {
    let at = |name: &str| scratch.join(name);
    let text = "[[snapshot]]\nname = \"tree\"\npaths = [\"SCRATCH/tree\"]\nschedule = \"@daily\"\n";
    let text = format!("server = \"{}\"\n", client.url()) + &text.replace("SCRATCH", &scratch.display().to_string());
    write(at("scheduler.toml"), text);
    let mut now = Command::new(program("datadb-scheduler"));
    now.arg("--config").arg(at("scheduler.toml")).args(["now", "tree"]).env("HOME", scratch);
    now.env("XDG_STATE_HOME", at("state")).env("XDG_CACHE_HOME", at("scheduler cache"));
    let done = now.output().expect("the scheduler starts");
    assert!(done.status.success(), "{done:?}");
    assert!(private(&at("state")) > 2 && private(&at("scheduler cache")) > 2, "state and cache");
}

/// The cache of a mount, and the file for its log.
fn mounted(client: &Client, scratch: &Path) {
    if fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
        println!("skipped: no /dev/fuse");
        return;
    }
    let at = |name: &str| scratch.join(name);
    fs::create_dir_all(at("mount")).expect("a mount point");
    let mut mount = Command::new(program("datadb-fuse"));
    mount.arg("mount").arg(at("mount")).arg("--all-hosts").arg("--cache-dir").arg(at("mount cache"));
    mount.arg("--daemon").arg("--log").arg(at("mount.log")).env("DATADB_SERVER", client.url()).env("HOME", scratch);
    let done = mount.output().expect("datadb-fuse starts");
    assert!(done.status.success(), "{done:?}");
    let deadline = Instant::now() + PATIENCE;
    let read = loop {
        let found = find(&at("mount"), "file0");
        if found.is_some() || Instant::now() > deadline {
            break found;
        }
    };
    assert_eq!(read.expect("the file shows").len(), 400_000);
    let unmounted = Command::new("fusermount3").arg("-u").arg(at("mount")).status();
    let by_root = || Command::new("umount").arg(at("mount")).status().is_ok_and(|status| status.success());
    assert!(unmounted.is_ok_and(|status| status.success()) || by_root(), "it is unmounted");
    assert!(private(&at("mount cache")) > 2, "a cache on disk");
    private(&at("mount.log"));
}

/// The bytes of the first file of this name below a directory.
fn find(root: &Path, name: &str) -> Option<Vec<u8>> {
    let mut open: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for path in fs::read_dir(&dir).ok()?.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.file_name().is_some_and(|found| found == name) {
                return fs::read(path).ok();
            }
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            }
        }
    }
    None
}
