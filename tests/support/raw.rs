//! The generated API without a client's manners, for saying to a server what it must refuse.

use datadb::{
    Bundle,
    api::{
        CommitRequest, FindMissingReply, FindMissingRequest, OpenSessionRequest, PutBundlesReply, PutBundlesRequest,
        PutObjectsReply, PutObjectsRequest, upload_client::UploadClient,
    },
    blob::BlobRef,
    bundle::BundleBuilder,
    object::ObjectRef,
    wire::pack_question,
};
use tonic::{Status, transport::Channel};

/// An open session.
pub struct Session {
    /// The service, for calls that this module has no word for.
    pub upload: UploadClient<Channel>,
    /// The session's id.
    pub id: bytes::Bytes,
}

impl Session {
    /// Opens one.
    pub async fn open(url: &str) -> Self {
        let channel =
            Channel::from_shared(url.to_owned()).expect("a URL").connect().await.expect("the server is there");
        let mut upload =
            UploadClient::new(channel).max_decoding_message_size(64 << 20).max_encoding_message_size(64 << 20);
        let request = OpenSessionRequest { host: "raw".into(), ..Default::default() };
        let mut replies = upload.open_session(request).await.expect("a session").into_inner();
        let first = replies.message().await.expect("a reply").expect("the first reply tells the session");
        Self { upload, id: first.session }
    }

    /// Asks which blobs and objects are missing.
    pub async fn find(&mut self, blobs: &[BlobRef], objects: &[ObjectRef]) -> Result<FindMissingReply, Status> {
        let request = FindMissingRequest {
            session: self.id.clone(),
            blobs: pack_question(blobs.iter().map(|blob| (blob.id.as_bytes(), &blob.digest))),
            objects: pack_question(objects.iter().map(|object| (object.key.as_bytes(), &object.digest))),
        };
        only(self.upload.find_missing(tokio_stream::iter([request])).await?.into_inner()).await
    }

    /// Puts one bundle.
    pub async fn put_bundle(&mut self, bundle: datadb::api::Bundle) -> Result<PutBundlesReply, Status> {
        let request = PutBundlesRequest { session: self.id.clone(), bundle: Some(bundle) };
        only(self.upload.put_bundles(tokio_stream::iter([request])).await?.into_inner()).await
    }

    /// Puts objects by their encodings.
    pub async fn put_objects(&mut self, objects: Vec<Vec<u8>>) -> Result<PutObjectsReply, Status> {
        let objects = objects.into_iter().map(Into::into).collect();
        let request = PutObjectsRequest { session: self.id.clone(), objects };
        only(self.upload.put_objects(tokio_stream::iter([request])).await?.into_inner()).await
    }

    /// A commit of this root as `/raw` of the host `raw`.
    pub fn commit_of(&self, root: Vec<u8>, token: [u8; 16]) -> CommitRequest {
        CommitRequest {
            session: self.id.clone(),
            token: token.to_vec().into(),
            host: "raw".into(),
            path: b"/raw".to_vec().into(),
            root: root.into(),
            dirs: 1,
            ..Default::default()
        }
    }
}

/// The reply to the only request of a stream.
async fn only<T>(mut replies: tonic::Streaming<T>) -> Result<T, Status> {
    replies.message().await?.ok_or_else(|| Status::internal("the stream ended without a reply"))
}

/// These blobs as one bundle.
pub fn bundle_of(blobs: &[&[u8]]) -> Bundle {
    let mut builder = BundleBuilder::new();
    for bytes in blobs {
        builder.push(&BlobRef::of(bytes), bytes);
    }
    builder.seal(1)
}
