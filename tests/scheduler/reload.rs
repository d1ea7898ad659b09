//! A configuration that changes while the scheduler runs.

use rustix::process::Signal;

use crate::scene::Scene;

fn entry(name: &str, schedule: &str) -> String {
    format!("[[snapshot]]\nname = \"{name}\"\npaths = [\"SCRATCH/{name}\"]\nschedule = \"{schedule}\"\n")
}

/// A new entry runs, what has run does not run again, and a file that is wrong changes nothing.
#[test]
fn a_valid_configuration_counts_at_once_and_a_broken_one_never() {
    let scene = Scene::new();
    ["a", "b", "c"].into_iter().for_each(|name| drop(scene.tree(name)));
    scene.configure(&entry("a", "@every 1h"));
    let scheduler = scene.start();
    scheduler.wait_runs("a", "success", 1);
    scene.configure(&(entry("a", "@every 2h") + &entry("b", "@every 1h")));
    scheduler.wait_runs("b", "success", 1);
    assert_eq!(scheduler.runs("a"), 1, "a new schedule runs nothing at once");
    scene.configure(&(entry("a", "@every 2h") + &entry("b", "@often")));
    scheduler.wait_said("scheduler.toml:9: schedule: ");
    scheduler.wait_said("the configuration that was valid before goes on");
    // Once more on SIGHUP, without a change.
    scheduler.signal(Signal::HUP);
    scheduler.wait("it is told again", |_, stderr| stderr.matches("scheduler.toml:9: schedule: ").count() == 2);
    assert_eq!(scheduler.runs("b"), 1);
    scene.configure(&(entry("a", "@every 2h") + &entry("b", "@every 1s") + &entry("c", "0 0 1 1 *")));
    scheduler.wait_runs("b", "success", 3);
    assert_eq!((scheduler.runs("a"), scheduler.runs("c")), (1, 0));
    // Without its entry it runs no more; what is left goes on.
    scene.configure(&entry("c", "@every 1s"));
    scheduler.wait_runs("c", "success", 2);
    let runs = scheduler.runs("b");
    scheduler.wait_runs("c", "success", 4);
    assert_eq!(scheduler.runs("b"), runs);
    scheduler.stop();
}
