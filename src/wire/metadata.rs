//! What goes with a call beside its message: names of entries, and what may stand in them.

use crate::limits;

/// Who asks, where somebody asks on behalf of others. For showing only: nobody's word for who they are.
pub const CLIENT: &str = "datadb-client-addr";

/// By which one call is found again in logs, from the first program that it went through to the last.
pub const REQUEST_ID: &str = "x-request-id";

/// A client's name as it may be shown; `None` if it is too long or not visible ASCII.
pub fn client(text: &str) -> Option<&str> {
    visible(text, limits::CLIENT_BYTES_MAX)
}

/// The id of a request as it may be logged; `None` if it is too long or not visible ASCII.
pub fn request_id(text: &str) -> Option<&str> {
    visible(text, limits::REQUEST_ID_BYTES_MAX)
}

fn visible(text: &str, bytes_max: usize) -> Option<&str> {
    let is_word = !text.is_empty() && text.len() <= bytes_max && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_word.then_some(text)
}
