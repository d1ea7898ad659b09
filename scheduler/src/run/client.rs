//! The client as a child: its command line, and what came of it.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::Stdio,
};

use datadb::terminal::escape;
use datadb_client::exit::{INTERRUPTED, PARTIAL};
use serde_json::Value;
use tokio::{process::Command, time::Instant};

use super::child::{self, Ended, Stop, Stream};
use crate::{
    config::{Config, Entry, entry::Source},
    history::Outcome,
};

/// Lines of the client's stderr that are kept as the reason of a failure.
const REASON_LINES: usize = 3;

/// Bytes of a reason.
const REASON_BYTES_MAX: usize = 2000;

/// What came of one source.
#[derive(Debug)]
pub struct Done {
    /// How it ended.
    pub outcome: Outcome,
    /// Why not better.
    pub reason: Option<String>,
    /// The client's last word.
    pub summary: Option<Value>,
}

impl Done {
    fn bad(outcome: Outcome, reason: String) -> Self {
        Self { outcome, reason: Some(reason), summary: None }
    }

    /// A number of the summary; 0 without one.
    pub fn count(&self, field: &str) -> u64 {
        self.summary.as_ref().and_then(|summary| summary[field].as_u64()).unwrap_or(0)
    }
}

/// The program, beside this one, else wherever the shell finds it.
fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("datadb-client"));
    beside.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("datadb-client"))
}

fn words(config: &Config, entry: &Entry, source: Source<'_>) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    if let Some(nice) = entry.nice {
        words.extend(["nice".into(), "-n".into(), nice.to_string().into()]);
    }
    if let Some(ionice) = &entry.ionice {
        words.push("ionice".into());
        words.extend(ionice.0.iter().map(OsString::from));
    }
    words.push(program().into());
    words.extend(["--json", "--quiet"].map(OsString::from));
    let options = [
        ("--server", &config.server),
        ("--profile", &entry.profile),
        ("--limit-upload", &entry.limit_upload),
        ("--limit-download", &entry.limit_download),
    ];
    for (option, value) in options {
        words.extend(value.iter().flat_map(|value| [OsString::from(option), value.into()]));
    }
    words.push("snapshot".into());
    words.extend(entry.arguments().into_iter().map(OsString::from));
    match source {
        // It is absolute, so it is no option.
        Source::Path(path) => words.push(path.into()),
        Source::Stream(name, command) => {
            words.extend(["--stdin-from-command", name, "--"].map(OsString::from));
            words.extend(command.0.iter().map(OsString::from));
        }
    }
    words
}

/// Backs up one source. `stdin` is the lock of the path: the child holds it for as long as it lives, even where the
/// scheduler does not.
pub async fn run(
    config: &Config,
    entry: &Entry,
    source: Source<'_>,
    stdin: Stdio,
    until: Instant,
    stop: &Stop,
) -> Done {
    let words = words(config, entry, source);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    if let Some(file) = &config.token_file {
        command.env("DATADB_TOKEN_FILE", file);
    }
    // Neither is the child a service of its own.
    command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID");
    let (mut summary, mut reason) = (None, Vec::new());
    let name = entry.name();
    let ended = child::run(command, stdin, until, stop, |stream, line| match stream {
        Stream::Out => {
            let parsed: Option<Value> = serde_json::from_str(line).ok();
            if let Some(value) = parsed.filter(|value| value["type"] == "summary") {
                summary = Some(value);
            }
        }
        Stream::Err if !line.is_empty() => {
            let line = &escape(line.as_bytes());
            tracing::warn!(entry = name, "{line}");
            if reason.len() == REASON_LINES {
                // The first line says what is wrong with an option, the last what came of everything.
                reason.remove(1);
            }
            reason.push(line.strip_prefix("datadb-client: ").unwrap_or(line).to_owned());
        }
        Stream::Err => {}
    })
    .await;
    let why = |else_: String| {
        let mut why = if reason.is_empty() { else_ } else { reason.join("; ") };
        why.truncate(why.floor_char_boundary(REASON_BYTES_MAX));
        why
    };
    match ended {
        Err(error) => {
            let program = words[0].display();
            Done::bad(Outcome::Failure, format!("{program} can't be run: {error}"))
        }
        Ok(Ended::Timeout) => Done::bad(Outcome::Timeout, "took longer than its timeout, and was ended".to_owned()),
        Ok(Ended::Stopped) => Done::bad(Outcome::Interrupted, "the scheduler was stopped".to_owned()),
        Ok(Ended::Exit(status)) => match status.code() {
            Some(0) => Done { outcome: Outcome::Success, reason: None, summary },
            Some(code) if code == i32::from(PARTIAL) => Done {
                outcome: Outcome::Incomplete,
                reason: Some(why("something could not be read".to_owned())),
                summary,
            },
            Some(code) if code == i32::from(INTERRUPTED) => Done::bad(Outcome::Interrupted, why(status.to_string())),
            _ => Done::bad(Outcome::Failure, why(format!("datadb-client ended with {status}"))),
        },
    }
}

/// The programs that an entry needs besides, with what they are for, that can't be found.
pub fn missing(entry: &Entry) -> Vec<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &OsStr| std::env::split_paths(&path).any(|dir| dir.join(program).exists());
    let needed = [("nice", entry.nice.is_some()), ("ionice", entry.ionice.is_some())];
    let client = program();
    let is_client = client.is_absolute() || is_there(client.as_os_str());
    let others = needed.into_iter().filter(|(program, is_needed)| *is_needed && !is_there(OsStr::new(program)));
    others.map(|(program, _)| program).chain((!is_client).then_some("datadb-client")).collect()
}
