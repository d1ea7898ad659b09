//! All that asks the kernel about files: what they are, what directories hold, attributes, owners, holes, and its errors in
//! words. Nothing here knows backups.

pub mod at;
pub mod dir;
pub mod holes;
pub mod owners;
pub mod stat;
pub mod xattrs;

use rustix::io::Errno;

pub use self::{
    dir::{Dir, open_quietly},
    stat::{FileId, Stat},
};

/// What the kernel says, without its number.
pub fn words(error: Errno) -> String {
    let error = std::io::Error::from(error).to_string();
    error.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// The same of the standard library's errors.
pub fn io_words(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| words(Errno::from_raw_os_error(number)))
}
