//! A server, a proxy in front of it, and leaves that keep their packs there.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use datadb::BlobId;
use datadb_server::{
    index::{Index, space::Space},
    store::{
        BlobStore, StoreError,
        blobsfile::{OpenReport, Relied},
        s3::{CredentialsSource, Patience, S3Config, S3Store, open},
        testing::conformance::{bundle, bytes_of, sample},
    },
};
use tempfile::TempDir;

use crate::{
    s3_proxy::S3Proxy,
    s3_server::{ACCESS_KEY, S3Server, SECRET_KEY},
};

pub const BUCKET: &str = "backups";

/// A server, a proxy in front of it, and a directory for what lies on this side.
pub struct Scene {
    pub server: S3Server,
    pub proxy: S3Proxy,
    pub dir: TempDir,
}

/// Where one server keeps what is not in the bucket.
pub struct Side {
    pub index: PathBuf,
    pub staging: PathBuf,
}

impl Scene {
    pub fn new() -> Self {
        let server = S3Server::with_bucket(BUCKET);
        let proxy = S3Proxy::to(server.endpoint());
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("access"), ACCESS_KEY).unwrap();
        fs::write(dir.path().join("secret"), format!("{SECRET_KEY}\n")).unwrap();
        Self { server, proxy, dir }
    }

    /// Right to the server.
    pub fn config(&self) -> S3Config {
        let [access_key, secret_key] = ["access", "secret"].map(|name| self.dir.path().join(name));
        let patience =
            Patience { attempt: Duration::from_secs(10), total: Duration::from_secs(10), ..Patience::default() };
        S3Config {
            endpoint: Some(self.server.endpoint().to_owned()),
            is_path_style: true,
            credentials: CredentialsSource::Files { access_key, secret_key },
            patience,
            ..S3Config::new(BUCKET, "home/")
        }
    }

    /// Through the proxy.
    pub fn through_proxy(&self) -> S3Config {
        S3Config { endpoint: Some(self.proxy.endpoint()), ..self.config() }
    }

    /// The same, with hardly any patience.
    pub fn impatient(&self) -> S3Config {
        let total = Duration::from_millis(300);
        S3Config { patience: Patience { total, ..self.config().patience }, ..self.through_proxy() }
    }

    pub fn side(&self, name: &str) -> Side {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        Side { index: dir.join("index"), staging: dir.join("staging") }
    }

    /// Objects of packs below the prefix.
    pub fn packs(&self) -> Vec<String> {
        self.server.keys(BUCKET).into_iter().filter(|key| key.ends_with(".pack")).collect()
    }

    /// Objects that hold several packs.
    pub fn merged(&self) -> Vec<String> {
        self.server.keys(BUCKET).into_iter().filter(|key| key.ends_with(".packs")).collect()
    }

    pub fn object(&self, key: &str) -> PathBuf {
        self.server.bucket(BUCKET).join(key)
    }
}

impl Side {
    pub fn try_open(&self, config: S3Config, relied: Relied) -> Result<(S3Store, OpenReport), StoreError> {
        let index = Arc::new(Index::open(&self.index).unwrap());
        let name = config.to_string();
        let space = Space::of(&index, &name).unwrap();
        open(config, space, name, relied, &[], &self.staging)
    }

    #[track_caller]
    pub fn open(&self, config: S3Config) -> S3Store {
        let (store, report) = self.try_open(config, Relied::Index).unwrap();
        assert_eq!((&report.damage[..], report.torn_bytes, report.lost_blobs), (&[][..], 0, 0));
        store
    }
}

pub async fn put(store: &dyn BlobStore, blob: &Bytes) {
    store.put(bundle(std::slice::from_ref(blob)), Bytes::new()).await.unwrap();
}

pub async fn read(store: &dyn BlobStore, blob: &Bytes) -> Option<Bytes> {
    let id = BlobId::of(blob);
    store.get(&id).await.unwrap().and_then(|stored| bytes_of(&stored, &id))
}

/// Bytes without any order in them.
pub fn noise(seed: u64, len: usize) -> Bytes {
    sample(seed, 2 * len).slice(..len)
}

pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
