//! `datadb-server rebuild`: the index anew from packs and log alone.

use std::error::Error;

use super::{
    RebuildArgs,
    serve::{hold, tell_leaf},
};
use crate::engine::open::rebuild;

/// Rebuilds and says what was found.
pub async fn run(args: &RebuildArgs) -> Result<(), Box<dyn Error>> {
    // With a config the log may be elsewhere, and the whole data directory lost.
    let is_known = ["format", "meta"].iter().any(|name| args.data_dir.join(name).exists());
    if !is_known && args.config.is_none() {
        return Err(format!("{} is no data directory", args.data_dir.display()).into());
    }
    let dir = hold(&args.data_dir, args.config.as_deref())?;
    let found = rebuild(dir, &mut |line| eprintln!("{line}")).await?;
    for (leaf, report) in &found.leaves {
        tell_leaf(leaf, report);
    }
    println!(
        "rebuilt the index of {}: {} log records up to unix second {}, {} pack records",
        args.data_dir.display(),
        found.last,
        found.last_time,
        found.blobs.records_added,
    );
    Ok(())
}
