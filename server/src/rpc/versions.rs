//! What History and Find ask and answer, between the API and the engine.

use bytes::Bytes;
use datadb::{
    Fault, Kind, api,
    glob::{Case, Globs},
    limits,
    wire::file_type,
};
use tonic::Status;

use super::status;
use crate::engine::{find::Query, history::Page};

/// A page as a reply.
pub fn reply(page: &Page) -> api::VersionsReply {
    api::VersionsReply {
        host: page.host.as_str().to_owned(),
        path: Bytes::copy_from_slice(page.path.as_bytes()),
        versions: page.versions.iter().map(Into::into).collect(),
        backups: page.backups,
        keys_read: page.keys_read,
    }
}

/// What a request wants to find.
pub fn query(request: &api::FindRequest) -> Result<Query, Status> {
    let pattern = &request.pattern;
    if pattern.len() > limits::PATTERN_BYTES_MAX {
        let message = format!("the pattern is longer than {} bytes", limits::PATTERN_BYTES_MAX);
        return Err(Fault::new(Kind::Invalid, message).into());
    }
    let case = if request.ignore_case { Case::Ignored } else { Case::Sensitive };
    let types = request.types.iter().map(|number| file_type(*number).map_err(status));
    Ok(Query {
        globs: Globs::new([(&pattern[..], case)])?,
        types: types.collect::<Result<_, _>>()?,
        newer: request.newer,
        older: request.older,
        larger: request.larger,
        smaller: request.smaller,
    })
}
