//! `snapshots`

use datadb::{Backup, Fault, clock::format_time};
use serde_json::json;

use super::{Context, choose::Among, output};
use crate::{
    clock,
    exit::Outcome,
    report::{bytes, escape},
};

/// Arguments of `snapshots`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    among: Among,
}

/// Rows gathered before a table is printed: bounds memory, and a long list begins soon.
const ROWS: usize = 1000;

/// Lists all backups that the filter lets through.
pub fn run(context: &Context, args: &Args) -> Result<Outcome, Fault> {
    let connection = context.connect()?;
    let filter = args.among.filter()?;
    let (mut rows, mut backups) = (Vec::new(), 0u64);
    context.wait(connection.list_backups(&filter, |backup| {
        backups += 1;
        if context.json {
            return output::json(&as_json(&backup));
        }
        rows.push(row(&backup));
        if rows.len() < ROWS { Ok(()) } else { print(&std::mem::take(&mut rows)) }
    }))?;
    if context.json {
        output::json(&json!({"type": "summary", "backups": backups}))?;
    } else if backups == 0 {
        output::line("no backups yet: make one with `datadb-client snapshot PATH`")?;
    } else if !rows.is_empty() {
        print(&rows)?;
    }
    Ok(Outcome::Done)
}

fn print(rows: &[Vec<String>]) -> Result<(), Fault> {
    output::table(&["BACKUP", "TIME", "HOST", "PATH", "FILES", "SIZE", "ERRORS", "TAGS"], &[4, 5, 6], rows)
}

fn row(backup: &Backup) -> Vec<String> {
    let tags: Vec<String> =
        backup.tags.iter().map(|(key, value)| escape(format!("{key}={value}").as_bytes())).collect();
    vec![
        backup.key().to_string()[..12].to_owned(),
        format_time(backup.time.seconds(), &clock::zone()),
        backup.host.to_string(),
        escape(backup.path.as_bytes()),
        backup.counts.files.to_string(),
        bytes(backup.counts.bytes),
        backup.counts.errors.to_string(),
        tags.join(" "),
    ]
}

fn as_json(backup: &Backup) -> serde_json::Value {
    json!({
        "type": "backup",
        "id": backup.key().to_string(),
        "snapshot": backup.snapshot().to_string(),
        "host": backup.host.as_str(),
        "path": output::text(backup.path.as_bytes()),
        "time": backup.time.seconds(),
        "files": backup.counts.files,
        "dirs": backup.counts.dirs,
        "bytes": backup.counts.bytes,
        "errors": backup.counts.errors,
        "changed": backup.counts.changed,
        "complete": backup.is_complete(),
        "tags": backup.tags,
    })
}
