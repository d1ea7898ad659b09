//! `snapshot PATH…`, `snapshot --stdin NAME`, `snapshot --stdin-from-command NAME -- COMMAND…`

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use clap::ArgGroup;
use datadb::{Fault, HostName, Kind, TreePath, backup::BackupTime};
use serde_json::json;

use super::{
    Context,
    choose::{seconds, tag},
    output, profile,
};
use crate::{
    color::{self, Hue},
    connection::{Connection, Session},
    exit::{self, Outcome},
    fs::io_words,
    report::{Report, bytes, escape, many},
    select::Selection,
    snapshot::{self, How, Made, Request, Source, Summary},
};

const EXAMPLES: &str = "\
Every path becomes a backup of its own; all of them go up in one session.

Examples:
  datadb-client snapshot ~/Documents ~/Pictures
  datadb-client snapshot --tag why=before-upgrade /etc
  datadb-client snapshot --dry-run -v /home         what would be read, and how much would go up
  pg_dumpall | datadb-client snapshot --stdin databases.sql
  datadb-client snapshot --stdin-from-command databases.sql -- pg_dumpall --clean";

/// Arguments of `snapshot`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("source").required(true).args(["paths", "stdin", "stdin_from_command"]))]
pub struct Args {
    /// Directories or files; each becomes a backup of its own
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Back up what comes from standard input, as a file of this name
    #[arg(long, value_name = "NAME")]
    stdin: Option<OsString>,
    /// Back up what a command writes, as a file of this name; a command that fails makes no backup
    #[arg(long, value_name = "NAME", requires = "command")]
    stdin_from_command: Option<OsString>,
    /// The command of --stdin-from-command
    #[arg(last = true, value_name = "COMMAND", requires = "stdin_from_command")]
    command: Vec<OsString>,
    /// The host's name in the repository, instead of this machine's
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// A word of yours to find the backup by; may be given several times
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// When the backup was made, instead of now (a time in the past, e.g. 2014-05-12T18:36 or unix seconds)
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    time: Option<i64>,
    /// Read and compare, and say what would go up, but send nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Read every file, also those that look unchanged
    #[arg(long)]
    force: bool,
    /// Make no backup if it would equal the last one of its path
    #[arg(long)]
    skip_if_unchanged: bool,
    /// Name every file that is read
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    select: super::select::Args,
}

/// Backs up each path; one that fails does not keep the others from their turn.
pub fn run(context: &Context, args: Args) -> Result<Outcome, Fault> {
    let sources = sources(&args);
    let common = common(context, &args)?;
    let connection = context.connect()?;
    exit::on_interrupt_say("no backup was made; what has arrived need not be sent again");
    let mut session = None;
    let (mut outcome, mut failed) = (Outcome::Done, None);
    for source in &sources {
        let done = source.request(&common).and_then(|request| one(context, &connection, &request, &mut session));
        match done {
            Ok(one) => outcome = outcome.and(one),
            Err(fault) if sources.len() == 1 || exit::is_interrupted() => return Err(fault),
            Err(fault) => {
                let shown = source.shown();
                let named = fault.message.starts_with(&shown);
                let program = color::err(Hue::Trouble, "datadb-client:");
                let (of, what) = (if named { "" } else { &format!("{shown}: ") }, escape(fault.message.as_bytes()));
                eprintln!("{program} {of}{what}");
                failed.get_or_insert(fault);
            }
        }
    }
    match failed {
        None => Ok(outcome),
        Some(_) => Err(Fault::new(Kind::Internal, "not every path was backed up")),
    }
}

/// What all backups of a run share.
struct Common {
    host: HostName,
    time: Option<i64>,
    tags: BTreeMap<String, String>,
    how: How,
    selection: Arc<Selection>,
}

fn common(context: &Context, args: &Args) -> Result<Common, Fault> {
    let host = profile::host(args.host.clone(), &context.settings)?;
    let mut tags = context.settings.tags.clone();
    tags.extend(args.tags.iter().cloned());
    let Args { dry_run, force, skip_if_unchanged, verbose, .. } = *args;
    let how = How { force, skip_if_unchanged, dry_run, verbose };
    if args.time.is_some_and(|time| BackupTime::new(time).is_err()) {
        return Err(Fault::new(Kind::Invalid, "--time: write one from 1970 on"));
    }
    let selection = args.select.clone().selection(&context.settings.exclude, &args.paths)?;
    Ok(Common { host, time: args.time, tags, how, selection })
}

/// One thing to back up.
enum Given<'a> {
    Path(&'a Path),
    Stream(&'a OsString, Source),
}

fn sources(args: &Args) -> Vec<Given<'_>> {
    let paths = args.paths.iter().map(|path| Given::Path(path));
    let stdin = args.stdin.iter().map(|name| Given::Stream(name, Source::Stdin));
    let command = args.stdin_from_command.iter();
    let command = command.map(|name| Given::Stream(name, Source::Command(args.command.clone())));
    paths.chain(stdin).chain(command).collect()
}

impl Given<'_> {
    fn shown(&self) -> String {
        match self {
            Self::Path(path) => escape(path.as_os_str().as_bytes()),
            Self::Stream(name, _) => escape(name.as_bytes()),
        }
    }

    fn request(&self, common: &Common) -> Result<Request, Fault> {
        let (source, path) = match self {
            Self::Path(path) => {
                let source = canonical(path)?;
                let path = TreePath::new(source.as_os_str().as_bytes())?;
                (Source::Path(source), path)
            }
            Self::Stream(name, source) => (source.clone(), stream_path(name)?),
        };
        let Common { host, time, tags, how, selection } = common;
        let (host, tags, selection) = (host.clone(), tags.clone(), Arc::clone(selection));
        Ok(Request { source, host, path, time: *time, tags, selection, how: *how })
    }
}

/// The path without symlinks and dots.
pub fn canonical(path: &Path) -> Result<PathBuf, Fault> {
    path.canonicalize().map_err(|error| {
        let not_there = error.kind() == std::io::ErrorKind::NotFound;
        let kind = if not_there { Kind::NotFound } else { Kind::Internal };
        Fault::new(kind, format!("{}: {}", escape(path.as_os_str().as_bytes()), io_words(&error)))
    })
}

/// The path of a stream: its name, which begins with a slash whether or not it was written.
fn stream_path(name: &OsString) -> Result<TreePath, Fault> {
    let name = name.as_bytes();
    let path = TreePath::lenient(&[if name.starts_with(b"/") { &b""[..] } else { b"/" }, name].concat())?;
    if path == TreePath::root() {
        return Err(Fault::new(Kind::Invalid, "the stream needs a name, such as --stdin dump.sql"));
    }
    Ok(path)
}

fn one(
    context: &Context,
    connection: &Connection,
    request: &Request,
    session: &mut Option<Session>,
) -> Result<Outcome, Fault> {
    let started = Instant::now();
    let report = Report::new("read", context.show());
    let summary = snapshot::take(context.handle(), connection, request, &report, session)?;
    report.finish();
    print(context, &summary, started.elapsed().as_secs_f64())?;
    Ok(Outcome::of(summary.backup.counts.errors))
}

fn print(context: &Context, summary: &Summary, seconds: f64) -> Result<(), Fault> {
    let Summary { made, backup, files_read, blobs_new, bytes_uploaded, requests, store_requests, excluded } = summary;
    let counts = &backup.counts;
    if context.json {
        return output::json(&json!({
            "type": "summary",
            "id": (*made != Made::Plan).then(|| backup.key().to_string()),
            "snapshot": backup.snapshot().to_string(),
            "host": backup.host.as_str(),
            "path": output::text(backup.path.as_bytes()),
            "time": backup.time.seconds(),
            "files": counts.files,
            "dirs": counts.dirs,
            "bytes": counts.bytes,
            "files_read": files_read,
            "blobs_new": blobs_new,
            "bytes_uploaded": bytes_uploaded,
            "requests": requests,
            "store_requests": store_requests,
            "excluded": excluded,
            "errors": counts.errors,
            "changed": counts.changed,
            "dry_run": *made == Made::Plan,
            "skipped": *made == Made::Nothing,
            "seconds": seconds,
        }));
    }
    if context.quiet {
        return Ok(());
    }
    let (path, key) = (escape(backup.path.as_bytes()), backup.key());
    let (all, sent) = (bytes(counts.bytes), bytes(*bytes_uploaded));
    let rate = bytes((counts.bytes as f64 / seconds.max(0.001)) as u64);
    let uploaded = match made {
        Made::Backup => {
            output::line(&format!("{path}: backup {key}"))?;
            "uploaded"
        }
        Made::Nothing => {
            output::line(&format!("{path}: unchanged, no backup made; the last one is {key}"))?;
            "uploaded"
        }
        Made::Plan => {
            output::line(&format!("{path}: dry run, no backup made"))?;
            "would be uploaded"
        }
    };
    let excluded = if *excluded == 0 { String::new() } else { format!(", {excluded} excluded") };
    output::line(&format!(
        "{} and {}, {all}{excluded}; {} read, {}, {sent} {uploaded}; {seconds:.2} s, {rate}/s",
        many(counts.files, "file"),
        many(counts.dirs, "directory"),
        many(*files_read, "file"),
        many(*blobs_new, "new blob"),
    ))?;
    if !store_requests.is_empty() {
        let mut kinds: Vec<(&String, &u64)> = store_requests.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let kinds: Vec<String> =
            kinds.into_iter().map(|(kind, count)| format!("{count} {}", escape(kind.as_bytes()))).collect();
        output::line(&format!(
            "{} to the server's store: {}",
            many(store_requests.values().sum(), "request"),
            kinds.join(", ")
        ))?;
    }
    if counts.errors + counts.changed > 0 {
        let errors = (counts.errors > 0).then(|| many(counts.errors, "error"));
        let changed =
            (counts.changed > 0).then(|| format!("{} changed while being read", many(counts.changed, "file")));
        output::line(&errors.into_iter().chain(changed).collect::<Vec<_>>().join(", "))?;
    }
    Ok(())
}
