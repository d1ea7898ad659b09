//! `history PATH`

use std::{ffi::OsStr, ffi::OsString, os::unix::ffi::OsStrExt as _};

use datadb::{Fault, FileType, Kind, Meta, TreePath, Version, clock::format_time, meta::Content};
use jiff::tz::TimeZone;
use serde_json::json;

use super::{
    Context,
    choose::Among,
    output::{self, Columns, head},
    versions::{Snapshots, as_json, seen},
};
use crate::{
    clock,
    connection::VersionsPage,
    diff::compare,
    exit::Outcome,
    report::{bytes, escape},
};

const EXAMPLES: &str = "\
BACKUP is the newest one that holds the version: `datadb-client cat BACKUP:PATH` shows it, `restore` brings it back.
Versions of all hosts are listed unless --host says which.

Examples:
  datadb-client history ~/letters/draft.txt
  datadb-client history --host laptop /etc/fstab
  datadb-client history --all /home/me/notes.txt     a row for each backup";

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A file, directory or link as this machine knows it; it need not be there any more
    #[arg(value_name = "PATH")]
    what: OsString,
    /// A row for each backup from the first that has it, not one for each run of alike ones
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    among: Among,
}

/// Lists every version.
pub fn run(context: &Context, args: &Args) -> Result<Outcome, Fault> {
    let path = absolute(&args.what)?;
    let connection = context.connect()?;
    let filter = args.among.filter()?;
    let mut printer = Printer::new(context.json, args.all);
    let mut replies = context.wait(connection.history(&path, &filter, args.all))?;
    let (mut backups, mut keys_read) = (0, 0);
    while let Some(page) = context.wait(replies.page())? {
        (backups, keys_read) = (page.backups, page.keys_read);
        printer.print(&page)?;
    }
    let shown = escape(path.as_bytes());
    let none = |what: String| Err(Fault::new(Kind::NotFound, format!("{what}: `datadb-client snapshots` lists them")));
    match printer.versions {
        0 if backups == 0 => none(format!("no snapshot that matches holds {shown} or a directory above it")),
        0 => none(format!("{shown} is in none of the {backups} backups that could hold it")),
        versions => {
            if context.json {
                output::json(&json!({
                    "type": "summary",
                    "path": output::text(path.as_bytes()),
                    "snapshots": printer.snapshots.count,
                    "backups": backups,
                    "versions": versions,
                    "keys_read": keys_read,
                }))?;
            }
            Ok(Outcome::Done)
        }
    }
}

/// A path below the present directory if it is relative, without `.` and `..`; nothing of it need exist.
fn absolute(path: &OsStr) -> Result<TreePath, Fault> {
    let shown = escape(path.as_bytes());
    let mut full = Vec::new();
    if !path.as_bytes().starts_with(b"/") {
        let here = std::env::current_dir().map_err(|error| {
            Fault::new(
                Kind::Invalid,
                format!("{shown}: the present directory is not known ({error}): give a path that begins with /"),
            )
        })?;
        full.extend_from_slice(here.as_os_str().as_bytes());
    }
    for part in path.as_bytes().split(|byte| *byte == b'/') {
        if part == b".." {
            full.truncate(full.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
        } else if !matches!(part, b"" | b".") {
            full.push(b'/');
            full.extend_from_slice(part);
        }
    }
    TreePath::lenient(&full).map_err(|error| Fault::new(Kind::Invalid, format!("{shown}: {error}")))
}

struct Printer {
    json: bool,
    all: bool,
    zone: TimeZone,
    columns: Columns,
    snapshots: Snapshots,
    /// What the row before shows, if there is one.
    before: Option<Option<Meta>>,
    versions: u64,
}

impl Printer {
    fn new(json: bool, all: bool) -> Self {
        let columns = Columns::new(if all { &[3] } else { &[3, 5] });
        Self { json, all, zone: clock::zone(), columns, snapshots: Snapshots::default(), before: None, versions: 0 }
    }

    fn print(&mut self, page: &VersionsPage) -> Result<(), Fault> {
        let Some(first) = page.versions.first() else { return Ok(()) };
        self.versions += page.versions.len() as u64;
        let is_first = self.snapshots.is_first(page);
        if self.json {
            return page.versions.iter().try_for_each(|version| output::json(&as_json(page, version)));
        }
        let mut rows = Vec::new();
        if is_first {
            let (path, inside) = (escape(page.path.as_bytes()), escape(first.path.as_bytes()));
            self.snapshots.heading(&format!("{inside} in {}:{path}", escape(page.host.as_str().as_bytes())))?;
            self.before = None;
            rows.push(self.head());
        }
        for version in &page.versions {
            rows.push(self.row(version));
            self.before = Some(version.meta.clone());
        }
        self.columns.print(&rows)
    }

    fn head(&self) -> Vec<String> {
        if self.all {
            head(&["BACKUP", "TIME", "MODIFIED", "SIZE", "CONTENT", "CHANGED"])
        } else {
            head(&["BACKUP", "FIRST SEEN", "LAST SEEN", "BACKUPS", "MODIFIED", "SIZE", "CONTENT", "CHANGED"])
        }
    }

    fn row(&self, version: &Version) -> Vec<String> {
        let [backup, first, last, backups] = seen(version, &self.zone);
        let mut row = if self.all { vec![backup, first] } else { vec![backup, first, last, backups] };
        row.extend(match &version.meta {
            None => [String::new(), String::new(), "absent".to_owned(), String::new()],
            Some(meta) => {
                let size = if meta.file_type == FileType::File { bytes(meta.size) } else { String::new() };
                [format_time(meta.mtime.seconds, &self.zone), size, content(meta), self.changed(meta)]
            }
        });
        row
    }

    /// In what it differs from the row before.
    fn changed(&self, meta: &Meta) -> String {
        let before = match &self.before {
            None => return String::new(),
            Some(None) => return "came back".to_owned(),
            Some(Some(before)) => before,
        };
        if before.file_type != meta.file_type {
            return "type".to_owned();
        }
        let unlike = compare(before, meta);
        let below = meta.file_type == FileType::Dir && before.content != meta.content;
        let content = unlike.content.then_some("content").or(below.then_some("entries"));
        let fields = unlike.fields.iter().map(|field| field.word());
        content.into_iter().chain(fields).collect::<Vec<_>>().join(", ")
    }
}

/// What it consists of: the digest's first digits, a link's target, or a word.
fn content(meta: &Meta) -> String {
    match (&meta.error, &meta.digest, &meta.target) {
        (Some(_), ..) => "could not be read".to_owned(),
        (_, Some(digest), _) => digest.to_string()[..12].to_owned(),
        (.., Some(target)) => format!("-> {}", escape(target)),
        _ if meta.file_type == FileType::File && meta.content == Content::None => "empty".to_owned(),
        _ => meta.file_type.word().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_made_absolute_by_its_words_alone() {
        let here = std::env::current_dir().unwrap();
        let here = here.to_str().unwrap();
        let same = |path: &str, expected: &str| {
            assert_eq!(absolute(OsStr::new(path)).unwrap().as_bytes(), expected.as_bytes(), "{path}");
        };
        same("/home/me//notes.txt", "/home/me/notes.txt");
        same("/home/./me/../you", "/home/you");
        same("/../..", "/");
        same("notes", &format!("{here}/notes"));
        same("./a/../b", &format!("{here}/b"));
        assert!(absolute(OsStr::new("/a\0b")).is_err());
    }
}
