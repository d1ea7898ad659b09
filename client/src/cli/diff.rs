//! `diff BACKUP[:PATH] BACKUP[:PATH]`, `diff BACKUP[:PATH] DIR`

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use datadb::{Fault, FileType, Meta, backup::BackupSpec};
use serde_json::{Value, json};

use super::{
    Context,
    choose::{Among, choose},
    output,
};
use crate::{
    clock,
    color::{self, Hue},
    diff::{self, Change, How},
    exit::Outcome,
    report::{Report, bytes, escape, get, many},
};

const EXAMPLES: &str = "\
Signs: + added, - removed, M other content, U other metadata alone. Something of another type is removed and added.

One side may be a directory or file of this machine, as it is now: a path that begins with /, ./ or ../, or is . or .. (but
/PATH@TIME is a backup). Of its files, another size is other content, and the same size and mtime are the same content; only
where the mtime alone differs the file is read and compared, without fetching it.

Examples:
  datadb-client diff latest~1 latest             what the last backup brought
  datadb-client diff latest ~/Documents          what changed since then
  datadb-client diff --path /etc latest~7 latest
  datadb-client diff 3f2a:/src home@yesterday:/src
  datadb-client diff -c latest:/photos ./photos  every byte";

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The older side: BACKUP[:PATH], or a local path
    #[arg(value_name = "BEFORE")]
    before: OsString,
    /// The newer side: BACKUP[:PATH], or a local path
    #[arg(value_name = "AFTER")]
    after: OsString,
    /// Of a local path read every file, also those with the size and mtime of the backup's
    #[arg(short, long)]
    checksum: bool,
    #[command(flatten)]
    among: Among,
}

impl Args {
    /// What can't be said by a rule for single arguments.
    pub fn check(&self) -> Result<(), &'static str> {
        match (local(&self.before), local(&self.after)) {
            (Some(_), Some(_)) => Err("both sides are local paths: one has to be a BACKUP, such as latest"),
            (None, None) if self.checksum => Err("--checksum reads local files, and both sides are backups"),
            _ => Ok(()),
        }
    }
}

/// Prints every difference, and how much they come to.
pub fn run(context: &Context, args: &Args) -> Result<Outcome, Fault> {
    let how = |is_before| How { checksum: args.checksum, is_before };
    match (local(&args.before), local(&args.after)) {
        // Which of them is the backup was checked.
        (Some(path), _) => with_local(context, args, &args.after, &path, how(true)),
        (None, Some(path)) => with_local(context, args, &args.before, &path, how(false)),
        (None, None) => backups(context, args),
    }
}

/// A name that is no backup's, but that of something here: how to say that.
fn hint(text: &OsStr, fault: Fault) -> Fault {
    if BackupSpec::parse_with_path(text.as_bytes()).is_ok() || !Path::new(text).exists() {
        return fault;
    }
    let line = format!("{}; for what lies here write ./{}", fault.message, escape(text.as_bytes()));
    Fault { message: line, ..fault }
}

/// A local path, if the argument is one.
fn local(text: &OsStr) -> Option<PathBuf> {
    let bytes = text.as_bytes();
    let is_path = matches!(bytes, b"." | b"..") || [&b"/"[..], b"./", b"../"].iter().any(|at| bytes.starts_with(at));
    let is_time = |time: &str| datadb::clock::parse_time(time, clock::now().seconds, &clock::zone()).is_ok();
    let is_backup = bytes.starts_with(b"/")
        && matches!(BackupSpec::parse_with_path(bytes), Ok((BackupSpec::NameAtTime { time, .. }, _)) if is_time(&time));
    (is_path && !is_backup).then(|| PathBuf::from(text))
}

fn backups(context: &Context, args: &Args) -> Result<Outcome, Fault> {
    let connection = context.connect()?;
    let side = |text| choose(context, &connection, text, &args.among).map_err(|fault| hint(text, fault));
    let (before, after) = (side(&args.before)?, side(&args.after)?);
    let mut totals = Totals::default();
    let mut each = |path: &[u8], change: Change<'_>| print(context, &mut totals, path, &change);
    let listed = diff::diff(context.handle(), &connection, &before.meta, &after.meta, &mut each)?;
    if context.json {
        let mut summary = totals.as_json();
        summary["before"] = json!(before.backup.key().to_string());
        summary["after"] = json!(after.backup.key().to_string());
        summary["directories_listed"] = json!(listed);
        output::json(&summary)?;
    } else if !context.quiet {
        output::line(&totals.as_line())?;
    }
    Ok(Outcome::Done)
}

fn with_local(context: &Context, args: &Args, backup: &OsStr, path: &Path, how: How) -> Result<Outcome, Fault> {
    let path = super::snapshot::canonical(path)?;
    let connection = context.connect()?;
    let chosen = choose(context, &connection, backup, &args.among)?;
    let report = Report::new("compared", context.show());
    let mut totals = Totals::default();
    let mut each = |at: &[u8], change: Change<'_>| report.beside(|| print(context, &mut totals, at, &change));
    let server = (context.handle(), &connection);
    let files_read = diff::with_local(server, &chosen.meta, &path, how, &report, &mut each)?;
    report.finish();
    let errors = get(&report.counters.errors);
    if context.json {
        let (id, path) = (json!(chosen.backup.key().to_string()), output::text(path.as_os_str().as_bytes()));
        let mut summary = totals.as_json();
        (summary["before"], summary["after"]) = if how.is_before { (path, id) } else { (id, path) };
        summary["files_read"] = json!(files_read);
        summary["errors"] = json!(errors);
        output::json(&summary)?;
    } else if !context.quiet {
        output::line(&totals.as_line())?;
        if errors > 0 {
            output::line(&format!("{} could not be read, and may differ", many(errors, "entry")))?;
        }
    }
    Ok(Outcome::of(errors))
}

fn print(context: &Context, totals: &mut Totals, path: &[u8], change: &Change<'_>) -> Result<(), Fault> {
    totals.add(change);
    if context.json { output::json(&as_json(path, change)) } else { output::line(&as_line(path, change)) }
}

const fn word(change: &Change<'_>) -> (&'static str, char, Hue) {
    match change {
        Change::Added(_) => ("added", '+', Hue::Added),
        Change::Removed(_) => ("removed", '-', Hue::Removed),
        Change::Changed { unlike, .. } if unlike.content => ("content", 'M', Hue::Content),
        Change::Changed { .. } => ("metadata", 'U', Hue::Metadata),
    }
}

fn as_line(path: &[u8], change: &Change<'_>) -> String {
    let slash = |meta: &Meta| if meta.file_type == FileType::Dir && path != b"/" { "/" } else { "" };
    let (_, sign, hue) = word(change);
    let shown = |meta: &Meta| color::out(hue, &format!("{sign} {}{}", escape(path), slash(meta))).into_owned();
    match change {
        Change::Added(meta) | Change::Removed(meta) => shown(meta),
        Change::Changed { after, unlike, .. } => {
            let content = unlike.content.then_some("content");
            let words: Vec<&str> = content.into_iter().chain(unlike.fields.iter().map(|field| field.word())).collect();
            format!("{}  ({})", shown(after), words.join(", "))
        }
    }
}

fn as_json(path: &[u8], change: &Change<'_>) -> Value {
    let mut value = json!({"type": "change", "change": word(change).0, "path": output::text(path)});
    let (before, after) = match change {
        Change::Added(meta) => (None, Some(meta)),
        Change::Removed(meta) => (Some(meta), None),
        Change::Changed { before, after, unlike } => {
            value["fields"] = unlike.fields.iter().map(|field| json!(field.word())).collect();
            (Some(before), Some(after))
        }
    };
    value["kind"] = json!(after.or(before).map(|meta| meta.file_type.word()));
    if let Some(meta) = before {
        value["size_before"] = json!(meta.size);
    }
    if let Some(meta) = after {
        value["size"] = json!(meta.size);
    }
    value
}

#[derive(Default)]
struct Sum {
    files: u64,
    dirs: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, meta: &Meta) {
        if meta.file_type == FileType::Dir {
            self.dirs += 1;
        } else {
            self.files += 1;
        }
        self.bytes = self.bytes.saturating_add(meta.size);
    }
}

/// What all differences come to. Files are everything that is not a directory.
#[derive(Default)]
struct Totals {
    added: Sum,
    removed: Sum,
    content: u64,
    bytes_before: u64,
    bytes_after: u64,
    metadata: u64,
}

impl Totals {
    fn add(&mut self, change: &Change<'_>) {
        match change {
            Change::Added(meta) => self.added.add(meta),
            Change::Removed(meta) => self.removed.add(meta),
            Change::Changed { before, after, unlike } if unlike.content => {
                self.content += 1;
                self.bytes_before = self.bytes_before.saturating_add(before.size);
                self.bytes_after = self.bytes_after.saturating_add(after.size);
            }
            Change::Changed { .. } => self.metadata += 1,
        }
    }

    fn as_json(&self) -> Value {
        let sum = |sum: &Sum| json!({"files": sum.files, "dirs": sum.dirs, "bytes": sum.bytes});
        json!({
            "type": "summary",
            "added": sum(&self.added),
            "removed": sum(&self.removed),
            "content": {"files": self.content, "bytes_before": self.bytes_before, "bytes": self.bytes_after},
            "metadata": self.metadata,
        })
    }

    fn as_line(&self) -> String {
        let sum = |sum: &Sum| {
            format!("{} and {} ({})", many(sum.files, "file"), many(sum.dirs, "directory"), bytes(sum.bytes))
        };
        format!(
            "added {}, removed {}; other content in {} ({}, before {}), other metadata alone in {}",
            sum(&self.added),
            sum(&self.removed),
            many(self.content, "file"),
            bytes(self.bytes_after),
            bytes(self.bytes_before),
            self.metadata,
        )
    }
}
