//! `datadb.v1.Upload`: how a backup gets in.

use bytes::Bytes;
use datadb::{
    Backup, BackupKey, Bundle, Fault, HostName, Kind, TreePath, api,
    backup::{BackupTime, Counts},
    codec::DecodeError,
    limits,
    wire::{Answer, pack_ids, unpack_blob_question, unpack_object_question},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{REPLIES_MAX, Replies, spawn, status};
use crate::engine::{
    Engine, EngineError,
    commit::CommitCall,
    open::random,
    session::SessionId,
    stats::Base,
    upload::{Stored, Verified},
};

/// Bundles of one stream that are verified at the same time.
const VERIFY_AHEAD: usize = 4;

/// The service.
#[derive(Debug)]
pub struct Service(pub Engine);

fn pack(answers: &[Answer]) -> Bytes {
    answers.iter().map(|answer| *answer as u8).collect::<Vec<u8>>().into()
}

fn too_many(what: &str) -> Status {
    let message = format!("more than {} {what} in one question", limits::QUESTION_REFS_MAX);
    Fault::new(Kind::Invalid, message).into()
}

impl Service {
    /// The session to go on with, or a new one.
    fn session(&self, open: &[u8]) -> Result<SessionId, Status> {
        if let Ok(id) = SessionId::try_from(open)
            && self.renew(open).is_ok()
        {
            return Ok(id);
        }
        let id = random().map_err(|error| Fault::new(Kind::Internal, error.to_string()))?;
        self.0.sessions().open(id, self.0.now())?;
        Ok(id)
    }

    fn reply(&self, backup: &Backup, session: &[u8]) -> api::CommitReply {
        let asked = self.0.asked_since(session).into_iter();
        let store_requests = asked.map(|(kind, count)| (kind.to_owned(), count)).collect();
        api::CommitReply { backup: Some(backup.into()), store_requests }
    }

    fn renew(&self, session: &[u8]) -> Result<(), EngineError> {
        self.0.sessions().renew(session, self.0.now())
    }
}

async fn find_missing(engine: &Engine, request: api::FindMissingRequest) -> Result<api::FindMissingReply, Status> {
    engine.sessions().renew(&request.session, engine.now())?;
    let blobs = unpack_blob_question(&request.blobs).map_err(status)?;
    let objects = unpack_object_question(&request.objects).map_err(status)?;
    if blobs.len() + objects.len() > limits::QUESTION_REFS_MAX {
        return Err(too_many("refs"));
    }
    let (blobs, objects): (Vec<_>, Vec<_>) = (blobs.collect(), objects.collect());
    let blobs = if blobs.is_empty() { Vec::new() } else { engine.find_blobs(blobs).await? };
    let objects = if objects.is_empty() { Vec::new() } else { engine.find_objects(objects).await? };
    Ok(api::FindMissingReply { blobs: pack(&blobs), objects: pack(&objects) })
}

async fn put_objects(engine: &Engine, request: api::PutObjectsRequest) -> Result<api::PutObjectsReply, Status> {
    engine.sessions().renew(&request.session, engine.now())?;
    engine.check_writable()?;
    let accepted = engine.put_objects(request.objects).await?;
    Ok(api::PutObjectsReply {
        answers: pack(&accepted.answers),
        missing: accepted.missing.concat().into(),
        conflicts: accepted.conflicts.iter().flat_map(|key| *key.as_bytes()).collect::<Vec<u8>>().into(),
    })
}

/// Starts to verify a bundle beside others.
fn verify(engine: &Engine, request: api::PutBundlesRequest) -> JoinHandle<Result<Verified, EngineError>> {
    let engine = engine.clone();
    spawn(async move {
        engine.sessions().renew(&request.session, engine.now())?;
        engine.check_writable()?;
        let bundle = request.bundle.ok_or(DecodeError::Short { field: "bundle" })?;
        engine.verify_bundle(Bundle::try_from(bundle)?).await
    })
}

/// Answers each request of a stream in order, until the first error or until the client goes away.
fn serve<Q: Send + 'static, A: Send + 'static, F>(
    mut requests: Streaming<Q>,
    answer: impl Fn(Q) -> F + Send + 'static,
) -> Response<Replies<A>>
where
    F: Future<Output = Result<A, Status>> + Send,
{
    let (replies, stream) = mpsc::channel(REPLIES_MAX);
    spawn(async move {
        loop {
            let reply = match requests.message().await {
                Ok(Some(request)) => answer(request).await,
                Ok(None) => return,
                Err(status) => Err(status),
            };
            let is_last = reply.is_err();
            if replies.send(reply).await.is_err() || is_last {
                return;
            }
        }
    });
    Response::new(ReceiverStream::new(stream))
}

#[tonic::async_trait]
impl api::upload_server::Upload for Service {
    type OpenSessionStream = Replies<api::OpenSessionReply>;

    async fn open_session(
        &self,
        request: Request<api::OpenSessionRequest>,
    ) -> Result<Response<Self::OpenSessionStream>, Status> {
        let request = request.into_inner();
        HostName::new(&request.host).map_err(status)?;
        let base = match &request.base[..] {
            [] => None,
            key => Some(BackupKey::try_from(key).map_err(status)?),
        };
        let id = self.session(&request.session)?;
        self.0.note_asked(&id);
        let judged = match base {
            Some(key) => self.0.judge_base(key).await?,
            None => Base::Unknown,
        };
        let (replies, stream) = mpsc::channel(REPLIES_MAX);
        let first = api::OpenSessionReply {
            session: Bytes::copy_from_slice(&id),
            base_known: judged != Base::Unknown,
            affected: Vec::new(),
        };
        let engine = self.0.clone();
        spawn(async move {
            if replies.send(Ok(first)).await.is_err() {
                return engine.sessions().close(&id);
            }
            let (Base::Suspect, Some(base)) = (judged, base) else { return };
            let send = |paths: Vec<TreePath>| {
                let affected = paths.iter().map(|path| Bytes::copy_from_slice(path.as_bytes())).collect();
                let reply = api::OpenSessionReply { affected, ..Default::default() };
                let replies = replies.clone();
                async move { replies.send(Ok(reply)).await.is_ok() }
            };
            if let Err(error) = engine.affected(base, send).await {
                // Where nobody listens any more nobody needs to know.
                drop(replies.send(Err(error.into())).await);
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type FindMissingStream = Replies<api::FindMissingReply>;

    async fn find_missing(
        &self,
        requests: Request<Streaming<api::FindMissingRequest>>,
    ) -> Result<Response<Self::FindMissingStream>, Status> {
        let engine = self.0.clone();
        Ok(serve(requests.into_inner(), move |request| {
            let engine = engine.clone();
            async move { find_missing(&engine, request).await }
        }))
    }

    type PutBundlesStream = Replies<api::PutBundlesReply>;

    async fn put_bundles(
        &self,
        requests: Request<Streaming<api::PutBundlesRequest>>,
    ) -> Result<Response<Self::PutBundlesStream>, Status> {
        let mut requests = requests.into_inner();
        let engine = self.0.clone();
        let (verifying, mut verified) = mpsc::channel::<JoinHandle<Result<Verified, EngineError>>>(VERIFY_AHEAD);
        let (replies, stream) = mpsc::channel(REPLIES_MAX);
        let verifier = engine.clone();
        let failures = replies.clone();
        spawn(async move {
            loop {
                match requests.message().await {
                    Ok(Some(request)) => {
                        if verifying.send(verify(&verifier, request)).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => return,
                    // The connection broke; whoever still listens learns why.
                    Err(status) => return drop(failures.send(Err(status)).await),
                }
            }
        });
        spawn(async move {
            while let Some(next) = verified.recv().await {
                let stored = async {
                    let verified = next.await.map_err(|_| EngineError::Stopping)??;
                    engine.put_bundle(verified).await
                };
                let reply = stored.await.map(|Stored { blobs_new, blobs_known, conflicts }| api::PutBundlesReply {
                    blobs_new,
                    blobs_known,
                    conflicts: pack_ids(&conflicts),
                });
                let is_last = reply.is_err();
                if replies.send(reply.map_err(Status::from)).await.is_err() || is_last {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type PutObjectsStream = Replies<api::PutObjectsReply>;

    async fn put_objects(
        &self,
        requests: Request<Streaming<api::PutObjectsRequest>>,
    ) -> Result<Response<Self::PutObjectsStream>, Status> {
        let engine = self.0.clone();
        Ok(serve(requests.into_inner(), move |request| {
            let engine = engine.clone();
            async move { put_objects(&engine, request).await }
        }))
    }

    async fn commit(&self, request: Request<api::CommitRequest>) -> Result<Response<api::CommitReply>, Status> {
        let request = request.into_inner();
        let token = request.token[..].try_into();
        let token = token.map_err(|_| status(DecodeError::rule("token", "is not 16 bytes long")))?;
        if let Some(backup) = self.0.committed(token).await? {
            return Ok(Response::new(self.reply(&backup, &request.session)));
        }
        self.renew(&request.session)?;
        self.0.check_writable()?;
        let session = request.session;
        let call = CommitCall {
            token,
            host: HostName::new(&request.host).map_err(status)?,
            path: TreePath::new(&request.path).map_err(status)?,
            root: request.root,
            time: match request.time {
                0 => None,
                time => Some(BackupTime::new(time).map_err(status)?),
            },
            counts: Counts {
                files: request.files,
                dirs: request.dirs,
                bytes: request.bytes,
                errors: request.errors,
                changed: request.changed,
            },
            tags: request.tags.into_iter().collect(),
        };
        let engine = self.0.clone();
        // A client that goes away does not stop a commit half way.
        let backup = spawn(async move { engine.commit(call).await }).await;
        let backup = backup.map_err(|_| status(EngineError::Stopping))??;
        Ok(Response::new(self.reply(&backup, &session)))
    }
}
