//! Restoring over what is there: what differs becomes as in the backup, what is right is not touched, and a rehearsal
//! says beforehand what will be done.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::{self, Permissions},
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::{
            ffi::OsStrExt as _,
            fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
        },
    },
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, XattrFlags, lremovexattr, lsetxattr, mknodat, openat};
use serde_json::Value;
use support::{
    chance::{Chance, number_from},
    compare::{assert_same, differences},
    oddities,
    place::{is_root, scratch},
    processes::{Client, Run, Server, count},
    tree::{random_bytes, write},
};

const ACTS: [&str; 4] = ["created", "replaced", "metadata", "unchanged"];

fn restore(client: &Client, id: &str, target: &Path, options: &[&str]) -> Run {
    let mut command = client.command(["--json", "restore", id, "--target"]);
    Run::from(command.arg(target).args(options).output().expect("the client starts"))
}

/// Of each path below a directory: device and inode, and the last time that anything of it changed.
type Identities = BTreeMap<PathBuf, (u64, u64, i64, i64)>;

fn identities(root: &Path) -> Identities {
    let mut found = Identities::new();
    identify(CWD, root, PathBuf::new(), &mut found);
    found
}

/// By relative calls, because paths may be longer than the kernel takes.
fn identify(parent: BorrowedFd<'_>, name: &Path, path: PathBuf, found: &mut Identities) {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).expect("an entry");
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let dir = openat(parent, name, OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).expect("a directory");
        let names = rustix::fs::Dir::read_from(&dir).expect("a directory").map(|entry| entry.expect("an entry"));
        for entry in names.filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")) {
            let name = Path::new(OsStr::from_bytes(entry.file_name().to_bytes())).to_owned();
            identify(dir.as_fd(), &name, path.join(&name), found);
        }
    }
    found.insert(path, (stat.st_dev, stat.st_ino, stat.st_ctime, stat.st_ctime_nsec as i64));
}

fn acts(summary: &Value) -> [u64; 4] {
    ACTS.map(|act| count(summary, act))
}

/// Rehearses, restores, and rehearses again: nothing is written before, the counts are what was said, nothing is left to
/// do. Gives what was done.
#[track_caller]
fn rehearsed(client: &Client, id: &str, target: &Path, options: &[&str]) -> [u64; 4] {
    let looks = || target.exists().then(|| identities(target));
    let before = looks();
    let rehearse = || restore(client, id, target, &[&["--dry-run"], options].concat()).ok().json();
    let told = rehearse();
    assert_eq!(looks(), before, "a rehearsal changes nothing");
    let (said, entries) = told.split_last().expect("a summary");
    let done = restore(client, id, target, options).ok().summary();
    assert_eq!(acts(said), acts(&done), "said {said}, done {done}; {entries:?}");
    assert_eq!((&said["files"], &said["bytes"]), (&done["files"], &done["bytes"]));
    for (act, word) in ACTS.iter().zip(["create", "replace", "metadata"]) {
        let number = entries.iter().filter(|entry| entry["action"] == word).count() as u64;
        assert_eq!(number, count(&done, act), "{word}: {entries:?}");
    }
    if !options.contains(&"always") {
        let again = rehearse();
        assert_eq!(again.len(), 1, "nothing is left to do: {again:?}");
    }
    acts(&done)
}

/// The tree of oddities: into nothing, over itself, and over itself with every file written anew.
#[test]
fn a_restore_over_the_same_touches_nothing() {
    let (server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("deep/back"));
    oddities::make(&tree);
    let client = server.client();
    let id = client.backup(&tree);
    let [created, others @ ..] = rehearsed(&client, &id, &back, &[]);
    assert_eq!(others, [0, 0, 0]);
    assert_same(&tree, &back);
    let before = identities(&back);
    assert_eq!(rehearsed(&client, &id, &back, &[]), [0, 0, 0, created]);
    assert_eq!(rehearsed(&client, &id, &back, &["--overwrite", "never"]), [0, 0, 0, created]);
    restore(&client, &id, &back, &["--verify"]).ok();
    assert!(identities(&back) == before, "nothing was touched");
    let [created_again, replaced, metadata, unchanged] = rehearsed(&client, &id, &back, &["--overwrite", "always"]);
    assert_eq!((created_again, metadata), (0, 0));
    assert!(replaced > 1500, "every file was written anew: {replaced}");
    assert_same(&tree, &back);
    let changed = identities(&back);
    let same = before.iter().filter(|(path, before)| before.1 == changed[*path].1).count() as u64;
    assert_eq!(same, metadata + unchanged, "only directories are the same");
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).expect("an attribute");
}

/// One disturbance of a restored tree.
fn disturb(path: &Path, chance: &mut Chance) {
    let meta = fs::symlink_metadata(path).expect("an entry");
    let (is_file, is_link) = (meta.is_file(), meta.is_symlink());
    let has_xattrs = is_file || meta.is_dir();
    match chance.below(12) {
        0 if is_file => write(path, random_bytes(chance.number(), 3000)),
        1 if !is_link => fs::set_permissions(path, Permissions::from_mode(0o751)).expect("a mode"),
        2 if is_root() => std::os::unix::fs::lchown(path, Some(77), Some(chance.below(3) as u32)).expect("an owner"),
        3 if is_file => {
            let time = UNIX_EPOCH + Duration::from_secs(chance.below(1 << 30));
            fs::File::options().write(true).open(path).and_then(|file| file.set_modified(time)).expect("a time");
        }
        4 if has_xattrs => set_xattr(path, "user.extra", b"extra"),
        5 if has_xattrs => drop(lremovexattr(path, c"user.kept")),
        6 if has_xattrs => set_xattr(path, "user.kept", b"other"),
        _ => replace(path, meta.is_dir(), chance),
    }
}

fn replace(path: &Path, is_dir: bool, chance: &mut Chance) {
    if is_dir {
        fs::remove_dir_all(path).expect("removed");
    } else {
        fs::remove_file(path).expect("removed");
    }
    match chance.below(6) {
        0 => symlink("somewhere", path).expect("a symlink"),
        1 if !is_dir => fs::create_dir(path).expect("an empty directory"),
        2 => mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).expect("a fifo"),
        3 => write(path, "a file"),
        4 => {
            // Another name of a file beside it: a change of the one would change the other.
            let beside = fs::read_dir(path.parent().expect("it has one")).expect("a directory");
            let files = beside.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file());
            if let Some(file) = files.min() {
                fs::hard_link(file, path).expect("a hard link");
            }
        }
        _ => {}
    }
}

fn make_tree(tree: &Path, chance: &mut Chance) {
    for number in 0..120 {
        let path = tree.join(format!("dir{}/sub{}/file{number}", chance.below(4), chance.below(3)));
        let len = if chance.one_in(10) { 400_000 } else { chance.below(3000) };
        write(&path, random_bytes(chance.number(), len as usize));
        if chance.one_in(4) {
            set_xattr(&path, "user.kept", b"kept");
        }
        match chance.below(12) {
            0 => symlink("target", path.with_extension("link")).expect("a symlink"),
            1 => fs::hard_link(&path, tree.join(format!("hard{number}"))).expect("a hard link"),
            2 => mknodat(CWD, path.with_extension("fifo"), FileType::Fifo, Mode::RUSR, 0).expect("a fifo"),
            3 if is_root() => {
                let device = rustix::fs::makedev(1, number);
                mknodat(CWD, path.with_extension("dev"), FileType::CharacterDevice, Mode::RUSR, device)
                    .expect("a device");
            }
            4 => fs::create_dir_all(path.with_extension("empty")).expect("a directory"),
            _ => {}
        }
    }
}

/// What must not be touched: what is as in the backup, is nobody else's, and holds nothing that is made anew.
fn untouched(tree: &Path, back: &Path) -> BTreeSet<PathBuf> {
    let as_path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let different: BTreeSet<PathBuf> = differences(tree, back).iter().map(|one| as_path(&one.path)).collect();
    let holders: BTreeSet<PathBuf> = different.iter().filter_map(|path| Some(path.parent()?.to_owned())).collect();
    // A file with several names, there or here, changes when one of the others does.
    let is_alone = |path: &PathBuf| {
        [tree, back].iter().all(|root| {
            let meta = fs::symlink_metadata(root.join(path)).expect("an entry");
            meta.is_dir() || meta.nlink() == 1
        })
    };
    let all = identities(back).into_keys();
    all.filter(|path| !different.contains(path) && !holders.contains(path) && is_alone(path)).collect()
}

/// Random changes of every kind: the tree becomes as in the backup, what lies beside stays, and what was right is the
/// same inode with the same ctime. `DATADB_IN_PLACE_ROUNDS` runs more of them.
#[test]
fn a_restore_over_random_changes_repairs_them_and_touches_nothing_else() {
    let (server, scratch) = (Server::new(), scratch());
    let client = server.client();
    for seed in 0..number_from("DATADB_IN_PLACE_ROUNDS", 4) {
        let mut chance = Chance::new(seed);
        let (tree, back) = (scratch.path().join(format!("tree{seed}")), scratch.path().join(format!("back{seed}")));
        make_tree(&tree, &mut chance);
        let id = client.backup(&tree);
        restore(&client, &id, &back, &[]).ok();
        assert_same(&tree, &back);
        for round in 0..8 {
            let mut paths: Vec<PathBuf> = identities(&back).into_keys().filter(|path| path != Path::new("")).collect();
            for _ in 0..chance.below(30) {
                let path = back.join(paths.remove(chance.below(paths.len() as u64) as usize));
                if path.symlink_metadata().is_ok() {
                    disturb(&path, &mut chance);
                }
            }
            let extra = back.join(format!("extra{round}"));
            write(&extra, "of somebody else");
            let (right, before) = (untouched(&tree, &back), identities(&back));
            rehearsed(&client, &id, &back, &[]);
            let left = differences(&tree, &back);
            assert!(left.iter().all(|one| one.path.starts_with(b"extra")), "seed {seed}, round {round}: {left:?}");
            let after = identities(&back);
            for path in &right {
                assert_eq!(before[path], after[path], "seed {seed}, round {round}: {} was touched", path.display());
            }
            println!("seed {seed}, round {round}: {} of {} entries were right", right.len(), before.len());
            fs::remove_file(extra).expect("removed");
        }
    }
}

/// Metadata alone is put right: the file stays the same one, only its ctime tells of it.
#[test]
fn metadata_is_repaired_without_writing_the_content() {
    let (server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    for name in ["mode", "gone", "more", "other", "long", "dir/inside"] {
        write(tree.join(name), name);
    }
    for name in ["gone", "other", "dir"] {
        set_xattr(&tree.join(name), "user.x", b"value");
    }
    set_xattr(&tree.join("long"), "user.long", &random_bytes(1, 3000));
    fs::create_dir(tree.join("all at once")).expect("a directory");
    let client = server.client();
    let id = client.backup(&tree);
    restore(&client, &id, &back, &[]).ok();
    let before = identities(&back);
    let all = back.join("all at once");
    set_xattr(&all, "user.extra", b"extra");
    fs::set_permissions(&all, Permissions::from_mode(0o700)).expect("a mode");
    fs::File::open(&all).and_then(|dir| dir.set_modified(UNIX_EPOCH)).expect("a time");
    if is_root() {
        chown(&all, Some(1), Some(2)).expect("an owner");
    }
    fs::set_permissions(back.join("mode"), Permissions::from_mode(0o600)).expect("a mode");
    lremovexattr(back.join("gone"), c"user.x").expect("removed");
    lremovexattr(back.join("long"), c"user.long").expect("removed");
    lremovexattr(back.join("dir"), c"user.x").expect("removed");
    set_xattr(&back.join("more"), "user.y", b"not in the backup");
    set_xattr(&back.join("other"), "user.x", b"another");
    assert_eq!(rehearsed(&client, &id, &back, &[]), [0, 0, 7, 2]);
    assert_same(&tree, &back);
    let inodes = |identities: Identities| identities.into_values().map(|id| id.1).collect::<Vec<_>>();
    assert_eq!(inodes(before), inodes(identities(&back)));
}

/// `--overwrite never` leaves everything that is there, directories and what is in the way too; the rest is made.
#[test]
fn never_leaves_whatever_is_there() {
    let (server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    for name in ["file", "to dir", "dir/old", "dir/new", "blocked/inside"] {
        write(tree.join(name), "of the backup");
    }
    symlink("of the backup", tree.join("link")).expect("a symlink");
    let client = server.client();
    let id = client.backup(&tree);
    write(back.join("file"), "mine");
    write(back.join("dir/old"), "mine");
    write(back.join("blocked"), "mine");
    fs::create_dir(back.join("to dir")).expect("a directory");
    symlink("mine", back.join("link")).expect("a symlink");
    fs::set_permissions(back.join("dir"), Permissions::from_mode(0o700)).expect("a mode");
    let before = identities(&back);
    let run = restore(&client, &id, &back, &["--overwrite", "never"]).code(3);
    run.one_line_with(&["blocked", "not a directory", "--overwrite never"]);
    assert_eq!(acts(&run.summary()), [1, 0, 0, 6]);
    assert_eq!(fs::read(back.join("dir/new")).expect("a file"), b"of the backup");
    let mut after = identities(&back);
    after.remove(Path::new("dir/new")).expect("it was made");
    // Something was made in it, which the directory's own time tells.
    let without_dir = |mut all: Identities| {
        all.remove(Path::new("dir"));
        all
    };
    assert_eq!(without_dir(before), without_dir(after));
    assert_eq!(fs::metadata(back.join("dir")).expect("it is there").permissions().mode() & 0o7777, 0o700);
}

/// An empty directory in the way of a file makes room, a full one is named; a file in the way of a directory goes.
#[test]
fn what_is_in_the_way_is_replaced_unless_it_is_a_full_directory() {
    for always in [&[][..], &["--overwrite", "always"]] {
        let (server, scratch) = (Server::new(), scratch());
        let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
        for name in ["empty", "full", "dir/file"] {
            write(tree.join(name), "a file");
        }
        symlink("x", tree.join("link")).expect("a symlink");
        let client = server.client();
        let id = client.backup(&tree);
        for name in ["empty", "link", "full/of things"] {
            fs::create_dir_all(back.join(name)).expect("a directory");
        }
        write(back.join("dir"), "a file");
        let run = restore(&client, &id, &back, always).code(3);
        run.one_line_with(&["full: a directory that is not empty", "move it away"]);
        let left: Vec<_> = differences(&tree, &back).into_iter().map(|one| (one.path, one.what)).collect();
        let of = |path: &[u8], what: &str| (path.to_vec(), what.to_owned());
        assert_eq!(left, [of(b"full", "type"), of(b"full/of things", "presence")]);
    }
}

/// ACLs that the target's directories hand down do not get into what is restored, and stay where they were.
#[test]
fn a_default_acl_of_the_target_gets_into_nothing() {
    let (server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    write(tree.join("dir/file"), "x");
    mknodat(CWD, tree.join("dir/fifo"), FileType::Fifo, Mode::RUSR, 0).expect("a fifo");
    let client = server.client();
    let id = client.backup(&tree);
    fs::create_dir_all(back.join("dir")).expect("a directory");
    let set = std::process::Command::new("setfacl").args(["-d", "-m", "u:1234:rwx"]).arg(back.join("dir")).status();
    if !set.is_ok_and(|status| status.success()) {
        println!("skipped: no setfacl, or no ACLs here");
        return;
    }
    let acl = |path: &Path| rustix::fs::lgetxattr(path, c"system.posix_acl_default", &mut [0u8; 200][..]);
    restore(&client, &id, &back, &["--overwrite", "never"]).ok();
    assert!(acl(&back.join("dir")).is_ok(), "what is there stays");
    for name in ["dir/file", "dir/fifo"] {
        assert_same(&tree.join(name), &back.join(name));
    }
    restore(&client, &id, &back, &[]).ok();
    assert_same(&tree, &back);
}

/// `--no-owner` leaves everything to whoever restores, with setuid and setgid off; a second run has nothing to do.
#[test]
fn no_owner_leaves_files_to_whoever_restores() {
    if !is_root() {
        println!("skipped: only root can make files of others");
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    write(tree.join("dir/setuid"), "x");
    for name in ["dir", "dir/setuid"] {
        chown(tree.join(name), Some(1234), Some(4321)).expect("an owner");
    }
    fs::set_permissions(tree.join("dir/setuid"), Permissions::from_mode(0o6755)).expect("a mode");
    let client = server.client();
    let id = client.backup(&tree);
    assert_eq!(rehearsed(&client, &id, &back, &["--no-owner"]), [3, 0, 0, 0]);
    let made = fs::metadata(back.join("dir/setuid")).expect("it is there");
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (0, 0, 0o755));
    let before = identities(&back);
    let summary = restore(&client, &id, &back, &["--no-owner", "--verify"]).ok().summary();
    assert_eq!((count(&summary, "owners_lost"), count(&summary, "verified")), (0, 3));
    assert_eq!(identities(&back), before);
    assert_eq!(rehearsed(&client, &id, &back, &[]), [0, 0, 2, 1]);
    assert_same(&tree, &back);
}

/// What lends rights does not come out of a backup that others may have made, not even over what is there; all else does, and
/// what was left out is told.
#[test]
fn an_untrusted_backup_brings_no_rights_along() {
    if !is_root() {
        println!("skipped: only root can make devices and capabilities");
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let (tree, back) = (scratch.path().join("tree"), scratch.path().join("back"));
    for (name, mode) in [("dir/setuid", 0o4755), ("dir/both", 0o6711), ("plain", 0o640), ("capable", 0o755)] {
        write(tree.join(name), name);
        fs::set_permissions(tree.join(name), Permissions::from_mode(mode)).expect("a mode");
    }
    fs::set_permissions(tree.join("dir"), Permissions::from_mode(0o3775)).expect("a mode");
    chown(tree.join("plain"), Some(1234), Some(4321)).expect("an owner");
    let capability = [[1, 0, 0, 2], [0, 0x20, 0, 0], [0; 4], [0; 4], [0; 4]].concat();
    set_xattr(&tree.join("capable"), "security.capability", &capability);
    set_xattr(&tree.join("capable"), "user.kept", b"kept");
    for (name, kind) in [("null", FileType::CharacterDevice), ("disk", FileType::BlockDevice), ("fifo", FileType::Fifo)]
    {
        mknodat(CWD, tree.join(name), kind, Mode::from_raw_mode(0o600), rustix::fs::makedev(1, 3)).expect("a node");
    }
    let client = server.client();
    let id = client.backup(&tree);
    let mode = |name: &str| fs::symlink_metadata(back.join(name)).expect(name).mode() & 0o7777;
    let check = || {
        let modes = ["dir", "dir/setuid", "dir/both", "plain", "capable", "fifo"].map(mode);
        assert_eq!(modes, [0o1775, 0o755, 0o711, 0o640, 0o755, 0o600]);
        let value = |name: &str| rustix::fs::lgetxattr(back.join("capable"), name, &mut [0u8; 64][..]);
        assert!(value("security.capability").is_err());
        assert_eq!(value("user.kept"), Ok(4));
        assert_eq!(fs::metadata(back.join("plain")).expect("it is there").uid(), 1234);
    };
    let summary = restore(&client, &id, &back, &["--untrusted", "--verify"]).ok().summary();
    assert_eq!(summary["untrusted"], serde_json::json!({"set_ids": 3, "devices": 2, "attributes": 1}));
    check();
    assert!(!back.join("null").exists() && !back.join("disk").exists());
    // And over what was restored in trust.
    let summary = restore(&client, &id, &back, &[]).ok().summary();
    assert_eq!(summary["untrusted"], Value::Null);
    assert_same(&tree, &back);
    let run =
        Run::from(client.command(["restore", &id, "--untrusted", "--target"]).arg(&back).output().expect("it starts"));
    let told = "setuid or setgid of 3 entries, 2 devices, 1 attribute of security.*";
    assert!(run.ok().text().contains(told));
    check();
}

/// Someone else than root: gets what may be had, is told what may not, and touches nothing the second time; a
/// write-protected directory of one's own is no obstacle.
#[test]
fn somebody_who_is_not_root_restores_in_place_too() {
    if !is_root() {
        println!("skipped: root is needed to become somebody else");
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    for name in ["own", "of another", "protected/file", "protected/sub/file"] {
        write(tree.join(name), name);
    }
    chown(tree.join("of another"), Some(1), Some(2)).expect("an owner");
    fs::set_permissions(tree.join("of another"), Permissions::from_mode(0o4755)).expect("a mode");
    set_xattr(&tree.join("of another"), "trusted.x", b"x");
    for name in ["", "own", "protected", "protected/file", "protected/sub", "protected/sub/file"] {
        chown(tree.join(name), Some(65534), Some(65534)).expect("an owner");
    }
    for name in ["protected/sub", "protected"] {
        fs::set_permissions(tree.join(name), Permissions::from_mode(0o555)).expect("a mode");
    }
    let id = server.client().backup(&tree);
    // A place, and a program, that somebody else can reach.
    let home = tempfile::tempdir().expect("a directory of its own");
    fs::set_permissions(home.path(), Permissions::from_mode(0o777)).expect("a mode");
    let program = home.path().join("datadb-client");
    fs::copy(support::processes::program("datadb-client"), &program).expect("a copy");
    let back = home.path().join("back");
    let restore = |options: &[&str]| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command.args(["--json", "restore", &id, "--target"]).arg(&back).args(options);
        command.env("DATADB_SERVER", server.url()).env("HOME", home.path());
        Run::from(command.output().expect("setpriv runs"))
    };
    let first = restore(&["--verify"]).ok().summary();
    assert_eq!((count(&first, "owners_lost"), count(&first, "xattrs_lost"), count(&first, "repaired")), (1, 1, 0));
    let found: BTreeSet<String> = differences(&tree, &back).into_iter().map(|one| one.what).collect();
    assert_eq!(found, BTreeSet::from(["mode", "owner", "xattr trusted.x"].map(ToOwned::to_owned)));
    let before = identities(&back);
    let second = restore(&[]).ok().summary();
    assert_eq!((acts(&second), count(&second, "owners_lost")), ([0, 0, 0, 7], 1));
    assert_eq!(identities(&back), before, "nothing was touched");
    fs::write(back.join("protected/file"), "changed").expect("written");
    fs::remove_file(back.join("protected/sub/file")).expect("removed");
    assert_eq!(acts(&restore(&[]).ok().summary()), [1, 1, 1, 4]);
    assert_eq!(differences(&tree, &back).len(), found.len());
    assert_eq!(count(&restore(&["--no-owner", "--verify"]).ok().summary(), "owners_lost"), 0);
}
