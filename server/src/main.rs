//! `datadb-server`: see `datadb_server::cli`.

/// For RocksDB's memory, too. What glibc keeps in an arena for each thread grew with the number of files: three times as much
/// after a backup of a million.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    datadb_server::cli::run()
}
