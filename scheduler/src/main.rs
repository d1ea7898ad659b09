//! The binary: everything happens in `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    datadb_scheduler::cli::main()
}
