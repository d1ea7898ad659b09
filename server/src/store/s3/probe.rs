//! Trying a bucket out: what `check-config` does, beside the packs and without touching them.

use bytes::Bytes;

use super::{
    S3Config, check,
    client::Client,
    error::{Failure, S3Error},
    lease,
    objects::{Condition, Keeping},
    requests::Request,
};
use crate::store::StoreError;

/// What is written, and read back by its middle.
const SAMPLE: &[u8] = b"datadb tries whether this bucket keeps what it is given";

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// Whether two servers that start at the same moment are kept apart.
    pub honours_conditions: bool,
    /// Who writes here now.
    pub held_by: Option<String>,
}

/// Writes an object of its own, reads a range of it and deletes it. Blocks; leaves nothing behind.
pub fn probe(config: &S3Config) -> Result<ProbeReport, StoreError> {
    let failed = |error: S3Error| StoreError::Peer { place: config.to_string(), fault: error.into() };
    check(config).map_err(failed)?;
    let client = Client::connect(config).map_err(failed)?;
    let asking = client.clone();
    client.wait(async move { try_out(&asking).await }).map_err(failed)
}

async fn try_out(client: &Client) -> Result<ProbeReport, S3Error> {
    client.list().await.map_err(Failure::into_error)?;
    let held_by = lease::holder(client).await?;
    let mut number = [0; 8];
    let random = rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty());
    random.map_err(|error| S3Error::Other { said: error.to_string() })?;
    let key = client.key(&format!("probe-{:016x}", u64::from_be_bytes(number)));
    let tried = try_object(client, &key).await;
    // Whatever came of it, it goes; an error of the try tells more than one of the deletion.
    let deleted = client.delete(&key).await.map_err(Failure::into_error);
    let honours_conditions = tried?;
    deleted?;
    Ok(ProbeReport { honours_conditions, held_by })
}

async fn try_object(client: &Client, key: &str) -> Result<bool, S3Error> {
    let keeping = Keeping { lock: None, ..Keeping::of_pack(client, true) };
    let put = async |condition: Condition| {
        client.put(Request::Put, key, Bytes::from_static(SAMPLE), &condition, &keeping).await
    };
    put(Condition::Always).await.map_err(Failure::into_error)?;
    let honours_conditions = match put(Condition::Absent).await {
        Err(Failure::Condition) => true,
        Ok(_) | Err(Failure::NotImplemented) => false,
        Err(other) => return Err(other.into_error()),
    };
    let (first, last) = (7, 30);
    let read = client.get_range(key.into(), first, last).await.map_err(Failure::into_error)?;
    if read != SAMPLE[first as usize..=last as usize] {
        return Err(S3Error::Other { said: "a range that was read is not what was written".into() });
    }
    Ok(honours_conditions)
}
