//! Which backup a person means: the filter options, and finding it.

use std::os::unix::ffi::OsStrExt as _;
use std::{ffi::OsStr, ffi::OsString};

use clap::Args;
use datadb::{Backup, Fault, FileType, Kind, Meta, ObjectKey, TreePath, backup::BackupSpec, meta::Content};

use super::{Context, did_you_mean};
use crate::{
    clock,
    connection::{Connection, Filter},
    report::escape,
};

/// Options of every subcommand that names backups.
#[derive(Clone, Debug, Default, Args)]
pub struct Among {
    /// Only backups of this host
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Only backups of this path
    #[arg(long, value_name = "PATH")]
    pub path: Option<OsString>,
}

impl Among {
    /// As the connection wants it; the path in its normal form.
    pub fn filter(&self) -> Result<Filter, Fault> {
        let normal = |path: &OsString| TreePath::lenient(path.as_bytes()).map(|path| path.as_bytes().to_vec());
        let path = self.path.as_ref().map(normal).transpose();
        let path = path.map_err(|error| Fault::new(Kind::Invalid, format!("--path: {error}")))?;
        Ok(Filter { host: self.host.clone(), path })
    }
}

/// A backup, a path in it, and what lies there.
pub struct Chosen {
    /// The backup.
    pub backup: Backup,
    /// The path below its root.
    pub path: TreePath,
    /// What the path is.
    pub meta: Meta,
}

/// Finds `BACKUP[:PATH]`; says on stderr which one `latest` is.
pub fn choose(context: &Context, connection: &Connection, text: &OsStr, among: &Among) -> Result<Chosen, Fault> {
    let (spec, path) = BackupSpec::parse_with_path(text.as_bytes()).map_err(|_| no_backup(text))?;
    let (now, zone) = (clock::now().seconds, clock::zone());
    let filter = among.filter()?;
    let resolved = context.wait(connection.resolve(&spec, &filter, &path, now, &zone));
    let (backup, meta) = resolved.map_err(|fault| {
        let hint = context.wait(meant(connection, &spec, &filter, &path, now, &zone));
        Fault { message: hint.map_or(fault.message.clone(), |hint| format!("{}{hint}", fault.message)), ..fault }
    })?;
    if !context.quiet && !matches!(spec, BackupSpec::Prefix(_)) {
        let (key, time) = (backup.key(), datadb::clock::format_time(backup.time.seconds(), &zone));
        let (host, of) = (escape(backup.host.as_str().as_bytes()), escape(backup.path.as_bytes()));
        eprintln!("{} is {key}: {host}:{of} of {time}", escape(text.as_bytes()));
    }
    Ok(Chosen { backup, path, meta })
}

/// The fault of a word that means no backup.
fn no_backup(text: &OsStr) -> Fault {
    let shown = escape(text.as_bytes());
    if let Some((backup, path)) = shown.split_once(':')
        && !path.starts_with('/')
        && BackupSpec::parse(backup.as_bytes()).is_ok()
    {
        let line = format!("{shown} means no backup: a path in a backup begins with /, so write {backup}:/{path}");
        return Fault::new(Kind::Invalid, line);
    }
    let name = shown.split_once(":/").map_or(&*shown, |(name, _)| name);
    let line = format!(
        "{shown} means no backup: write the beginning of an id, latest, latest~N or NAME@TIME, such as {name}@now \
         (`datadb-client snapshots` lists them)"
    );
    Fault::new(Kind::Invalid, line)
}

/// Names looked through for the one that was meant.
const NAMES_MAX: usize = 10_000;

/// What was perhaps meant by a path that is not there: the nearest name in the last directory on its way that is.
async fn meant(
    connection: &Connection,
    spec: &BackupSpec,
    filter: &Filter,
    path: &TreePath,
    now: i64,
    zone: &jiff::tz::TimeZone,
) -> Option<String> {
    let parts: Vec<&[u8]> = path.components().collect();
    for depth in (0..parts.len()).rev() {
        let above = parts[..depth].iter().flat_map(|part| [&b"/"[..], part].concat()).collect::<Vec<u8>>();
        let above = TreePath::lenient(&above).ok()?;
        let Ok((_, meta)) = connection.resolve(spec, filter, &above, now, zone).await else { continue };
        let (FileType::Dir, Content::Ref(set)) = (meta.file_type, meta.content) else { return None };
        let names = names(connection, &set).await?;
        let wanted = String::from_utf8_lossy(parts[depth]);
        let name = did_you_mean::nearest(&wanted, names.iter().map(String::as_str))?;
        let slash = if depth == 0 { "" } else { "/" };
        return Some(format!(": did you mean {}{slash}{}?", escape(above.as_bytes()), escape(name.as_bytes())));
    }
    None
}

async fn names(connection: &Connection, set: &ObjectKey) -> Option<Vec<String>> {
    let mut listing = connection.list_directory(set, false).await.ok()?;
    let mut names = Vec::new();
    while let Some(page) = listing.page().await.ok()? {
        names.extend(page.iter().map(|(_, meta)| String::from_utf8_lossy(meta.name_bytes()).into_owned()));
        if names.len() >= NAMES_MAX {
            break;
        }
    }
    Some(names)
}

/// Reads a time of an option: as people write it, or unix seconds.
pub fn seconds(text: &str) -> Result<i64, String> {
    if text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| format!("{text} is not a time"));
    }
    datadb::clock::parse_time(text, clock::now().seconds, &clock::zone()).map_err(|error| error.to_string())
}

/// Reads `KEY=VALUE`.
pub fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    if key.is_empty() { Err("write KEY=VALUE".into()) } else { Ok((key.to_owned(), value.to_owned())) }
}
