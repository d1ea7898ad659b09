//! `diff BACKUP[:PATH] BACKUP[:PATH]`, `diff BACKUP[:PATH] DIR`

use std::fs;

use expect_test::expect;

use crate::{scene::Scene, support::tree::write};

/// Two backups with a change of each kind between them, and one more change since.
fn story() -> Scene {
    let scene = Scene::new();
    scene.backup("2014-05-12T10:00:00Z");
    write(scene.path("home/notes.txt"), "to do: back up, and sleep\n");
    fs::remove_file(scene.path("home/src/main.o")).expect("removed");
    write(scene.path("home/letters/ada.txt"), "Dear Ada\n");
    scene.settle("home");
    scene.backup("2014-05-13T10:00:00Z");
    write(scene.path("home/letters/bob.txt"), "Dear Bob\n");
    scene.settle("home");
    scene
}

#[test]
fn the_help_tells_what_the_sides_may_be() {
    Scene::without_server().shows("diff --help", expect![[r#"
        Show how two backups differ, or a backup and a directory

        Usage: datadb-client diff [OPTIONS] <BEFORE> <AFTER>

        Arguments:
          <BEFORE>  The older side: BACKUP[:PATH], or a local path
          <AFTER>   The newer side: BACKUP[:PATH], or a local path

        Options:
          -c, --checksum     Of a local path read every file, also those with the size and mtime of the backup's
              --host <HOST>  Only backups of this host
              --path <PATH>  Only backups of this path
          -h, --help         Print help

        Global options:
              --server <URL>           The server: http://HOST:PORT or unix:PATH [default: http://127.0.0.1:9735] [env: DATADB_SERVER]
          -P, --profile <NAME>         Use a profile of client.toml
              --json                   Print one JSON object a line
          -q, --quiet                  No progress and no closing words
              --limit-upload <RATE>    Send no faster than this many bytes a second (500k, 2M)
              --limit-download <RATE>  Fetch no faster than this many bytes a second
              --color <WHEN>           Colours: auto (on a terminal, unless NO_COLOR is set or TERM is dumb), always or never

        Signs: + added, - removed, M other content, U other metadata alone. Something of another type is removed and added.

        One side may be a directory or file of this machine, as it is now: a path that begins with /, ./ or ../, or is . or .. (but
        /PATH@TIME is a backup). Of its files, another size is other content, and the same size and mtime are the same content; only
        where the mtime alone differs the file is read and compared, without fetching it.

        Examples:
          datadb-client diff latest~1 latest             what the last backup brought
          datadb-client diff latest ~/Documents          what changed since then
          datadb-client diff --path /etc latest~7 latest
          datadb-client diff 3f2a:/src home@yesterday:/src
          datadb-client diff -c latest:/photos ./photos  every byte
    "#]]);
}

#[test]
fn two_backups() {
    let scene = story();
    scene.shows("diff latest~1 latest", expect![[r#"
        + /letters/
        + /letters/ada.txt
        M /notes.txt  (content)
        - /src/main.o
        added 1 file and 1 directory (9 B), removed 1 file and 0 directories (2.0 KiB); other content in 1 file (26 B, before 15 B), other metadata alone in 0
        stderr:
        latest~1 is [ID1]: box:/home of 2014-05-12T10:00:00+00:00
        latest is [ID2]: box:/home of 2014-05-13T10:00:00+00:00
    "#]]);
    scene.shows(
        "-q diff latest latest~1",
        expect![[r#"
        - /letters/
        - /letters/ada.txt
        M /notes.txt  (content)
        + /src/main.o
    "#]],
    );
    scene.shows(
        "-q diff --host box latest~1:/src latest:/letters",
        expect![[r#"
        + /ada.txt
        - /main.c
        - /main.o
    "#]],
    );
    scene.shows("--json diff latest~1 latest", expect![[r#"
        {"change":"added","kind":"dir","path":"/letters","size":0,"type":"change"}
        {"change":"added","kind":"file","path":"/letters/ada.txt","size":9,"type":"change"}
        {"change":"content","fields":[],"kind":"file","path":"/notes.txt","size":26,"size_before":15,"type":"change"}
        {"change":"removed","kind":"file","path":"/src/main.o","size_before":2000,"type":"change"}
        {"added":{"bytes":9,"dirs":1,"files":1},"after":"[ID2]","before":"[ID1]","content":{"bytes":26,"bytes_before":15,"files":1},"directories_listed":5,"metadata":0,"removed":{"bytes":2000,"dirs":0,"files":1},"type":"summary"}
        stderr:
        latest~1 is [ID1]: box:/home of 2014-05-12T10:00:00+00:00
        latest is [ID2]: box:/home of 2014-05-13T10:00:00+00:00
    "#]]);
    let path = scene.path("home").canonicalize().expect("a path");
    let path = path.display();
    scene.shows(&format!("diff --path {path} latest latest"), expect![[r#"
        added 0 files and 0 directories (0 B), removed 0 files and 0 directories (0 B); other content in 0 files (0 B, before 0 B), other metadata alone in 0
        stderr:
        latest is [ID2]: box:/home of 2014-05-13T10:00:00+00:00
        latest is [ID2]: box:/home of 2014-05-13T10:00:00+00:00
    "#]]);
    // A whole path before @ is the name of a backup, not of a directory.
    scene.shows(
        &format!("-q diff {path}@2014-05-12:/src {path}@2014-05-13:/src"),
        expect![[r#"
        - /main.o
    "#]],
    );
}

#[test]
fn a_backup_and_a_directory() {
    let scene = story();
    scene.shows("diff latest ./home", expect![[r#"
        + /letters/bob.txt
        added 1 file and 0 directories (9 B), removed 0 files and 0 directories (0 B); other content in 0 files (0 B, before 0 B), other metadata alone in 0
        stderr:
        latest is [ID1]: box:/home of 2014-05-13T10:00:00+00:00
    "#]]);
    scene.shows(
        "-q diff ./home latest~1",
        expect![[r#"
        - /letters/
        - /letters/ada.txt
        - /letters/bob.txt
        M /notes.txt  (content)
        + /src/main.o
    "#]],
    );
    scene.shows(
        "-q diff latest:/letters ./home/letters/",
        expect![[r#"
        + /bob.txt
    "#]],
    );
    scene.shows(
        "-q diff latest~1:/notes.txt ./home/notes.txt",
        expect![[r#"
        M /  (content)
    "#]],
    );
    scene.shows("--json diff latest ./home", expect![[r#"
        {"change":"added","kind":"file","path":"/letters/bob.txt","size":9,"type":"change"}
        {"added":{"bytes":9,"dirs":0,"files":1},"after":"/home","before":"[ID1]","content":{"bytes":0,"bytes_before":0,"files":0},"errors":0,"files_read":0,"metadata":0,"removed":{"bytes":0,"dirs":0,"files":0},"type":"summary"}
        stderr:
        latest is [ID1]: box:/home of 2014-05-13T10:00:00+00:00
    "#]]);
    let path = scene.path("home/letters").canonicalize().expect("a path");
    scene.shows(
        &format!("-q diff --checksum latest:/letters {}", path.display()),
        expect![[r#"
        + /bob.txt
    "#]],
    );
}

#[test]
fn failures_and_wrong_usage() {
    let scene = story();
    scene.shows(
        "diff . ..",
        expect![[r#"
        exit code 2
        stderr:
        error: both sides are local paths: one has to be a BACKUP, such as latest

        Usage: datadb-client diff [OPTIONS] <BEFORE> <AFTER>

        For more information, try '--help'.
    "#]],
    );
    scene.shows(
        "diff -c latest~1 latest",
        expect![[r#"
        exit code 2
        stderr:
        error: --checksum reads local files, and both sides are backups

        Usage: datadb-client diff [OPTIONS] <BEFORE> <AFTER>

        For more information, try '--help'.
    "#]],
    );
    scene.shows(
        "diff latest",
        expect![[r#"
            exit code 2
            stderr:
            error: the following required arguments were not provided:
              <AFTER>

            Usage: datadb-client diff <BEFORE> <AFTER>

            For more information, try '--help'.
        "#]],
    );
    scene.shows(
        "-q diff latest ./nowhere",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: ./nowhere: no such file or directory
    "#]],
    );
    scene.shows("-q diff latest home", expect![[r#"
        exit code 1
        stderr:
        datadb-client: home means no backup: write the beginning of an id, latest, latest~N or NAME@TIME, such as home@now (`datadb-client snapshots` lists them); for what lies here write ./home
    "#]]);
    scene.shows(
        "-q diff latest:/nowhere ./home",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: /nowhere is not in the backup of /home ([ID1])
    "#]],
    );
    scene.shows(
        "-q diff latest~9 latest",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: no latest~9 is among those that match: `datadb-client snapshots` lists them
    "#]],
    );
    Scene::without_server().shows("diff latest .", expect![[r#"
        exit code 1
        stderr:
        datadb-client: no server answers at http://127.0.0.1:9: start one with `datadb-server --data-dir DIR`, or name another with --server
    "#]]);
}
