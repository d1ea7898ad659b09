//! `datadb-server check-config`: the stack that a config names, and whether each leaf can be used.

use std::{error::Error, fs, io, path::Path};

use super::CheckConfigArgs;
use crate::{
    config::{Config, Tree},
    store::stack::{Room, prints_as},
};

/// The file that a probe writes and removes, beside the packs.
const PROBE: &str = "probe";

/// Prints and tries.
pub async fn run(args: &CheckConfigArgs) -> Result<(), Box<dyn Error>> {
    let config = Config::read(&args.config)?;
    let log_room = Room::Log { has_own_tree: config.meta.is_some() };
    let mut failed = 0;
    for (what, tree, room) in [("blobs", &config.blobs, Room::Blobs), ("log", config.log(), log_room)] {
        println!("{what}: {}", prints_as(tree, &args.data_dir, room));
        // Without a tree of its own the log is in the same places.
        if room == Room::Blobs || config.meta.is_some() {
            for leaf in leaves(tree) {
                let name = prints_as(leaf, &args.data_dir, room);
                match probe(leaf, &args.data_dir) {
                    Ok(()) => println!("  {name}: written, read, removed"),
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

fn probe(leaf: &Tree, data_dir: &Path) -> Result<(), Box<dyn Error>> {
    match leaf {
        Tree::BlobsFile { path } => Ok(probe_dir(&data_dir.join(path))?),
        _ => Err("not built yet".into()),
    }
}

/// Writes, reads and removes a file. A directory that is not there yet is tried at the nearest one above it.
fn probe_dir(dir: &Path) -> io::Result<()> {
    let existing = dir.ancestors().find(|dir| dir.is_dir());
    let existing = existing.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let file = existing.join(PROBE);
    fs::OpenOptions::new().write(true).create_new(true).open(&file)?;
    let done = fs::write(&file, PROBE).and_then(|()| fs::read(&file));
    fs::remove_file(&file)?;
    if done? == PROBE.as_bytes() { Ok(()) } else { Err(io::Error::other("other bytes come back than were written")) }
}
