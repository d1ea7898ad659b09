//! `stats --by snapshot` and `--by host`: what the backups of each come to.

use datadb::{Fault, Kind, clock::format_time};
use jiff::tz::TimeZone;
use serde_json::json;

use super::By;
use crate::{
    cli::{
        Context,
        choose::Among,
        output::{self, Columns, head},
    },
    clock,
    connection::SnapshotTotals,
    exit::Outcome,
    report::{bytes, escape},
};

/// Rows that are aligned and printed together.
const ROWS: usize = 1000;

/// Prints the table.
pub fn run(context: &Context, among: &Among, by: By) -> Result<Outcome, Fault> {
    let connection = context.connect()?;
    let mut table = Table::new(context.json, by);
    context.wait(connection.list_snapshots(&among.filter()?, |totals| table.add(&totals)))?;
    table.end_row()?;
    if table.all.snapshots == 0 {
        return Err(Fault::new(
            Kind::NotFound,
            "there are no backups that match: `datadb-client snapshots` lists them",
        ));
    }
    table.end()?;
    Ok(Outcome::Done)
}

/// Snapshots added up.
#[derive(Clone, Debug, Default)]
struct Sum {
    host: String,
    path: Vec<u8>,
    newest: String,
    newest_time: i64,
    snapshots: u64,
    backups: u64,
    /// Of the newest backup of each snapshot.
    newest_bytes: u64,
    /// Of all backups.
    bytes: u64,
}

impl Sum {
    fn add(&mut self, totals: &SnapshotTotals) {
        let newest = &totals.newest;
        if newest.time.seconds() >= self.newest_time {
            (self.newest, self.newest_time) = (newest.key().to_string(), newest.time.seconds());
        }
        self.host = newest.host.as_str().to_owned();
        self.path = newest.path.as_bytes().to_vec();
        self.snapshots += 1;
        self.backups += totals.backups;
        self.newest_bytes = self.newest_bytes.saturating_add(newest.counts.bytes);
        self.bytes = self.bytes.saturating_add(totals.bytes);
    }
}

struct Table {
    json: bool,
    by: By,
    zone: TimeZone,
    row: Option<Sum>,
    all: Sum,
    rows: Vec<Vec<String>>,
    columns: Columns,
}

impl Table {
    fn new(json: bool, by: By) -> Self {
        let (right, last): (&[usize], _) = match by {
            By::Host => (&[1, 3, 4, 5], "SNAPSHOTS"),
            By::Snapshot => (&[1, 3, 4], "PATH"),
        };
        let columns = Columns::new(right);
        let rows = vec![head(&["HOST", "BACKUPS", "NEWEST", "SIZE", "SUM", last])];
        Self { json, by, zone: clock::zone(), row: None, all: Sum::default(), rows, columns }
    }

    fn add(&mut self, totals: &SnapshotTotals) -> Result<(), Fault> {
        let host = totals.newest.host.as_str();
        if self.by == By::Snapshot || self.row.as_ref().is_some_and(|row| row.host != host) {
            self.end_row()?;
        }
        self.row.get_or_insert_default().add(totals);
        self.all.add(totals);
        Ok(())
    }

    fn end_row(&mut self) -> Result<(), Fault> {
        let Some(row) = self.row.take() else { return Ok(()) };
        if self.json {
            return output::json(&self.as_json(&row));
        }
        let last = if self.by == By::Host { row.snapshots.to_string() } else { escape(&row.path) };
        let time = format_time(row.newest_time, &self.zone);
        let (newest, all) = (bytes(row.newest_bytes), bytes(row.bytes));
        self.rows.push(vec![escape(row.host.as_bytes()), row.backups.to_string(), time, newest, all, last]);
        if self.rows.len() < ROWS { Ok(()) } else { self.columns.print(&std::mem::take(&mut self.rows)) }
    }

    fn as_json(&self, row: &Sum) -> serde_json::Value {
        let mut value = json!({
            "host": row.host,
            "backups": row.backups,
            "newest": row.newest,
            "newest_time": row.newest_time,
            "newest_bytes": row.newest_bytes,
            "bytes": row.bytes,
        });
        match self.by {
            By::Host => (value["type"], value["snapshots"]) = (json!("host"), json!(row.snapshots)),
            By::Snapshot => (value["type"], value["path"]) = (json!("snapshot"), output::text(&row.path)),
        }
        value
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Sum { snapshots, backups, newest_bytes, bytes: logical, .. } = self.all;
        if self.json {
            return output::json(&json!({
                "type": "summary",
                "snapshots": snapshots,
                "backups": backups,
                "newest_bytes": newest_bytes,
                "logical_bytes": logical,
            }));
        }
        self.columns.print(&self.rows)?;
        let (newest, all) = (bytes(newest_bytes), bytes(logical));
        output::line(&format!(
            "{backups} backups in {snapshots} snapshots: {newest} in the newest of each, {all} in all"
        ))
    }
}
