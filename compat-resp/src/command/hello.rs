//! `HELLO`: chooses the version of the protocol, and tells who answers.

use bytes::Bytes;
use datadb::command::{Refusal, Reply};

use super::{Scene, auth, client, is};
use crate::frame::{Answer, Protocol};

/// The answer to `[protover [AUTH user password] [SETNAME name]]`. Nothing changes where anything is wrong.
pub fn answer(scene: Scene<'_>, arguments: &[Bytes]) -> Answer {
    match read(arguments) {
        Err(refusal) => refusal.into(),
        Ok((protocol, name)) => {
            let mut told = scene.client.told();
            told.protocol = protocol.unwrap_or(told.protocol);
            if let Some(name) = name {
                told.name = name;
            }
            let protocol = told.protocol;
            drop(told);
            about(scene, protocol)
        }
    }
}

fn read(arguments: &[Bytes]) -> Result<(Option<Protocol>, Option<String>), Refusal> {
    let Some((version, mut rest)) = arguments.split_first() else { return Ok((None, None)) };
    let version: Option<i64> = std::str::from_utf8(version).ok().and_then(|text| text.parse().ok());
    let protocol = match version {
        Some(2) => Protocol::Resp2,
        Some(3) => Protocol::Resp3,
        Some(_) => return Err(Refusal::new("NOPROTO", "unsupported protocol version")),
        None => return Err(Refusal::err("Protocol version is not an integer or out of range")),
    };
    let mut name = None;
    loop {
        rest = match rest {
            [] => return Ok((Some(protocol), name)),
            [word, user, _, behind @ ..] if is(word, "auth") => {
                auth::check(user)?;
                behind
            }
            [word, given, behind @ ..] if is(word, "setname") => {
                name = Some(client::checked_name(given)?);
                behind
            }
            [word, ..] => {
                let word = String::from_utf8_lossy(word);
                return Err(Refusal::err(format!("Syntax error in HELLO option '{word}'")));
            }
        };
    }
}

fn about(scene: Scene<'_>, protocol: Protocol) -> Answer {
    Answer::Map(vec![
        ("server", Answer::value("datadb")),
        ("version", Answer::value(env!("CARGO_PKG_VERSION"))),
        ("proto", Answer::integer(protocol.number())),
        ("id", Answer::integer(scene.client.id)),
        ("mode", Answer::value("standalone")),
        ("role", Answer::value("master")),
        ("modules", Answer::Reply(Reply::Values(Vec::new()))),
    ])
}
