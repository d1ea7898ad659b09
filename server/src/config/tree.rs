//! A tree of backends: leaves, and wrappers around them.

use std::{path::PathBuf, time::Duration};

use super::{ConfigError, fields::Fields};
pub use crate::store::{
    encrypt::key::KeySource,
    mirror::Ack,
    s3::{CredentialsSource, ObjectLock, Patience, S3Config, ServerSideEncryption},
};

/// Wrappers around each other; more is a mistake.
const DEPTH_MAX: usize = 8;

/// Sides of one mirror: cursors have four bits for the side.
pub const SIDES_MAX: usize = 15;

/// Keys of one encryption: rotations that still have data.
const KEYS_MAX: usize = 32;

/// A hundred years: nobody gets rid of such an object by mistake.
const LOCK_DAYS_MAX: u32 = 36_500;

/// A day: who wants to wait longer wants no merging.
const MERGE_SECONDS_MAX: u64 = 86_400;

/// Names under which people would write a secret itself.
const SECRETS: [&str; 6] = ["key", "keys", "access_key", "secret_key", "access_key_id", "secret_access_key"];

/// Where bundles are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Packs in a directory; a relative path is below the data directory.
    BlobsFile {
        /// The directory.
        path: PathBuf,
    },
    /// Packs as objects.
    S3(Box<S3Config>),
    /// Everything sealed before it reaches the inner tree.
    Encrypt {
        /// Where the keys come from; new writes use the first.
        keys: Vec<KeySource>,
        /// What keeps the sealed bundles.
        inner: Box<Tree>,
    },
    /// The same on several sides.
    Mirror {
        /// When a write counts.
        ack: Ack,
        /// In the order in which they are read.
        sides: Vec<Side>,
    },
}

/// A side of a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// What keeps it.
    pub tree: Tree,
    /// Whether it is never read.
    pub is_write_only: bool,
}

impl Tree {
    /// All leaves, as they are told apart.
    pub fn places(&self) -> Vec<String> {
        match self {
            Self::BlobsFile { path } => vec![format!("blobsfile:{}", path.display())],
            Self::S3(s3) => vec![s3.to_string()],
            Self::Encrypt { inner, .. } => inner.places(),
            Self::Mirror { sides, .. } => sides.iter().flat_map(|side| side.tree.places()).collect(),
        }
    }

    /// Whether all of it lies on this machine's own disks.
    pub fn is_local(&self) -> bool {
        match self {
            Self::BlobsFile { .. } => true,
            Self::S3(_) => false,
            Self::Encrypt { inner, .. } => inner.is_local(),
            Self::Mirror { sides, .. } => sides.iter().all(|side| side.tree.is_local()),
        }
    }

    /// In how many places a record is when all sides of all mirrors are level.
    pub fn copies(&self) -> usize {
        match self {
            Self::BlobsFile { .. } | Self::S3(_) => 1,
            Self::Encrypt { inner, .. } => inner.copies(),
            Self::Mirror { sides, .. } => sides.iter().map(|side| side.tree.copies()).sum(),
        }
    }
}

/// Reads the tree that a table describes.
pub(super) fn read_tree(mut fields: Fields<'_, '_>, depth: usize) -> Result<Tree, ConfigError> {
    let tree = read_kind(&mut fields, depth)?;
    fields.end()?;
    Ok(tree)
}

fn read_kind(fields: &mut Fields<'_, '_>, depth: usize) -> Result<Tree, ConfigError> {
    if depth > DEPTH_MAX {
        return Err(fields.refuse("", format!("more than {DEPTH_MAX} backends within each other")));
    }
    for secret in SECRETS {
        if fields.text(secret).map_or(true, |found| found.is_some()) {
            let what = "secrets don't belong into this file: name a file that only the server can read instead";
            return Err(fields.refuse(secret, what));
        }
    }
    let known = "one of \"blobsfile\", \"s3\", \"encrypt\", \"mirror\"";
    match fields.text("type")?.as_deref() {
        Some("blobsfile") => Ok(Tree::BlobsFile { path: fields.need_text("path")?.into() }),
        Some("s3") => Ok(Tree::S3(Box::new(read_s3(fields)?))),
        Some("encrypt") => {
            let keys = read_keys(fields)?;
            Ok(Tree::Encrypt { keys, inner: Box::new(read_tree(fields.need_table("inner")?, depth + 1)?) })
        }
        Some("mirror") => read_mirror(fields, depth),
        Some(other) => Err(fields.refuse("type", format!("{other:?} is no type of backend: write {known}"))),
        None => Err(fields.refuse("type", format!("is missing: write {known}"))),
    }
}

fn read_keys(fields: &mut Fields<'_, '_>) -> Result<Vec<KeySource>, ConfigError> {
    let files = fields.texts("key_file")?.into_iter().map(|file| KeySource::File(file.into()));
    let variables = fields.texts("key_env")?.into_iter().map(KeySource::Environment);
    let credentials = fields.texts("key_credential")?.into_iter().map(KeySource::Credential);
    let keys: Vec<KeySource> = files.chain(variables).chain(credentials).collect();
    match keys.len() {
        0 => Err(fields.refuse("key_file", "is missing: make one with `datadb-server keygen PATH` and name it here")),
        1..=KEYS_MAX => Ok(keys),
        _ => Err(fields.refuse("key_file", format!("more than {KEYS_MAX} keys"))),
    }
}

fn read_s3(fields: &mut Fields<'_, '_>) -> Result<S3Config, ConfigError> {
    let bucket = fields.need_text("bucket")?;
    let prefix = fields.text("prefix")?.unwrap_or_default();
    if prefix.starts_with('/') {
        return Err(fields.refuse("prefix", "must not begin with a slash"));
    }
    let patience = Patience { merge: read_merge(fields)?, ..Patience::default() };
    Ok(S3Config {
        patience,
        region: fields.text("region")?,
        endpoint: fields.text("endpoint")?,
        is_path_style: fields.flag("path_style")?,
        storage_class: fields.text("storage_class")?,
        encryption: read_encryption(fields)?,
        object_lock: fields.table("object_lock")?.map(read_lock).transpose()?,
        credentials: read_credentials(fields)?,
        ..S3Config::new(bucket, prefix)
    })
}

/// How long a store must be left alone before small packs are merged; 0: they never are.
fn read_merge(fields: &mut Fields<'_, '_>) -> Result<Option<Duration>, ConfigError> {
    const NAME: &str = "merge_after_seconds";
    match fields.number_or_text(NAME)? {
        None => Ok(Patience::default().merge),
        Some((_, Ok(seconds))) if seconds <= MERGE_SECONDS_MAX => {
            Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
        }
        Some((line, _)) => {
            let what = format!("must be a number from 1 to {MERGE_SECONDS_MAX}, or 0 to merge nothing");
            Err(fields.refuse_line(line, NAME, what))
        }
    }
}

fn read_encryption(fields: &mut Fields<'_, '_>) -> Result<Option<ServerSideEncryption>, ConfigError> {
    let key_id = fields.text("kms_key_id")?;
    match fields.text("server_side_encryption")?.as_deref() {
        None if key_id.is_some() => Err(fields.refuse("kms_key_id", "needs server_side_encryption = \"aws:kms\"")),
        None => Ok(None),
        Some("AES256") => Ok(Some(ServerSideEncryption::Aes256)),
        Some("aws:kms") => Ok(Some(ServerSideEncryption::Kms { key_id })),
        Some(_) => Err(fields.refuse("server_side_encryption", "must be \"AES256\" or \"aws:kms\"")),
    }
}

fn read_credentials(fields: &mut Fields<'_, '_>) -> Result<CredentialsSource, ConfigError> {
    let profile = fields.text("profile")?;
    let files = (fields.text("access_key_file")?, fields.text("secret_key_file")?);
    match files {
        (Some(access), Some(secret)) if profile.is_none() => {
            Ok(CredentialsSource::Files { access_key: access.into(), secret_key: secret.into() })
        }
        (None, None) => Ok(CredentialsSource::Chain { profile }),
        (Some(_), Some(_)) => Err(fields.refuse("profile", "is of no use beside access_key_file")),
        _ => Err(fields.refuse("access_key_file", "needs secret_key_file beside it, and the other way round")),
    }
}

fn read_lock(mut fields: Fields<'_, '_>) -> Result<ObjectLock, ConfigError> {
    let is_compliance = match &*fields.need_text("mode")? {
        "GOVERNANCE" => false,
        "COMPLIANCE" => true,
        _ => return Err(fields.refuse("mode", "must be \"GOVERNANCE\" or \"COMPLIANCE\"")),
    };
    let days = fields.number_or_text("days")?.and_then(|(_, days)| u32::try_from(days.ok()?).ok());
    let days = days.filter(|days| (1..=LOCK_DAYS_MAX).contains(days));
    let days = days.ok_or_else(|| fields.refuse("days", format!("must be a number from 1 to {LOCK_DAYS_MAX}")))?;
    fields.end()?;
    Ok(ObjectLock { is_compliance, days })
}

fn read_mirror(fields: &mut Fields<'_, '_>, depth: usize) -> Result<Tree, ConfigError> {
    let ack = fields.number_or_text("ack")?;
    let sides = fields.tables("sides")?.into_iter().map(|mut side| {
        let is_write_only = side.flag("write_only")?;
        Ok(Side { tree: read_tree(side, depth + 1)?, is_write_only })
    });
    let sides: Vec<Side> = sides.collect::<Result<_, ConfigError>>()?;
    if !(2..=SIDES_MAX).contains(&sides.len()) {
        return Err(fields.refuse("sides", format!("a mirror has 2 to {SIDES_MAX} sides, this one {}", sides.len())));
    }
    let readable: Vec<&Side> = sides.iter().filter(|side| !side.is_write_only).collect();
    if readable.is_empty() {
        return Err(fields.refuse("sides", "one side at least must not be write_only"));
    }
    let line = ack.as_ref().map_or(fields.line(), |(line, _)| *line);
    let ack = match ack.map(|(_, ack)| ack) {
        None => Ack::All,
        Some(Err(text)) if text == "all" => Ack::All,
        Some(Err(text)) if text == "local" && readable.iter().any(|side| side.tree.is_local()) => Ack::Local,
        Some(Err(text)) if text == "local" => {
            return Err(fields.refuse_line(line, "ack", "\"local\" needs a side of type \"blobsfile\""));
        }
        Some(Ok(number)) if (1..=readable.len() as u64).contains(&number) => Ack::Sides(number as usize),
        Some(_) => {
            let what = format!("must be \"all\", \"local\", or a number from 1 to {}", readable.len());
            return Err(fields.refuse_line(line, "ack", what));
        }
    };
    Ok(Tree::Mirror { ack, sides })
}
