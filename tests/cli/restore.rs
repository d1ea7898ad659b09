//! `restore BACKUP[:PATH] --target DIR`

use std::fs;

use expect_test::expect;

use crate::{
    scene::Scene,
    support::{
        place::is_root,
        tree::{flip_byte, write},
    },
};

/// A scene with one backup.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.backup("2026-05-01T10:00:00Z");
    scene
}

#[test]
fn the_help_says_what_patterns_mean() {
    Scene::without_server().shows("restore --help", expect![[r#"
        Bring back a backup, or a path in it

        Usage: datadb-client restore [OPTIONS] --target <DIR> <BACKUP[:PATH]>

        Arguments:
          <BACKUP[:PATH]>
                  Which backup, and which path in it: BACKUP[:PATH]

        Options:
              --target <DIR>
                  The directory to restore into; made if it is not there

              --overwrite <WHEN>
                  What happens to files that are there already

                  Possible values:
                  - if-changed: Files with the same size and mtime are left as they are (other metadata is put right), others replaced
                  - always:     Every file is written anew
                  - never:      What is there stays

                  [default: if-changed]

              --include <GLOB>
                  Restore only what this matches, and all below it; may be given several times

              --exclude <GLOB>
                  Leave out what this matches, and all below it; may be given several times

              --strip <N>
                  Drop N names at the beginning of each path

              --no-owner
                  Leave owners and groups as they come about, and setuid and setgid off

              --untrusted
                  Leave out what lends rights, as for a backup that others made: setuid and setgid, devices, attributes of security.*

              --verify
                  Read everything back and compare it; what differs is restored again

          -n, --dry-run
                  Only show what would be done

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

        A GLOB that begins with / is a whole path below PATH, as it appears below DIR: of latest:/home, '/me/*.txt' is what
        `ls latest` shows as home/me/a.txt. Any other one may begin at any name: '*.jpg', 'build/out'. * and ? stand for bytes of
        one name, ** for any number of names, [a-z] and {a,b} for one of several; with / at its end it means directories only.
        ! at its beginning takes back what the GLOBs before it chose. Excludes win over includes, and nothing in an excluded
        directory is looked at. --strip drops names only after that.

        Examples:
          datadb-client restore latest --target /tmp/back
          datadb-client restore home@yesterday:/me/letters --target ~/letters --dry-run
          datadb-client restore latest --target / --include /etc/fstab --include '/home/*/.ssh' --verify
          datadb-client restore 3f2a --target . --strip 1 --exclude '*.o' --exclude node_modules/
    "#]]);
}

#[test]
fn a_backup_comes_back_whole() {
    let scene = scene();
    scene.shows(
        "restore latest --target back",
        expect![[r#"
        5 files, 70.4 KiB restored, 0 errors; [N] s, [N]/s
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
    "#]],
    );
    scene.shows(
        "restore latest --target back",
        expect![[r#"
        5 files, 70.4 KiB restored, 0 errors; [N] s, [N]/s
        entries: 0 created, 0 replaced, 0 with other metadata alone, 9 unchanged
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
    "#]],
    );
    scene.shows("-q restore latest:/src --target quiet", expect![[""]]);
    scene.shows("--json restore --host box latest:/src --target json", expect![[r#"
        {"bytes":2029,"created":3,"dry_run":false,"errors":0,"files":2,"id":"[ID1]","metadata":0,"owners_lost":0,"replaced":0,"seconds":[N],"stripped":0,"type":"summary","unchanged":0,"xattrs_lost":0}
        stderr:
        latest:/src is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
    "#]]);
    let home = scene.path("home");
    let home = home.to_str().expect("UTF-8");
    scene.shows(
        &format!("restore --path {home} latest:/notes.txt --target one"),
        expect![[r#"
            1 file, 15 B restored, 0 errors; [N] s, [N]/s
            stderr:
            latest:/notes.txt is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
        "#]],
    );
    let run = scene.client().restore("latest:/todo", &scene.path("a name with spaces"));
    assert_eq!(run.ok().summary()["files"], 1);
    assert_eq!(fs::read(scene.path("quiet/main.c")).expect("a file"), b"int main(void) { return 0; }\n");
}

#[test]
fn a_rehearsal_shows_what_would_be_done_and_does_nothing() {
    let scene = scene();
    scene.shows(
        "restore latest --target back --dry-run",
        expect![[r#"
        + /
        + /notes.txt
        + /photos/
        + /photos/2013/
        + /photos/2013/sea.jpg
        + /src/
        + /src/main.c
        + /src/main.o
        + /todo
        5 files, 70.4 KiB compared, 0 errors; nothing was written
        entries: 9 created, 0 replaced, 0 with other metadata alone, 0 unchanged, if it were done
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
    "#]],
    );
    assert!(!scene.path("back").exists());
    scene.run_raw(&["restore", "latest", "--target", "back"]).ok();
    write(scene.path("back/notes.txt"), "to do: nothing\n");
    fs::remove_file(scene.path("back/todo")).expect("removed");
    fs::set_permissions(scene.path("back/src/main.c"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("a mode");
    scene.settle_times("back");
    scene.shows(
        "restore latest --target back -n",
        expect![[r#"
        U /src/main.c  (mode)
        + /todo
        5 files, 70.4 KiB compared, 0 errors; nothing was written
        entries: 1 created, 0 replaced, 1 with other metadata alone, 7 unchanged, if it were done
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
    "#]],
    );
    scene.shows("--json restore latest --target back -n", expect![[r#"
        {"action":"metadata","fields":["mode"],"kind":"file","path":"/src/main.c","size":29,"type":"entry"}
        {"action":"create","fields":[],"kind":"symlink","path":"/todo","size":0,"type":"entry"}
        {"bytes":72044,"created":1,"dry_run":true,"errors":0,"files":5,"id":"[ID1]","metadata":1,"owners_lost":0,"replaced":0,"seconds":[N],"stripped":0,"type":"summary","unchanged":7,"xattrs_lost":0}
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
    "#]]);
    scene.shows(
        "restore latest --target back --overwrite never -n",
        expect![[r#"
        + /todo
        5 files, 70.4 KiB compared, 0 errors; nothing was written
        entries: 1 created, 0 replaced, 0 with other metadata alone, 8 unchanged, if it were done
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
    "#]],
    );
    scene.shows(
        "restore latest --target back --overwrite always",
        expect![[r#"
        5 files, 70.4 KiB restored, 0 errors; [N] s, [N]/s
        entries: 1 created, 4 replaced, 0 with other metadata alone, 4 unchanged
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
    "#]],
    );
    scene.shows(
        "restore latest --target back --dry-run --verify",
        expect![[r#"
            exit code 2
            stderr:
            error: the argument '--dry-run' cannot be used with '--verify'

            Usage: datadb-client restore --target <DIR> --dry-run <BACKUP[:PATH]>

            For more information, try '--help'.
        "#]],
    );
}

#[test]
fn patterns_choose_and_a_pattern_that_matches_nothing_is_told() {
    let scene = scene();
    scene.shows(
        "restore latest --target one --include *.c --include /photos/2013 --exclude *.o",
        expect![[r#"
        2 files, 68.4 KiB restored, 0 errors; [N] s, [N]/s
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
    "#]],
    );
    scene.shows(
        "restore latest --target two --include main.* --exclude *.o -n",
        expect![[r#"
            + /
            + /src/
            + /src/main.c
            1 file, 29 B compared, 0 errors; nothing was written
            entries: 3 created, 0 replaced, 0 with other metadata alone, 0 unchanged, if it were done
            stderr:
            latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
        "#]],
    );
    scene.shows(
        "restore latest --target three --include /notes.txt --include /nots.txt",
        expect![[r#"
            exit code 3
            1 file, 15 B restored, 1 error; [N] s, [N]/s
            stderr:
            latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
            --include /nots.txt: matches nothing that is restored
        "#]],
    );
    scene.shows("restore latest --target four --include /ntoes.txt", expect![[r#"
        exit code 1
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
        datadb-client: nothing is left to restore by --include /ntoes.txt: `datadb-client ls -R BACKUP[:PATH]` shows what is there
    "#]]);
    scene.shows(
        "restore latest --target four --include [a",
        expect![[r#"
        exit code 2
        stderr:
        error: invalid value '[a' for '--include <GLOB>': the pattern [a: unclosed character class; missing ']'

        For more information, try '--help'.
    "#]],
    );
    scene.shows(
        "restore latest --target four --exclude !",
        expect![[r#"
        exit code 2
        stderr:
        error: invalid value '!' for '--exclude <GLOB>': the pattern !: matches nothing

        For more information, try '--help'.
    "#]],
    );
    assert!(scene.path("one/photos/2013/sea.jpg").exists() && !scene.path("one/notes.txt").exists());
    assert!(!scene.path("four").exists());
}

#[test]
fn strip_drops_names_at_the_beginning() {
    let scene = scene();
    scene.shows(
        "restore latest --target one --strip 1",
        expect![[r#"
            3 files, 70.3 KiB restored, 0 errors; [N] s, [N]/s
            left out 2 files, which --strip 1 leaves no name
            stderr:
            latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
        "#]],
    );
    write(scene.path("home/photos/main.c"), "a photo of a program\n");
    scene.settle("home");
    scene.backup("2026-05-02T10:00:00Z");
    scene.shows(
        "restore latest --target two --strip 1 --exclude 2013/",
        expect![[r#"
            exit code 3
            2 files, 2.0 KiB restored, 1 error; [N] s, [N]/s
            left out 2 files, which --strip 1 leaves no name
            stderr:
            latest is [ID2]: box:/home of 2026-05-02T10:00:00+00:00
            main.c: /src/main.c comes to lie here too, by --strip, and is left out
        "#]],
    );
    scene.shows(
        "restore latest --target three --strip 7",
        expect![[r#"
        exit code 1
        stderr:
        latest is [ID2]: box:/home of 2026-05-02T10:00:00+00:00
        datadb-client: nothing is left to restore by --strip 7: `datadb-client ls -R BACKUP[:PATH]` shows what is there
    "#]],
    );
    scene.shows(
        "restore latest --target three --strip x",
        expect![[r#"
        exit code 2
        stderr:
        error: invalid value 'x' for '--strip <N>': invalid digit found in string

        For more information, try '--help'.
    "#]],
    );
}

#[test]
fn what_was_restored_is_read_back() {
    let scene = scene();
    scene.shows(
        "restore latest --target back --verify",
        expect![[r#"
        5 files, 70.4 KiB restored, 0 errors; [N] s, [N]/s
        9 entries read back as in the backup, 0 had to be restored again
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
    "#]],
    );
    flip_byte(&scene.path("back/photos/2013/sea.jpg"), 1000);
    scene.settle_times("back");
    scene.shows(
        "restore latest --target back",
        expect![[r#"
        5 files, 70.4 KiB restored, 0 errors; [N] s, [N]/s
        entries: 0 created, 0 replaced, 0 with other metadata alone, 9 unchanged
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
    "#]],
    );
    scene.shows(
        "restore latest --target back --verify --overwrite never",
        expect![[r#"
            exit code 3
            5 files, 70.4 KiB restored, 1 error; [N] s, [N]/s
            entries: 0 created, 0 replaced, 0 with other metadata alone, 9 unchanged
            8 entries read back as in the backup, 0 had to be restored again
            stderr:
            latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
            photos/2013/sea.jpg: read back, its content differs
        "#]],
    );
    scene.shows(
        "restore latest --target back --verify",
        expect![[r#"
        5 files, 70.4 KiB restored, 0 errors; [N] s, [N]/s
        entries: 0 created, 0 replaced, 0 with other metadata alone, 9 unchanged
        9 entries read back as in the backup, 1 had to be restored again
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
        photos/2013/sea.jpg: read back, its content differs: restored again
    "#]],
    );
    scene.shows("--json restore latest --target back --verify --overwrite if-changed", expect![[r#"
        {"bytes":72044,"created":0,"dry_run":false,"errors":0,"files":5,"id":"[ID1]","metadata":0,"owners_lost":0,"repaired":0,"replaced":0,"seconds":[N],"stripped":0,"type":"summary","unchanged":9,"verified":9,"xattrs_lost":0}
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
    "#]]);
}

#[test]
fn owners_are_left_as_they_come() {
    if !is_root() {
        println!("skipped: only root can make files of others");
        return;
    }
    let scene = Scene::new();
    std::os::unix::fs::chown(scene.path("home/notes.txt"), Some(1234), Some(1234)).expect("an owner");
    scene.backup("2026-05-01T10:00:00Z");
    scene.shows(
        "restore latest --target back --no-owner",
        expect![[r#"
        5 files, 70.4 KiB restored, 0 errors; [N] s, [N]/s
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
    "#]],
    );
    scene.shows(
        "restore latest --target back -n",
        expect![[r#"
        U /notes.txt  (owner)
        5 files, 70.4 KiB compared, 0 errors; nothing was written
        entries: 0 created, 0 replaced, 1 with other metadata alone, 8 unchanged, if it were done
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
    "#]],
    );
}

#[test]
fn what_goes_wrong_is_told() {
    let mut scene = scene();
    scene.shows(
        "restore latest",
        expect![[r#"
            exit code 2
            stderr:
            error: the following required arguments were not provided:
              --target <DIR>

            Usage: datadb-client restore --target <DIR> <BACKUP[:PATH]>

            For more information, try '--help'.
        "#]],
    );
    scene.shows(
        "restore latest --target back --overwrite sometimes",
        expect![[r#"
        exit code 2
        stderr:
        error: invalid value 'sometimes' for '--overwrite <WHEN>'
          [possible values: if-changed, always, never]

        For more information, try '--help'.
    "#]],
    );
    scene.shows(
        "restore latest:/nowhere --target back",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: /nowhere is not in the backup of /home ([ID1])
    "#]],
    );
    scene.shows(
        "restore latest~3 --target back",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: no latest~3 is among those that match: `datadb-client snapshots` lists them
    "#]],
    );
    scene.shows(
        "restore latest --target home/notes.txt",
        expect![[r#"
        exit code 1
        stderr:
        latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
        datadb-client: home/notes.txt: is there, and not a directory: name another --target
    "#]],
    );
    write(scene.path("back/notes.txt/full"), "");
    scene.shows(
        "restore latest --target back",
        expect![[r#"
            exit code 3
            4 files, 70.3 KiB restored, 1 error; [N] s, [N]/s
            entries: 7 created, 0 replaced, 1 with other metadata alone, 0 unchanged
            stderr:
            latest is [ID1]: box:/home of 2026-05-01T10:00:00+00:00
            notes.txt: a directory that is not empty is in its place: move it away
        "#]],
    );
    scene.server().stop();
    scene.shows("restore latest --target back", expect![[r#"
        exit code 1
        stderr:
        datadb-client: no server answers at [URL]: start one with `datadb-server --data-dir DIR`, or name another with --server
    "#]]);
}
