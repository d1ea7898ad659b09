//! Commands around a run.

use std::fs;

use crate::scene::{Scene, wait_file};

/// Hooks know what came of the run; those of the other outcome are not called.
#[test]
fn hooks_are_told_what_came_of_the_run() {
    let scene = Scene::new();
    scene.tree("tree");
    scene.configure(
        "[[snapshot]]\nname = \"tree\"\npaths = [\"SCRATCH/tree\"]\nschedule = \"@every 1h\"\n\
         [snapshot.hooks]\n\
         before = [\"sh\", \"-c\", \"echo before $DATADB_ENTRY:$DATADB_OUTCOME >> SCRATCH/said\"]\n\
         after = \"echo after $DATADB_OUTCOME $DATADB_FILES $DATADB_BYTES ${#DATADB_BACKUPS} >> SCRATCH/said\"\n\
         on_success = \"echo $DATADB_HOOK >> SCRATCH/said; echo > SCRATCH/end\"\n\
         on_failure = \"echo wrong >> SCRATCH/said\"\n",
    );
    let scheduler = scene.start();
    wait_file(&scene.path("end"));
    scheduler.wait_runs("tree", "success", 1);
    scheduler.stop();
    let said = fs::read_to_string(scene.path("said")).expect("a file");
    assert_eq!(said, "before tree:\nafter success 1 4 40\non_success\n");
}

/// Where the hook before it fails there is no run, and that counts as a failure.
#[test]
fn a_hook_that_fails_before_a_run_skips_it() {
    let scene = Scene::new();
    scene.tree("tree");
    scene.configure(
        "[[snapshot]]\nname = \"tree\"\npaths = [\"SCRATCH/tree\"]\nschedule = \"@every 1h\"\n\
         [snapshot.hooks]\nbefore = \"echo no medium >&2; exit 7\"\n\
         on_failure = \"echo $DATADB_OUTCOME: $DATADB_ERROR > SCRATCH/said\"\non_success = \"echo wrong > SCRATCH/wrong\"\n",
    );
    let scheduler = scene.start();
    let run = scheduler.wait_runs("tree", "refused", 1);
    let error = run[0]["error"].as_str().expect("an error");
    assert!(error.contains("hook before") && error.contains('7') && error.contains("no medium"), "{error}");
    assert!(wait_file(&scene.path("said")).starts_with("refused: the hook before"));
    assert!(!scene.path("wrong").exists());
    assert!(scene.run(&["status"]).code(1).text().contains("refused"));
    scheduler.stop();
    assert!(scene.client().backups().is_empty());
}

/// A hook that does not end is ended.
#[test]
fn a_hook_that_takes_too_long_is_ended() {
    let scene = Scene::new();
    scene.tree("tree");
    scene.configure(
        "[[snapshot]]\nname = \"tree\"\npaths = [\"SCRATCH/tree\"]\nschedule = \"@every 1h\"\n\
         [snapshot.hooks]\nbefore = \"sleep 1000\"\ntimeout = \"1s\"\n",
    );
    let scheduler = scene.start();
    let run = scheduler.wait_runs("tree", "refused", 1);
    assert!(run[0]["error"].as_str().is_some_and(|error| error.contains("too long")), "{run:?}");
    scheduler.stop();
}
