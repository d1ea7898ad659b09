//! `stats` of the whole repository.

use datadb::Fault;
use serde_json::json;

use crate::{
    cli::{Context, output},
    exit::Outcome,
    report::{bytes, escape},
};

/// Prints counts and sizes of the whole repository.
pub fn run(context: &Context) -> Result<Outcome, Fault> {
    let connection = context.connect()?;
    let s = context.wait(connection.stats())?;
    if context.json {
        output::json(&json!({
            "type": "summary",
            "version": connection.capabilities().version,
            "store": s.store,
            "snapshots": s.snapshots,
            "backups": s.backups,
            "logical_bytes": s.logical_bytes,
            "blobs": s.blobs,
            "blob_bytes": s.blob_bytes,
            "stored_bytes": s.stored_bytes,
            "dead_bytes": s.dead_bytes,
            "bad_blobs": s.bad_blobs,
            "objects": s.objects,
            "log_bytes": s.log_bytes,
            "log_records": s.log_records,
        }))?;
        return Ok(Outcome::Done);
    }
    output::line(&format!(
        "server    {} at {}, store {}",
        connection.capabilities().version,
        connection.url(),
        escape(s.store.as_bytes())
    ))?;
    output::line(&format!(
        "backups   {} in {} snapshots, {} altogether",
        s.backups,
        s.snapshots,
        bytes(s.logical_bytes)
    ))?;
    output::line(&format!("blobs     {}, {} after deduplication", s.blobs, bytes(s.blob_bytes)))?;
    output::line(&format!("stored    {} after compression ({} dead)", bytes(s.stored_bytes), bytes(s.dead_bytes)))?;
    output::line(&format!("log       {} in {} records, {} objects", bytes(s.log_bytes), s.log_records, s.objects))?;
    if s.bad_blobs > 0 {
        output::line(&format!("damaged   {} blobs failed their verification", s.bad_blobs))?;
    }
    Ok(Outcome::Done)
}
