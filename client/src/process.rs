//! What a program sets for its whole process, at its start.

use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, getrlimit, setrlimit, umask},
};

/// Whatever the process makes from now on is its owner's alone, unless it says otherwise. For daemons, before they start
/// threads; not for what restores files.
pub fn keep_files_private() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// Raises the limit of open files to what this process may have. Without permission the old limit stays.
pub fn raise_file_limit() -> std::io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
