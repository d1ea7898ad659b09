//! What all subcommands share: help, version, profiles, limits, and how far a long run is.

use std::{fs, time::Instant};

use expect_test::expect;

use crate::{
    scene::Scene,
    support::{
        processes::Run,
        tree::{random_bytes, write},
    },
};

#[test]
fn the_version_names_protocol_and_format() {
    Scene::without_server().shows(
        "--version",
        expect![[r#"
        datadb-client 0.1.0 (protocol 1, format 1)
    "#]],
    );
}

#[test]
fn the_help_tells_how_to_begin() {
    Scene::without_server().shows("--help", expect![[r#"
        Backs up directories to a DataDB server, and brings them back

        Usage: datadb-client [OPTIONS] <COMMAND>

        Commands:
          snapshot     Back up one or more paths
          snapshots    List snapshots and their backups
          ls           List what is in a backup
          cat          Write a file of a backup to stdout
          diff         Show how two backups differ, or a backup and a directory
          history      Show every version of a file over all backups
          find         Find files in one backup or in all
          restore      Bring back a backup, or a path in it
          dump         Write a backup, or a path in it, as a tar or zip archive
          stats        Show how full the repository is, and what backups take
          completions  Print a shell's completions
          help         Print this message or the help of the given subcommand(s)

        Options:
          -h, --help     Print help
          -V, --version  Print version

        Global options:
              --server <URL>           The server: http://HOST:PORT or unix:PATH [default: http://127.0.0.1:9735] [env: DATADB_SERVER]
          -P, --profile <NAME>         Use a profile of client.toml
              --json                   Print one JSON object a line
          -q, --quiet                  No progress and no closing words
              --limit-upload <RATE>    Send no faster than this many bytes a second (500k, 2M)
              --limit-download <RATE>  Fetch no faster than this many bytes a second
              --color <WHEN>           Colours: auto (on a terminal, unless NO_COLOR is set or TERM is dumb), always or never

        A BACKUP is the beginning of its id, latest, latest~N (the N-th before it), or NAME@TIME (the last one of that path at
        or before a time: 2014, 2014-05-12, 2014-05-12T18:36, yesterday, 3d, 1w). `BACKUP:/PATH` is a path in it.

        Settings that count always, and profiles, lie in $XDG_CONFIG_HOME/datadb/client.toml.

        Examples:
          datadb-client snapshot ~/Documents
          datadb-client ls latest:/letters
          datadb-client restore Documents@yesterday:/letters --target /tmp/letters

        Exit codes: 0 done, 1 failed, 2 bad usage, 3 done but something could not be read or restored, 130 interrupted.
    "#]]);
}

#[test]
fn every_subcommand_has_a_help_with_examples() {
    let scene = Scene::without_server();
    let names = ["snapshot", "snapshots", "ls", "cat", "diff", "history", "find", "restore", "stats", "completions"];
    for name in names {
        let help = scene.run_raw(&[name, "--help"]).ok().text();
        assert!(help.contains("Examples:\n") && help.contains(&format!("datadb-client {name}")), "{help}");
    }
}

#[test]
fn the_manual_has_a_page_for_each_subcommand() {
    let scene = Scene::without_server();
    fs::create_dir(scene.path("man1")).expect("a directory");
    scene.run_raw(&["man", "man1"]).ok();
    for page in ["datadb-client.1", "datadb-client-snapshot.1", "datadb-client-restore.1"] {
        let text = fs::read_to_string(scene.path("man1").join(page)).expect("a page");
        assert!(text.contains(".SH OPTIONS"), "{page}: {text}");
    }
    scene.shows(
        "man none",
        expect![[r#"
            exit code 1
            stderr:
            datadb-client: none: no such file or directory
        "#]],
    );
}

/// Writes the settings of the scene's client.
fn configure(scene: &Scene, text: &str) {
    write(scene.client().home().join(".config/datadb/client.toml"), text);
}

#[test]
fn settings_are_overridden_by_the_environment_and_that_by_flags() {
    let scene = Scene::new();
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    configure(&scene, &format!("server = \"{}\"\n[profiles.away]\nserver = \"{}\"\n", url(1), url(2)));
    let asks = |environment: Option<&str>, words: &[&str]| {
        let mut command = scene.client().command(words);
        match environment {
            Some(url) => command.env("DATADB_SERVER", url),
            None => command.env_remove("DATADB_SERVER"),
        };
        Run::from(command.output().expect("the client starts")).code(1).stderr
    };
    assert!(asks(None, &["stats"]).contains(":1:"));
    assert!(asks(None, &["-P", "away", "stats"]).contains(":2:"));
    assert!(asks(Some(&url(3)), &["-P", "away", "stats"]).contains(":3:"));
    assert!(asks(Some(&url(3)), &["--profile", "away", "stats", "--server", &url(4)]).contains(":4:"));
}

#[test]
fn a_setting_that_is_not_known_is_named_with_its_line() {
    let scene = Scene::new();
    configure(&scene, "host = \"box\"\nsevrer = \"x\"\n");
    let home = scene.client().home().to_str().expect("UTF-8").to_owned();
    let told = scene.run_raw(&["stats"]).code(1).stderr.replace(&home, "[HOME]");
    expect![[r#"
        datadb-client: [HOME]/.config/datadb/client.toml:2: unknown field `sevrer`, expected one of `server`, `token_file`, `limit_upload`, `limit_download`, `host`, `tags`, `exclude`, `profiles`
    "#]].assert_eq(&told);
    configure(&scene, "[profiles.away]\nhost = \"laptop\"\n");
    let told = scene.run_raw(&["-P", "awya", "stats"]).code(1).stderr.replace(&home, "[HOME]");
    expect![[r#"
        datadb-client: there is no profile awya in [HOME]/.config/datadb/client.toml: did you mean away?
    "#]]
    .assert_eq(&told);
}

#[test]
fn a_profile_gives_host_and_tags_to_its_backups() {
    let scene = Scene::new();
    configure(
        &scene,
        "exclude = [\"*.o\"]\ntags = { by = \"me\" }\n[profiles.away]\nhost = \"laptop\"\ntags = { why = \"travel\" }\n",
    );
    let words = ["-P", "away", "--json", "snapshot", "--tag", "by=you", "home"];
    assert_eq!(scene.run_raw(&words).ok().summary()["excluded"], 1);
    let backup = &scene.client().backups()[0];
    assert_eq!(
        (&backup["host"], &backup["tags"]),
        (&"laptop".into(), &serde_json::json!({"by": "you", "why": "travel"}))
    );
}

#[test]
fn a_token_file_that_is_not_there_is_named() {
    let scene = Scene::new();
    let run = |name: &str, value: &str| {
        let mut command = scene.client().command(["stats"]);
        scene.shown(&Run::from(command.env(name, value).output().expect("the client starts")))
    };
    expect![[r#"
        exit code 1
        stderr:
        datadb-client: the token file /none: No such file or directory (os error 2)
    "#]]
    .assert_eq(&run("DATADB_TOKEN_FILE", "/none"));
    expect![[r#"
        exit code 1
        stderr:
        datadb-client: a token is one word of visible ASCII
    "#]]
    .assert_eq(&run("DATADB_TOKEN", "two words"));
    assert!(!run("DATADB_TOKEN", "secret").contains("exit code"));
}

#[test]
fn rates_are_kept() {
    let scene = Scene::new();
    write(scene.path("big"), random_bytes(1, 2 << 20));
    let seconds = |words: &[&str]| {
        let started = Instant::now();
        scene.run_raw(words).ok();
        started.elapsed().as_secs_f64()
    };
    // 2 MiB at 1 MiB a second: not in less than two, but for what the gate lets through after a pause.
    let up = seconds(&["-q", "snapshot", "--limit-upload", "1M", "big"]);
    let down = seconds(&["-q", "cat", "--limit-download", "1M", "latest:/"]);
    assert!(up > 1.8 && down > 1.8, "{up} s up, {down} s down");
    scene.shows("stats --limit-upload fast", expect![[r#"
        exit code 2
        stderr:
        error: invalid value 'fast' for '--limit-upload <RATE>': "fast" is not a size: write 500k, 10M, 2G or a number of bytes

        For more information, try '--help'.
    "#]]);
}

#[test]
fn a_long_run_tells_how_far_it_is() {
    let scene = Scene::new();
    write(scene.path("big"), random_bytes(1, 3 << 20));
    let mut command = scene.client().command(["snapshot", "--limit-upload", "1M"]);
    let run =
        Run::from(command.arg(scene.path("big")).env("DATADB_STATUS_SECONDS", "1").output().expect("starts")).ok();
    assert!(run.stderr.lines().any(|line| line.starts_with("read ") && line.contains("/s")), "{}", run.stderr);

    let again = random_bytes(2, 3 << 20);
    write(scene.path("big"), again);
    let lines = scene.run_raw(&["--json", "snapshot", "--limit-upload", "1M", "big"]).ok().json();
    let status = lines.iter().find(|line| line["type"] == "status").expect("a status");
    for field in ["files", "bytes", "wire_bytes", "errors", "seconds", "bytes_per_second", "bytes_expected", "current"]
    {
        assert!(!status[field].is_null(), "{field} is missing: {status}");
    }
    assert_eq!(lines.last().expect("a summary")["type"], "summary");
    let words = ["--json", "restore", "latest", "--target", "back", "--limit-download", "1M"];
    let lines = scene.run_raw(&words).ok().json();
    let is_under_way = |line: &serde_json::Value| line["bytes"].as_u64().is_some_and(|bytes| bytes > 0);
    let status = lines.iter().find(|line| line["type"] == "status" && is_under_way(line)).expect("a status");
    assert_eq!((&status["bytes_expected"], &status["files"]), (&(3 << 20).into(), &0.into()), "{status}");
    assert_eq!(status["current"], "big");
    assert_eq!(lines.last().expect("a summary")["bytes"], 3 << 20);
    let quiet = scene.run_raw(&["--json", "-q", "snapshot", "--force", "--limit-upload", "1M", "big"]).ok();
    assert_eq!(quiet.json().len(), 1);
}

/// Escapes are for terminals alone, and only where they are welcome.
#[test]
fn colours_are_shown_where_somebody_sees_them() {
    let scene = Scene::new();
    scene.backup("2014-05-12");
    fs::remove_file(scene.path("home/notes.txt")).expect("removed");
    write(scene.path("home/new"), "new");
    scene.settle("home");
    let plain = scene.run_raw(&["-q", "diff", "latest", "./home"]).ok().text();
    assert_eq!(plain, "+ /new\n- /notes.txt\n");
    let shown = |words: &[&str]| scene.run_raw(words).text().replace('\x1b', "ESC");
    expect![[r#"
        ESC[32m+ /newESC[0m
        ESC[31m- /notes.txtESC[0m
    "#]]
    .assert_eq(&shown(&["-q", "diff", "latest", "./home", "--color", "always"]));
    expect![[r#"
        ESC[32m+ /notes.txtESC[0m
    "#]]
    .assert_eq(&shown(&["-q", "restore", "latest", "--target", "home", "--dry-run", "--color", "always"]));
    expect![[r#"
        notes.txt
        ESC[1;34mphotosESC[0m
        ESC[1;34msrcESC[0m
        ESC[36mtodoESC[0m
    "#]]
    .assert_eq(&shown(&["-q", "ls", "latest", "--color", "always"]));
    let told = scene.run_raw(&["-q", "ls", "latest~5", "--color", "always"]).stderr;
    assert!(told.starts_with("\x1b[1;31mdatadb-client:\x1b[0m no latest~5"), "{told:?}");
    let on_terminal = |variable: (&str, &str), words: &str| {
        let program = crate::support::processes::program("datadb-client");
        let line = format!("{} -q diff latest ./home {words}", program.display());
        let mut command = std::process::Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).current_dir(scene.path("."));
        command.env("DATADB_SERVER", scene.client().url()).env("HOME", scene.client().home());
        command.env("TERM", "xterm").env_remove("NO_COLOR").env(variable.0, variable.1);
        Run::from(command.stdin(std::process::Stdio::null()).output().expect("script runs"))
            .ok()
            .text()
            .contains('\x1b')
    };
    assert!(on_terminal(("TERM", "xterm"), ""));
    assert!(!on_terminal(("TERM", "dumb"), ""));
    assert!(!on_terminal(("NO_COLOR", "1"), ""));
    assert!(!on_terminal(("TERM", "xterm"), "--color never"));
}

#[test]
fn a_name_that_is_nearly_right_is_answered_with_the_right_one() {
    let scene = Scene::new();
    scene.backup("2014-05-12");
    scene.shows(
        "-q cat latest:/src/man.c",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: /src/man.c is not in the backup of /home ([ID1]): did you mean /src/main.c?
    "#]],
    );
    scene.shows(
        "-q ls latest:/sorce",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: /sorce is not in the backup of /home ([ID1]): did you mean /src?
    "#]],
    );
    scene.shows(
        "-q ls latest:/zzzzzz",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: /zzzzzz is not in the backup of /home ([ID1])
    "#]],
    );
}
