//! What is done with objects: each request of its kind in one function.

use std::sync::Arc;

use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{ChecksumAlgorithm, ObjectLockMode, ServerSideEncryption as Sse, StorageClass};
use bytes::Bytes;

use super::{
    client::Client,
    config::{ObjectLock, ServerSideEncryption},
    error::{Failure, S3Error, context},
    requests::Request,
};

/// An answer of a listing or of a small object is no longer than this; more is not asked for.
const SMALL_BYTES: u64 = 64 << 10;

/// Seconds of a day.
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its key without the prefix.
    pub name: String,
    /// In bytes.
    pub len: u64,
}

/// A small object, read as a whole.
#[derive(Clone, Debug)]
pub(super) struct Small {
    pub bytes: Bytes,
    pub e_tag: Option<String>,
    /// Unix seconds by the store's clock.
    pub modified: Option<i64>,
}

/// What must hold for a write to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing.
    Always,
    /// There is no such object.
    Absent,
    /// It is the one with this tag.
    Is(String),
}

/// How an object is to be kept, beyond what the bucket says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keeping {
    pub storage_class: Option<StorageClass>,
    pub encryption: Option<Sse>,
    pub kms_key_id: Option<String>,
    pub lock: Option<(ObjectLockMode, DateTime)>,
}

impl Keeping {
    /// As the config says for a pack; only a large one goes to the class that is asked for.
    pub(super) fn of_pack(client: &Client, is_large: bool) -> Self {
        let config = client.config();
        let (encryption, kms_key_id) = match &config.encryption {
            None => (None, None),
            Some(ServerSideEncryption::Aes256) => (Some(Sse::Aes256), None),
            Some(ServerSideEncryption::Kms { key_id }) => (Some(Sse::AwsKms), key_id.clone()),
        };
        let lock = config.object_lock.map(|ObjectLock { is_compliance, days }| {
            let mode = if is_compliance { ObjectLockMode::Compliance } else { ObjectLockMode::Governance };
            (mode, DateTime::from_secs(client.store_time() + i64::from(days) * DAY_SECONDS))
        });
        let storage_class = config.storage_class.as_deref().filter(|_| is_large).map(StorageClass::from);
        Self { storage_class, encryption, kms_key_id, lock }
    }

    /// Stores refuse locked objects without a checksum.
    pub(super) fn checksum(&self) -> Option<ChecksumAlgorithm> {
        self.lock.as_ref().map(|_| ChecksumAlgorithm::Crc32)
    }
}

impl Client {
    /// Bytes of a range, both ends included; fewer where the object ends. `None` if it ends before.
    pub(super) async fn get_range(&self, key: Arc<str>, first: u64, last: u64) -> Result<Bytes, Failure> {
        let call = async || {
            let range = format!("bytes={first}-{last}");
            let get = self.sdk().get_object().bucket(&self.config().bucket).key(&*key).range(range);
            let body = get.send().await?.body.collect().await;
            Ok(body.map_err(|error| Failure::unreachable(context(&error)))?.into_bytes())
        };
        match self.ask(Request::Get, last + 1 - first, call).await {
            Err(Failure::Range) => Ok(Bytes::new()),
            Ok(bytes) if bytes.len() as u64 > last + 1 - first => {
                Err(Failure::Final(S3Error::Other { said: "the store answers with more than the range".into() }))
            }
            other => other,
        }
    }

    /// A small object as a whole; `None` if it is not there.
    pub(super) async fn get_small(&self, request: Request, key: &str) -> Result<Option<Small>, Failure> {
        let call = async || {
            let get = self.sdk().get_object().bucket(&self.config().bucket).key(key);
            let output = get.send().await?;
            if output.content_length().is_some_and(|len| len.unsigned_abs() > SMALL_BYTES) {
                return Err(Failure::Final(S3Error::Other { said: format!("{key} is not what it should be") }));
            }
            let (e_tag, modified) = (output.e_tag().map(ToOwned::to_owned), output.last_modified().map(DateTime::secs));
            let body = output.body.collect().await.map_err(|error| Failure::unreachable(context(&error)))?;
            Ok(Small { bytes: body.into_bytes(), e_tag, modified })
        };
        match self.ask(request, SMALL_BYTES, call).await {
            Ok(small) => Ok(Some(small)),
            Err(Failure::Missing) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Writes a whole object and gives its tag.
    pub(super) async fn put(
        &self,
        request: Request,
        key: &str,
        bytes: Bytes,
        condition: &Condition,
        keeping: &Keeping,
    ) -> Result<Option<String>, Failure> {
        let call = async || {
            let (absent, is) = match condition {
                Condition::Always => (None, None),
                Condition::Absent => (Some("*".to_owned()), None),
                Condition::Is(tag) => (None, Some(tag.clone())),
            };
            let (mode, until) = keeping.lock.clone().unzip();
            let put = self.sdk().put_object().bucket(&self.config().bucket).key(key);
            let put = put.body(ByteStream::from(bytes.clone())).set_if_none_match(absent).set_if_match(is);
            let put = put.set_storage_class(keeping.storage_class.clone());
            let put = put.set_server_side_encryption(keeping.encryption.clone());
            let put = put.set_ssekms_key_id(keeping.kms_key_id.clone()).set_checksum_algorithm(keeping.checksum());
            let put = put.set_object_lock_mode(mode).set_object_lock_retain_until_date(until);
            Ok(put.send().await?.e_tag)
        };
        self.ask(request, bytes.len() as u64, call).await
    }

    /// Length of an object; `None` if it is not there.
    pub(super) async fn head(&self, key: &str) -> Result<Option<u64>, Failure> {
        let call = async || {
            let head = self.sdk().head_object().bucket(&self.config().bucket).key(key);
            Ok(head.send().await?.content_length().unwrap_or_default().unsigned_abs())
        };
        match self.ask(Request::Head, 0, call).await {
            Ok(len) => Ok(Some(len)),
            Err(Failure::Missing) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// All objects right below the prefix.
    pub(super) async fn list(&self) -> Result<Vec<Listed>, Failure> {
        let prefix = self.config().key_prefix();
        let mut listed = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let call = async || {
                let list = self.sdk().list_objects_v2().bucket(&self.config().bucket).delimiter("/");
                let list = list.set_prefix((!prefix.is_empty()).then(|| prefix.clone()));
                Ok(list.set_continuation_token(token.clone()).send().await?)
            };
            let page = self.ask(Request::List, SMALL_BYTES, call).await?;
            for object in page.contents() {
                let Some(name) = object.key().and_then(|key| key.strip_prefix(&prefix)) else { continue };
                listed.push(Listed { name: name.to_owned(), len: object.size().unwrap_or_default().unsigned_abs() });
            }
            token = page.next_continuation_token;
            if token.is_none() {
                return Ok(listed);
            }
        }
    }

    /// Deletes an object, if it is there.
    pub(super) async fn delete(&self, key: &str) -> Result<(), Failure> {
        let call = async || {
            self.sdk().delete_object().bucket(&self.config().bucket).key(key).send().await?;
            Ok(())
        };
        match self.ask(Request::Delete, 0, call).await {
            Err(Failure::Missing) => Ok(()),
            other => other,
        }
    }
}
