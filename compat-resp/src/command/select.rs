//! `SELECT`: databases have names; Redis's number 0 is `default`.

use datadb::limits;

use crate::{clients::Client, frame::Answer};

/// The answer to the name of a database, which is there as soon as something is put into it.
pub fn answer(client: &Client, name: &[u8]) -> Answer {
    match std::str::from_utf8(name) {
        Ok("0" | "default") => client.told().database.clear(),
        Ok(name) if !name.is_empty() && name.len() <= limits::DATABASE_BYTES_MAX && !name.contains('\0') => {
            name.clone_into(&mut client.told().database);
        }
        _ => return Answer::error(format!("a database's name is 1 to {} bytes of UTF-8", limits::DATABASE_BYTES_MAX)),
    }
    Answer::ok()
}
