//! A dump is the backup: extracted by the tars and zips of others it equals what `restore` gives.

mod support;

use std::{
    fs::{self, File, Permissions},
    io::Read as _,
    os::unix::fs::{FileExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{
    compare::{assert_same, differences},
    link::{Link, Quality},
    oddities,
    place::{SmallDisk, scratch},
    processes::{Client, Run, Running, Server, count, heeding_permissions},
    tree::{files, flip_byte, paths, random_bytes, write},
};

const MIB: usize = 1 << 20;

/// Paths that are longer than the kernel takes at once: `restore` brings them back, GNU tar does not.
const TOO_DEEP: &str = "/deep";

/// Runs a program, whose output must be empty.
#[track_caller]
fn quietly(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{command:?}: {}\n{stderr}", output.status);
    output
}

/// Dumps into a file through stdout.
#[track_caller]
fn dump_into(client: &Client, words: &[&str], file: &Path) -> Run {
    let mut command = client.command([&["dump"], words].concat());
    command.stdout(File::create(file).expect("an archive"));
    Run::from(command.output().expect("the client starts"))
}

/// GNU tar with everything that it can bring back.
#[track_caller]
fn extract(archive: &Path, target: &Path) {
    fs::create_dir(target).expect("a target");
    let flags = ["--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "--warning=no-timestamp", "-xpf"];
    quietly(Command::new("tar").args(flags).arg(archive).arg("-C").arg(target).env("LC_ALL", "C"));
}

/// A tree with every oddity below a directory, dumped and extracted beside it, is what `restore` gives.
#[track_caller]
fn assert_dump_is_restore(below: &Path) {
    let server = Server::new();
    let at = |name: &str| below.join(name);
    oddities::make(&at("tree"));
    let client = server.client();
    let id = client.backup(&at("tree"));
    let restored = client.command(["restore", &id, "--exclude", TOO_DEEP, "--target"]).arg(at("restored")).output();
    Run::from(restored.expect("the client starts")).ok();
    let run = dump_into(&client, &["--json", &id, "--exclude", TOO_DEEP], &at("a.tar")).ok();
    let summary: Value = serde_json::from_str(run.stderr.lines().last().expect("a summary")).expect("JSON");
    assert_eq!((count(&summary, "errors"), &summary["format"]), (0, &Value::from("tar")));
    assert_eq!(count(&summary, "bytes_written"), fs::metadata(at("a.tar")).expect("an archive").len());
    assert!(count(&summary, "bytes_written") < count(&summary, "bytes") / 10, "holes take no room");
    extract(&at("a.tar"), &at("extracted"));
    println!("{} entries are equal", assert_same(&at("restored"), &at("extracted")));
}

/// A tree with every oddity, dumped, extracted by GNU tar, equals what `restore` gives: bytes, types, names of any bytes,
/// modes, owners, times to the nanosecond, symlinks, hard links, holes, devices, attributes and ACLs.
#[test]
fn a_dump_that_gnu_tar_extracts_equals_a_restore() {
    assert_dump_is_restore(scratch().path());
}

/// So do attributes of 64 KiB (on a file system that takes them).
#[test]
fn a_dump_with_long_attributes_equals_a_restore() {
    let scratch = scratch();
    let Some(_disk) = SmallDisk::mount(&scratch.path().join("disk"), 2000) else { return };
    assert_dump_is_restore(&scratch.path().join("disk"));
}

/// The other way round, too: what is dumped is what GNU tar itself makes of the tree, as far as it can be told apart when
/// it is extracted again.
#[test]
fn a_dump_extracts_as_an_archive_of_gnu_tar_itself() {
    let (server, scratch) = (Server::new(), scratch());
    let at = |name: &str| scratch.path().join(name);
    oddities::make(&at("tree"));
    fs::remove_dir_all(at("tree/deep")).expect("paths that GNU tar can't reach");
    fs::remove_file(at("tree/socket")).expect("a socket");
    let client = server.client();
    let id = client.backup(&at("tree"));
    dump_into(&client, &[&id], &at("ours.tar")).ok();
    let flags = ["--format=pax", "--sparse", "--xattrs", "--xattrs-include=*", "--acls", "-cf"];
    let tar = Command::new("tar").args(flags).arg(at("theirs.tar")).arg("-C").arg(at("tree")).arg(".").output();
    assert!(tar.expect("tar runs").status.success());
    extract(&at("ours.tar"), &at("ours"));
    extract(&at("theirs.tar"), &at("theirs"));
    // Zeros that were written are a hole to GNU tar, and several names of a fifo or device are several of them.
    let known = ["holes", "allocated bytes", "hard link"];
    let found = differences(&at("theirs"), &at("ours"));
    let found: Vec<_> = found.iter().filter(|one| !known.contains(&&one.what[..])).collect();
    assert!(found.is_empty(), "{found:?}");
}

/// A file with more holes than fit into one batch of its list keeps them all.
#[test]
fn a_file_with_thousands_of_holes_keeps_them() {
    let (server, scratch) = (Server::new(), scratch());
    let at = |name: &str| scratch.path().join(name);
    fs::create_dir(at("tree")).expect("a tree");
    let comb = File::create(at("tree/comb")).expect("a file");
    let bytes = random_bytes(1, 4096);
    for tooth in 0..3000 {
        comb.write_all_at(&bytes, tooth * 16384).expect("a tooth");
    }
    comb.set_len(3000 * 16384).expect("a length");
    write(at("tree/file behind it"), "still here");
    let client = server.client();
    let id = client.backup(&at("tree"));
    dump_into(&client, &[&id], &at("a.tar")).ok();
    assert!(fs::metadata(at("a.tar")).expect("an archive").len() < 13 << 20);
    extract(&at("a.tar"), &at("extracted"));
    assert_same(&at("tree"), &at("extracted"));
}

/// A zip holds bytes, modes, times and symlinks; `unzip` brings them back, and Python finds every checksum right.
#[test]
fn a_zip_that_unzip_extracts_has_bytes_modes_times_and_symlinks() {
    let (server, scratch) = (Server::new(), scratch());
    let at = |name: &str| scratch.path().join(name);
    write(at("tree/large"), random_bytes(1, 20 * MIB));
    write(at("tree/compressible"), b"the same line again and again\n".repeat(600_000));
    write(at("tree/dir/small"), "small");
    write(at("tree/dir/empty"), "");
    write(at("tree/dir/größe"), random_bytes(2, 100_000));
    write(at("tree/executable"), "#!/bin/sh\n");
    symlink("dir/small", at("tree/link")).expect("a symlink");
    fs::create_dir(at("tree/nothing in it")).expect("a directory");
    quietly(Command::new("chmod").args(["0750"]).arg(at("tree/executable")));
    let old = ["-h", "-d", "2014-05-11T11:01:07Z"];
    quietly(Command::new("find").arg(at("tree")).args(["-exec", "touch"]).args(old).args(["{}", "+"]));
    let client = server.client();
    let id = client.backup(&at("tree"));
    for (name, words) in [("a.zip", &["-o", "a.zip"][..]), ("b", &["-o", "b", "--format", "zip"])] {
        let dump = client.command([&["-q", "dump", &id], words].concat()).current_dir(scratch.path()).output();
        assert_eq!(Run::from(dump.expect("the client starts")).ok().stderr, "");
        let target = at(name).with_extension("d");
        quietly(Command::new("unzip").args(["-q"]).arg(at(name)).arg("-d").arg(&target).env("LC_ALL", "C.UTF-8"));
        // The archive has no entry for its root.
        quietly(Command::new("touch").arg("-r").arg(at("tree")).arg(&target));
        quietly(Command::new("chmod").arg("--reference").arg(at("tree")).arg(&target));
        // unzip gives a symlink the time of its making.
        let found = differences(&at("tree"), &target);
        let found: Vec<_> = found.iter().filter(|one| one.path != b"link" || one.what != "mtime").collect();
        assert!(found.is_empty(), "{found:?}");
        quietly(Command::new("python3").args(["-m", "zipfile", "-t"]).arg(at(name)));
    }
    assert!(fs::read(at("a.zip")).expect("a zip") == fs::read(at("b")).expect("a zip"), "the same bytes every time");
}

/// A zip of every oddity can be read, names of any bytes among them, and what it lacks is said, once for each kind.
#[test]
fn a_zip_says_what_it_cannot_hold() {
    let (server, scratch) = (Server::new(), scratch());
    let at = |name: &str| scratch.path().join(name);
    oddities::make(&at("tree"));
    let client = server.client();
    let id = client.backup(&at("tree"));
    let words = ["--format", "zip", "--exclude", "image of 3 GiB", "--exclude", TOO_DEEP, &id];
    let run = dump_into(&client, &words, &at("a.zip")).ok();
    for lack in ["special files left out", "extended attributes left out", "hard links became", "holes became zeros"] {
        assert_eq!(run.stderr.matches(lack).count(), 1, "{lack}: {}", run.stderr);
    }
    quietly(Command::new("python3").args(["-m", "zipfile", "-t"]).arg(at("a.zip")));
    quietly(Command::new("unzip").arg("-tqq").arg(at("a.zip")).env("LC_ALL", "C.UTF-8"));
}

/// Where a backslash parts directories, `C:` is a drive and `..` leads up, a zip of what others named stays below the place
/// it is extracted to.
#[test]
fn a_zip_of_foreign_names_leads_nowhere_else() {
    let (server, scratch) = (Server::new(), scratch());
    let at = |name: &str| scratch.path().join(name);
    let names = ["..\\..\\evil.bat", "C:evil.exe", "C:/Windows/x", "\\\\server\\share", "12:30", "dir/50%"];
    names.iter().for_each(|name| write(at("tree").join(name), name));
    let client = server.client();
    let id = client.backup(&at("tree"));
    let run = dump_into(&client, &["--format", "zip", &id], &at("a.zip")).ok();
    assert_eq!(run.stderr.matches("6 names had to be written otherwise").count(), 1, "{}", run.stderr);
    quietly(Command::new("unzip").args(["-q"]).arg(at("a.zip")).arg("-d").arg(at("back")).env("LC_ALL", "C.UTF-8"));
    let mut found: Vec<String> =
        paths(&at("back")).into_iter().map(|path| String::from_utf8(path).expect("UTF-8")).collect();
    found.sort();
    let expected = [
        "%5C%5Cserver%5Cshare",
        "..%5C..%5Cevil.bat",
        "12:30",
        "C%3A",
        "C%3A/Windows",
        "C%3A/Windows/x",
        "C%3Aevil.exe",
        "dir",
        "dir/50%",
    ];
    assert_eq!(found.iter().filter(|path| !path.is_empty()).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    let list = quietly(Command::new("unzip").args(["-Z1"]).arg(at("a.zip")).env("LC_ALL", "C.UTF-8"));
    let list = String::from_utf8(list.stdout).expect("UTF-8");
    assert!(!list.contains('\\') && !list.contains("C:"), "{list}");
}

/// Two dumps of one backup are the same bytes, also by a client that asks over a slow link.
#[test]
fn the_same_backup_gives_the_same_archive() {
    let (server, scratch) = (Server::new(), scratch());
    let at = |name: &str| scratch.path().join(name);
    oddities::make(&at("tree"));
    let client = server.client();
    let id = client.backup(&at("tree"));
    let link = Link::to(server.url(), Quality::distant(Duration::from_millis(5)));
    for format in ["tar", "zip"] {
        let words = ["--format", format, "--exclude", "image of 3 GiB", &id];
        dump_into(&client, &words, &at("first")).ok();
        dump_into(&Client::of(&link.url()), &words, &at("second")).ok();
        assert!(fs::read(at("first")).expect("one") == fs::read(at("second")).expect("another"), "{format} differs");
    }
}

/// Small files share requests: over a distant link the round trips do not add up.
#[test]
fn small_files_from_afar_do_not_cost_a_round_trip_each() {
    let (server, scratch) = (Server::new(), scratch());
    let at = |name: &str| scratch.path().join(name);
    for number in 0..3000u64 {
        write(at(&format!("tree/dir{}/file{number}", number % 50)), random_bytes(number, 3000));
    }
    let client = server.client();
    let id = client.backup(&at("tree"));
    let round_trip = Duration::from_millis(50);
    let link = Link::to(server.url(), Quality::distant(round_trip));
    let started = Instant::now();
    dump_into(&Client::of(&link.url()), &[&id], &at("a.tar")).ok();
    assert!(started.elapsed() < round_trip * 60, "3,000 files took {:?}", started.elapsed());
    extract(&at("a.tar"), &at("extracted"));
    assert_same(&at("tree"), &at("extracted"));
}

/// Damages the middle of the largest pack.
fn damage(server: &mut Server) {
    server.stop();
    let packs = files(&server.data().join("blobs"));
    let (pack, len) = packs.iter().max_by_key(|(_, len)| *len).expect("there is a pack");
    flip_byte(pack, len / 2);
    server.start();
}

/// A damaged file of which the header was out already is named, zeros take the place of what is missing, its other names
/// are left out, and the rest is there: exit code 3. A zip does not list it.
#[test]
fn invariant_4_verified_a_large_damaged_file_is_named_and_has_zeros() {
    let (mut server, scratch) = (Server::new(), scratch());
    let at = |name: &str| scratch.path().join(name);
    write(at("tree/big"), random_bytes(1, 20 * MIB));
    fs::hard_link(at("tree/big"), at("tree/big again")).expect("a hard link");
    write(at("tree/other"), random_bytes(2, 10_000));
    let id = server.client().backup(&at("tree"));
    damage(&mut server);
    let client = server.client();

    let run = dump_into(&client, &[&id], &at("a.tar")).code(3);
    assert!(run.stderr.contains("/big: blob ") && run.stderr.contains("zeros in place"), "{}", run.stderr);
    assert!(run.stderr.contains("/big again: is the same file as /big"), "{}", run.stderr);
    extract(&at("a.tar"), &at("extracted"));
    let (source, got) = (fs::read(at("tree/big")).expect("big"), fs::read(at("extracted/big")).expect("big"));
    assert_eq!(source.len(), got.len());
    let differing = source.iter().zip(&got).filter(|(a, b)| a != b).map(|(_, b)| *b).collect::<Vec<_>>();
    assert!(!differing.is_empty() && differing.len() < 5 * MIB && differing.iter().all(|byte| *byte == 0));
    assert_eq!(fs::read(at("extracted/other")).expect("other"), random_bytes(2, 10_000));
    assert!(!at("extracted/big again").exists());

    let run = dump_into(&client, &["--format", "zip", &id], &at("a.zip")).code(3);
    assert!(run.stderr.contains("/big: blob ") && run.stderr.contains("left out"), "{}", run.stderr);
    quietly(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(at("a.zip")).arg(at("unzipped")));
    assert_eq!(paths(&at("unzipped")).into_iter().collect::<Vec<_>>(), [b"other".to_vec()]);
}

/// A damaged file that was fetched before its header is named and left out, as `restore` does.
#[test]
fn invariant_4_verified_a_small_damaged_file_is_named_and_left_out() {
    let (mut server, scratch) = (Server::new(), scratch());
    let at = |name: &str| scratch.path().join(name);
    write(at("tree/small"), random_bytes(1, 3 * MIB));
    fs::hard_link(at("tree/small"), at("tree/zweitname")).expect("a hard link");
    write(at("tree/tiny"), "tiny");
    let id = server.client().backup(&at("tree"));
    damage(&mut server);
    let client = server.client();
    let run = dump_into(&client, &[&id], &at("a.tar")).code(3);
    assert!(run.stderr.contains("/small: blob ") && run.stderr.contains("left out"), "{}", run.stderr);
    assert!(run.stderr.contains("/zweitname: is the same file as /small"), "{}", run.stderr);
    extract(&at("a.tar"), &at("extracted"));
    client.restore(&id, &at("restored")).code(3);
    assert_same(&at("restored"), &at("extracted"));
}

/// A reader that goes away ends a dump quietly.
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (server, scratch) = (Server::new(), scratch());
    write(scratch.path().join("tree/large"), random_bytes(1, 20 * MIB));
    let client = server.client();
    let id = client.backup(&scratch.path().join("tree"));
    let mut command = client.command(["-q", "dump", &id]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the client starts");
    let mut stdout = child.stdout.take().expect("stdout is piped");
    stdout.read_exact(&mut [0; 512]).expect("a header");
    drop(stdout);
    let run = Run::from(child.wait_with_output().expect("it ends"));
    assert_eq!((run.code, &run.stderr[..]), (Some(0), ""));
}

/// Ctrl+C: exit code 130, nothing under the archive's name, nothing beside it.
#[test]
fn an_interrupted_dump_leaves_no_half_archive() {
    let (server, scratch) = (Server::new(), scratch());
    let at = |name: &str| scratch.path().join(name);
    write(at("tree/large"), random_bytes(1, 40 * MIB));
    fs::create_dir(at("out")).expect("a directory");
    let client = server.client();
    let id = client.backup(&at("tree"));
    let mut command = client.command(["-q", "--limit-download", "4M", "dump", &id, "-o"]);
    command.arg(at("out/a.tar"));
    let running = Running::start(command);
    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::read_dir(at("out")).expect("a directory").next().is_none() {
        assert!(Instant::now() < deadline, "no archive was begun");
        thread::sleep(Duration::from_millis(5));
    }
    running.interrupt();
    let run = running.finish().code(130);
    assert_eq!(run.stderr.trim(), "datadb-client: interrupted");
    assert_eq!(fs::read_dir(at("out")).expect("a directory").count(), 0);
}

/// What could not be read when it was backed up is named and left out, with exit code 3; the rest is there.
#[test]
fn what_a_backup_lacks_is_named() {
    let (server, scratch) = (Server::new(), scratch());
    let at = |name: &str| scratch.path().join(name);
    write(at("tree/readable"), "yes");
    write(at("tree/secret"), "no");
    write(at("tree/closed/inside"), "no");
    let client = server.client();
    for name in ["secret", "closed"] {
        fs::set_permissions(at("tree").join(name), Permissions::from_mode(0o000)).expect("a mode");
    }
    let run = Run::from(heeding_permissions(client.snapshot_command(&at("tree"))).output().expect("the client starts"));
    let id = run.code(3).summary()["id"].as_str().expect("an id").to_owned();
    let run = dump_into(&client, &[&id], &at("a.tar")).code(3);
    for path in ["/secret: could not be read", "/closed: could not be read"] {
        assert_eq!(run.stderr.matches(path).count(), 1, "{}", run.stderr);
    }
    let listed = quietly(Command::new("tar").arg("-tf").arg(at("a.tar"))).stdout;
    assert_eq!(String::from_utf8_lossy(&listed), "./\n./closed/\n./readable\n");
}
