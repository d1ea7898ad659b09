//! `ls BACKUP[:PATH]`

use expect_test::expect;

use crate::{scene::Scene, support::place::is_root};

fn story() -> Scene {
    let scene = Scene::new();
    scene.backup("2014-05-12T10:00:00Z");
    scene
}

#[test]
fn names_alone() {
    let scene = story();
    scene.shows(
        "ls latest",
        expect![[r#"
        notes.txt
        photos
        src
        todo
        stderr:
        latest is [ID1]: box:/home of 2014-05-12T10:00:00+00:00
    "#]],
    );
    scene.shows(
        "ls -q latest:/src",
        expect![[r#"
        main.c
        main.o
    "#]],
    );
    scene.shows(
        "ls -q latest:/notes.txt",
        expect![[r#"
        notes.txt
    "#]],
    );
    scene.shows(
        "ls -q -R latest",
        expect![[r#"
        notes.txt
        photos
        photos/2013
        photos/2013/sea.jpg
        src
        src/main.c
        src/main.o
        todo
    "#]],
    );
    scene.shows(
        "ls -q --recursive latest:/photos",
        expect![[r#"
        2013
        2013/sea.jpg
    "#]],
    );
    scene.shows(
        "ls -q -d latest:/photos",
        expect![[r#"
        photos
    "#]],
    );
    scene.shows(
        "ls -q --directory latest",
        expect![[r#"
        home
    "#]],
    );
}

/// The owner is that of whoever runs the tests: root, as a rule.
#[test]
fn long_rows_are_aligned() {
    let scene = story();
    if !is_root() {
        println!("skipped: the owner in the expected output is root");
        return;
    }
    scene.shows(
        "ls -q -l latest",
        expect![[r#"
        -rw-r--r--  1  root  root  15  2014-05-11T11:01:07+00:00  notes.txt
        drwxr-xr-x  1  root  root   0  2014-05-11T11:01:07+00:00  photos
        drwxr-xr-x  1  root  root   0  2014-05-11T11:01:07+00:00  src
        lrwxrwxrwx  1  root  root   0  2014-05-11T11:01:07+00:00  todo -> notes.txt
    "#]],
    );
    scene.shows(
        "ls -q -lH latest:/src",
        expect![[r#"
        -rw-r--r--  1  root  root     29 B  2014-05-11T11:01:07+00:00  main.c
        -rw-r--r--  1  root  root  2.0 KiB  2014-05-11T11:01:07+00:00  main.o
    "#]],
    );
    scene.shows(
        "ls -q --long --human -R latest:/photos",
        expect![[r#"
        drwxr-xr-x  1  root  root       0 B  2014-05-11T11:01:07+00:00  2013
        -rw-r--r--  1  root  root  68.4 KiB  2014-05-11T11:01:07+00:00  2013/sea.jpg
    "#]],
    );
    scene.shows(
        "ls -q -ld latest:/src",
        expect![[r#"
        drwxr-xr-x  1  root  root  0  2014-05-11T11:01:07+00:00  src
    "#]],
    );
    scene.shows("ls -q --json latest:/notes.txt", expect![[r#"
        {"digest":"8b2c9e589938f7f0563925b89886ee43380e5051e783c2529298dfd7fcec881c","gid":[N],"group":"[NAME]","kind":"file","mode":"0644","mtime":"1399806067.000000000","path":"notes.txt","size":15,"type":"entry","uid":[N],"user":"[NAME]"}
        {"entries":1,"id":"[ID1]","type":"summary"}
    "#]]);
}

#[test]
fn the_choice_can_be_narrowed() {
    let scene = story();
    let path = scene.path("home").canonicalize().expect("a path");
    scene.shows(
        &format!("ls -q --host box --path {} latest:/src", path.display()),
        expect![[r#"
        main.c
        main.o
    "#]],
    );
    scene.shows(
        "ls --host nobody latest",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: there are no backups that match: `datadb-client snapshots` lists them
    "#]],
    );
}

#[test]
fn failures_and_wrong_usage() {
    let scene = story();
    scene.shows(
        "ls -q latest:/nowhere",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: /nowhere is not in the backup of /home ([ID1])
    "#]],
    );
    scene.shows(
        "ls -q latest~1",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: no latest~1 is among those that match: `datadb-client snapshots` lists them
    "#]],
    );
    scene.shows(
        "ls -d -R latest",
        expect![[r#"
            exit code 2
            stderr:
            error: the argument '--directory' cannot be used with '--recursive'

            Usage: datadb-client ls --directory <BACKUP[:PATH]>

            For more information, try '--help'.
        "#]],
    );
    Scene::without_server().shows("ls latest", expect![[r#"
        exit code 1
        stderr:
        datadb-client: no server answers at http://127.0.0.1:9: start one with `datadb-server --data-dir DIR`, or name another with --server
    "#]]);
}
