//! What is wrong with a configuration is one line with file, line and key.

use std::fs;

use crate::scene::Scene;

const HEAD: &str = "[[snapshot]]\nname = \"a\"\npaths = [\"/\"]\nschedule = \"@daily\"\n";

#[test]
fn what_is_wrong_is_told_with_file_line_and_key() {
    let scene = Scene::without_server();
    // Line 1 names the server.
    for (text, place) in [
        (HEAD.replace("@daily", "@often"), ":5: schedule: \"@often\" is not a schedule"),
        (HEAD.replace("@daily", "61 * * * *"), ":5: schedule: "),
        (HEAD.replace("@daily", "0 0 30 2 *"), ":5: schedule: \"0 0 30 2 *\" names no time that ever comes"),
        (format!("{HEAD}shedule = \"@daily\"\n"), ":6: shedule: unknown field `shedule`"),
        (format!("{HEAD}[snapshot.hooks]\nbefor = \"x\"\n"), ":7: befor: unknown field `befor`"),
        (format!("{HEAD}hooks = {{ befor = \"x\" }}\n"), ":6: befor: unknown field `befor`"),
        (format!("{HEAD}jitter = \"5\"\n"), ":6: jitter: \"5\" is not a duration"),
        (format!("{HEAD}retries = 1000\n"), ":6: retries: 1000 is too many"),
        (format!("{HEAD}nice = 20\n"), ":6: nice: 20 is not a nice value"),
        (format!("{HEAD}ionice = \"lazy\"\n"), ":6: ionice: \"lazy\" is not a class"),
        (format!("{HEAD}notify = {{ webhook = \"ftp://x\" }}\n"), ":6: webhook: \"ftp://x\" is not an address"),
        (format!("{HEAD}exclude = \"x\"\n"), ":6: exclude: invalid type"),
        (format!("timezone = \"Europe/Berlni\"\n{HEAD}"), ":2: timezone: \"Europe/Berlni\" is not a time zone"),
        (format!("metrics = \"here\"\n{HEAD}"), ":2: metrics: "),
        (format!("{HEAD}{HEAD}"), ":7: name: a stands twice"),
        (HEAD.replace("[\"/\"]", "[]"), ":3: paths: of a: the snapshot has nothing to back up"),
        (HEAD.replace("[\"/\"]", "[\"home\"]"), ":3: paths: of a: home is not absolute"),
        (HEAD.replace("schedule", "#"), ":2: snapshot: missing field `schedule`"),
        ("anacron = true\n".to_owned(), ":1: snapshot: there is none"),
        (format!("{HEAD}x"), ":6: "),
    ] {
        scene.configure(&text);
        let run = scene.run(&["check-config"]).code(1);
        let line = run.one_line_with(&[]);
        let wanted = format!("datadb-scheduler: {}{place}", scene.config_file().display());
        assert!(line.starts_with(&wanted), "{line}\nis not\n{wanted}\nfor\n{text}");
        scene.run(&["run"]).code(1);
    }
}

#[test]
fn a_good_one_is_good_and_what_is_not_there_now_is_said() {
    let scene = Scene::without_server();
    scene.configure(&HEAD.replace("[\"/\"]", "[\"SCRATCH/usb\"]"));
    let run = scene.run(&["check-config"]).ok();
    assert!(
        run.text().ends_with("1 snapshot, nothing wrong\n") && run.stderr.contains("usb is not there now"),
        "{run:?}"
    );
    let summary = scene.run(&["check-config", "--json"]).ok().summary();
    assert_eq!((&summary["snapshots"], summary["warnings"].as_array().map(Vec::len)), (&1.into(), Some(1)));
    let other = scene.path("other.toml");
    fs::copy(scene.config_file(), &other).expect("copied");
    fs::remove_file(scene.config_file()).expect("removed");
    scene.run(&["check-config", "--config", other.to_str().expect("UTF-8")]).ok();
    if !std::path::Path::new("/etc/datadb/scheduler.toml").exists() {
        scene.run(&["check-config"]).code(1).one_line_with(&["there is no configuration", "--config"]);
    }
}

/// Options of the client that make no sense for a run, or that the scheduler gives itself.
const NOT_KEYS: [&str; 10] = ["stdin", "time", "dry-run", "verbose", "help", "color", "json", "quiet", "tag", "server"];

/// Whatever `datadb-client snapshot` learns to do, entries can be told to do by its name.
#[test]
fn every_option_of_a_snapshot_has_a_key() {
    let scene = Scene::without_server();
    let help = scene.client().run(["snapshot", "--help"]).ok().text();
    let options: Vec<&str> = help
        .lines()
        .filter_map(|line| line.trim_start().split_once("--").filter(|(before, _)| before.len() <= 4))
        .filter_map(|(_, rest)| rest.split([' ', '=']).next())
        .filter(|option| !option.is_empty() && !NOT_KEYS.contains(option))
        .collect();
    assert!(options.len() >= 15 && options.contains(&"exclude-if-present"), "{options:?}");
    for option in options {
        scene.configure(&format!("{HEAD}{} = 1\n", option.replace('-', "_")));
        let run = scene.run(&["check-config"]).code(1);
        assert!(!run.stderr.contains("unknown field"), "--{option} has no key: {}", run.stderr);
    }
}

/// Times are those of the zone that is named, else of this machine's.
#[test]
fn schedules_count_in_the_zone_that_is_named() {
    let scene = Scene::without_server();
    for (zone, offset) in [("timezone = \"Asia/Tokyo\"\n", "+09:00"), ("", "+00:00")] {
        scene.configure(&format!("{zone}{}", HEAD.replace("@daily", "30 9 * * *")));
        let next = scene.run(&["next"]).ok().text();
        assert!(next.contains(&format!("T09:30:00{offset}  a ")), "{next}");
    }
}
