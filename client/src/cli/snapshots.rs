//! `snapshots`

use std::collections::{BTreeMap, VecDeque};

use datadb::{Backup, Fault, HostName, TreePath, clock::format_time, expected::Expected};
use jiff::tz::TimeZone;
use serde_json::json;

use super::{
    Context,
    choose::{Among, tag},
    output::{self, Columns},
};
use crate::{
    clock,
    color::{self, Hue},
    exit::Outcome,
    report::{bytes, escape},
};

const EXAMPLES: &str = "\
Examples:
  datadb-client snapshots
  datadb-client snapshots --last 3               the three newest of each snapshot
  datadb-client snapshots --host laptop --tag reason=upgrade";

/// Backups of one snapshot that are printed at once, and the most that `--last` keeps in memory.
const ROWS: usize = 1000;

/// Arguments of `snapshots`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    among: Among,
    /// Only backups that were given this tag; may be given several times, then all must be there
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// Only the newest N of each snapshot
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=ROWS as i64))]
    last: Option<u16>,
}

/// Lists all backups that the filter lets through.
pub fn run(context: &Context, args: &Args) -> Result<Outcome, Fault> {
    let connection = context.connect()?;
    let filter = args.among.filter()?;
    let mut list = List {
        json: context.json,
        last: args.last.map(usize::from),
        zone: clock::zone(),
        present: VecDeque::new(),
        columns: None,
        snapshots: 0,
        backups: 0,
        overdue: BTreeMap::new(),
    };
    let overdue = context.wait(connection.list_expected(&filter, true))?;
    let count = overdue.len();
    for expected in overdue {
        let place = (expected.expectation.host.clone(), expected.expectation.path.clone());
        list.overdue.insert(place, expected);
    }
    let is_tagged = |backup: &Backup| args.tags.iter().all(|(key, value)| backup.tags.get(key) == Some(value));
    let mut is_any = false;
    context.wait(connection.list_backups(&filter, |backup| {
        is_any = true;
        if is_tagged(&backup) { list.add(backup) } else { Ok(()) }
    }))?;
    list.end()?;
    list.print_absent()?;
    if context.json {
        output::json(&json!({"type": "summary", "backups": list.backups, "overdue": count}))?;
    } else if list.backups == 0 && count == 0 && !context.quiet {
        let is_narrowed = is_any || filter.host.is_some() || filter.path.is_some();
        let how = if is_narrowed {
            "no backup matches: `datadb-client snapshots` lists all"
        } else {
            "no backups yet: make one with `datadb-client snapshot PATH`"
        };
        output::line(how)?;
    }
    Ok(Outcome::Done)
}

struct List {
    json: bool,
    last: Option<usize>,
    zone: TimeZone,
    /// Backups of the present snapshot that are not printed yet.
    present: VecDeque<Backup>,
    /// The columns of the present snapshot, once its heading is printed.
    columns: Option<Columns>,
    snapshots: u64,
    backups: u64,
    /// What should have come by now and did not; as text, without what was printed already.
    overdue: BTreeMap<(HostName, TreePath), Expected>,
}

impl List {
    fn add(&mut self, backup: Backup) -> Result<(), Fault> {
        if self.present.back().is_some_and(|last| last.snapshot() != backup.snapshot()) {
            self.end()?;
        }
        self.present.push_back(backup);
        match self.last {
            Some(last) if self.present.len() > last => drop(self.present.pop_front()),
            // The newest stays, so that it is known which snapshot is the present one.
            None if self.present.len() > ROWS => {
                let newest = self.present.pop_back();
                self.print(" and more")?;
                self.present.extend(newest);
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends the present snapshot.
    fn end(&mut self) -> Result<(), Fault> {
        self.print("")?;
        self.columns = None;
        Ok(())
    }

    fn print(&mut self, more: &str) -> Result<(), Fault> {
        let Some(first) = self.present.front() else { return Ok(()) };
        self.backups += self.present.len() as u64;
        if self.json {
            return self.present.drain(..).try_for_each(|backup| output::json(&as_json(&backup)));
        }
        if self.columns.is_none() {
            let backups = format!("{}{more}", counted(self.present.len() as u64, "backup"));
            let place = (first.host.clone(), first.path.clone());
            let overdue = self.overdue.remove(&place);
            self.heading(&place, &backups, overdue.as_ref())?;
        }
        let rows: Vec<Vec<String>> = self.present.drain(..).map(|backup| row(&backup, &self.zone)).collect();
        self.columns.get_or_insert_with(|| Columns::new(&[2, 3]).indented("  ")).print(&rows)
    }
}

impl List {
    fn heading(&mut self, place: &(HostName, TreePath), what: &str, overdue: Option<&Expected>) -> Result<(), Fault> {
        let gap = if self.snapshots > 0 { "\n" } else { "" };
        let late = overdue.map(|expected| {
            let since = format_time(expected.expectation.due.seconds(), &self.zone);
            let schedule = escape(expected.expectation.schedule.as_bytes());
            color::out(Hue::Trouble, &format!("overdue since {since} ({schedule})")).into_owned()
        });
        let late = late.map(|late| format!("  {late}")).unwrap_or_default();
        let (host, path) = (escape(place.0.as_str().as_bytes()), escape(place.1.as_bytes()));
        output::line(&format!("{gap}{host}:{path}  ({what}){late}"))?;
        self.snapshots += 1;
        Ok(())
    }

    /// What should have come by now, of which no backup was printed; for programs, all that should have come.
    fn print_absent(&mut self) -> Result<(), Fault> {
        for (place, expected) in std::mem::take(&mut self.overdue) {
            if self.json {
                output::json(&overdue_json(&expected))?;
                continue;
            }
            let what = match expected.newest {
                Some(newest) => format!("last backup {}", format_time(newest.seconds(), &self.zone)),
                None => "no backup yet".to_owned(),
            };
            self.heading(&place, &what, Some(&expected))?;
        }
        Ok(())
    }
}

fn overdue_json(expected: &Expected) -> serde_json::Value {
    let promised = &expected.expectation;
    json!({
        "type": "overdue",
        "host": promised.host.as_str(),
        "path": output::text(promised.path.as_bytes()),
        "due": promised.due.seconds(),
        "entry": promised.entry,
        "schedule": promised.schedule,
        "said": expected.said,
        "newest": expected.newest.map(|newest| newest.seconds()),
    })
}

fn row(backup: &Backup, zone: &TimeZone) -> Vec<String> {
    let tags = backup.tags.iter().map(|(key, value)| escape(format!("{key}={value}").as_bytes()));
    let errors = (backup.counts.errors > 0).then(|| counted(backup.counts.errors, "error"));
    let errors = errors.map(|errors| color::out(Hue::Trouble, &errors).into_owned());
    vec![
        backup.key().to_string()[..12].to_owned(),
        format_time(backup.time.seconds(), zone),
        counted(backup.counts.files, "file"),
        bytes(backup.counts.bytes),
        errors.into_iter().chain(tags).collect::<Vec<_>>().join("  "),
    ]
}

fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
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
