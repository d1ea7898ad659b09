//! Which backup a person means: the filter options, and finding it.

use std::os::unix::ffi::OsStrExt as _;
use std::{ffi::OsStr, ffi::OsString};

use clap::Args;
use datadb::{Backup, Fault, Kind, Meta, TreePath, backup::BackupSpec};

use super::Context;
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
    let (spec, path) = BackupSpec::parse_with_path(text.as_bytes())?;
    let (now, zone) = (clock::now().seconds, clock::zone());
    let filter = among.filter()?;
    let (backup, meta) = context.wait(connection.resolve(&spec, &filter, &path, now, &zone))?;
    if !context.quiet && !matches!(spec, BackupSpec::Prefix(_)) {
        let (key, host, time) = (backup.key(), &backup.host, datadb::clock::format_time(backup.time.seconds(), &zone));
        let of = escape(backup.path.as_bytes());
        eprintln!("{} is {key}: {host}:{of} of {time}", escape(text.as_bytes()));
    }
    Ok(Chosen { backup, path, meta })
}
