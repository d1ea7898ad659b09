//! `datadb-server`: see `datadb_server::cli`.

fn main() -> std::process::ExitCode {
    datadb_server::cli::run()
}
