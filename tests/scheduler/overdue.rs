//! The server knows by when the next backup must have come, and says so of what did not.

use std::fs;

use serde_json::Value;

use crate::{
    scene::{Scene, wait_until},
    support::{
        exposition,
        http::page,
        processes::{count, server_command},
    },
};

fn metrics(scene: &Scene) -> exposition::Samples {
    exposition::check(&page(scene.server.http(), "/metrics"))
}

fn overdue(scene: &Scene) -> Vec<Value> {
    let lines = scene.client().run(["--json", "snapshots"]).ok().json();
    lines.into_iter().filter(|line| line["type"] == "overdue").collect()
}

/// A host that falls silent is shown, in the list and in the metrics; a rebuild of the index and a restart forget nothing;
/// what comes again is not overdue any more, and what is not scheduled any more is not expected.
#[test]
fn silence_does_not_look_like_success() {
    let mut scene = Scene::new();
    let tree = scene.tree("tree").canonicalize().expect("a path");
    let entry = "[[snapshot]]\nname = \"tree\"\npaths = [\"SCRATCH/tree\"]\nschedule = \"@every 1s\"\nhost = \"box\"\ngrace = \"1s\"\n";
    scene.configure(entry);
    let scheduler = scene.start();
    scheduler.wait_runs("tree", "success", 2);
    let labels = format!("{{host=\"box\",path=\"{}\"}}", tree.display());
    wait_until("the server was told", || (metrics(&scene)["datadb_expected"] == 1.0).then_some(()));
    assert!(metrics(&scene)[&format!("datadb_backup_due_timestamp_seconds{labels}")] > 1_700_000_000.0);
    scheduler.stop();
    let late = wait_until("it is overdue", || overdue(&scene).pop());
    assert_eq!(
        (&late["host"], &late["entry"], &late["schedule"]),
        (&"box".into(), &"tree".into(), &"@every 1s".into())
    );
    assert_eq!(late["path"].as_str(), tree.to_str());
    assert!(count(&late, "due") > count(&late, "newest"), "{late}");
    let samples = metrics(&scene);
    assert_eq!((samples["datadb_overdue"], samples[&format!("datadb_backup_overdue{labels}")]), (1.0, 1.0));
    let text = scene.client().run(["snapshots"]).ok().text();
    assert!(
        text.lines().next().is_some_and(|line| line.contains("overdue since") && line.contains("(@every 1s)")),
        "{text}"
    );
    // The promise is in the log.
    scene.server.stop();
    fs::remove_dir_all(scene.server.data().join("index")).expect("removed");
    let data = scene.server.data().to_owned();
    server_command(&["rebuild".as_ref(), "--data-dir".as_ref(), data.as_os_str()]).ok();
    scene.server.start();
    assert_eq!(overdue(&scene), [late]);
    scene.server.kill();
    scene.server.start();
    assert_eq!(overdue(&scene).len(), 1);
    // It comes again.
    scene.configure(&entry.replace("1s", "1h"));
    let scheduler = scene.start();
    scene.run(&["now", "tree"]).ok();
    wait_until("it is not overdue any more", || overdue(&scene).is_empty().then_some(()));
    assert_eq!(metrics(&scene)["datadb_expected"], 1.0);
    // Another path instead: nobody waits for the old one.
    scene.tree("other");
    scene.configure(&entry.replace("1s", "1h").replace("SCRATCH/tree", "SCRATCH/other"));
    wait_until("the old one is forgotten", || {
        let samples = metrics(&scene);
        let is_told = samples.keys().any(|name| name.starts_with("datadb_backup_due") && name.contains("/other"));
        (is_told && samples["datadb_expected"] == 1.0).then_some(())
    });
    scheduler.stop();
}

/// A path that was promised and never came is shown, although it has no backup.
#[test]
fn what_never_came_is_shown() {
    let scene = Scene::new();
    scene.configure(
        "[[snapshot]]\nname = \"gone\"\npaths = [\"SCRATCH/gone\"]\nschedule = \"@every 1s\"\nhost = \"box\"\ngrace = \"0s\"\n",
    );
    let scheduler = scene.start();
    scheduler.wait_runs("gone", "failure", 1);
    let late = wait_until("it is overdue", || overdue(&scene).pop());
    assert!(late["newest"].is_null(), "{late}");
    let text = scene.client().run(["snapshots"]).ok().text();
    assert!(text.contains("gone  (no backup yet)  overdue since"), "{text}");
    let other = scene.client().run(["snapshots", "--host", "other"]).ok().text();
    assert!(!other.contains("overdue"), "{other}");
    scheduler.stop();
}
