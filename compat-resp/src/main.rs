//! `datadb-resp`: see `datadb_resp::cli`.

fn main() -> std::process::ExitCode {
    datadb_resp::cli::run()
}
