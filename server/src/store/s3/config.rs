//! What must be known to reach a bucket: plain data, without any secret in it.

use std::{fmt, path::PathBuf, time::Duration};

/// Where an S3 leaf keeps its packs, and how it gets there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Config {
    /// The bucket; it must exist.
    pub bucket: String,
    /// What the keys of all its objects begin with; slashes around it don't count. Empty: the whole bucket.
    pub prefix: String,
    /// The bucket's region; `None` takes the environment's or the profile's, and `us-east-1` where an endpoint is given.
    pub region: Option<String>,
    /// For stores other than AWS: `http://host:port` or `https://host`.
    pub endpoint: Option<String>,
    /// Whether the bucket's name goes into the path instead of the host name.
    pub is_path_style: bool,
    /// Class of objects beyond 8 MiB, which packs are merged into. Smaller ones stay in the standard class until then: most
    /// others charge for a minimum of size and time.
    pub storage_class: Option<String>,
    /// Encryption by the store.
    pub encryption: Option<ServerSideEncryption>,
    /// Objects that nobody can delete for a while; the bucket must have been made for it.
    pub object_lock: Option<ObjectLock>,
    /// Who the store lets in.
    pub credentials: CredentialsSource,
    /// How long to wait for what.
    pub patience: Patience,
}

/// Encryption by the store, with keys of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerSideEncryption {
    /// `AES256`.
    Aes256,
    /// `aws:kms`.
    Kms {
        /// The key's id or ARN; `None` is the account's default key.
        key_id: Option<String>,
    },
}

/// Objects that can't be deleted before their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectLock {
    /// Whether not even the account's owner may delete earlier (`COMPLIANCE`; else `GOVERNANCE`).
    pub is_compliance: bool,
    /// How long after its upload.
    pub days: u32,
}

/// Where the keys come from. Files alone are named, so that no secret can show up in what is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsSource {
    /// The usual chain: environment, profile files, web identity, the container's or the machine's role.
    Chain {
        /// A profile other than the default one.
        profile: Option<String>,
    },
    /// A file for each half; white space around the key does not count.
    Files {
        /// Holds the access key.
        access_key: PathBuf,
        /// Holds the secret key.
        secret_key: PathBuf,
    },
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the answer to one small request. Large ones have the time that their bytes take over a slow link besides.
    pub attempt: Duration,
    /// For all attempts at one request together: long enough for a store that restarts. One that has not answered yet is
    /// given a sixth of it.
    pub total: Duration,
    /// How long a lease lasts that nobody renews; it is renewed three times as often.
    pub lease: Duration,
    /// How long nothing must have been written before small packs are merged; `None`: they never are.
    pub merge: Option<Duration>,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { attempt: seconds(20), total: seconds(60), lease: seconds(60), merge: Some(seconds(30)) }
    }
}

impl S3Config {
    /// A bucket at AWS, with all that can be left out left out.
    pub fn new(bucket: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: prefix.into(),
            region: None,
            endpoint: None,
            is_path_style: false,
            storage_class: None,
            encryption: None,
            object_lock: None,
            credentials: CredentialsSource::Chain { profile: None },
            patience: Patience::default(),
        }
    }

    /// The same store, a directory below: where the log lies.
    #[must_use]
    pub fn below(&self, dir: &str) -> Self {
        Self { prefix: format!("{}{dir}", self.key_prefix()), ..self.clone() }
    }

    /// What keys begin with: nothing, or the prefix and one slash.
    pub(super) fn key_prefix(&self) -> String {
        match self.prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }
}

impl fmt::Display for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = format!("{}/{}", self.bucket, self.prefix.trim_matches('/'));
        write!(f, "s3://{}", path.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_prints_itself_as_one_would_write_it() {
        for (prefix, printed, keys) in
            [("home/", "s3://b/home", "home/"), ("", "s3://b", ""), ("/", "s3://b", ""), ("a/b", "s3://b/a/b", "a/b/")]
        {
            let config = S3Config::new("b", prefix);
            assert_eq!((config.to_string(), config.key_prefix()), (printed.to_owned(), keys.to_owned()));
        }
        assert_eq!(S3Config::new("b", "home").below("meta").to_string(), "s3://b/home/meta");
        assert_eq!(S3Config::new("b", "").below("meta/").to_string(), "s3://b/meta");
    }
}
