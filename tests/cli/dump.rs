//! `dump BACKUP[:PATH]`

use std::{fs, os::unix::fs::symlink, process::Command};

use expect_test::{Expect, expect};

use crate::{
    scene::Scene,
    support::{
        processes::Run,
        tree::{files, flip_byte, write},
    },
};

/// A scene with one backup.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.backup("2026-05-01T10:00:00Z");
    scene
}

/// What GNU tar lists: modes, sizes, times, names.
#[track_caller]
fn lists(scene: &Scene, archive: &str, expected: Expect) {
    let tar = Command::new("tar")
        .args(["--full-time", "--utc", "-tvf"])
        .arg(scene.path(archive))
        .env("LC_ALL", "C")
        .output()
        .expect("tar runs");
    let text = String::from_utf8(tar.stdout).expect("UTF-8") + &String::from_utf8_lossy(&tar.stderr);
    let owners = regex::Regex::new(r"(?m)^(\S+) \S+/\S+ +").expect("a pattern");
    expected.assert_eq(&owners.replace_all(&text, "$1 [OWNER] "));
}

#[test]
fn the_help_says_how_to_extract_and_what_becomes_of_damage() {
    Scene::without_server().shows("dump --help", expect![[r#"
        Write a backup, or a path in it, as a tar or zip archive

        Usage: datadb-client dump [OPTIONS] <BACKUP[:PATH]>

        Arguments:
          <BACKUP[:PATH]>
                  Which backup, and which path in it: BACKUP[:PATH]

        Options:
              --format <FORMAT>
                  Which archive [default: by the end of FILE's name, else tar]

                  Possible values:
                  - tar: With everything that a backup holds
                  - zip: Without owners' names, attributes, devices and fifos; hard links become files of their own, holes zeros

          -o, --output <FILE>
                  Write into this file instead of to stdout; it gets its name when it is whole

              --include <GLOB>
                  Dump only what this matches, and all below it; may be given several times

              --exclude <GLOB>
                  Leave out what this matches, and all below it; may be given several times

              --host <HOST>
                  Only backups of this host

              --path <PATH>
                  Only backups of this path

          -h, --help
                  Print help (see a summary with '-h')

        Global options:
              --server <URL>
                  The server: http://HOST:PORT or unix:PATH [default: http://127.0.0.1:9735] [env: DATADB_SERVER]

          -P, --profile <NAME>
                  Use a profile of client.toml

              --json
                  Print one JSON object a line

          -q, --quiet
                  No progress and no closing words

              --limit-upload <RATE>
                  Send no faster than this many bytes a second (500k, 2M)

              --limit-download <RATE>
                  Fetch no faster than this many bytes a second

              --color <WHEN>
                  Colours: auto (on a terminal, unless NO_COLOR is set or TERM is dumb), always or never

        A tar archive is in the pax format and holds all that a backup does. GNU tar, as root, brings everything back with
          tar --xattrs --xattrs-include='*' --acls --numeric-owner -xpf FILE
        A zip archive holds files, directories and symlinks with their modes and times; what it lacks is said in the end. What
        lies in the backed-up directory lies at the top of the archive; a PATH that is a file gives an archive of that file alone.

        Every byte is verified before it is written. A file that is damaged is named, and the exit code is 3: up to 8 MiB it is
        left out, as its other names are; in a larger one of a tar archive zeros take the place of what is missing, a zip archive
        does not list it.

        GLOBs are those of `restore`.

        Examples:
          datadb-client dump latest | tar -tv
          datadb-client dump home@yesterday:/me/letters -o letters.tar
          datadb-client dump latest:/photos -o photos.zip --exclude '*.raw'
          datadb-client dump latest | zstd | ssh elsewhere 'cat > home.tar.zst'
    "#]]);
}

#[test]
fn a_backup_becomes_a_tar() {
    let scene = scene();
    scene.shows(
        "dump latest -o home.tar",
        expect![[r#"
        5 files, 70.4 KiB dumped as 77.0 KiB of tar, 0 errors; [N] s, [N]/s
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
    "#]],
    );
    lists(
        &scene,
        "home.tar",
        expect![[r#"
        drwxr-xr-x [OWNER] 0 2014-05-11 11:01:07 ./
        -rw-r--r-- [OWNER] 15 2014-05-11 11:01:07 ./notes.txt
        drwxr-xr-x [OWNER] 0 2014-05-11 11:01:07 ./photos/
        drwxr-xr-x [OWNER] 0 2014-05-11 11:01:07 ./photos/2013/
        -rw-r--r-- [OWNER] 70000 2014-05-11 11:01:07 ./photos/2013/sea.jpg
        drwxr-xr-x [OWNER] 0 2014-05-11 11:01:07 ./src/
        -rw-r--r-- [OWNER] 29 2014-05-11 11:01:07 ./src/main.c
        -rw-r--r-- [OWNER] 2000 2014-05-11 11:01:07 ./src/main.o
        lrwxrwxrwx [OWNER] 0 2014-05-11 11:01:07 ./todo -> notes.txt
    "#]],
    );
    scene.shows("-q dump latest --output home.tar", expect![[""]]);
    scene.shows("--json dump --host box latest:/src -o src.tar", expect![[r#"
        {"bytes":2029,"bytes_written":5120,"dirs":1,"errors":0,"files":2,"format":"tar","id":"[ID1]","lacks":[],"seconds":[N],"type":"summary"}
        stderr:
        latest:/src is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
    "#]]);
    lists(
        &scene,
        "src.tar",
        expect![[r#"
        drwxr-xr-x [OWNER] 0 2014-05-11 11:01:07 ./
        -rw-r--r-- [OWNER] 29 2014-05-11 11:01:07 ./main.c
        -rw-r--r-- [OWNER] 2000 2014-05-11 11:01:07 ./main.o
    "#]],
    );
    let home = scene.path("home");
    let home = home.to_str().expect("UTF-8");
    scene.shows(&format!("-q dump --path {home} latest:/notes.txt -o one.tar"), expect![[""]]);
    lists(
        &scene,
        "one.tar",
        expect![[r#"
        -rw-r--r-- [OWNER] 15 2014-05-11 11:01:07 notes.txt
    "#]],
    );
    scene.shows("-q dump latest:/todo --format tar -o todo", expect![[""]]);
    lists(
        &scene,
        "todo",
        expect![[r#"
        lrwxrwxrwx [OWNER] 0 2014-05-11 11:01:07 todo -> notes.txt
    "#]],
    );
}

#[test]
fn what_is_chosen_comes_with_the_directories_above_it() {
    let scene = scene();
    scene.shows(
        "dump latest -o c.tar --include *.c --include /photos/** --exclude 2013/",
        expect![[r#"
        exit code 3
        1 files, 29 B dumped as 3.0 KiB of tar, 1 errors; [N] s, [N]/s
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
        --include /photos/**: matches nothing that is dumped
    "#]],
    );
    lists(
        &scene,
        "c.tar",
        expect![[r#"
        drwxr-xr-x [OWNER] 0 2014-05-11 11:01:07 ./
        drwxr-xr-x [OWNER] 0 2014-05-11 11:01:07 ./src/
        -rw-r--r-- [OWNER] 29 2014-05-11 11:01:07 ./src/main.c
    "#]],
    );
    scene.shows(
        "-q dump latest -o no.tar --include *.c --include /ect",
        expect![[r#"
        exit code 3
        stderr:
        --include /ect: matches nothing that is dumped
    "#]],
    );
    scene.shows(
        "-q dump latest -o nothing.tar --include *.h",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: nothing is left to dump by --include *.h: `datadb-client ls -R BACKUP[:PATH]` shows what is there
    "#]],
    );
    assert!(!scene.path("nothing.tar").exists());
    scene.shows(
        "dump latest -o x.tar --include [",
        expect![[r#"
        exit code 2
        stderr:
        error: invalid value '[' for '--include <GLOB>': the pattern [: unclosed character class; missing ']'

        For more information, try '--help'.
    "#]],
    );
}

#[test]
fn stdout_carries_the_archive_alone() {
    let scene = scene();
    let run = scene.run_raw(&["dump", "latest"]).ok();
    let file = scene.run_raw(&["-q", "dump", "latest", "-o", "home.tar"]).ok();
    assert_eq!(file.stdout, b"");
    assert!(run.stdout == fs::read(scene.path("home.tar")).expect("an archive"));
    expect![[r#"
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
        5 files, 70.4 KiB dumped as 77.0 KiB of tar, 0 errors; [N] s, [N]/s
    "#]]
    .assert_eq(&scene.plain(&run.stderr));
    let run = scene.run_raw(&["--json", "-q", "dump", "latest", "--output", "-"]).ok();
    assert!(run.stdout == fs::read(scene.path("home.tar")).expect("an archive"));
    expect![[r#"
        {"bytes":72044,"bytes_written":78848,"dirs":4,"errors":0,"files":5,"format":"tar","id":"[ID1]","lacks":[],"seconds":[N],"type":"summary"}
    "#]].assert_eq(&scene.plain(&run.stderr));
    assert!(!scene.path("-").exists());
}

#[test]
fn a_zip_lacks_what_it_cannot_hold() {
    let scene = Scene::new();
    fs::hard_link(scene.path("home/notes.txt"), scene.path("home/notes again")).expect("a hard link");
    scene.backup("2026-05-01T10:00:00Z");
    scene.shows(
        "dump latest -o home.zip",
        expect![[r#"
        6 files, 70.4 KiB dumped as 1.4 KiB of zip, 0 errors; [N] s, [N]/s
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
        zip can't hold everything: 2 hard links became files of their own
    "#]],
    );
    scene.shows(
        "--json dump latest --format zip -o again",
        expect![[r#"
            {"bytes":72059,"bytes_written":1482,"dirs":4,"errors":0,"files":6,"format":"zip","id":"[ID1]","lacks":["2 hard links became files of their own"],"seconds":[N],"type":"summary"}
            stderr:
            latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
        "#]],
    );
    assert!(fs::read(scene.path("home.zip")).expect("a zip") == fs::read(scene.path("again")).expect("a zip"));
}

#[test]
fn a_file_is_replaced_when_the_archive_is_whole_and_a_link_stays() {
    let scene = scene();
    write(scene.path("real/home.tar"), "an older one");
    symlink("real/home.tar", scene.path("link.tar")).expect("a symlink");
    scene.shows(
        "-q dump latest~1 -o link.tar",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: no latest~1 is among those that match: `datadb-client snapshots` lists them
    "#]],
    );
    assert_eq!(fs::read(scene.path("real/home.tar")).expect("a file"), b"an older one");
    scene.shows("-q dump latest -o link.tar", expect![[""]]);
    assert!(scene.path("link.tar").is_symlink());
    lists(
        &scene,
        "real/home.tar",
        expect![[r#"
        drwxr-xr-x [OWNER] 0 2014-05-11 11:01:07 ./
        -rw-r--r-- [OWNER] 15 2014-05-11 11:01:07 ./notes.txt
        drwxr-xr-x [OWNER] 0 2014-05-11 11:01:07 ./photos/
        drwxr-xr-x [OWNER] 0 2014-05-11 11:01:07 ./photos/2013/
        -rw-r--r-- [OWNER] 70000 2014-05-11 11:01:07 ./photos/2013/sea.jpg
        drwxr-xr-x [OWNER] 0 2014-05-11 11:01:07 ./src/
        -rw-r--r-- [OWNER] 29 2014-05-11 11:01:07 ./src/main.c
        -rw-r--r-- [OWNER] 2000 2014-05-11 11:01:07 ./src/main.o
        lrwxrwxrwx [OWNER] 0 2014-05-11 11:01:07 ./todo -> notes.txt
    "#]],
    );
    assert_eq!(fs::read_dir(scene.path("real")).expect("a directory").count(), 1);
    scene.shows("-q dump latest -o /dev/null", expect![[""]]);
    scene.shows(
        "dump -q latest -o home",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: home is a directory
    "#]],
    );
    scene.shows(
        "dump -q latest -o no/such/dir.tar",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: can't write no/such/dir.tar: no such file or directory
    "#]],
    );
}

#[test]
fn what_is_asked_for_in_vain_is_told() {
    let scene = scene();
    scene.shows("dump latest -o home.tar.gz", expect![[r#"
        exit code 1
        stderr:
        datadb-client: .gz promises something compressed, which a dump is not: pipe it through a compressor, or say --format
    "#]]);
    scene.shows(
        "dump -q latest:/nots.txt -o x.tar",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: /nots.txt is not in the backup of /home ([ID1]): did you mean /notes.txt?
    "#]],
    );
    scene.shows(
        "dump -q latest --host elsewhere -o x.tar",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: there are no backups that match: `datadb-client snapshots` lists them
    "#]],
    );
    scene.shows(
        "dump latest --format rar",
        expect![[r#"
        exit code 2
        stderr:
        error: invalid value 'rar' for '--format <FORMAT>'
          [possible values: tar, zip]

          tip: a similar value exists: 'tar'

        For more information, try '--help'.
    "#]],
    );
    scene.shows(
        "dump",
        expect![[r#"
            exit code 2
            stderr:
            error: the following required arguments were not provided:
              <BACKUP[:PATH]>

            Usage: datadb-client dump <BACKUP[:PATH]>

            For more information, try '--help'.
        "#]],
    );
    Scene::without_server().shows("dump latest -o x.tar", expect![[r#"
        exit code 1
        stderr:
        datadb-client: no server answers at http://127.0.0.1:9: start one with `datadb-server --data-dir DIR`, or name another with --server
    "#]]);
}

#[test]
fn an_archive_is_not_written_to_a_terminal() {
    let scene = scene();
    let inner = scene.client().command(["dump", "latest"]);
    let words = format!("{} dump latest", inner.get_program().to_str().expect("UTF-8"));
    let mut outer = Command::new("script");
    outer.args(["-qec", &words, "/dev/null"]).envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let run = Run::from(outer.env("NO_COLOR", "1").output().expect("script runs"));
    expect![[r#"
        exit code 1
        datadb-client: an archive is nothing for a terminal: name a file with --output, or pipe it into a program
    "#]]
    .assert_eq(&scene.shown(&run).replace('\r', ""));
}

#[test]
fn damage_is_told_and_the_rest_is_written() {
    let mut scene = scene();
    scene.server().stop();
    let packs = files(&scene.server().data().join("blobs"));
    let (pack, _) = packs.iter().max_by_key(|(_, len)| *len).expect("a pack").clone();
    flip_byte(&pack, 100);
    scene.server().start();
    let url = scene.server().url().to_owned();
    let client = scene.client().at(&url);
    let mut command = client.command(["-q", "dump", "latest", "-o", "home.tar"]);
    let run = command.current_dir(scene.path("")).output().expect("the client starts");
    expect![[r#"
        exit code 3
        stderr:
        /notes.txt: blob [ID1] is damaged on the server; left out
        /photos/2013/sea.jpg: blob [ID2] is damaged on the server; left out
        /src/main.c: blob [ID3] is damaged on the server; left out
        /src/main.o: blob [ID4] is damaged on the server; left out
    "#]]
    .assert_eq(&scene.shown(&Run::from(run)));
    lists(
        &scene,
        "home.tar",
        expect![[r#"
        drwxr-xr-x [OWNER] 0 2014-05-11 11:01:07 ./
        drwxr-xr-x [OWNER] 0 2014-05-11 11:01:07 ./photos/
        drwxr-xr-x [OWNER] 0 2014-05-11 11:01:07 ./photos/2013/
        drwxr-xr-x [OWNER] 0 2014-05-11 11:01:07 ./src/
        lrwxrwxrwx [OWNER] 0 2014-05-11 11:01:07 ./todo -> notes.txt
    "#]],
    );
}
