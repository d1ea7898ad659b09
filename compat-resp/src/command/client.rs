//! `CLIENT`: who is connected, and under what name.

use bytes::Bytes;
use datadb::command::{Refusal, Reply};

use super::{Scene, is, unknown_subcommand, wrong_arity};
use crate::frame::Answer;

/// Bytes of what a client tells about itself.
const TOLD_BYTES_MAX: usize = 256;

/// The answer to a subcommand.
pub fn answer(scene: Scene<'_>, arguments: &[Bytes]) -> Answer {
    let Some((subcommand, rest)) = arguments.split_first() else { return Refusal::syntax().into() };
    let subcommand_is = |name| is(subcommand, name);
    match rest {
        [name] if subcommand_is("setname") => set(name, |name| scene.client.told().name = name),
        _ if subcommand_is("setname") => wrong_arity("client", "setname"),
        [] if subcommand_is("getname") => match scene.client.told().name.clone() {
            name if name.is_empty() => Answer::Reply(Reply::Nil),
            name => Answer::value(name),
        },
        _ if subcommand_is("getname") => wrong_arity("client", "getname"),
        [] if subcommand_is("id") => Answer::integer(scene.client.id),
        _ if subcommand_is("id") => wrong_arity("client", "id"),
        [what, value] if subcommand_is("setinfo") => set_info(scene, what, value),
        _ if subcommand_is("setinfo") => wrong_arity("client", "setinfo"),
        [] if subcommand_is("list") => Answer::Text(scene.sidecar.clients.lines().into()),
        _ if subcommand_is("list") => wrong_arity("client", "list"),
        [] if subcommand_is("info") => Answer::Text(format!("{}\n", scene.client.line()).into()),
        _ if subcommand_is("info") => wrong_arity("client", "info"),
        // Nothing is ever evicted.
        [word] if subcommand_is("no-evict") && (is(word, "on") || is(word, "off")) => Answer::ok(),
        [_] if subcommand_is("no-evict") => Refusal::syntax().into(),
        _ if subcommand_is("no-evict") => wrong_arity("client", "no-evict"),
        _ => unknown_subcommand("CLIENT", subcommand),
    }
}

/// A name that stands as one word in a list; empty takes the name away.
pub fn checked_name(name: &[u8]) -> Result<String, Refusal> {
    if name.len() > TOLD_BYTES_MAX {
        return Err(Refusal::err(format!("a name has at most {TOLD_BYTES_MAX} bytes")));
    }
    if !name.iter().all(u8::is_ascii_graphic) {
        return Err(Refusal::err("Client names cannot contain spaces, newlines or special characters."));
    }
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn set(name: &[u8], put: impl FnOnce(String)) -> Answer {
    match checked_name(name) {
        Ok(name) => {
            put(name);
            Answer::ok()
        }
        Err(refusal) => refusal.into(),
    }
}

fn set_info(scene: Scene<'_>, what: &[u8], value: &[u8]) -> Answer {
    if is(what, "lib-name") {
        return set(value, |name| scene.client.told().library = name);
    }
    if is(what, "lib-ver") {
        return set(value, |version| scene.client.told().version = version);
    }
    Answer::error(format!("Unrecognized option '{}'", String::from_utf8_lossy(what)))
}
