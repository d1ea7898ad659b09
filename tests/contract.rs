//! What scripts rely on: the ready line, sockets, signals, and the fields of `--json`.

mod support;

use std::process::{Command, Stdio};

use serde_json::Value;
use support::{
    compare::assert_same,
    place::scratch,
    processes::{Client, Run, Server, program},
    tree::{sources, write},
};

#[track_caller]
fn assert_fields(object: &Value, fields: &[&str]) {
    for field in fields {
        assert!(object.get(field).is_some(), "no {field} in {object}");
    }
}

fn is_id(value: &Value) -> bool {
    value.as_str().is_some_and(|id| id.len() == 40 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

/// Every subcommand ends with a summary; backups are listed with all their fields.
#[test]
fn json_has_the_fields_that_scripts_read() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    sources(&tree, 1);
    let client = server.client().on_host("alpha");
    let made = client.snapshot(&tree).ok().summary();
    let counts = ["files", "dirs", "bytes", "files_read", "blobs_new", "bytes_uploaded", "errors", "seconds"];
    assert_fields(&made, &counts);
    assert!(is_id(&made["id"]), "{made}");
    assert_eq!(made["files"], 501);
    assert_eq!(made["dirs"], 21, "the root is counted");
    let listed = client.run(["--json", "snapshots"]).ok().json();
    let [backup, summary] = &listed[..] else { panic!("one backup and a summary: {listed:?}") };
    assert_fields(backup, &["id", "snapshot", "host", "path", "time", "files", "bytes", "errors", "complete", "tags"]);
    assert!(is_id(&backup["id"]) && is_id(&backup["snapshot"]), "{backup}");
    assert_eq!(backup["host"], "alpha");
    assert_eq!(backup["path"], tree.to_str().expect("UTF-8"));
    assert_eq!(backup["complete"], true);
    assert_eq!(backup["bytes"], made["bytes"]);
    assert_eq!(summary["type"], "summary");
    let restored = client.restore("latest", &scratch.path().join("back")).ok().summary();
    assert_fields(&restored, &["id", "files", "bytes", "errors", "seconds"]);
    assert_eq!(restored["id"], made["id"]);
    // Global options may stand behind the subcommand too.
    assert_eq!(client.run(["stats", "--json"]).ok().summary()["type"], "summary");
}

/// Without `--json` and `-q` there is something for a person to read; with `-q` there is nothing; no bars when piped.
#[test]
fn output_is_for_people_unless_asked_otherwise() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("file"), "x");
    let client = server.client();
    let spoken = client.run([std::ffi::OsStr::new("snapshot"), tree.as_os_str()]).ok();
    assert!(spoken.text().lines().count() >= 1, "{spoken:?}");
    assert!(!spoken.stderr.contains('\r') && !spoken.stderr.contains('\x1b'), "{spoken:?}");
    let quiet = client.run([std::ffi::OsStr::new("-q"), "snapshot".as_ref(), tree.as_os_str()]).ok();
    assert_eq!((quiet.text(), &*quiet.stderr), (String::new(), ""));
    for shell in ["bash", "zsh", "fish"] {
        assert!(client.run(["completions", shell]).ok().text().contains("datadb-client"));
    }
    for words in [&["--help"][..], &["--version"], &["snapshot", "--help"]] {
        assert!(!client.run(words).ok().stdout.is_empty());
    }
}

/// A unix socket serves as well as a port, and is gone after a clean stop; SIGINT stops as cleanly as SIGTERM.
#[test]
fn a_unix_socket_serves_and_goes_away() {
    let scratch = scratch();
    let socket = scratch.path().join("socket");
    let address = format!("unix:{}", socket.display());
    let mut child = Command::new(program("datadb-server"))
        .arg("--data-dir")
        .arg(scratch.path().join("data"))
        .args(["--listen", &address, "--http", "off"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let mut ready = String::new();
    let stdout = child.stdout.as_mut().expect("stdout is piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut ready).expect("a ready line");
    assert!(ready.contains(&*socket.to_string_lossy()), "{ready:?}");
    let tree = scratch.path().join("tree");
    sources(&tree, 1);
    let client = Client::of(&address);
    let id = client.backup(&tree);
    client.restore(&id, &scratch.path().join("back")).ok();
    assert_same(&tree, &scratch.path().join("back"));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("not 0");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a child can be signalled");
    assert!(child.wait().expect("a child can be waited for").success());
    assert!(!socket.exists(), "a stopped server leaves no socket behind");
}

/// Ctrl-C in the middle of a backup: exit code 130, no half backup, and the next run goes on from there.
#[test]
fn an_interrupted_backup_exits_with_130() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("large"), support::tree::random_bytes(1, 400 << 20));
    let client = server.client();
    let child = client
        .command([std::ffi::OsStr::new("snapshot"), tree.as_os_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client starts");
    std::thread::sleep(std::time::Duration::from_millis(150));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("not 0");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a child can be signalled");
    let run = Run::from(child.wait_with_output().expect("a child can be waited for"));
    if run.code == Some(0) {
        println!("the backup was over before the signal");
        return;
    }
    assert_eq!(run.code, Some(130), "{run:?}");
    assert_eq!(client.backups().len(), 0);
    let id = client.backup(&tree);
    client.restore(&id, &scratch.path().join("back")).ok();
    assert_same(&tree, &scratch.path().join("back"));
}

/// Several clients at once, with trees that overlap, all get exact backups.
#[test]
fn clients_at_once_do_not_disturb_each_other() {
    let (server, scratch) = (Server::new(), scratch());
    std::thread::scope(|scope| {
        for number in 0..6u64 {
            let (server, scratch) = (&server, &scratch);
            scope.spawn(move || {
                let tree = scratch.path().join(format!("tree{number}"));
                sources(&tree, number / 2);
                let client = server.client().on_host(&format!("host{number}"));
                for round in 0..2 {
                    let id = client.backup(&tree);
                    let back = scratch.path().join(format!("back{number}-{round}"));
                    client.restore(&id, &back).ok();
                    assert_same(&tree, &back);
                }
            });
        }
    });
    assert_eq!(server.client().backups().len(), 12);
}
