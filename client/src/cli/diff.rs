//! `diff BACKUP[:PATH] BACKUP[:PATH]`

use std::ffi::OsString;

use datadb::{Fault, FileType, Meta};
use serde_json::{Value, json};

use super::{
    Context,
    choose::{Among, choose},
    output,
};
use crate::{
    diff::{self, Change},
    exit::Outcome,
    report::{bytes, escape},
};

const EXAMPLES: &str = "\
Signs: + added, - removed, M other content, U other metadata alone. Something of another type is removed and added.

Examples:
  datadb-client diff latest~1 latest             what the last backup brought
  datadb-client diff --path /etc latest~7 latest
  datadb-client diff 3f2a:/src home@yesterday:/src";

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The older side: BACKUP[:PATH]
    #[arg(value_name = "BEFORE")]
    before: OsString,
    /// The newer side: BACKUP[:PATH]
    #[arg(value_name = "AFTER")]
    after: OsString,
    #[command(flatten)]
    among: Among,
}

/// Prints every difference, and how much they come to.
pub fn run(context: &Context, args: &Args) -> Result<Outcome, Fault> {
    let connection = context.connect()?;
    let before = choose(context, &connection, &args.before, &args.among)?;
    let after = choose(context, &connection, &args.after, &args.among)?;
    let mut totals = Totals::default();
    let mut each = |path: &[u8], change: Change<'_>| {
        totals.add(&change);
        if context.json { output::json(&as_json(path, &change)) } else { output::line(&as_line(path, &change)) }
    };
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

const fn word(change: &Change<'_>) -> (&'static str, char) {
    match change {
        Change::Added(_) => ("added", '+'),
        Change::Removed(_) => ("removed", '-'),
        Change::Changed { unlike, .. } if unlike.content => ("content", 'M'),
        Change::Changed { .. } => ("metadata", 'U'),
    }
}

fn as_line(path: &[u8], change: &Change<'_>) -> String {
    let slash = |meta: &Meta| if meta.file_type == FileType::Dir && path != b"/" { "/" } else { "" };
    let (_, sign) = word(change);
    let path_shown = escape(path);
    match change {
        Change::Added(meta) | Change::Removed(meta) => format!("{sign} {path_shown}{}", slash(meta)),
        Change::Changed { after, unlike, .. } => {
            let content = unlike.content.then_some("content");
            let words: Vec<&str> = content.into_iter().chain(unlike.fields.iter().map(|field| field.word())).collect();
            format!("{sign} {path_shown}{}  ({})", slash(after), words.join(", "))
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
        let sum = |sum: &Sum| format!("{} files and {} directories ({})", sum.files, sum.dirs, bytes(sum.bytes));
        format!(
            "added {}, removed {}; other content in {} files ({}, before {}), other metadata alone in {}",
            sum(&self.added),
            sum(&self.removed),
            self.content,
            bytes(self.bytes_after),
            bytes(self.bytes_before),
            self.metadata,
        )
    }
}
