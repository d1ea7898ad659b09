//! `datadb-server heal`: all sides of all mirrors level, to the end.

use std::error::Error;

use super::{
    HealArgs,
    serve::{hold, tell_leaf},
};
use crate::engine::{
    clock::{Clock as _, SystemClock},
    open::heal,
};

/// Heals and says what was done.
pub async fn run(args: &HealArgs) -> Result<(), Box<dyn Error>> {
    let dir = hold(&args.data_dir, Some(&args.config))?;
    let found = heal(dir, args.verify, SystemClock.now(), &mut |line| println!("{line}")).await?;
    for (leaf, report) in &found.leaves {
        tell_leaf(leaf, report);
    }
    println!("all sides are level");
    Ok(())
}
