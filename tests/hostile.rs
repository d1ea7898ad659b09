//! Text of others on a terminal: whatever a server says, and whatever somebody named something in a backup, can't steer it.

mod support;

use std::{fs, path::Path, process::Command};

use datadb::{Fault, Kind, api};
use support::{
    place::scratch,
    processes::{Client, Run, Server, program},
    tree::write,
};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

/// Clears the screen, sets the title, turns the text, goes back to the beginning of the line; C0, DEL, C1.
const HOSTILE: &str = "\u{1b}[2Jevil\u{1b}]0;title\u{7}\u{202e}gnp.exe\u{2066}\r\u{7f}\u{9b}31m\u{8}";

/// A server that says this to whatever it is asked.
#[derive(Clone, Copy)]
enum Hostile {
    /// A refusal that it words.
    Refuses,
    /// An error that no DataDB server words.
    Breaks,
    /// A version of its own.
    Boasts,
}

#[tonic::async_trait]
impl api::repository_server::Repository for Hostile {
    async fn capabilities(
        &self,
        _: Request<api::CapabilitiesRequest>,
    ) -> Result<Response<api::CapabilitiesReply>, Status> {
        match self {
            Self::Refuses => Err(Fault::new(Kind::Full, HOSTILE).into()),
            Self::Breaks => Err(Status::permission_denied(HOSTILE)),
            Self::Boasts => {
                let reply = api::CapabilitiesReply { protocol: 99, version: HOSTILE.to_owned(), ..Default::default() };
                Ok(Response::new(reply))
            }
        }
    }

    async fn stats(&self, _: Request<api::StatsRequest>) -> Result<Response<api::StatsReply>, Status> {
        Err(Status::internal(HOSTILE))
    }

    async fn backup_stats(
        &self,
        _: Request<api::BackupStatsRequest>,
    ) -> Result<Response<api::BackupStatsReply>, Status> {
        Err(Status::internal(HOSTILE))
    }
}

/// Ends the test if a terminal would do anything with this but show it.
#[track_caller]
fn assert_tame(run: &Run) {
    let all = run.text() + &run.stderr;
    let steers = |c: &char| c.is_control() && *c != '\n' || "\u{200e}\u{200f}\u{61c}".contains(*c);
    let turns = |c: &char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let found: Vec<char> = all.chars().filter(|c| steers(c) || turns(c)).collect();
    assert!(found.is_empty(), "{found:?} in {all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_never_steers_a_terminal() {
    let scratch = scratch();
    let tree = scratch.path().join("tree");
    write(tree.join("file"), "x");
    fs::create_dir_all(scratch.path().join("mount")).expect("a mount point");
    for hostile in [Hostile::Refuses, Hostile::Breaks, Hostile::Boasts] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let service = api::repository_server::RepositoryServer::new(hostile);
        let served = tonic::transport::Server::builder().add_service(service);
        let served = tokio::spawn(served.serve_with_incoming(TcpIncoming::from(listener)));
        let at = scratch.path().to_owned();
        let runs = tokio::task::spawn_blocking(move || ask(&url, &at)).await.expect("no panic");
        for run in runs {
            // What no DataDB server worded is not quoted at all.
            let is_quoted = !matches!(hostile, Hostile::Breaks);
            assert!(run.code != Some(0) && run.stderr.contains("evil") == is_quoted, "{run:?}");
            assert_tame(&run);
        }
        served.abort();
    }
}

/// All programs of this server.
fn ask(url: &str, scratch: &Path) -> Vec<Run> {
    let client = Client::of(url);
    let tree = scratch.join("tree");
    let mut runs: Vec<Run> =
        [&["snapshots"][..], &["--json", "snapshots"], &["stats"], &["--color", "always", "ls", "latest"]]
            .into_iter()
            .map(|words| client.run(words))
            .collect();
    // The colour of an error is the program's own.
    if let Some(colored) = runs.last_mut() {
        colored.stderr = colored.stderr.replace("\u{1b}[1;31m", "").replace("\u{1b}[0m", "");
    }
    runs.push(client.run(["snapshot".as_ref(), tree.as_os_str(), scratch.join("mount").as_os_str()]));
    let mut mount = Command::new(program("datadb-fuse"));
    mount.arg("mount").arg(scratch.join("mount")).args(["--timeout", "5"]).env("DATADB_SERVER", url);
    runs.push(Run::from(mount.env("HOME", "/nonexistent").output().expect("datadb-fuse starts")));
    let config = scratch.join("scheduler.toml");
    let text = format!(
        "server = \"{url}\"\n[[snapshot]]\nname = \"tree\"\npaths = [\"{}\"]\nschedule = \"@daily\"\nretries = 0\n",
        tree.display()
    );
    write(&config, text);
    for words in [&["now", "tree"][..], &["--json", "now", "tree"], &["status"], &["--json", "status"]] {
        let mut scheduler = Command::new(program("datadb-scheduler"));
        scheduler.arg("--config").arg(&config).args(words);
        for name in ["HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"] {
            scheduler.env(name, scratch.join("home"));
        }
        let mut run = Run::from(scheduler.output().expect("the scheduler starts"));
        // Its status is on stdout.
        run.stderr += &run.text();
        runs.push(run);
    }
    runs
}

/// Names, hosts and tags of a backup, whoever made it: as tables, as sentences and as JSON.
#[test]
fn what_a_backup_holds_never_steers_a_terminal() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join(format!("tree{HOSTILE}"));
    write(tree.join(format!("file{HOSTILE}")), "x");
    std::os::unix::fs::symlink(HOSTILE, tree.join("link")).expect("a symlink");
    let host = "evil\u{202e}tsoh";
    let client = server.client().on_host(host);
    let mut command = client.snapshot_command(&tree);
    let first =
        Run::from(command.args(["--tag", &format!("note={HOSTILE}")]).output().expect("the client starts")).ok();
    assert_tame(&first);
    let of_host = format!("{host}:{}", tree.display());
    let file = format!("latest:/file{HOSTILE}");
    let near = format!("latest:/fi1e{HOSTILE}");
    let back = scratch.path().join("back");
    let back = back.to_str().expect("UTF-8");
    let whole_file = tree.join(format!("file{HOSTILE}"));
    let whole_file = whole_file.to_str().expect("UTF-8");
    let commands: [&[&str]; 16] = [
        &["snapshots"],
        &["ls", "latest"],
        &["ls", "-l", "latest"],
        &["ls", "-lR", &file],
        &["ls", "-l", &near],
        &["find", "*"],
        &["history", whole_file],
        &["stats"],
        &["stats", "--by", "host"],
        &["stats", "--by", "snapshot"],
        &["stats", "latest"],
        &["restore", "latest", "--target", back, "--dry-run"],
        &["restore", "latest", "--target", back, "--verify"],
        &["diff", "latest", "latest"],
        &["ls", &of_host],
        &["snapshots", "--host", host],
    ];
    for words in commands {
        for json in [&[][..], &["--json"]] {
            let run = client.run([json, words].concat());
            assert!(run.code != Some(2), "{words:?}: {run:?}");
            assert_tame(&run);
            for line in run.text().lines().filter(|_| !json.is_empty()) {
                let value: Result<serde_json::Value, _> = serde_json::from_str(line);
                assert!(value.is_ok(), "{line:?}");
            }
        }
    }
    let listed = client.run(["--json", "ls", "latest"]).ok().json();
    let is_file = |entry: &serde_json::Value| entry["path"] == format!("file{HOSTILE}").as_str();
    assert!(listed.iter().any(is_file), "for programs a name is the same: {listed:?}");
}
