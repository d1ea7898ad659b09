//! `datadb-server heal`: all sides of all mirrors level, to the end; and an empty directory for one that is lost.

use std::error::Error;

use super::{
    HealArgs,
    serve::{hold, tell_leaf},
};
use crate::engine::{
    accept::accept_empty,
    clock::{Clock as _, SystemClock},
    open::heal,
};

/// Heals and says what was done.
pub async fn run(args: &HealArgs) -> Result<(), Box<dyn Error>> {
    let dir = hold(&args.data_dir, args.config.as_deref())?;
    for path in &args.accept_empty {
        accept_empty(&dir, path)?;
        println!("{} begins anew: what only it had counts as missing", path.display());
    }
    if !args.accept_empty.is_empty() && !dir.has_copies() {
        return Ok(());
    }
    let found = heal(dir, args.verify, SystemClock.now(), &mut |line| println!("{line}")).await?;
    for (leaf, report) in &found.leaves {
        tell_leaf(leaf, report);
    }
    println!("all sides are level");
    Ok(())
}
