//! `MONITOR`: every command of all clients as the server gets it, until the client has seen enough.

use std::{fmt::Write as _, io};

use datadb::command::{Reply, Seen, spec};

use super::{Connection, Then};
use crate::{
    frame::{Answer, ProtocolError},
    lanes::Monitor,
    sidecar::Stopping,
};

impl Connection<'_> {
    /// Shows commands until the client leaves the mode (`RESET`) or the connection; whether the connection goes on.
    pub(super) async fn monitor(&mut self, stopping: &mut Stopping) -> io::Result<bool> {
        let mut watching = match self.sidecar.lanes.watch().await {
            Ok(watching) => watching,
            Err(fault) => {
                self.put(&Answer::error(fault.message)).await?;
                return Ok(true);
            }
        };
        self.put(&Answer::ok()).await?;
        loop {
            // A socket that takes nothing more holds up this task alone; the server drops what it can't send.
            let next = tokio::select! {
                biased;
                next = next(&mut watching) => next,
                read = self.read(stopping) => match read? {
                    false => return Ok(false),
                    true => match self.left_monitor() {
                        Ok(None) => continue,
                        Ok(Some((answer, then))) => {
                            self.put(&answer).await?;
                            return Ok(then != Then::Close);
                        }
                        Err(error) => Err(error.to_string()),
                    },
                },
            };
            match next {
                Ok(lines) => {
                    for line in lines {
                        self.put(&Answer::Reply(Reply::Status(line))).await?;
                    }
                }
                Err(why) => {
                    self.put(&Answer::error(why)).await?;
                    return Ok(false);
                }
            }
        }
    }

    /// Whether what has arrived ends the mode. Other commands are not heard in it, as in Redis of old.
    fn left_monitor(&mut self) -> Result<Option<(Answer, Then)>, ProtocolError> {
        while let Some(words) = self.requests.next(&mut self.input)? {
            match spec(&words[0]).map(|spec| spec.name) {
                Some("quit") => return Ok(Some((Answer::ok(), Then::Close))),
                Some("reset") => {
                    self.forget();
                    return Ok(Some((Answer::status("RESET"), Then::Go)));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    async fn put(&mut self, answer: &Answer) -> io::Result<()> {
        answer.encode(self.protocol(), &mut self.output);
        self.write().await
    }
}

/// The next command that the server shows, and before it how many were lost.
async fn next(watching: &mut Monitor) -> Result<Vec<String>, String> {
    match watching.next().await {
        Ok(Some(seen)) => {
            let lost =
                (seen.lost > 0).then(|| format!("{} commands are not shown: this client reads too slowly", seen.lost));
            Ok(lost.into_iter().chain([line(&seen)]).collect())
        }
        Ok(None) => Err("the server is stopping".to_owned()),
        Err(fault) => Err(fault.message),
    }
}

/// As Redis shows it: time, database, client, and the words in quotes.
fn line(seen: &Seen) -> String {
    let database = if seen.database.is_empty() { "0" } else { &seen.database };
    let mut line = format!("{}.{:06} [{database} {}]", seen.seconds, seen.micros, seen.client);
    for word in std::iter::once(seen.name.as_bytes()).chain(seen.arguments.iter().map(|word| &**word)) {
        write!(line, " \"{}\"", word.escape_ascii()).expect("a String takes all");
    }
    line
}
