//! `snapshot PATH…`

use std::{
    collections::BTreeMap,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use datadb::{Fault, HostName, Kind, TreePath};
use serde_json::json;

use super::{Context, output};
use crate::{
    clock,
    connection::Connection,
    exit::{self, Outcome},
    pipeline::{self, Request, Summary},
    report::{Report, bytes, escape},
};

/// Arguments of `snapshot`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directories or files; each becomes a backup of its own
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The host's name in the repository, instead of this machine's
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// A word of yours to find the backup by; may be given several times
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// When the backup was made, instead of now (a time in the past, e.g. 2014-05-12T18:36 or unix seconds)
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    if key.is_empty() { Err("write KEY=VALUE".into()) } else { Ok((key.to_owned(), value.to_owned())) }
}

/// Backs up each path; one that fails does not keep the others from their turn.
pub fn run(context: &Context, args: Args) -> Result<Outcome, Fault> {
    let host = match args.host {
        Some(name) => name,
        None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
    };
    let host = HostName::new(&host).map_err(|error| Fault::new(Kind::Invalid, format!("{error}: use --host")))?;
    let time = args.time.as_deref().map(seconds).transpose()?;
    let tags: BTreeMap<String, String> = args.tags.into_iter().collect();
    let connection = context.connect()?;
    let (mut outcome, mut failed) = (Outcome::Done, None);
    for path in &args.paths {
        let done = request(path, &host, time, &tags).and_then(|request| one(context, &connection, &request));
        match done {
            Ok(one) => outcome = outcome.and(one),
            Err(fault) if args.paths.len() == 1 || exit::is_interrupted() => return Err(fault),
            Err(fault) => {
                eprintln!("datadb-client: {}: {fault}", escape(path.as_os_str().as_bytes()));
                failed.get_or_insert(fault);
            }
        }
    }
    match failed {
        None => Ok(outcome),
        Some(_) => Err(Fault::new(Kind::Internal, "not every path was backed up")),
    }
}

fn seconds(text: &str) -> Result<i64, Fault> {
    if text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| Fault::new(Kind::Invalid, format!("--time {text}: not a time")));
    }
    datadb::clock::parse_time(text, clock::now().seconds, &clock::zone())
        .map_err(|error| Fault::new(Kind::Invalid, error.to_string()))
}

fn request(path: &Path, host: &HostName, time: Option<i64>, tags: &BTreeMap<String, String>) -> Result<Request, Fault> {
    let shown = escape(path.as_os_str().as_bytes());
    let source = path.canonicalize().map_err(|error| {
        let kind = if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Internal };
        let words = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error).map(crate::walk::words);
        Fault::new(kind, format!("{shown}: {}", words.unwrap_or_else(|| error.to_string())))
    })?;
    let path = TreePath::new(source.as_os_str().as_bytes())?;
    Ok(Request { source, host: host.clone(), path, time, tags: tags.clone() })
}

fn one(context: &Context, connection: &Connection, request: &Request) -> Result<Outcome, Fault> {
    let started = Instant::now();
    let report = Report::new("read", context.quiet || context.json);
    let summary = pipeline::snapshot(context.handle(), connection, request, &report)?;
    report.finish();
    print(context, &summary, started.elapsed().as_secs_f64())?;
    Ok(Outcome::of(summary.backup.counts.errors))
}

fn print(context: &Context, summary: &Summary, seconds: f64) -> Result<(), Fault> {
    let Summary { backup, files_read, blobs_new, bytes_uploaded } = summary;
    let counts = &backup.counts;
    if context.json {
        return output::json(&json!({
            "type": "summary",
            "id": backup.key().to_string(),
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
            "errors": counts.errors,
            "changed": counts.changed,
            "seconds": seconds,
        }));
    }
    if context.quiet {
        return Ok(());
    }
    let (path, key) = (escape(backup.path.as_bytes()), backup.key());
    let (all, sent) = (bytes(counts.bytes), bytes(*bytes_uploaded));
    let rate = bytes((counts.bytes as f64 / seconds.max(0.001)) as u64);
    output::line(&format!("{path}: backup {key}"))?;
    output::line(&format!(
        "{} files and {} directories, {all}; {files_read} files read, {blobs_new} new blobs, {sent} uploaded; {seconds:.2} s, {rate}/s",
        counts.files, counts.dirs
    ))?;
    if counts.errors + counts.changed > 0 {
        output::line(&format!("{} errors, {} files changed while they were read", counts.errors, counts.changed))?;
    }
    Ok(())
}
