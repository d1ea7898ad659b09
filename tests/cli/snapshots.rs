//! `snapshots`

use std::{fs, os::unix::ffi::OsStrExt as _};

use expect_test::expect;

use crate::scene::Scene;

fn story() -> Scene {
    let scene = Scene::new();
    for (day, tag) in [(12, "why=first"), (13, "why=daily"), (14, "why=daily")] {
        let time = format!("2014-05-{day}T10:00:00Z");
        scene.run_raw(&["snapshot", "-q", "--host", "box", "--tag", tag, "--time", &time, "home"]).ok();
    }
    let words = [
        "snapshot",
        "-q",
        "--host",
        "laptop",
        "--time",
        "2014-05-13T12:00:00Z",
        "--tag",
        "by=me",
        "--tag",
        "why=daily",
        "home/src",
    ];
    scene.run_raw(&words).ok();
    scene
}

#[test]
fn backups_stand_below_their_snapshots() {
    let scene = story();
    scene.shows(
        "snapshots",
        expect![[r#"
        box:/home  (3 backups)
          [ID1       ]  2014-05-12T10:00:00+00:00  5 files  70.4 KiB  why=first
          [ID2       ]  2014-05-13T10:00:00+00:00  5 files  70.4 KiB  why=daily
          [ID3       ]  2014-05-14T10:00:00+00:00  5 files  70.4 KiB  why=daily

        laptop:/home/src  (1 backup)
          [ID4       ]  2014-05-13T12:00:00+00:00  2 files  2.0 KiB  by=me  why=daily
    "#]],
    );
}

#[test]
fn host_path_tag_and_last_choose() {
    let scene = story();
    scene.shows(
        "snapshots --host laptop",
        expect![[r#"
        laptop:/home/src  (1 backup)
          [ID1       ]  2014-05-13T12:00:00+00:00  2 files  2.0 KiB  by=me  why=daily
    "#]],
    );
    let path = scene.path("home").canonicalize().expect("a path");
    scene.shows(
        &format!("snapshots --path {} --last 2", path.display()),
        expect![[r#"
        box:/home  (2 backups)
          [ID2       ]  2014-05-13T10:00:00+00:00  5 files  70.4 KiB  why=daily
          [ID3       ]  2014-05-14T10:00:00+00:00  5 files  70.4 KiB  why=daily
    "#]],
    );
    scene.shows(
        "snapshots --tag why=daily",
        expect![[r#"
        box:/home  (2 backups)
          [ID2       ]  2014-05-13T10:00:00+00:00  5 files  70.4 KiB  why=daily
          [ID3       ]  2014-05-14T10:00:00+00:00  5 files  70.4 KiB  why=daily

        laptop:/home/src  (1 backup)
          [ID1       ]  2014-05-13T12:00:00+00:00  2 files  2.0 KiB  by=me  why=daily
    "#]],
    );
    scene.shows(
        "snapshots --tag why=daily --tag by=me",
        expect![[r#"
        laptop:/home/src  (1 backup)
          [ID1       ]  2014-05-13T12:00:00+00:00  2 files  2.0 KiB  by=me  why=daily
    "#]],
    );
    scene.shows(
        "snapshots --tag why=daily --last 1",
        expect![[r#"
        box:/home  (1 backup)
          [ID3       ]  2014-05-14T10:00:00+00:00  5 files  70.4 KiB  why=daily

        laptop:/home/src  (1 backup)
          [ID1       ]  2014-05-13T12:00:00+00:00  2 files  2.0 KiB  by=me  why=daily
    "#]],
    );
}

#[test]
fn names_cannot_steer_the_terminal_and_errors_are_told() {
    let scene = Scene::new();
    let odd = scene.path("odd").join(std::ffi::OsStr::from_bytes(b"a\x1b[2J"));
    fs::create_dir_all(&odd).expect("a directory");
    let words = ["snapshot", "-q", "--host", "box", "--time", "2014-05-12T10:00:00Z", odd.to_str().expect("UTF-8")];
    scene.run_raw(&words).ok();
    scene.shows(
        "snapshots",
        expect![[r#"
        box:/odd/a\x1b[2J  (1 backup)
          [ID1       ]  2014-05-12T10:00:00+00:00  0 files  0 B
    "#]],
    );
}

#[test]
fn json_is_an_object_for_each_backup() {
    let scene = story();
    scene.shows("snapshots --json --last 1", expect![[r#"
        {"bytes":72044,"changed":0,"complete":true,"dirs":4,"errors":0,"files":5,"host":"box","id":"[ID1]","path":"/home","snapshot":"[ID2]","tags":{"why":"daily"},"time":1400061600,"type":"backup"}
        {"bytes":2029,"changed":0,"complete":true,"dirs":1,"errors":0,"files":2,"host":"laptop","id":"[ID3]","path":"/home/src","snapshot":"[ID4]","tags":{"by":"me","why":"daily"},"time":1399982400,"type":"backup"}
        {"backups":2,"overdue":0,"type":"summary"}
    "#]]);
}

#[test]
fn none_is_no_failure() {
    let scene = Scene::new();
    scene.shows(
        "snapshots",
        expect![[r#"
        no backups yet: make one with `datadb-client snapshot PATH`
    "#]],
    );
    scene.shows("snapshots -q", expect![[""]]);
    scene.backup("2014-05-12T10:00:00Z");
    scene.shows(
        "snapshots --tag why=never",
        expect![[r#"
        no backup matches: `datadb-client snapshots` lists all
    "#]],
    );
    scene.shows(
        "snapshots --host nobody",
        expect![[r#"
        no backup matches: `datadb-client snapshots` lists all
    "#]],
    );
}

#[test]
fn wrong_usage_and_nobody_there() {
    let scene = Scene::without_server();
    scene.shows(
        "snapshots --last 0",
        expect![[r#"
        exit code 2
        stderr:
        error: invalid value '0' for '--last <N>': 0 is not in 1..=1000

        For more information, try '--help'.
    "#]],
    );
    scene.shows(
        "snapshots --tag why",
        expect![[r#"
        exit code 2
        stderr:
        error: invalid value 'why' for '--tag <KEY=VALUE>': write KEY=VALUE

        For more information, try '--help'.
    "#]],
    );
    scene.shows("snapshots", expect![[r#"
        exit code 1
        stderr:
        datadb-client: no server answers at http://127.0.0.1:9: start one with `datadb-server --data-dir DIR`, or name another with --server
    "#]]);
}
