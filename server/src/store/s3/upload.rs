//! Sending a staged pack: in one request, or in parts, several at once, where it is large.
//!
//! Sending is safe to repeat: a key is only ever written with the same bytes (see [`super::layout`]), and an object is there
//! as a whole or not at all.

use std::{collections::BTreeMap, fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use tokio::task::JoinSet;

use super::{
    client::Client,
    error::{Failure, S3Error},
    merge::GROWN_BYTES,
    objects::{Condition, Keeping},
    requests::Request,
};

/// Length of a part; stores take none shorter than 5 MiB, and none but the last.
pub(super) const PART_BYTES: u64 = 8 << 20;

/// Parts on their way at once, all of them in memory.
const PARTS_MAX: usize = 4;

/// Sends a file under a key; returns when the store has all of it.
pub(super) async fn send(client: &Client, key: &str, file: Arc<File>, len: u64) -> Result<(), Failure> {
    let keeping = Keeping::of_pack(client, len > GROWN_BYTES);
    if len <= PART_BYTES {
        let bytes = read(&file, 0, len)?;
        return client.put(Request::Put, key, bytes, &Condition::Always, &keeping).await.map(drop);
    }
    let id = begin(client, key, &keeping).await?;
    let sent = send_parts(client, key, &id, &keeping, file, len).await;
    let result = match sent {
        Ok(parts) => complete(client, key, &id, parts, len).await,
        Err(failure) => Err(failure),
    };
    if result.is_err()
        && let Err(failure) = abort(client, key, &id).await
    {
        // What is left costs space until the bucket's own rule for unfinished uploads takes it.
        tracing::warn!(store = %client.config(), key, ?failure, "an unfinished upload stays behind");
    }
    result
}

async fn begin(client: &Client, key: &str, keeping: &Keeping) -> Result<String, Failure> {
    let call = async || {
        let (mode, until) = keeping.lock.clone().unzip();
        let begin = client.sdk().create_multipart_upload().bucket(&client.config().bucket).key(key);
        let begin = begin.set_storage_class(keeping.storage_class.clone());
        let begin = begin.set_server_side_encryption(keeping.encryption.clone());
        let begin = begin.set_ssekms_key_id(keeping.kms_key_id.clone()).set_checksum_algorithm(keeping.checksum());
        let begin = begin.set_object_lock_mode(mode).set_object_lock_retain_until_date(until);
        Ok(begin.send().await?.upload_id)
    };
    let id = client.ask(Request::Multipart, 0, call).await?;
    id.ok_or_else(|| Failure::Final(S3Error::Other { said: "the store gives no id for a large upload".into() }))
}

async fn send_parts(
    client: &Client,
    key: &str,
    id: &str,
    keeping: &Keeping,
    file: Arc<File>,
    len: u64,
) -> Result<Vec<CompletedPart>, Failure> {
    let mut done: BTreeMap<i32, CompletedPart> = BTreeMap::new();
    let mut running = JoinSet::new();
    let mut offset = 0;
    for number in 1.. {
        if offset >= len {
            break;
        }
        if running.len() == PARTS_MAX
            && let Some(part) = running.join_next().await
        {
            let (number, part) = joined(part)?;
            done.insert(number, part);
        }
        let bytes = PART_BYTES.min(len - offset);
        let (client, key, id, file) = (client.clone(), key.to_owned(), id.to_owned(), file.clone());
        let keeping = keeping.clone();
        running.spawn(async move {
            let bytes = read(&file, offset, bytes)?;
            Ok((number, send_part(&client, &key, &id, &keeping, number, bytes).await?))
        });
        offset += bytes;
    }
    while let Some(part) = running.join_next().await {
        let (number, part) = joined(part)?;
        done.insert(number, part);
    }
    Ok(done.into_values().collect())
}

/// What a part's task came to. Whoever drops the set on the way out ends the other tasks.
fn joined<T>(result: Result<Result<T, Failure>, tokio::task::JoinError>) -> Result<T, Failure> {
    result
        .unwrap_or_else(|error| Err(Failure::Final(S3Error::Other { said: format!("a part's upload ended: {error}") })))
}

async fn send_part(
    client: &Client,
    key: &str,
    id: &str,
    keeping: &Keeping,
    number: i32,
    bytes: Bytes,
) -> Result<CompletedPart, Failure> {
    let call = async || {
        let part = client.sdk().upload_part().bucket(&client.config().bucket).key(key).upload_id(id);
        let part = part.set_checksum_algorithm(keeping.checksum());
        let sent = part.part_number(number).body(bytes.clone().into()).send().await?;
        let part = CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag);
        Ok(part.set_checksum_crc32(sent.checksum_crc32).build())
    };
    client.ask(Request::Part, bytes.len() as u64, call).await
}

/// Puts the parts together. Where the answer got lost, the upload is not known any more, but the object is there.
async fn complete(client: &Client, key: &str, id: &str, parts: Vec<CompletedPart>, len: u64) -> Result<(), Failure> {
    let call = async || {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.clone())).build();
        let complete = client.sdk().complete_multipart_upload().bucket(&client.config().bucket).key(key);
        complete.upload_id(id).multipart_upload(parts).send().await?;
        Ok(())
    };
    // Some stores copy all of the parts before they answer.
    match client.ask(Request::Multipart, len, call).await {
        Err(Failure::Missing | Failure::Final(_)) if client.head(key).await? == Some(len) => Ok(()),
        other => other,
    }
}

async fn abort(client: &Client, key: &str, id: &str) -> Result<(), Failure> {
    let call = async || {
        let abort = client.sdk().abort_multipart_upload().bucket(&client.config().bucket).key(key);
        abort.upload_id(id).send().await?;
        Ok(())
    };
    match client.ask(Request::Multipart, 0, call).await {
        Err(Failure::Missing) => Ok(()),
        other => other,
    }
}

/// Reads a stretch of a staged file, on a thread of the store's own: it was just written, so it is in memory. To wait for
/// one of the threads that may block would be to wait, maybe, for those who wait for this.
fn read(file: &File, offset: u64, len: u64) -> Result<Bytes, Failure> {
    let staged =
        |error: io::Error| Failure::Final(S3Error::Other { said: format!("a staged pack can't be read: {error}") });
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other).map_err(staged)?];
    file.read_exact_at(&mut bytes, offset).map_err(staged)?;
    Ok(bytes.into())
}
