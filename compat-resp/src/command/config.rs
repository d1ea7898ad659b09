//! `CONFIG GET`: what the sidecar was started with. Nothing can be set: settings stand on the command line.

use bytes::Bytes;
use datadb::command::{Refusal, Reply, pattern::matches};

use super::{is, unknown_subcommand, wrong_arity};
use crate::{
    frame::{Answer, REQUEST_BYTES_MAX},
    sidecar::Sidecar,
};

/// The answer to a subcommand.
pub fn answer(sidecar: &Sidecar, arguments: &[Bytes]) -> Answer {
    match arguments {
        [get] if is(get, "get") => wrong_arity("config", "get"),
        [get, patterns @ ..] if is(get, "get") => {
            let asked =
                |name: &str| patterns.iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), name.as_bytes()));
            let settings = settings(sidecar).into_iter().filter(|(name, _)| asked(name));
            Reply::Map(settings.map(|(name, value)| (name.into(), value.into())).collect()).into()
        }
        [set, ..] if is(set, "set") || is(set, "rewrite") || is(set, "resetstat") => Answer::error(
            "settings are only read here: they stand on the command line of datadb-resp and datadb-server",
        ),
        [other, ..] => unknown_subcommand("CONFIG", other),
        [] => Refusal::syntax().into(),
    }
}

/// In the words of Redis where it has one.
fn settings(sidecar: &Sidecar) -> [(&'static str, String); 7] {
    [
        // Every write is durable before it is answered, which Redis calls so.
        ("appendfsync", "always".to_owned()),
        ("appendonly", "yes".to_owned()),
        ("maxclients", sidecar.clients_max.to_string()),
        ("proto-max-bulk-len", REQUEST_BYTES_MAX.to_string()),
        ("save", String::new()),
        ("server", sidecar.lanes.url().to_owned()),
        ("timeout", "0".to_owned()),
    ]
}
