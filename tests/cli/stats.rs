//! `stats [BACKUP]`

use expect_test::{Expect, expect};

use crate::{scene::Scene, support::tree::write};

/// Three backups of `home` and one of `home/photos` on another host.
fn story() -> Scene {
    let scene = Scene::new();
    scene.backup("2014-05-12T10:00:00Z");
    scene.backup("2014-05-13T10:00:00Z");
    write(scene.path("home/src/main.c"), "int main(void) { return 1; }\n\n");
    scene.settle("home");
    scene.backup("2014-05-14T10:00:00Z");
    let words = ["snapshot", "-q", "--host", "laptop", "--time", "2014-05-14T12:00:00Z", "home/photos"];
    scene.run_raw(&words).ok();
    scene
}

/// Shows a line without what differs from build to build: stored sizes, and the number of keys read.
#[track_caller]
fn shows(scene: &Scene, line: &str, expected: Expect) {
    let words: Vec<&str> = line.split(' ').collect();
    let shown = scene.shown(&scene.run_raw(&words));
    let mut plain = shown;
    for (pattern, word) in [
        (r"[0-9.]+ [KM]?i?B after compression", "[SIZE] after compression"),
        (r"(log +)[0-9.]+ [KM]iB", "$1[SIZE]"),
        (r"server    [0-9.]+ ", "server    [VERSION] "),
        (r#"("(stored_bytes|log_bytes|keys_read|objects)":)[0-9]+"#, "$1[N]"),
        (r#""version":"[0-9.]+""#, r#""version":"[VERSION]""#),
        (r"blobsfile:\S+/blobs", "blobsfile:[DATA]/blobs"),
    ] {
        plain = regex::Regex::new(pattern).expect("a pattern").replace_all(&plain, word).into_owned();
    }
    expected.assert_eq(&plain);
}

#[test]
fn the_whole_repository() {
    let scene = story();
    shows(
        &scene,
        "stats",
        expect![[r#"
            server    [VERSION] at [URL], store blobsfile:[DATA]/blobs
            backups   4 in 2 snapshots, 279.4 KiB altogether
            blobs     5, 70.4 KiB after deduplication
            stored    [SIZE] after compression (0 B dead)
            log       [SIZE] in 8 records, 9 objects
        "#]],
    );
    shows(
        &scene,
        "stats --json",
        expect![[r#"
            {"backups":4,"bad_blobs":0,"blob_bytes":72074,"blobs":5,"dead_bytes":0,"log_bytes":[N],"log_records":8,"logical_bytes":286133,"objects":[N],"snapshots":2,"store":"blobsfile:[DATA]/blobs","stored_bytes":[N],"type":"summary","version":"[VERSION]"}
        "#]],
    );
}

#[test]
fn snapshots_and_hosts() {
    let scene = story();
    shows(
        &scene,
        "stats --by snapshot",
        expect![[r#"
            HOST    BACKUPS  NEWEST                         SIZE        SUM  PATH
            box           3  2014-05-14T10:00:00+00:00  70.4 KiB  211.1 KiB  /home
            laptop        1  2014-05-14T12:00:00+00:00  68.4 KiB   68.4 KiB  /home/photos
            4 backups in 2 snapshots: 138.7 KiB in the newest of each, 279.4 KiB in all
        "#]],
    );
    shows(
        &scene,
        "stats --by host",
        expect![[r#"
            HOST    BACKUPS  NEWEST                         SIZE        SUM  SNAPSHOTS
            box           3  2014-05-14T10:00:00+00:00  70.4 KiB  211.1 KiB          1
            laptop        1  2014-05-14T12:00:00+00:00  68.4 KiB   68.4 KiB          1
            4 backups in 2 snapshots: 138.7 KiB in the newest of each, 279.4 KiB in all
        "#]],
    );
    shows(
        &scene,
        "stats --by host --json",
        expect![[r#"
            {"backups":3,"bytes":216133,"host":"box","newest":"[ID1]","newest_bytes":72045,"newest_time":1400061600,"snapshots":1,"type":"host"}
            {"backups":1,"bytes":70000,"host":"laptop","newest":"[ID2]","newest_bytes":70000,"newest_time":1400068800,"snapshots":1,"type":"host"}
            {"backups":4,"logical_bytes":286133,"newest_bytes":142045,"snapshots":2,"type":"summary"}
        "#]],
    );
    shows(
        &scene,
        "stats --host laptop",
        expect![[r#"
            HOST    BACKUPS  NEWEST                         SIZE       SUM  PATH
            laptop        1  2014-05-14T12:00:00+00:00  68.4 KiB  68.4 KiB  /home/photos
            1 backups in 1 snapshots: 68.4 KiB in the newest of each, 68.4 KiB in all
        "#]],
    );
    let path = scene.path("home").canonicalize().expect("a path");
    shows(
        &scene,
        &format!("stats --path {} --json", path.display()),
        expect![[r#"
        {"backups":3,"bytes":216133,"host":"box","newest":"[ID1]","newest_bytes":72045,"newest_time":1400061600,"path":"/home","type":"snapshot"}
        {"backups":3,"logical_bytes":216133,"newest_bytes":72045,"snapshots":1,"type":"summary"}
    "#]],
    );
}

#[test]
fn one_backup() {
    let scene = story();
    shows(
        &scene,
        "stats -q latest --host box",
        expect![[r#"
        backup    [ID1] of box:/home, 2014-05-14T10:00:00+00:00
        holds     5 files and 4 directories, 70.4 KiB
        blobs     4, 70.4 KiB after deduplication
        stored    [SIZE] after compression
    "#]],
    );
    shows(
        &scene,
        "stats latest --host box --unique",
        expect![[r#"
            backup    [ID1] of box:/home, 2014-05-14T10:00:00+00:00
            holds     5 files and 4 directories, 70.4 KiB
            blobs     4, 70.4 KiB after deduplication
            stored    [SIZE] after compression
            unique    1, 30 B after deduplication, [SIZE] after compression: no other backup holds them
            stderr:
            latest is [ID1]: box:/home of 2014-05-14T10:00:00+00:00
        "#]],
    );
    shows(
        &scene,
        "stats -q --json --unique latest~1 --host box",
        expect![[r#"
        {"all":{"blobs":4,"bytes":72044,"estimated":false,"missing":0,"stored_bytes":[N],"stored_estimated":false},"bytes":72044,"dirs":4,"errors":0,"files":5,"host":"box","id":"[ID2]","keys_read":[N],"path":"/home","time":1399975200,"type":"summary","unique":{"blobs":0,"bytes":0,"estimated":false,"missing":0,"stored_bytes":[N],"stored_estimated":false}}
    "#]],
    );
}

#[test]
fn what_is_not_there_is_a_failure() {
    let scene = story();
    shows(
        &scene,
        "stats --host nobody",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: there are no backups that match: `datadb-client snapshots` lists them
    "#]],
    );
    shows(
        &scene,
        "stats latest --host nobody",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: there are no backups that match: `datadb-client snapshots` lists them
    "#]],
    );
    shows(
        &scene,
        "stats -q latest:/src --host box",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: /src: only whole backups are counted, leave out the path
    "#]],
    );
}

#[test]
fn wrong_usage() {
    let scene = Scene::without_server();
    shows(
        &scene,
        "stats --unique",
        expect![[r#"
            exit code 2
            stderr:
            error: the following required arguments were not provided:
              <BACKUP>

            Usage: datadb-client stats --unique <BACKUP>

            For more information, try '--help'.
        "#]],
    );
    shows(
        &scene,
        "stats --by week",
        expect![[r#"
        exit code 2
        stderr:
        error: invalid value 'week' for '--by <WHAT>'
          [possible values: snapshot, host]

        For more information, try '--help'.
    "#]],
    );
    shows(
        &scene,
        "stats latest --by host",
        expect![[r#"
            exit code 2
            stderr:
            error: the argument '[BACKUP]' cannot be used with '--by <WHAT>'

            Usage: datadb-client stats <BACKUP>

            For more information, try '--help'.
        "#]],
    );
}
