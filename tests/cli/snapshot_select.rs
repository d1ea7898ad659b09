//! `snapshot`: what it leaves out and what it takes.

use expect_test::{Expect, expect};

use crate::{
    scene::Scene,
    support::{place::SmallDisk, tree::write},
};

/// Backs `home` up with these options, and shows what was said (not what was read and uploaded) and what is in the backup.
#[track_caller]
fn backs_up(scene: &Scene, options: &str, expected: Expect) {
    let line = format!("snapshot --host box --time 2014-05-12T18:36 {options} home");
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    let said = scene.shown(&scene.run_raw(&words));
    let said: String = said.lines().map(|line| format!("{}\n", line.split("; ").next().unwrap_or(line))).collect();
    let listed = scene.run_raw(&["ls", "-R", "latest"]).ok().text();
    expected.assert_eq(&format!("{said}---\n{listed}"));
}

#[test]
fn exclude_leaves_out_what_matches() {
    let scene = Scene::new();
    backs_up(
        &scene,
        "--exclude *.o --exclude /nowhere --exclude photos/",
        expect![[r#"
            /home: backup [ID1]
            3 files and 2 directories, 44 B, 2 excluded
            ---
            notes.txt
            src
            src/main.c
            todo
        "#]],
    );
}

#[test]
fn the_last_pattern_that_matches_counts_whichever_option_gave_it() {
    let scene = Scene::new();
    write(scene.path("home/photos/2013/SKY.JPG"), "blue");
    write(scene.path("keep"), "# the best one\n!SKY.*\n\n");
    scene.settle("home");
    backs_up(
        &scene,
        "--iexclude *.jpg --exclude-file keep",
        expect![[r#"
            /home: backup [ID1]
            5 files and 4 directories, 2.0 KiB, 1 excluded
            ---
            notes.txt
            photos
            photos/2013
            photos/2013/SKY.JPG
            src
            src/main.c
            src/main.o
            todo
        "#]],
    );
}

#[test]
fn exclude_if_present_keeps_the_directory_alone() {
    let scene = Scene::new();
    write(scene.path("home/photos/.nobackup"), "");
    scene.settle("home");
    backs_up(
        &scene,
        "--exclude-if-present .nobackup",
        expect![[r#"
            /home: backup [ID1]
            4 files and 3 directories, 2.0 KiB, 1 excluded
            ---
            notes.txt
            photos
            src
            src/main.c
            src/main.o
            todo
        "#]],
    );
}

#[test]
fn exclude_caches_keeps_the_directory_and_its_tag() {
    let scene = Scene::new();
    write(scene.path("home/photos/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55");
    write(scene.path("home/src/CACHEDIR.TAG"), "no signature");
    scene.settle("home");
    backs_up(
        &scene,
        "--exclude-caches",
        expect![[r#"
            /home: backup [ID1]
            6 files and 3 directories, 2.0 KiB, 1 excluded
            ---
            notes.txt
            photos
            photos/CACHEDIR.TAG
            src
            src/CACHEDIR.TAG
            src/main.c
            src/main.o
            todo
        "#]],
    );
}

#[test]
fn exclude_larger_than_leaves_out_large_files() {
    let scene = Scene::new();
    backs_up(
        &scene,
        "--exclude-larger-than 10k",
        expect![[r#"
            /home: backup [ID1]
            4 files and 4 directories, 2.0 KiB, 1 excluded
            ---
            notes.txt
            photos
            photos/2013
            src
            src/main.c
            src/main.o
            todo
        "#]],
    );
}

#[test]
fn gitignore_holds_within_a_repository() {
    let scene = Scene::new();
    write(scene.path("home/.gitignore"), "*.txt\n");
    write(scene.path("home/src/.gitignore"), "*.o\n");
    write(scene.path("home/src/.git/HEAD"), "ref: refs/heads/main\n");
    scene.settle("home");
    backs_up(
        &scene,
        "--gitignore",
        expect![[r#"
            /home: backup [ID1]
            7 files and 5 directories, 68.4 KiB, 1 excluded
            ---
            .gitignore
            notes.txt
            photos
            photos/2013
            photos/2013/sea.jpg
            src
            src/.git
            src/.git/HEAD
            src/.gitignore
            src/main.c
            todo
        "#]],
    );
}

#[test]
fn a_gitignore_that_cannot_be_used_is_told_and_leaves_nothing_out() {
    let scene = Scene::new();
    write(scene.path("home/.git/HEAD"), "ref: refs/heads/main\n");
    write(scene.path("home/photos/.gitignore"), "*.jpg\n".repeat(50_000));
    std::os::unix::fs::symlink("../notes.txt", scene.path("home/src/.gitignore")).expect("a symlink");
    scene.settle("home");
    backs_up(
        &scene,
        "--gitignore",
        expect![[r#"
        /home: backup [ID1]
        8 files and 5 directories, 363.3 KiB
        stderr:
        /home/photos/.gitignore: longer than 256 KiB: its rules are not used
        /home/src/.gitignore: a symlink, which is not followed: its rules are not used
        ---
        .git
        .git/HEAD
        notes.txt
        photos
        photos/.gitignore
        photos/2013
        photos/2013/sea.jpg
        src
        src/.gitignore
        src/main.c
        src/main.o
        todo
    "#]],
    );
}

#[test]
fn one_file_system_keeps_mount_points_empty() {
    let scene = Scene::new();
    let Some(_disk) = SmallDisk::mount(&scene.path("home/mnt"), 1) else { return };
    write(scene.path("home/mnt/elsewhere"), "");
    backs_up(
        &scene,
        "--one-file-system",
        expect![[r#"
            /home: backup [ID1]
            5 files and 5 directories, 70.4 KiB, 1 excluded
            ---
            mnt
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
}

#[test]
fn files_from_takes_what_is_listed() {
    let scene = Scene::new();
    write(scene.path("list"), format!("src\n{}/photos/2013/sea.jpg\n", scene.path("home").display()));
    backs_up(
        &scene,
        "--files-from list",
        expect![[r#"
            /home: backup [ID1]
            3 files and 4 directories, 70.3 KiB
            ---
            photos
            photos/2013
            photos/2013/sea.jpg
            src
            src/main.c
            src/main.o
        "#]],
    );
}

#[test]
fn files_from_may_be_parted_by_nuls() {
    let scene = Scene::new();
    write(scene.path("list"), "notes.txt");
    backs_up(
        &scene,
        "--files-from list --null",
        expect![[r#"
            /home: backup [ID1]
            1 file and 1 directory, 15 B
            ---
            notes.txt
        "#]],
    );
}

#[test]
fn what_is_listed_and_not_there_is_an_error_and_the_rest_is_backed_up() {
    let scene = Scene::new();
    write(scene.path("list"), "notes.txt\nletters/to-anna.txt\nnotes.txt/x\n");
    backs_up(
        &scene,
        "--files-from list",
        expect![[r#"
            exit code 3
            /home: backup [ID1]
            1 file and 1 directory, 15 B
            2 errors
            stderr:
            /home/letters/to-anna.txt: no such file or directory
            /home/notes.txt/x: what it lies below is not a directory
            ---
            notes.txt
        "#]],
    );
}

#[test]
fn a_summary_in_json_counts_what_was_left_out() {
    let scene = Scene::new();
    let run = scene.run_raw(&["--json", "snapshot", "--exclude", "*.o", "--exclude", "photos", "home"]).ok();
    assert_eq!(run.summary()["excluded"], 2);
}

#[test]
fn other_patterns_than_last_time_are_a_difference() {
    let scene = Scene::new();
    scene.backup("2014-05-11T18:36");
    scene.run_raw(&["-q", "snapshot", "--host", "box", "--time", "2014-05-12T18:36", "--exclude", "*.o", "home"]).ok();
    scene.shows(
        "-q diff latest~1 latest",
        expect![[r#"
        - /src/main.o
    "#]],
    );
}

#[test]
fn a_pattern_that_makes_no_sense_is_named() {
    let scene = Scene::without_server();
    scene.shows(
        "snapshot --exclude [a home",
        expect![[r#"
        exit code 2
        stderr:
        error: invalid value '[a' for '--exclude <GLOB>': the pattern [a: unclosed character class; missing ']'

        For more information, try '--help'.
    "#]],
    );
    scene.shows("snapshot --iexclude ./photos home", expect![[r#"
        exit code 2
        stderr:
        error: invalid value './photos' for '--iexclude <GLOB>': the pattern ./photos: matches nothing, as no path holds the name ".": leave it out

        For more information, try '--help'.
    "#]]);
    write(scene.path("patterns"), "*.o\n\n{a\n");
    scene.shows(
        "snapshot --exclude-file patterns home",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: patterns:3: the pattern {a: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)
    "#]],
    );
    write(scene.path("endless"), "*.o\n".repeat(70_000));
    scene.shows(
        "snapshot --exclude-file endless home",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: endless: longer than 256 KiB
    "#]],
    );
    scene.shows(
        "snapshot --exclude-file nowhere home",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: nowhere: no such file or directory
    "#]],
    );
}

#[test]
fn a_list_that_makes_no_sense_is_named() {
    let scene = Scene::new();
    write(scene.path("list"), "notes.txt\n/etc/passwd\n");
    scene.shows(
        "snapshot --files-from list home",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: list:2: /etc/passwd: is not below the PATH to back up
    "#]],
    );
    scene.shows(
        "snapshot --files-from nowhere home",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: nowhere: no such file or directory
    "#]],
    );
    scene.shows(
        "snapshot --files-from /dev/null home",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: /dev/null: lists no path
    "#]],
    );
    scene.shows(
        "snapshot --files-from list home home/src",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: --files-from takes exactly one PATH: what it lists lies below that
    "#]],
    );
    scene.shows(
        "snapshot --files-from list home/notes.txt",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: --files-from needs a directory as PATH, and home/notes.txt is a file
    "#]],
    );
    scene.shows(
        "snapshot --null home",
        expect![[r#"
            exit code 2
            stderr:
            error: the following required arguments were not provided:
              --files-from <FILE>

            Usage: datadb-client snapshot --files-from <FILE> --null <PATH|--stdin <NAME>|--stdin-from-command <NAME>> [-- <COMMAND>...]

            For more information, try '--help'.
        "#]],
    );
}

#[test]
fn words_that_are_no_size_or_name_are_bad_usage() {
    let scene = Scene::without_server();
    scene.shows("snapshot --exclude-larger-than 10kb home", expect![[r#"
        exit code 2
        stderr:
        error: invalid value '10kb' for '--exclude-larger-than <SIZE>': "10kb" is not a size: write 500k, 10M, 2G or a number of bytes

        For more information, try '--help'.
    "#]]);
    scene.shows(
        "snapshot --exclude-if-present a/b home",
        expect![[r#"
        exit code 2
        stderr:
        error: invalid value 'a/b' for '--exclude-if-present <NAME>': name: holds / or NUL

        For more information, try '--help'.
    "#]],
    );
}
