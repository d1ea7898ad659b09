//! Versions from many backups, as `history` and `find` show them.

use datadb::{HostName, TreePath, Version, clock::format_time};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{entry, output};
use crate::connection::VersionsPage;

/// The snapshots that versions come from, one after the other.
#[derive(Debug, Default)]
pub struct Snapshots {
    present: Option<(HostName, TreePath)>,
    /// How many there were.
    pub count: u64,
}

impl Snapshots {
    /// Tells whether a page is the first of its snapshot.
    pub fn is_first(&mut self, page: &VersionsPage) -> bool {
        if self.present.as_ref().is_some_and(|(host, path)| (host, path) == (&page.host, &page.path)) {
            return false;
        }
        self.present = Some((page.host.clone(), page.path.clone()));
        self.count += 1;
        true
    }

    /// Prints the line above a snapshot's rows, set off from those before.
    pub fn heading(&self, text: &str) -> Result<(), datadb::Fault> {
        let gap = if self.count > 1 { "\n" } else { "" };
        output::line(&format!("{gap}{text}"))
    }
}

/// The newest backup that holds it; when it was first and last seen; in how many backups.
pub fn seen(version: &Version, zone: &TimeZone) -> [String; 4] {
    let time = |moment: datadb::Moment| format_time(moment.time.seconds(), zone);
    let backup = version.last.backup.to_string()[..12].to_owned();
    [backup, time(version.first), time(version.last), version.backups.to_string()]
}

/// The version as an object; what is absent has no more than a path.
pub fn as_json(page: &VersionsPage, version: &Version) -> Value {
    let path = version.path.as_bytes();
    let mut value = match &version.meta {
        Some(meta) => entry::as_json("version", path, meta),
        None => json!({"type": "version", "path": output::text(path), "kind": "absent"}),
    };
    value["host"] = json!(page.host.as_str());
    value["snapshot_path"] = output::text(page.path.as_bytes());
    value["first"] = json!(version.first.backup.to_string());
    value["first_time"] = json!(version.first.time.seconds());
    value["last"] = json!(version.last.backup.to_string());
    value["last_time"] = json!(version.last.time.seconds());
    value["backups"] = json!(version.backups);
    value
}
