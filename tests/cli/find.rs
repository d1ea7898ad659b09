//! `find PATTERN [BACKUP[:PATH]]`

use std::fs;

use expect_test::expect;

use crate::{
    scene::Scene,
    support::{place::is_root, tree::write},
};

/// `main.c` has two versions, `sea.jpg` goes, `lake.JPG` comes.
fn story() -> Scene {
    let scene = Scene::new();
    scene.backup("2014-05-12T10:00:00Z");
    scene.backup("2014-05-13T10:00:00Z");
    write(scene.path("home/src/main.c"), "int main(void) { return 1; }\n\n");
    fs::remove_file(scene.path("home/photos/2013/sea.jpg")).expect("removed");
    write(scene.path("home/photos/2014/lake.JPG"), [0xd8; 90_000]);
    scene.settle("home");
    scene.backup("2014-05-14T10:00:00Z");
    scene
}

#[test]
fn all_backups_are_searched_unless_one_is_named() {
    let scene = story();
    scene.shows("find main.*", expect![[r#"
        box:/home
        BACKUP        FIRST SEEN                 LAST SEEN                  BACKUPS     SIZE  MODIFIED                   PATH
        [ID1       ]  2014-05-12T10:00:00+00:00  2014-05-13T10:00:00+00:00        2     29 B  2014-05-11T11:01:07+00:00  /src/main.c
        [ID2       ]  2014-05-14T10:00:00+00:00  2014-05-14T10:00:00+00:00        1     30 B  2014-05-11T11:01:07+00:00  /src/main.c
        [ID2       ]  2014-05-12T10:00:00+00:00  2014-05-14T10:00:00+00:00        3  2.0 KiB  2014-05-11T11:01:07+00:00  /src/main.o
    "#]]);
    scene.shows(
        "find main.* latest",
        expect![[r#"
        /src/main.c
        /src/main.o
        stderr:
        latest is [ID2]: box:/home of 2014-05-14T10:00:00+00:00
    "#]],
    );
    scene.shows(
        "find -q *.jpg latest~1",
        expect![[r#"
        /photos/2013/sea.jpg
    "#]],
    );
    scene.shows(
        "find 20*/ latest:/photos",
        expect![[r#"
        /photos/2013
        /photos/2014
        stderr:
        latest:/photos is [ID2]: box:/home of 2014-05-14T10:00:00+00:00
    "#]],
    );
}

/// The owner is that of whoever runs the tests: root, as a rule.
#[test]
fn long_rows() {
    let scene = story();
    if !is_root() {
        println!("skipped: the owner in the expected output is root");
        return;
    }
    scene.shows("find -l main.c --host box", expect![[r#"
        box:/home
        BACKUP        FIRST SEEN                 LAST SEEN                  BACKUPS  MODE        LINKS  USER  GROUP  SIZE  MODIFIED                   PATH
        [ID1       ]  2014-05-12T10:00:00+00:00  2014-05-13T10:00:00+00:00        2  -rw-r--r--      1  root  root     29  2014-05-11T11:01:07+00:00  /src/main.c
        [ID2       ]  2014-05-14T10:00:00+00:00  2014-05-14T10:00:00+00:00        1  -rw-r--r--      1  root  root     30  2014-05-11T11:01:07+00:00  /src/main.c
    "#]]);
    scene.shows(
        "find --long main.* -q latest",
        expect![[r#"
        -rw-r--r--  1  root  root    30  2014-05-11T11:01:07+00:00  /src/main.c
        -rw-r--r--  1  root  root  2000  2014-05-11T11:01:07+00:00  /src/main.o
    "#]],
    );
}

#[test]
fn what_is_wanted_can_be_narrowed() {
    let scene = story();
    scene.shows("find *.jpg", expect![[r#"
        box:/home
        BACKUP        FIRST SEEN                 LAST SEEN                  BACKUPS      SIZE  MODIFIED                   PATH
        [ID1       ]  2014-05-12T10:00:00+00:00  2014-05-13T10:00:00+00:00        2  68.4 KiB  2014-05-11T11:01:07+00:00  /photos/2013/sea.jpg
    "#]]);
    scene.shows("find -i *.jpg", expect![[r#"
        box:/home
        BACKUP        FIRST SEEN                 LAST SEEN                  BACKUPS      SIZE  MODIFIED                   PATH
        [ID1       ]  2014-05-12T10:00:00+00:00  2014-05-13T10:00:00+00:00        2  68.4 KiB  2014-05-11T11:01:07+00:00  /photos/2013/sea.jpg
        [ID2       ]  2014-05-14T10:00:00+00:00  2014-05-14T10:00:00+00:00        1  87.9 KiB  2014-05-11T11:01:07+00:00  /photos/2014/lake.JPG
    "#]]);
    scene.shows(
        "find --iname *.jpg -q latest",
        expect![[r#"
        /photos/2014/lake.JPG
    "#]],
    );
    scene.shows(
        "find --ignore-case LAKE* -q latest",
        expect![[r#"
        /photos/2014/lake.JPG
    "#]],
    );
    scene.shows(
        "find --type d * -q latest",
        expect![[r#"
        /photos
        /src
        /photos/2013
        /photos/2014
    "#]],
    );
    scene.shows(
        "find --type l --type f /* -q latest",
        expect![[r#"
        /notes.txt
        /todo
    "#]],
    );
    scene.shows(
        "find --larger 50k * -q latest",
        expect![[r#"
        /photos/2014/lake.JPG
    "#]],
    );
    scene.shows(
        "find --smaller 102 * -q latest",
        expect![[r#"
            /notes.txt
            /src/main.c
        "#]],
    );
    scene.shows(
        "find --newer 2014-05-10 --type f *.c -q latest",
        expect![[r#"
        /src/main.c
    "#]],
    );
    scene.shows(
        "find --newer 2014-05-11 --type f *.c latest",
        expect![[r#"
        stderr:
        latest is [ID2]: box:/home of 2014-05-14T10:00:00+00:00
        nothing found
    "#]],
    );
    scene.shows(
        "find --older 2014-05-11 --type f *.c -q latest",
        expect![[r#"
        /src/main.c
    "#]],
    );
    scene.shows("find --older 2014-05-10 --type f *.c -q latest", expect![[""]]);
    let path = scene.path("home").canonicalize().expect("a path");
    scene.shows(
        &format!("find -q --path {} *.c latest~1", path.display()),
        expect![[r#"
        /src/main.c
    "#]],
    );
}

#[test]
fn json_tells_everything() {
    let scene = story();
    scene.shows("find main.c --json", expect![[r#"
        {"backups":2,"digest":"a764b4b3cb209ccc898b6ac17de8abc3c2ff2186c2b47df3731b02489c274509","first":"[ID1]","first_time":1399888800,"gid":[N],"group":"[NAME]","host":"box","kind":"file","last":"[ID2]","last_time":1399975200,"mode":"0644","mtime":"1399806067.000000000","path":"/src/main.c","size":29,"snapshot_path":"/home","type":"version","uid":[N],"user":"[NAME]"}
        {"backups":1,"digest":"37b0215c7e07abe48376098b39ab2d89ab60857b429623a0824320c64569c370","first":"[ID3]","first_time":1400061600,"gid":[N],"group":"[NAME]","host":"box","kind":"file","last":"[ID3]","last_time":1400061600,"mode":"0644","mtime":"1399806067.000000000","path":"/src/main.c","size":30,"snapshot_path":"/home","type":"version","uid":[N],"user":"[NAME]"}
        {"backups":3,"keys_read":17,"type":"summary","versions":2}
    "#]]);
}

#[test]
fn nothing_found_is_no_failure() {
    let scene = story();
    scene.shows(
        "find nothing",
        expect![[r#"
        stderr:
        nothing found
    "#]],
    );
    scene.shows("find -q nothing", expect![[""]]);
}

#[test]
fn unknown_backups_and_hosts_are_failures() {
    let scene = story();
    scene.shows(
        "find *.c latest~7",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: no latest~7 is among those that match: `datadb-client snapshots` lists them
    "#]],
    );
    scene.shows(
        "find *.c latest:/nowhere",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: /nowhere is not in the backup of /home ([ID1])
    "#]],
    );
    scene.shows(
        "find *.c --host nobody",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: there are no backups that match: `datadb-client snapshots` lists them
    "#]],
    );
    Scene::without_server().shows("find *.c", expect![[r#"
        exit code 1
        stderr:
        datadb-client: no server answers at http://127.0.0.1:9: start one with `datadb-server --data-dir DIR`, or name another with --server
    "#]]);
}

#[test]
fn wrong_usage() {
    let scene = Scene::without_server();
    scene.shows(
        "find",
        expect![[r#"
            exit code 2
            stderr:
            error: the following required arguments were not provided:
              <PATTERN>

            Usage: datadb-client find <PATTERN> [BACKUP[:PATH]]

            For more information, try '--help'.
        "#]],
    );
    scene.shows(
        "find [a",
        expect![[r#"
        exit code 2
        stderr:
        error: invalid value '[a' for '<PATTERN>': the pattern [a: unclosed character class; missing ']'

        For more information, try '--help'.
    "#]],
    );
    scene.shows("find !a", expect![[r#"
        exit code 2
        stderr:
        error: invalid value '!a' for '<PATTERN>': a pattern that begins with ! only takes back what others choose (write \! for a name)

        For more information, try '--help'.
    "#]]);
    scene.shows(
        "find a --type x",
        expect![[r#"
        exit code 2
        stderr:
        error: invalid value 'x' for '--type <TYPE>'
          [possible values: f, d, l, p, c, b]

        For more information, try '--help'.
    "#]],
    );
    scene.shows(
        "find a --larger much",
        expect![[r#"
            exit code 2
            stderr:
            error: invalid value 'much' for '--larger <SIZE>': "much" is not a size: write 500k, 10M, 2G or a number of bytes

            For more information, try '--help'.
        "#]],
    );
    scene.shows("find a --older soon", expect![[r#"
        exit code 2
        stderr:
        error: invalid value 'soon' for '--older <TIME>': "soon" is not a time: write 2014, 2014-05, 2014-05-12, 2014-05-12T18:36, 2014-05-12T18:36:07+02:00, now, today, yesterday, 2h, 3d or 1w

        For more information, try '--help'.
    "#]]);
}
