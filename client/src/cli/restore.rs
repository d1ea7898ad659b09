//! `restore BACKUP[:PATH] --target DIR`

use std::{ffi::OsString, path::PathBuf, sync::Arc, time::Instant};

use datadb::{Fault, FileType, Meta, TreePath};
use serde_json::{Value, json};

use super::{
    Context,
    choose::{Among, Chosen, choose},
    output,
};
use crate::{
    color::{self, Hue},
    exit::Outcome,
    glob::{Case, Globs},
    report::{Report, Show, bytes, escape, get, many},
    restore::{Act, Options, Overwrite, Request, Restore, Summary, Verified, Withheld},
};

const EXAMPLES: &str = "\
A GLOB that begins with / is a whole path below PATH, as it appears below DIR: of latest:/home, '/me/*.txt' is what
`ls latest` shows as home/me/a.txt. Any other one may begin at any name: '*.jpg', 'build/out'. * and ? stand for bytes of
one name, ** for any number of names, [a-z] and {a,b} for one of several; with / at its end it means directories only.
! at its beginning takes back what the GLOBs before it chose. Excludes win over includes, and nothing in an excluded
directory is looked at. --strip drops names only after that.

Examples:
  datadb-client restore latest --target /tmp/back
  datadb-client restore home@yesterday:/me/letters --target ~/letters --dry-run
  datadb-client restore latest --target / --include /etc/fstab --include '/home/*/.ssh' --verify
  datadb-client restore 3f2a --target . --strip 1 --exclude '*.o' --exclude node_modules/";

/// Arguments of `restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which backup, and which path in it: BACKUP[:PATH]
    #[arg(value_name = "BACKUP[:PATH]")]
    what: OsString,
    /// The directory to restore into; made if it is not there
    #[arg(long, value_name = "DIR")]
    target: PathBuf,
    /// What happens to files that are there already
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    overwrite: Overwrite,
    /// Restore only what this matches, and all below it; may be given several times
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    include: Vec<String>,
    /// Leave out what this matches, and all below it; may be given several times
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    exclude: Vec<String>,
    /// Drop N names at the beginning of each path
    #[arg(long, value_name = "N", default_value_t, hide_default_value = true)]
    strip: usize,
    /// Leave owners and groups as they come about, and setuid and setgid off
    #[arg(long)]
    no_owner: bool,
    /// Leave out what lends rights, as for a backup that others made: setuid and setgid, devices, attributes of security.*
    #[arg(long)]
    untrusted: bool,
    /// Read everything back and compare it; what differs is restored again
    #[arg(long)]
    verify: bool,
    /// Only show what would be done
    #[arg(short = 'n', long, conflicts_with = "verify")]
    dry_run: bool,
    #[command(flatten)]
    among: Among,
}

/// A pattern that makes sense.
pub fn glob(text: &str) -> Result<String, String> {
    Globs::new([(text, Case::Sensitive)]).map(|_| text.to_owned()).map_err(|fault| fault.message)
}

impl Args {
    fn options(&self) -> Options {
        Options {
            overwrite: self.overwrite,
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            strip: self.strip,
            no_owner: self.no_owner,
            untrusted: self.untrusted,
        }
    }
}

impl Args {
    /// Bytes that there will be; 0 if that can't be told.
    fn expected(&self, chosen: &Chosen) -> u64 {
        if chosen.meta.file_type != FileType::Dir {
            chosen.meta.size
        } else if chosen.path == TreePath::root() && self.include.is_empty() && self.exclude.is_empty() {
            chosen.backup.counts.bytes
        } else {
            0
        }
    }
}

/// Restores, or shows what would be done.
pub fn run(context: &Context, args: &Args) -> Result<Outcome, Fault> {
    let started = Instant::now();
    let connection = context.connect()?;
    let chosen = choose(context, &connection, &args.what, &args.among)?;
    let name = chosen.path.components().last().unwrap_or(chosen.backup.path.shown_name()).to_vec();
    let expected = args.expected(&chosen);
    let request = Request { meta: chosen.meta, name, target: args.target.clone(), options: args.options() };
    let restore = Restore::new(context.handle(), &connection, &request);
    let report = |verb| {
        let report = Report::new(verb, if args.dry_run { Show::Nothing } else { context.show() });
        report.expect_bytes(expected);
        Arc::new(report)
    };
    let first = report("restored");
    let summary = if args.dry_run {
        restore.rehearse(&first, &mut |path, act, meta| {
            if context.json { output::json(&as_json(path, act, meta)) } else { output::line(&as_line(path, act, meta)) }
        })?
    } else {
        restore.restore(&first)?
    };
    first.finish();
    let mut done = Done { args, summary, verified: None, errors: get(&first.counters.errors), seconds: 0.0 };
    if args.verify {
        let second = report("read back");
        done.verified = Some(restore.verify(&second)?);
        second.finish();
        done.errors += get(&second.counters.errors);
    }
    done.seconds = started.elapsed().as_secs_f64();
    if context.json {
        output::json(&done.as_json(&chosen.backup.key().to_string()))?;
    } else if !context.quiet {
        done.lines().iter().try_for_each(|line| output::line(line))?;
    }
    Ok(Outcome::of(done.errors))
}

fn as_line(path: &[u8], act: Act, meta: &Meta) -> String {
    let slash = if meta.file_type == FileType::Dir && path != b"/" { "/" } else { "" };
    let path = escape(path);
    match act {
        Act::Create => color::out(Hue::Added, &format!("+ {path}{slash}")).into_owned(),
        Act::Replace => color::out(Hue::Content, &format!("M {path}{slash}")).into_owned(),
        Act::Metadata(_) => {
            format!("{}  ({})", color::out(Hue::Metadata, &format!("U {path}{slash}")), words(act).join(", "))
        }
        Act::Leave => format!("  {path}{slash}"),
    }
}

/// The metadata that differ.
fn words(act: Act) -> Vec<&'static str> {
    match act {
        Act::Metadata(unlike) => unlike.fields().into_iter().map(crate::field::Field::word).collect(),
        _ => Vec::new(),
    }
}

fn as_json(path: &[u8], act: Act, meta: &Meta) -> Value {
    let word = match act {
        Act::Create => "create",
        Act::Replace => "replace",
        Act::Metadata(_) => "metadata",
        Act::Leave => "leave",
    };
    let (kind, size) = (meta.file_type.word(), meta.size);
    json!({"type": "entry", "action": word, "path": output::text(path), "kind": kind, "size": size, "fields": words(act)})
}

/// What is said in the end.
struct Done<'a> {
    args: &'a Args,
    summary: Summary,
    verified: Option<Verified>,
    errors: u64,
    seconds: f64,
}

impl Done<'_> {
    fn as_json(&self, id: &str) -> Value {
        let summary = &self.summary;
        let mut value = json!({
            "type": "summary",
            "id": id,
            "dry_run": self.args.dry_run,
            "files": summary.files,
            "bytes": summary.bytes,
            "created": summary.created,
            "replaced": summary.replaced,
            "metadata": summary.metadata,
            "unchanged": summary.unchanged,
            "stripped": summary.stripped,
            "errors": self.errors,
            "owners_lost": summary.owners_lost,
            "xattrs_lost": summary.xattrs_lost,
            "seconds": self.seconds,
        });
        if self.args.untrusted {
            let Withheld { set_ids, devices, attributes } = summary.withheld;
            value["untrusted"] = json!({"set_ids": set_ids, "devices": devices, "attributes": attributes});
        }
        if let Some(verified) = self.verified {
            value["verified"] = json!(verified.same);
            value["repaired"] = json!(verified.repaired);
        }
        value
    }

    fn lines(&self) -> Vec<String> {
        let Summary { created, replaced, metadata, unchanged, .. } = self.summary;
        let (files, all) = (many(self.summary.files, "file"), bytes(self.summary.bytes));
        let (errors, seconds) = (many(self.errors, "error"), self.seconds);
        let acts = format!(
            "{created} created, {replaced} replaced, {metadata} with other metadata alone, {unchanged} unchanged"
        );
        let mut lines = Vec::new();
        if self.args.dry_run {
            lines.push(format!("{files}, {all} compared, {errors}; nothing was written"));
            lines.push(format!("entries: {acts}, if it were done"));
        } else {
            let rate = bytes((self.summary.bytes as f64 / seconds.max(0.001)) as u64);
            lines.push(format!("{files}, {all} restored, {errors}; {seconds:.2} s, {rate}/s"));
            if replaced + metadata + unchanged > 0 {
                lines.push(format!("entries: {acts}"));
            }
        }
        if self.summary.stripped > 0 {
            let (files, strip) = (many(self.summary.stripped, "file"), self.args.strip);
            lines.push(format!("left out {files}, which --strip {strip} leaves no name"));
        }
        if self.args.untrusted {
            let Withheld { set_ids, devices, attributes } = self.summary.withheld;
            let (entries, devices) = (many(set_ids, "entry"), many(devices, "device"));
            let attributes = many(attributes, "attribute");
            lines.push(format!(
                "left out, as the backup is not trusted: setuid or setgid of {entries}, {devices}, {attributes} of security.*"
            ));
        }
        if let Some(Verified { same, repaired }) = self.verified {
            lines.push(format!(
                "{} read back as in the backup, {repaired} had to be restored again",
                many(same, "entry")
            ));
        }
        if self.summary.owners_lost + self.summary.xattrs_lost > 0 {
            let (owners, xattrs) = (self.summary.owners_lost, self.summary.xattrs_lost);
            lines.push(format!(
                "{owners} owners and {xattrs} attributes could not be set: only root may, run it as root to have them"
            ));
        }
        lines
    }
}
