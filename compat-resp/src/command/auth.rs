//! `AUTH`: answers as a Redis without a password does, until there are tokens.

use bytes::Bytes;
use datadb::command::Refusal;

use crate::frame::Answer;

/// The one user there is.
const USER: &[u8] = b"default";

/// The answer to `[user] password`.
pub fn answer(arguments: &[Bytes]) -> Answer {
    match arguments {
        [_] => Answer::error(
            "AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
        ),
        [user, _] => check(user).map_or_else(Answer::from, |()| Answer::ok()),
        _ => Refusal::syntax().into(),
    }
}

/// Refuses another user than the one there is.
pub fn check(user: &[u8]) -> Result<(), Refusal> {
    if user == USER {
        return Ok(());
    }
    Err(Refusal::new("WRONGPASS", "invalid username-password pair or user is disabled."))
}
