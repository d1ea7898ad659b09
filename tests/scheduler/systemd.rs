//! Service managers: the units are sound, and both daemons say that they are ready, alive, and stopping.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    scene::{PATIENCE, Scene},
    support::{
        place::scratch,
        processes::{Run, program},
    },
};

const UNITS: [(&str, &str); 2] = [
    ("datadb-server", include_str!("../../server/systemd/datadb-server.service")),
    ("datadb-scheduler", include_str!("../../scheduler/systemd/datadb-scheduler.service")),
];

#[test]
fn the_units_are_sound() {
    let scratch = scratch();
    for (name, text) in UNITS {
        for line in ["Type=notify", "WatchdogSec=", "NoNewPrivileges=yes", "ProtectSystem=strict", "LoadCredential="] {
            assert!(text.contains(line), "{name} lacks {line}");
        }
        // Verified are the programs, too: where they were built they are there.
        let installed = format!("/usr/local/bin/{name}");
        assert!(text.contains(&installed), "{name} starts another program");
        let unit = text.replace(&installed, program(name).to_str().expect("UTF-8"));
        fs::write(scratch.path().join(format!("{name}.service")), unit).expect("written");
    }
    let files = UNITS.map(|(name, _)| scratch.path().join(format!("{name}.service")));
    match Command::new("systemd-analyze").arg("verify").args(files).output() {
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            let ours: Vec<&str> = said.lines().filter(|line| line.contains("datadb")).collect();
            assert!(done.status.success() && ours.is_empty(), "{said}");
        }
        Err(error) => println!("skipped: systemd-analyze can't be run here: {error}"),
    }
}

/// A manager's socket.
struct Manager(UnixDatagram);

impl Manager {
    fn new(at: &Path) -> Self {
        let socket = UnixDatagram::bind(at).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(socket)
    }

    /// The next word that is this one; what else is said before it is passed over.
    #[track_caller]
    fn wait(&self, word: &str) {
        let mut buffer = [0; 4096];
        loop {
            let len = self.0.recv(&mut buffer).unwrap_or_else(|error| panic!("{word}: {error}"));
            if String::from_utf8_lossy(&buffer[..len]).lines().any(|line| line == word) {
                return;
            }
        }
    }
}

/// Starts a daemon under a manager that wants a sign of life five times a second.
#[track_caller]
fn is_a_service(mut command: Command, socket: &Path) {
    let manager = Manager::new(socket);
    command.env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", Duration::from_millis(200).as_micros().to_string());
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    manager.wait("READY=1");
    for _ in 0..3 {
        manager.wait("WATCHDOG=1");
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("not 0");
    kill_process(pid, Signal::TERM).expect("a child can be signalled");
    manager.wait("STOPPING=1");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn the_server_is_a_service() {
    let scratch = scratch();
    let mut command = Command::new(program("datadb-server"));
    command.arg("--data-dir").arg(scratch.path().join("data")).args(["--http", "off", "--listen", "127.0.0.1:0"]);
    is_a_service(command, &scratch.path().join("n"));
}

#[test]
fn the_scheduler_is_a_service() {
    let scene = Scene::without_server();
    scene.configure("[[snapshot]]\nname = \"a\"\npaths = [\"SCRATCH/a\"]\nschedule = \"@yearly\"\n");
    is_a_service(scene.command(&["run"]), &scene.path("n"));
}

/// The token that a manager gives to the service is the client's; the word `none` is no token.
#[test]
fn a_credential_is_the_token() {
    let scene = Scene::new();
    scene.configure(
        "[[snapshot]]\nname = \"a\"\nstdin_from_command = \"a\"\nschedule = \"@yearly\"\n\
         command = \"echo token: $DATADB_TOKEN_FILE > SCRATCH/said\"\n",
    );
    let credentials = scene.path("credentials");
    fs::create_dir(&credentials).expect("a directory");
    for (text, said) in [("none", String::new()), ("a-secret-word\n", credentials.join("token").display().to_string())]
    {
        fs::write(credentials.join("token"), text).expect("written");
        let mut now = scene.command(&["now", "a"]);
        Run::from(now.env("CREDENTIALS_DIRECTORY", &credentials).output().expect("it starts")).ok();
        assert_eq!(fs::read_to_string(scene.path("said")).expect("a file").trim(), format!("token: {said}").trim());
    }
}
