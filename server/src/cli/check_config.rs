//! `datadb-server check-config`: the stack that a config names, and whether each leaf can be used.

use std::{error::Error, fs, io, path::Path};

use super::CheckConfigArgs;
use crate::{
    config::{Config, Tree},
    stack::{Room, absolute, check_keys, prints_as},
    store::{
        blocking,
        s3::{self, S3Config},
    },
};

/// The file that a probe writes and removes, beside the packs.
const PROBE: &str = "probe";

/// Prints and tries.
pub async fn run(args: &CheckConfigArgs) -> Result<(), Box<dyn Error>> {
    let config = Config::read(&args.config)?;
    let log_room = Room::Log { has_own_tree: config.meta.is_some() };
    for tree in [&config.blobs, config.log()] {
        check_keys(tree, &args.data_dir)?;
    }
    let mut failed = 0;
    for (what, tree, room) in [("blobs", &config.blobs, Room::Blobs), ("log", config.log(), log_room)] {
        println!("{what}: {}", prints_as(tree, &args.data_dir, room));
        // Without a tree of its own the log is in the same places.
        if room == Room::Blobs || config.meta.is_some() {
            for leaf in leaves(tree) {
                let name = prints_as(leaf, &args.data_dir, room);
                match probe(leaf, &args.data_dir).await {
                    Ok(known) => println!("  {name}: {known}"),
                    Err(error) => {
                        failed += 1;
                        println!("  {name}: {error}");
                    }
                }
            }
        }
    }
    let (blobs, log) = (config.blobs.copies(), config.log().copies());
    if log < blobs {
        println!(
            "warning: the log is in {log} place{}, the blobs in {blobs}: without the log no blob can be told from another",
            if log == 1 { "" } else { "s" }
        );
    }
    if failed > 0 {
        return Err(format!("{failed} of the stores can't be used").into());
    }
    Ok(())
}

fn leaves(tree: &Tree) -> Vec<&Tree> {
    match tree {
        Tree::BlobsFile { .. } | Tree::S3(_) => vec![tree],
        Tree::Encrypt { inner, .. } => leaves(inner),
        Tree::Mirror { sides, .. } => sides.iter().flat_map(|side| leaves(&side.tree)).collect(),
    }
}

/// Gives what is worth knowing of a leaf that can be used.
async fn probe(leaf: &Tree, data_dir: &Path) -> Result<String, Box<dyn Error>> {
    let mut known = "written, read, removed".to_owned();
    match leaf {
        Tree::BlobsFile { path } => probe_dir(&data_dir.join(path))?,
        Tree::S3(s3) => {
            let s3 = absolute(S3Config::clone(s3), data_dir);
            let found = blocking(move || s3::probe(&s3)).await?;
            if let Some(holder) = found.held_by {
                known.push_str(&format!("; {holder} writes here now"));
            }
            if !found.honours_conditions {
                known.push_str("; it knows no conditional writes, so keep a second server away from it yourself");
            }
        }
        Tree::Encrypt { .. } | Tree::Mirror { .. } => {}
    }
    Ok(known)
}

/// Writes, reads and removes a file. A directory that is not there yet is tried at the nearest one above it.
fn probe_dir(dir: &Path) -> io::Result<()> {
    let existing = dir.ancestors().find(|dir| dir.exists());
    let existing = existing.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let file = existing.join(PROBE);
    fs::OpenOptions::new().write(true).create_new(true).open(&file)?;
    let done = fs::write(&file, PROBE).and_then(|()| fs::read(&file));
    fs::remove_file(&file)?;
    if done? == PROBE.as_bytes() { Ok(()) } else { Err(io::Error::other("other bytes come back than were written")) }
}
