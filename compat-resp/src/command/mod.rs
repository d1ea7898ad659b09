//! Commands that concern the connection itself, one file a family. They are answered here; all others are the server's.

mod auth;
mod catalogue;
mod client;
mod config;
mod hello;
pub mod info;
mod select;

use bytes::Bytes;
use datadb::command::{Spec, unknown};

use crate::{clients::Client, frame::Answer, sidecar::Sidecar};

/// Where a command of the connection is answered.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// What all connections share.
    pub sidecar: &'a Sidecar,
    /// Whose connection it is.
    pub client: &'a Client,
}

/// Answers a command that neither begins nor ends anything. `words` are as many as its line in the table lets through.
pub fn answer(scene: Scene<'_>, spec: &Spec, words: &[Bytes]) -> Answer {
    match (spec.name, &words[1..]) {
        ("ping", []) => Answer::status("PONG"),
        ("ping", [message]) | ("echo", [message]) => Answer::value(message.clone()),
        ("ping", _) => spec.wrong_arity().into(),
        ("hello", arguments) => hello::answer(scene, arguments),
        ("auth", arguments) => auth::answer(arguments),
        ("client", arguments) => client::answer(scene, arguments),
        ("select", [name]) => select::answer(scene.client, name),
        ("command", arguments) => catalogue::answer(arguments),
        ("config", arguments) => config::answer(scene.sidecar, arguments),
        ("unwatch", _) => Answer::ok(),
        ("watch", _) => Answer::error(
            "WATCH is refused: transactions are carried out one after the other, whole; put what depends on what you read into TXINIT … TXCOMMIT",
        ),
        _ => unknown(&words[0], &words[1..]).into(),
    }
}

/// Whether a word is this one, in any case.
fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

/// What Redis says about a subcommand that it doesn't know.
fn unknown_subcommand(command: &str, word: &[u8]) -> Answer {
    Answer::error(format!("unknown subcommand '{}'. Try {command} HELP.", String::from_utf8_lossy(word)))
}

/// What Redis says about a subcommand with too few or too many arguments.
fn wrong_arity(command: &str, subcommand: &str) -> Answer {
    Answer::error(format!("wrong number of arguments for '{command}|{subcommand}' command"))
}
