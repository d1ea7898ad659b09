//! `datadb-resp`: see `datadb_resp::cli`.

/// Requests and answers are many small pieces, taken by one thread and given back by another.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    datadb_resp::cli::run()
}
