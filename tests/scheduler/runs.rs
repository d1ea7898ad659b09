//! Runs, their history, and what ends them.

use std::fs;

use crate::{
    scene::{Scene, wait_file, wait_until},
    support::processes::count,
};

/// A directory that changes is backed up every two seconds; the history says so while the scheduler runs and afterwards.
#[test]
fn a_changing_directory_is_backed_up_every_two_seconds() {
    let scene = Scene::new();
    let tree = scene.tree("tree");
    scene.configure(
        "[[snapshot]]\nname = \"tree\"\npaths = [\"SCRATCH/tree\"]\nschedule = \"@every 2s\"\ntags = { by = \"scheduler\" }\n\
         exclude = [\"*.tmp\"]\nhost = \"box\"\nnice = 5\nionice = \"idle\"\n",
    );
    let scheduler = scene.start();
    for number in 1..=3 {
        scheduler.wait_runs("tree", "success", number);
        fs::write(tree.join(format!("file-{number}")), "more").expect("written");
        fs::write(tree.join(format!("{number}.tmp")), "not this").expect("written");
    }
    let runs = scheduler.wait_runs("tree", "success", 4);
    for (run, next) in runs.iter().zip(&runs[1..]) {
        let (start, next) = (count(run, "start"), count(next, "start"));
        assert!(next - start >= 2, "{start} and {next}");
    }
    // It works while the scheduler runs.
    let status = scene.run(&["status"]).ok().text();
    assert!(status.contains("tree") && status.contains("success") && !status.contains("does not run"), "{status}");
    scheduler.stop();
    let status = scene.run(&["status"]).ok().text();
    assert!(status.contains("success") && status.contains("The scheduler does not run"), "{status}");
    let backups = scene.client().backups();
    assert!(backups.len() >= 4, "{backups:?}");
    let files: Vec<u64> = backups.iter().map(|backup| count(backup, "files")).collect();
    assert!(files.is_sorted() && files[0] == 1 && files[files.len() - 1] >= 4, "{files:?}");
    assert!(backups.iter().all(|backup| backup["tags"]["by"] == "scheduler" && backup["host"] == "box"), "{backups:?}");
    let next = scene.run(&["next", "-n", "2", "--json"]).ok();
    assert_eq!(next.json().iter().filter(|line| line["type"] == "next").count(), 2);
    assert!(scene.run(&["next"]).ok().text().contains("@every 2s"));
}

/// Without its server a run fails and is tried again; when the server is back, so are the backups.
#[test]
fn a_server_that_is_down_fails_runs_until_it_is_back() {
    let mut scene = Scene::without_server();
    scene.tree("tree");
    scene.configure(
        "[[snapshot]]\nname = \"tree\"\npaths = [\"SCRATCH/tree\"]\nschedule = \"@every 1h\"\nretries = 50\nretry_delay = \"1s\"\n",
    );
    let scheduler = scene.start();
    let failed = scheduler.wait_runs("tree", "failure", 1);
    assert!(failed[0]["error"].as_str().is_some_and(|error| error.contains("no server answers")), "{failed:?}");
    let status = scene.run(&["status"]).code(1).text();
    assert!(status.contains("failure") && status.contains("(retry)"), "{status}");
    scene.server.start();
    let done = scheduler.wait_runs("tree", "success", 1);
    assert!(count(&done[0], "attempt") >= 2, "{done:?}");
    scene.run(&["status"]).ok();
    scheduler.stop();
}

/// After kill -9 the last runs are known; the run that was under way is made up, and not before its child has ended, for
/// the same path never runs twice at once.
#[test]
fn after_a_kill_the_last_runs_are_known_and_the_one_under_way_is_made_up() {
    let scene = Scene::new();
    scene.tree("tree");
    rustix::fs::mknodat(rustix::fs::CWD, scene.path("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .expect("a fifo");
    scene.configure(
        "[[snapshot]]\nname = \"done\"\npaths = [\"SCRATCH/tree\"]\nschedule = \"@every 1h\"\n\
         [[snapshot]]\nname = \"slow\"\nstdin_from_command = \"dump\"\nschedule = \"@every 1h\"\n\
         command = \"echo begun >> SCRATCH/begun; cat SCRATCH/fifo\"\n",
    );
    let scheduler = scene.start();
    let before = scheduler.wait_runs("done", "success", 1);
    wait_file(&scene.path("begun"));
    assert!(scene.status("slow")["running"].is_object());
    scheduler.kill();
    let scheduler = scene.start();
    // The client that the first one started still reads, so the second one waits.
    scheduler.wait_said("being backed up already");
    assert_eq!(scene.status("done")["last"]["start"], before[0]["start"], "the last run is known");
    assert_eq!(fs::read_to_string(scene.path("begun")).expect("a file"), "begun\n");
    // Whoever opens a fifo for writing waits for its reader.
    fs::write(scene.path("fifo"), "first").expect("written");
    wait_until("the second run begins", || {
        fs::read_to_string(scene.path("begun")).ok().filter(|text| text.lines().count() == 2)
    });
    fs::write(scene.path("fifo"), "second").expect("written");
    scheduler.wait_runs("slow", "success", 1);
    assert_eq!(scheduler.runs("done"), 0, "its turn has not come again");
    scheduler.stop();
    assert_eq!(scene.client().backups().iter().filter(|backup| backup["path"] == "/dump").count(), 2);
}

/// A run that takes longer than it may is ended with all that it started, and so is one under way when the scheduler stops.
#[test]
fn a_run_that_takes_too_long_is_ended() {
    let scene = Scene::new();
    scene.configure(
        "[[snapshot]]\nname = \"slow\"\nstdin_from_command = \"dump\"\nschedule = \"@every 1h\"\ntimeout = \"1s\"\n\
         command = \"echo $$ > SCRATCH/pid; exec sleep 1000\"\n\
         [[snapshot]]\nname = \"endless\"\nstdin_from_command = \"endless\"\nschedule = \"@every 1h\"\n\
         command = \"echo $$ > SCRATCH/endless; exec sleep 1000\"\n",
    );
    let scheduler = scene.start();
    scheduler.wait_runs("slow", "timeout", 1);
    let is_gone = |file: &str| {
        let pid = wait_file(&scene.path(file));
        let proc = std::path::Path::new("/proc").join(pid.trim());
        wait_until("the child is gone", || (!proc.exists() || is_zombie(&proc)).then_some(()));
    };
    is_gone("pid");
    scene.run(&["status"]).code(1);
    wait_file(&scene.path("endless"));
    scheduler.stop();
    is_gone("endless");
    assert_eq!(scene.status("endless")["last"]["outcome"], "interrupted");
    assert!(scene.client().backups().is_empty(), "half a backup is none");
}

fn is_zombie(proc: &std::path::Path) -> bool {
    fs::read_to_string(proc.join("stat")).is_ok_and(|stat| stat.contains(") Z "))
}

/// A run that outlasts its interval delays the next, and that is told.
#[test]
fn a_run_that_outlasts_its_interval_delays_the_next() {
    let scene = Scene::new();
    scene.tree("tree");
    scene.configure(
        "[[snapshot]]\nname = \"tree\"\npaths = [\"SCRATCH/tree\"]\nschedule = \"@every 1s\"\n\
         hooks = { before = \"sleep 2.5\" }\n",
    );
    let scheduler = scene.start();
    scheduler.wait_said("still running when the next run is due");
    let runs = scheduler.wait_runs("tree", "success", 2);
    assert!(count(&runs[1], "start") >= count(&runs[0], "end"), "{runs:?}");
    scheduler.stop();
}

/// `now` runs an entry at once, without a scheduler and beside one, and tells what came of it.
#[test]
fn now_runs_at_once() {
    let scene = Scene::new();
    scene.tree("tree");
    scene.configure(
        "[[snapshot]]\nname = \"tree\"\npaths = [\"SCRATCH/tree\", \"SCRATCH/gone\"]\nschedule = \"@yearly\"\n",
    );
    let run = scene.run(&["now", "tree", "--json"]).code(1);
    assert!(run.summary()["error"].as_str().is_some_and(|error| error.contains("gone")), "{run:?}");
    fs::create_dir(scene.path("gone")).expect("a directory");
    let scheduler = scene.start();
    let done = scene.run(&["now", "tree"]).ok();
    assert_eq!(done.text().matches("tree: backup ").count(), 2, "{done:?}");
    assert_eq!(scene.status("tree")["last"]["outcome"], "success");
    assert_eq!(scene.client().backups().len(), 3);
    scene.run(&["now", "tre"]).code(1).one_line_with(&["no snapshot tre", "tree"]);
    // Only one may keep a history.
    let second = scene.run(&["run"]).code(1);
    assert!(second.stderr.contains("another scheduler"), "{second:?}");
    scheduler.stop();
}

/// What can't be read makes a run incomplete: it counts, and is shown.
#[test]
fn what_cannot_be_read_is_shown() {
    let scene = Scene::new();
    let tree = scene.tree("tree");
    scene.configure(
        "[[snapshot]]\nname = \"tree\"\npaths = [\"SCRATCH/tree\"]\nschedule = \"@every 1h\"\nfiles_from = \"SCRATCH/list\"\n",
    );
    // A listed file that is not there is one that can't be read.
    fs::write(scene.path("list"), "file\nmissing\n").expect("written");
    assert!(tree.join("file").exists());
    let scheduler = scene.start();
    let run = scheduler.wait_runs("tree", "incomplete", 1);
    assert_eq!(count(&run[0], "errors"), 1, "{run:?}");
    let status = scene.run(&["status"]).ok().text();
    assert!(status.contains("incomplete") && status.contains("missing"), "{status}");
    scheduler.stop();
}

/// Runs of several entries wait for each other where there is room for one.
#[test]
fn one_after_the_other_where_there_is_room_for_one() {
    let scene = Scene::new();
    let mut text = "parallel = 1\n".to_owned();
    for name in ["a", "b", "c"] {
        scene.tree(name);
        text += &format!(
            "[[snapshot]]\nname = \"{name}\"\npaths = [\"SCRATCH/{name}\"]\nschedule = \"@every 1h\"\n\
             hooks = {{ before = \"mkdir SCRATCH/alone\", after = \"rmdir SCRATCH/alone\" }}\n"
        );
    }
    scene.configure(&text);
    let scheduler = scene.start();
    for name in ["a", "b", "c"] {
        scheduler.wait_runs(name, "success", 1);
    }
    scheduler.stop();
}
