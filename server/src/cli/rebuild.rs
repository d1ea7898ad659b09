//! `datadb-server rebuild`: the index anew from packs and log alone.

use std::{error::Error, sync::Arc};

use super::{RebuildArgs, serve::tell_leaf};
use crate::{
    engine::open::{DataDir, rebuild},
    store::disk::RealDisk,
};

/// Rebuilds and says what was found.
pub async fn run(args: &RebuildArgs) -> Result<(), Box<dyn Error>> {
    if !args.data_dir.join("format").exists() && !args.data_dir.join("meta").exists() {
        return Err(format!("{} is no data directory", args.data_dir.display()).into());
    }
    let dir = DataDir::hold(&args.data_dir, Arc::new(RealDisk))?;
    let found = rebuild(dir, &mut |line| eprintln!("{line}")).await?;
    tell_leaf("log", &found.log);
    tell_leaf("blobs", &found.blobs);
    println!(
        "rebuilt the index of {}: {} log records up to unix second {}, {} pack records",
        args.data_dir.display(),
        found.last,
        found.last_time,
        found.blobs.records_added,
    );
    Ok(())
}
