//! `find PATTERN [BACKUP[:PATH]]`

use std::ffi::OsString;

use clap::ValueEnum;
use datadb::{BackupKey, Fault, FileType, Kind, TreePath, Version};
use serde_json::json;

use super::{
    Context,
    choose::{Among, choose, seconds},
    entry::Look,
    output::{self, Columns, head},
    size,
    versions::{Snapshots, as_json, seen},
};
use crate::{
    clock,
    connection::{Search, VersionsPage},
    exit::Outcome,
    glob::{Case, Globs},
    report::escape,
};

const EXAMPLES: &str = "\
The PATTERN *.jpg is a name anywhere, 2013/*.jpg two names in a row, /photos/** everything below; with / at its end it means
directories. Paths begin at the backup's root. Without BACKUP all backups are searched: each version is one row, and BACKUP
is the newest one that holds it. Nothing found is exit code 0, too.

Examples:
  datadb-client find 'draft*.txt'
  datadb-client find -l '*.jpg' latest:/photos --larger 1M
  datadb-client find --host laptop --newer 2014-05 --type f '*'";

/// Arguments of `find`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to look for
    #[arg(value_parser = pattern)]
    pattern: String,
    /// Search this one alone, if wished only below a path
    #[arg(value_name = "BACKUP[:PATH]")]
    what: Option<OsString>,
    /// A and a are alike
    #[arg(short, long, visible_alias = "iname")]
    ignore_case: bool,
    /// Only files, directories, links (or fifos, character and block devices); may be given several times
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    types: Vec<Type>,
    /// Only what was modified after TIME (a day or a month means its end)
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    newer: Option<i64>,
    /// Only what was modified at or before TIME
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    older: Option<i64>,
    /// Only files of more than SIZE (bytes, or with k, M, G, T)
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    larger: Option<u64>,
    /// Only files of less than SIZE
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    smaller: Option<u64>,
    /// Modes, owners, sizes and times
    #[arg(short, long)]
    long: bool,
    #[command(flatten)]
    among: Among,
}

/// Letters of `find --type`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    F,
    D,
    L,
    P,
    C,
    B,
}

impl From<Type> for FileType {
    fn from(letter: Type) -> Self {
        match letter {
            Type::F => Self::File,
            Type::D => Self::Dir,
            Type::L => Self::Symlink,
            Type::P => Self::Fifo,
            Type::C => Self::CharDevice,
            Type::B => Self::BlockDevice,
        }
    }
}

fn pattern(text: &str) -> Result<String, String> {
    if text.starts_with('!') {
        return Err("a pattern that begins with ! only takes back what others choose (write \\! for a name)".to_owned());
    }
    Globs::new([(text, Case::Sensitive)]).map(|_| text.to_owned()).map_err(|fault| fault.message)
}

impl Args {
    fn search(&self) -> Search {
        Search {
            pattern: self.pattern.clone(),
            ignore_case: self.ignore_case,
            types: self.types.iter().map(|letter| (*letter).into()).collect(),
            newer: self.newer,
            older: self.older,
            larger: self.larger,
            smaller: self.smaller,
        }
    }
}

/// Prints what is found as it is found.
pub fn run(context: &Context, args: &Args) -> Result<Outcome, Fault> {
    let connection = context.connect()?;
    let filter = args.among.filter()?;
    let (mut backup, mut below): (Option<BackupKey>, _) = (None, TreePath::root());
    if let Some(what) = &args.what {
        let chosen = choose(context, &connection, what, &args.among)?;
        (backup, below) = (Some(chosen.backup.key()), chosen.path);
    }
    let mut printer = Printer::new(context.json, args.long, backup.is_some());
    let mut replies = context.wait(connection.find(&args.search(), &filter, backup, &below))?;
    let (mut backups, mut keys_read) = (0, 0);
    while let Some(page) = context.wait(replies.page())? {
        (backups, keys_read) = (page.backups, page.keys_read);
        printer.print(&page)?;
    }
    if backups == 0 {
        return Err(Fault::new(
            Kind::NotFound,
            "there are no backups that match: `datadb-client snapshots` lists them",
        ));
    }
    if context.json {
        let versions = printer.versions;
        output::json(&json!({"type": "summary", "backups": backups, "versions": versions, "keys_read": keys_read}))?;
    } else if printer.versions == 0 && !context.quiet {
        eprintln!("nothing found");
    }
    Ok(Outcome::Done)
}

struct Printer {
    json: bool,
    long: bool,
    /// Whether one backup alone is searched, so that nothing needs to be said of backups.
    is_one: bool,
    look: Look,
    columns: Columns,
    snapshots: Snapshots,
    versions: u64,
}

impl Printer {
    fn new(json: bool, long: bool, is_one: bool) -> Self {
        let columns = Columns::new(match (is_one, long) {
            (true, _) => Look::RIGHT,
            (false, false) => &[3, 4],
            (false, true) => &[3, 5, 8],
        });
        let look = Look { human: !long, zone: clock::zone() };
        Self { json, long, is_one, look, columns, snapshots: Snapshots::default(), versions: 0 }
    }

    fn print(&mut self, page: &VersionsPage) -> Result<(), Fault> {
        if page.versions.is_empty() {
            return Ok(());
        }
        self.versions += page.versions.len() as u64;
        let is_first = self.snapshots.is_first(page);
        if self.json {
            return page.versions.iter().try_for_each(|version| output::json(&as_json(page, version)));
        }
        let mut rows = Vec::new();
        if is_first && !self.is_one {
            self.snapshots.heading(&format!(
                "{}:{}",
                escape(page.host.as_str().as_bytes()),
                escape(page.path.as_bytes())
            ))?;
            rows.push(self.head());
        }
        rows.extend(page.versions.iter().filter_map(|version| self.row(version)));
        self.columns.print(&rows)
    }

    fn head(&self) -> Vec<String> {
        let entry: &[&str] = if self.long { &["MODE", "LINKS", "USER", "GROUP"] } else { &[] };
        head(&[&["BACKUP", "FIRST SEEN", "LAST SEEN", "BACKUPS"], entry, &["SIZE", "MODIFIED", "PATH"]].concat())
    }

    /// `None` for what is absent, of which a search tells nothing.
    fn row(&self, version: &Version) -> Option<Vec<String>> {
        let (path, meta) = (version.path.as_bytes(), version.meta.as_ref()?);
        if self.is_one && !self.long {
            return Some(vec![escape(path)]);
        }
        let mut cells = self.look.cells(path, meta);
        if self.is_one {
            return Some(cells);
        }
        let entry = cells.split_off(if self.long { 0 } else { 4 });
        Some(seen(version, &self.look.zone).into_iter().chain(entry).collect())
    }
}
