//! `snapshot PATH…`, and the streams that are backups. (What selects files lies in `snapshot_select`.)

use std::{io::Write as _, path::Path, process::Stdio};

use expect_test::expect;

use crate::{
    scene::Scene,
    support::{
        processes::{Run, count},
        tree::{let_settle, random_bytes, write},
    },
};

#[test]
fn a_backup_is_told_in_two_lines() {
    let scene = Scene::new();
    scene.shows(
        "snapshot --host box home",
        expect![[r#"
        /home: backup [ID1]
        5 files and 4 directories, 70.4 KiB; 4 files read, 4 new blobs, [SIZE] uploaded; [N] s, [N]/s
    "#]],
    );
}

#[test]
fn a_program_gets_one_object() {
    let scene = Scene::new();
    scene.shows("--json snapshot --host box --time 2014-05-12T18:36:07 --tag why=test home", expect![[r#"
        {"blobs_new":4,"bytes":72044,"bytes_uploaded":[N],"changed":0,"dirs":4,"dry_run":false,"errors":0,"excluded":0,"files":5,"files_read":4,"host":"box","id":"[ID1]","path":"/home","requests":6,"seconds":[N],"skipped":false,"snapshot":"[ID2]","store_requests":{},"time":1399919767,"type":"summary"}
    "#]]);
}

#[test]
fn quiet_says_nothing() {
    let scene = Scene::new();
    scene.shows("-q snapshot home", expect![[r#""#]]);
}

#[test]
fn several_paths_are_several_backups_and_one_that_fails_is_told() {
    let scene = Scene::new();
    scene.shows(
        "snapshot --host box home/src home/none home/notes.txt",
        expect![[r#"
            exit code 1
            /home/src: backup [ID1]
            2 files and 1 directory, 2.0 KiB; 2 files read, 2 new blobs, [SIZE] uploaded; [N] s, [N]/s
            /home/notes.txt: backup [ID2]
            1 file and 0 directories, 15 B; 1 file read, 1 new blob, [SIZE] uploaded; [N] s, [N]/s
            stderr:
            datadb-client: home/none: no such file or directory
            datadb-client: not every path was backed up
        "#]],
    );
}

#[test]
fn what_can_not_be_read_is_named_and_the_exit_code_says_so() {
    let scene = Scene::new();
    // Not even root may read what the kernel only lets be written.
    let sealed = "/sys/bus/platform/uevent";
    if !Path::new(sealed).exists() {
        return println!("skipped: {sealed} is not there");
    }
    scene.shows(
        &format!("snapshot --host box {sealed}"),
        expect![[r#"
            exit code 3
            /sys/bus/platform/uevent: backup [ID1]
            1 file and 0 directories, 0 B; 0 files read, 0 new blobs, 0 B uploaded; [N] s, [N]/s
            1 error
            stderr:
            /sys/bus/platform/uevent: permission denied
        "#]],
    );
}

#[test]
fn a_dry_run_says_what_would_go_up_and_makes_nothing() {
    let scene = Scene::new();
    scene.shows(
        "snapshot --host box --dry-run --verbose home/src",
        expect![[r#"
            /home/src: dry run, no backup made
            2 files and 1 directory, 2.0 KiB; 2 files read, 2 new blobs, [SIZE] would be uploaded; [N] s, [N]/s
            stderr:
            reading /home/src/main.c
            reading /home/src/main.o
        "#]],
    );
    scene.shows(
        "snapshots",
        expect![[r#"
        no backups yet: make one with `datadb-client snapshot PATH`
    "#]],
    );
    // What it said is what the real run then does, and the dry one left no cache that would keep it from reading.
    let dry = scene.run_raw(&["--json", "snapshot", "--dry-run", "home"]).ok().summary();
    let real = scene.run_raw(&["--json", "snapshot", "home"]).ok().summary();
    for field in ["files", "dirs", "bytes", "files_read", "blobs_new", "bytes_uploaded"] {
        assert_eq!(count(&dry, field), count(&real, field), "{field}");
    }
    assert!(dry["id"].is_null() && dry["dry_run"] == true && real["dry_run"] == false);
}

#[test]
fn what_is_unchanged_makes_no_backup_if_told_so() {
    let scene = Scene::new();
    let first = scene.backup("2014-05-12");
    scene.shows(
        "snapshot --host box --skip-if-unchanged home",
        expect![[r#"
        /home: unchanged, no backup made; the last one is [ID1]
        5 files and 4 directories, 70.4 KiB; 4 files read, 0 new blobs, 0 B uploaded; [N] s, [N]/s
    "#]],
    );
    let skipped = scene.run_raw(&["--json", "snapshot", "--host", "box", "--skip-if-unchanged", "home"]).ok().summary();
    assert_eq!((&skipped["id"], &skipped["skipped"]), (&first.into(), &true.into()));
    write(scene.path("home/new"), "x");
    let made = scene.run_raw(&["--json", "snapshot", "--host", "box", "--skip-if-unchanged", "home"]).ok().summary();
    assert_eq!(made["skipped"], false);
    assert_eq!(scene.client().backups().len(), 2);
}

#[test]
fn force_reads_what_looks_unchanged() {
    let scene = Scene::new();
    let_settle();
    let read = |options: &[&str]| {
        let words = [&["--json", "snapshot", "home"], options].concat();
        count(&scene.run_raw(&words).ok().summary(), "files_read")
    };
    assert_eq!([read(&[]), read(&[]), read(&["--force"]), read(&[])], [4, 0, 4, 0]);
}

#[test]
fn standard_input_is_a_file_of_the_name_it_is_given() {
    let scene = Scene::new();
    let piped = |name: &str, bytes: &[u8]| {
        let mut command = scene.client().command(["snapshot", "--host", "box", "--stdin", name]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the client starts");
        child.stdin.take().expect("piped").write_all(bytes).expect("the client reads");
        Run::from(child.wait_with_output().expect("an end")).ok()
    };
    expect![[r#"
        /dumps/db.sql: backup [ID1]
        1 file and 0 directories, 10 B; 1 file read, 1 new blob, [SIZE] uploaded; [N] s, [N]/s
    "#]]
    .assert_eq(&scene.shown(&piped("dumps/db.sql", b"SELECT 1;\n")));
    // One of several chunks; and an empty one, under the same path.
    for dump in [random_bytes(7, 9 << 20), Vec::new()] {
        piped("/dumps/db.sql", &dump);
        let back = scene.run_raw(&["-q", "cat", "latest:/db.sql"]).ok().stdout;
        assert!(back == dump, "what comes back is what went in");
    }
}

#[test]
fn a_command_that_fails_makes_no_backup() {
    let scene = Scene::new();
    let shell = |script: &str| {
        scene.run_raw(&["snapshot", "--host", "box", "--stdin-from-command", "out.txt", "--", "sh", "-c", script])
    };
    expect![[r#"
        exit code 1
        stderr:
        datadb-client: sh failed (exit status: 3): no backup was made of what it wrote
    "#]]
    .assert_eq(&scene.shown(&shell("echo half; exit 3")));
    expect![[r#"
        exit code 1
        stderr:
        datadb-client: sh failed (signal: 9 (SIGKILL)): no backup was made of what it wrote
    "#]]
    .assert_eq(&scene.shown(&shell("echo half; kill -9 $$")));
    assert_eq!(scene.client().backups().len(), 0);
    shell("echo whole").ok();
    assert_eq!(scene.run_raw(&["-q", "cat", "latest:/"]).ok().text(), "whole\n");
}

#[test]
fn streams_that_make_no_sense_are_refused() {
    let scene = Scene::new();
    scene.shows(
        "snapshot --stdin-from-command x -- /no/such/program",
        expect![[r#"
            exit code 1
            stderr:
            datadb-client: can't run /no/such/program: no such file or directory
        "#]],
    );
    scene.shows(
        "snapshot --stdin /",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: the stream needs a name, such as --stdin dump.sql
    "#]],
    );
    scene.shows(
        "snapshot --stdin a home",
        expect![[r#"
            exit code 2
            stderr:
            error: the argument '--stdin <NAME>' cannot be used with '[PATH]...'

            Usage: datadb-client snapshot <PATH|--stdin <NAME>|--stdin-from-command <NAME>> [-- <COMMAND>...]

            For more information, try '--help'.
        "#]],
    );
    scene.shows(
        "snapshot --stdin-from-command x",
        expect![[r#"
            exit code 2
            stderr:
            error: the following required arguments were not provided:
              <COMMAND>...

            Usage: datadb-client snapshot <PATH|--stdin <NAME>|--stdin-from-command <NAME>> -- <COMMAND>...

            For more information, try '--help'.
        "#]],
    );
    scene.shows(
        "snapshot",
        expect![[r#"
            exit code 2
            stderr:
            error: the following required arguments were not provided:
              <PATH|--stdin <NAME>|--stdin-from-command <NAME>>

            Usage: datadb-client snapshot <PATH|--stdin <NAME>|--stdin-from-command <NAME>> [-- <COMMAND>...]

            For more information, try '--help'.
        "#]],
    );
}

#[test]
fn words_that_make_no_sense_are_refused() {
    let scene = Scene::new();
    scene.shows(
        "snapshot --tag why home",
        expect![[r#"
        exit code 2
        stderr:
        error: invalid value 'why' for '--tag <KEY=VALUE>': write KEY=VALUE

        For more information, try '--help'.
    "#]],
    );
    scene.shows(
        "snapshot --time 1969 home",
        expect![[r#"
            exit code 1
            stderr:
            datadb-client: --time: write one from 1970 on
        "#]],
    );
    scene.shows("snapshot --time someday home", expect![[r#"
        exit code 2
        stderr:
        error: invalid value 'someday' for '--time <TIME>': "someday" is not a time: write 2014, 2014-05, 2014-05-12, 2014-05-12T18:36, 2014-05-12T18:36:07+02:00, now, today, yesterday, 2h, 3d or 1w

        For more information, try '--help'.
    "#]]);
    scene.shows(
        "snapshot --host a/b home",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: host name: holds / or a control character: use --host
    "#]],
    );
    scene.shows(
        "snapshot --exlude x home",
        expect![[r#"
            exit code 2
            stderr:
            error: unexpected argument '--exlude' found

              tip: a similar argument exists: '--exclude'
              tip: to pass '--exlude' as a value, use '-- --exlude'

            Usage: datadb-client snapshot --exclude <GLOB> <PATH|--stdin <NAME>|--stdin-from-command <NAME>> [-- <COMMAND>...]

            For more information, try '--help'.
        "#]],
    );
    scene.shows(
        "snapsot home",
        expect![[r#"
        exit code 2
        stderr:
        error: unrecognized subcommand 'snapsot'

          tip: some similar subcommands exist: 'snapshots', 'snapshot'

        Usage: datadb-client [OPTIONS] <COMMAND>

        For more information, try '--help'.
    "#]],
    );
}
