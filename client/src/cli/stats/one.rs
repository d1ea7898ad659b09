//! `stats BACKUP`: what one backup takes.

use std::ffi::OsStr;

use datadb::{Fault, Kind, TreePath, clock::format_time};
use serde_json::{Value, json};

use crate::{
    cli::{
        Context,
        choose::{Among, choose},
        output,
    },
    clock,
    connection::BlobStats,
    exit::Outcome,
    report::{bytes, escape},
};

/// Prints what a backup holds, and what it takes.
pub fn run(context: &Context, what: &OsStr, among: &Among, unique: bool) -> Result<Outcome, Fault> {
    let connection = context.connect()?;
    let chosen = choose(context, &connection, what, among)?;
    if chosen.path != TreePath::root() {
        let line = format!("{}: only whole backups are counted, leave out the path", escape(chosen.path.as_bytes()));
        return Err(Fault::new(Kind::Invalid, line));
    }
    let backup = chosen.backup;
    let stats = context.wait(connection.backup_stats(backup.key(), unique))?;
    let all = stats.all.unwrap_or_default();
    let counts = &backup.counts;
    if context.json {
        let mut value = json!({
            "type": "summary",
            "id": backup.key().to_string(),
            "host": backup.host.as_str(),
            "path": output::text(backup.path.as_bytes()),
            "time": backup.time.seconds(),
            "files": counts.files,
            "dirs": counts.dirs,
            "bytes": counts.bytes,
            "errors": counts.errors,
            "all": as_json(&all),
            "keys_read": stats.keys_read,
        });
        if let Some(unique) = &stats.unique {
            value["unique"] = as_json(unique);
        }
        output::json(&value)?;
        return Ok(Outcome::Done);
    }
    let (path, time) = (escape(backup.path.as_bytes()), format_time(backup.time.seconds(), &clock::zone()));
    let host = escape(backup.host.as_str().as_bytes());
    output::line(&format!("backup    {} of {host}:{path}, {time}", backup.key()))?;
    let (files, dirs, logical) = (counts.files, counts.dirs, bytes(counts.bytes));
    output::line(&format!("holds     {files} files and {dirs} directories, {logical}"))?;
    output::line(&format!("blobs     {}", plain(&all)))?;
    output::line(&format!("stored    {}", stored(&all)))?;
    if let Some(unique) = &stats.unique {
        let (blobs, stored) = (plain(unique), stored(unique));
        output::line(&format!("unique    {blobs}, {stored}: no other backup holds them"))?;
    }
    if all.missing > 0 {
        output::line(&format!("missing   {}{} blobs are not there or damaged", about(all.estimated), all.missing))?;
    }
    Ok(Outcome::Done)
}

const fn about(is_estimated: bool) -> &'static str {
    if is_estimated { "about " } else { "" }
}

fn plain(stats: &BlobStats) -> String {
    format!("{}{}, {} after deduplication", about(stats.estimated), stats.blobs, bytes(stats.bytes))
}

fn stored(stats: &BlobStats) -> String {
    format!("{}{} after compression", about(stats.stored_estimated), bytes(stats.stored_bytes))
}

fn as_json(stats: &BlobStats) -> Value {
    json!({
        "blobs": stats.blobs,
        "bytes": stats.bytes,
        "stored_bytes": stats.stored_bytes,
        "missing": stats.missing,
        "estimated": stats.estimated,
        "stored_estimated": stats.stored_estimated,
    })
}
