//! Going into the background: the program starts itself once more, apart from the terminal, and ends when that one says
//! that it is mounted. (A process with threads can't be forked.)

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, ExitCode, Stdio},
};

use datadb::{Fault, Kind};
use datadb_client::exit::FAILED;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

/// Tells the second one what it is.
const VARIABLE: &str = "DATADB_FUSE_BACKGROUND";

/// Whether this is the one in the background.
pub fn is_background() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

fn internal(error: impl std::fmt::Display) -> Fault {
    Fault::new(Kind::Internal, format!("can't go into the background: {error}"))
}

/// Starts the same command line in the background, and waits until it is mounted or has failed.
pub fn start() -> Result<ExitCode, Fault> {
    let program = std::env::current_exe().map_err(internal)?;
    let mut command = Command::new(program);
    let mut words = std::env::args_os();
    if let Some(name) = words.next() {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
    }
    command.args(words).env(VARIABLE, "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(internal)?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(internal)?;
    }
    if !line.is_empty() {
        print!("{line}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said).map_err(internal)?;
    }
    eprint!("{said}");
    let status = child.wait().map_err(internal)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
    Ok(ExitCode::from(code.unwrap_or(FAILED)))
}

/// Of the one in the background, at its start: no signal of the terminal reaches it any more.
pub fn leave_terminal() -> Result<(), Fault> {
    rustix::process::setsid().map(drop).map_err(internal)
}

/// Of the one in the background, when it is mounted: nobody listens to it any more. Its log goes into a file, if there
/// is one.
pub fn close_streams(log: Option<&std::path::Path>) -> Result<(), Fault> {
    let nothing = std::fs::File::options().read(true).write(true).open("/dev/null").map_err(internal)?;
    match log {
        Some(path) => {
            let log = std::fs::File::options().create(true).append(true).open(path);
            let log = log.map_err(|error| Fault::new(Kind::Invalid, format!("{}: {error}", path.display())))?;
            dup2_stderr(log).map_err(internal)?;
        }
        None => dup2_stderr(&nothing).map_err(internal)?,
    }
    dup2_stdin(&nothing).map_err(internal)?;
    // Last: it is what the other one waits for.
    dup2_stdout(&nothing).map_err(internal)
}
