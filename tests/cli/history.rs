//! `history PATH`

use std::fs;

use expect_test::expect;

use crate::{scene::Scene, support::tree::write};

/// Three versions of `notes.txt`, gone between the second and the third; `todo` is a link.
fn story() -> Scene {
    let scene = Scene::new();
    scene.backup("2014-05-12T10:00:00Z");
    scene.backup("2014-05-13T10:00:00Z");
    write(scene.path("home/notes.txt"), "to do: back up twice\n");
    scene.settle("home");
    scene.backup("2014-05-14T10:00:00Z");
    fs::remove_file(scene.path("home/notes.txt")).expect("removed");
    scene.settle("home");
    scene.backup("2014-05-15T10:00:00Z");
    scene.backup("2014-05-16T10:00:00Z");
    write(scene.path("home/notes.txt"), "to do: back up twice\n");
    scene.settle("home");
    scene.backup("2014-05-17T10:00:00Z");
    scene
}

#[test]
fn versions_are_folded_and_a_gap_is_shown() {
    let scene = story();
    scene.shows("history home/notes.txt", expect![[r#"
        /notes.txt in box:/home
        BACKUP        FIRST SEEN                 LAST SEEN                  BACKUPS  MODIFIED                   SIZE  CONTENT       CHANGED
        [ID1       ]  2014-05-12T10:00:00+00:00  2014-05-13T10:00:00+00:00        2  2014-05-11T11:01:07+00:00  15 B  [ID2       ]
        [ID3       ]  2014-05-14T10:00:00+00:00  2014-05-14T10:00:00+00:00        1  2014-05-11T11:01:07+00:00  21 B  [ID4       ]  content
        [ID5       ]  2014-05-15T10:00:00+00:00  2014-05-16T10:00:00+00:00        2                                   absent
        [ID6       ]  2014-05-17T10:00:00+00:00  2014-05-17T10:00:00+00:00        1  2014-05-11T11:01:07+00:00  21 B  [ID4       ]  came back
    "#]]);
}

#[test]
fn all_shows_a_row_for_each_backup() {
    let scene = story();
    scene.shows(
        "history --all home/notes.txt",
        expect![[r#"
            /notes.txt in box:/home
            BACKUP        TIME                       MODIFIED                   SIZE  CONTENT       CHANGED
            [ID1       ]  2014-05-12T10:00:00+00:00  2014-05-11T11:01:07+00:00  15 B  [ID2       ]
            [ID3       ]  2014-05-13T10:00:00+00:00  2014-05-11T11:01:07+00:00  15 B  [ID2       ]
            [ID4       ]  2014-05-14T10:00:00+00:00  2014-05-11T11:01:07+00:00  21 B  [ID5       ]  content
            [ID6       ]  2014-05-15T10:00:00+00:00                                   absent
            [ID7       ]  2014-05-16T10:00:00+00:00                                   absent
            [ID8       ]  2014-05-17T10:00:00+00:00  2014-05-11T11:01:07+00:00  21 B  [ID5       ]  came back
        "#]],
    );
}

#[test]
fn directories_and_links_have_versions_too() {
    let scene = story();
    scene.shows("history home", expect![[r#"
        / in box:/home
        BACKUP        FIRST SEEN                 LAST SEEN                  BACKUPS  MODIFIED                   SIZE  CONTENT  CHANGED
        [ID1       ]  2014-05-12T10:00:00+00:00  2014-05-13T10:00:00+00:00        2  2014-05-11T11:01:07+00:00        dir
        [ID2       ]  2014-05-14T10:00:00+00:00  2014-05-14T10:00:00+00:00        1  2014-05-11T11:01:07+00:00        dir      entries
        [ID3       ]  2014-05-15T10:00:00+00:00  2014-05-16T10:00:00+00:00        2  2014-05-11T11:01:07+00:00        dir      entries
        [ID4       ]  2014-05-17T10:00:00+00:00  2014-05-17T10:00:00+00:00        1  2014-05-11T11:01:07+00:00        dir      entries
    "#]]);
    scene.shows("history home/src/../todo", expect![[r#"
        /todo in box:/home
        BACKUP        FIRST SEEN                 LAST SEEN                  BACKUPS  MODIFIED                   SIZE  CONTENT       CHANGED
        [ID4       ]  2014-05-12T10:00:00+00:00  2014-05-17T10:00:00+00:00        6  2014-05-11T11:01:07+00:00        -> notes.txt
    "#]]);
}

#[test]
fn every_snapshot_that_holds_the_path_is_shown_unless_one_is_chosen() {
    let scene = story();
    let run = scene.run_raw(&["snapshot", "-q", "--host", "other", "--time", "2014-05-18T10:00:00Z", "home/src"]).ok();
    assert!(run.text().is_empty());
    scene.shows("history home/src/main.c", expect![[r#"
        /src/main.c in box:/home
        BACKUP        FIRST SEEN                 LAST SEEN                  BACKUPS  MODIFIED                   SIZE  CONTENT       CHANGED
        [ID1       ]  2014-05-12T10:00:00+00:00  2014-05-17T10:00:00+00:00        6  2014-05-11T11:01:07+00:00  29 B  [ID2       ]

        /main.c in other:/home/src
        BACKUP        FIRST SEEN                 LAST SEEN                  BACKUPS  MODIFIED                   SIZE  CONTENT       CHANGED
        [ID3       ]  2014-05-18T10:00:00+00:00  2014-05-18T10:00:00+00:00        1  2014-05-11T11:01:07+00:00  29 B  [ID2       ]
    "#]]);
    scene.shows("history home/src/main.c --host other", expect![[r#"
        /main.c in other:/home/src
        BACKUP        FIRST SEEN                 LAST SEEN                  BACKUPS  MODIFIED                   SIZE  CONTENT       CHANGED
        [ID3       ]  2014-05-18T10:00:00+00:00  2014-05-18T10:00:00+00:00        1  2014-05-11T11:01:07+00:00  29 B  [ID2       ]
    "#]]);
    let path = scene.path("home").canonicalize().expect("a path");
    scene.shows(
        &format!("history home/src/main.c --path {}", path.display()),
        expect![[r#"
            /src/main.c in box:/home
            BACKUP        FIRST SEEN                 LAST SEEN                  BACKUPS  MODIFIED                   SIZE  CONTENT       CHANGED
            [ID1       ]  2014-05-12T10:00:00+00:00  2014-05-17T10:00:00+00:00        6  2014-05-11T11:01:07+00:00  29 B  [ID2       ]
        "#]],
    );
}

#[test]
fn json_tells_everything() {
    let scene = story();
    scene.shows("history home/notes.txt --json", expect![[r#"
        {"backups":2,"digest":"8b2c9e589938f7f0563925b89886ee43380e5051e783c2529298dfd7fcec881c","first":"[ID1]","first_time":1399888800,"gid":[N],"group":"[NAME]","host":"box","kind":"file","last":"[ID2]","last_time":1399975200,"mode":"0644","mtime":"1399806067.000000000","path":"/notes.txt","size":15,"snapshot_path":"/home","type":"version","uid":[N],"user":"[NAME]"}
        {"backups":1,"digest":"535ee5f28e192101ad4dab64647260bfe2e61eb92d05599b46bb82813c5b23b6","first":"[ID3]","first_time":1400061600,"gid":[N],"group":"[NAME]","host":"box","kind":"file","last":"[ID3]","last_time":1400061600,"mode":"0644","mtime":"1399806067.000000000","path":"/notes.txt","size":21,"snapshot_path":"/home","type":"version","uid":[N],"user":"[NAME]"}
        {"backups":2,"first":"[ID4]","first_time":1400148000,"host":"box","kind":"absent","last":"[ID5]","last_time":1400234400,"path":"/notes.txt","snapshot_path":"/home","type":"version"}
        {"backups":1,"digest":"535ee5f28e192101ad4dab64647260bfe2e61eb92d05599b46bb82813c5b23b6","first":"[ID6]","first_time":1400320800,"gid":[N],"group":"[NAME]","host":"box","kind":"file","last":"[ID6]","last_time":1400320800,"mode":"0644","mtime":"1399806067.000000000","path":"/notes.txt","size":21,"snapshot_path":"/home","type":"version","uid":[N],"user":"[NAME]"}
        {"backups":6,"keys_read":21,"path":"/home/notes.txt","snapshots":1,"type":"summary","versions":4}
    "#]]);
}

#[test]
fn what_no_backup_holds_is_a_failure() {
    let scene = story();
    scene.shows(
        "history home/never",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: /home/never is in none of the 6 backups that could hold it: `datadb-client snapshots` lists them
    "#]],
    );
    scene.shows("history /elsewhere/never", expect![[r#"
        exit code 1
        stderr:
        datadb-client: no snapshot that matches holds /elsewhere/never or a directory above it: `datadb-client snapshots` lists them
    "#]]);
    scene.shows("history home/notes.txt --host nobody", expect![[r#"
        exit code 1
        stderr:
        datadb-client: no snapshot that matches holds /home/notes.txt or a directory above it: `datadb-client snapshots` lists them
    "#]]);
}

#[test]
fn wrong_usage() {
    Scene::without_server().shows(
        "history",
        expect![[r#"
            exit code 2
            stderr:
            error: the following required arguments were not provided:
              <PATH>

            Usage: datadb-client history <PATH>

            For more information, try '--help'.
        "#]],
    );
    Scene::without_server().shows("history /etc", expect![[r#"
        exit code 1
        stderr:
        datadb-client: no server answers at http://127.0.0.1:9: start one with `datadb-server --data-dir DIR`, or name another with --server
    "#]]);
}
