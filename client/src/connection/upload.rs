//! Uploads: open a session, ask, put bundles, put objects, commit.
//!
//! Requests go in by methods that never wait for the network longer than its flow control asks; replies come out of
//! channels in the order of the requests.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use datadb::{
    Backup, BackupKey, BlobId, BlobRef, Bundle, Fault, HostName, Kind, ObjectRef, TreePath, api,
    api::upload_client::UploadClient,
    backup::Counts,
    wire::{Answer, pack_question, unpack_ids},
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};

use super::{Connection, Wire, fault, nonsense};

/// A session, and how far an older backup's cache may be trusted.
#[derive(Debug)]
pub struct Opened {
    /// The session.
    pub session: Session,
    /// Whether the base that was named is there; if not, no cache entry may be trusted.
    pub base_known: bool,
    /// Paths below the base's root (beginning with `/`) that must be read again.
    pub affected: Vec<Vec<u8>>,
}

/// One client's upload, from its first question to its last commit.
#[derive(Debug)]
pub struct Session {
    id: Bytes,
    client: UploadClient<Wire>,
    requests: Arc<AtomicU64>,
}

/// What makes a backup of an uploaded tree.
#[derive(Clone, Debug)]
pub struct Commit {
    /// 16 random bytes; repeating a commit with its token gives the same backup.
    pub token: [u8; 16],
    /// Whose path.
    pub host: HostName,
    /// Which path.
    pub path: TreePath,
    /// Encoding of the root's meta.
    pub root: Bytes,
    /// Unix seconds; `None` is now.
    pub time: Option<i64>,
    /// Counts of what is inside.
    pub counts: Counts,
    /// The user's own words.
    pub tags: BTreeMap<String, String>,
}

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The backup.
    pub backup: Backup,
    /// What the server's stores were asked meanwhile: requests by kind. Empty where none is asked by requests.
    pub store_requests: BTreeMap<String, u64>,
}

impl Connection {
    /// Opens a session for a host, or goes on with one (if it has not expired), naming the backup whose cache the client
    /// would like to trust.
    pub async fn open_session(
        &self,
        host: &HostName,
        base: Option<BackupKey>,
        open: Option<&Session>,
    ) -> Result<Opened, Fault> {
        let mut client = self.upload();
        let base = base.map(|key| Bytes::copy_from_slice(key.as_bytes())).unwrap_or_default();
        let session = open.map(|session| session.id.clone()).unwrap_or_default();
        let request = api::OpenSessionRequest { host: host.as_str().to_owned(), base, session };
        let mut replies = client.open_session(request).await.map_err(fault)?.into_inner();
        let first = replies.message().await.map_err(fault)?.ok_or_else(|| nonsense("no session"))?;
        let mut affected: Vec<Vec<u8>> = first.affected.iter().map(|path| path.to_vec()).collect();
        while let Some(reply) = replies.message().await.map_err(fault)? {
            affected.extend(reply.affected.iter().map(|path| path.to_vec()));
        }
        let requests = open.map(|session| Arc::clone(&session.requests)).unwrap_or_default();
        requests.fetch_add(1, Ordering::Relaxed);
        let session = Session { id: first.session, client, requests };
        Ok(Opened { session, base_known: first.base_known, affected })
    }
}

impl Session {
    /// Messages sent so far to the server, of all kinds.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Starts a stream of questions. Must be called within a runtime.
    pub fn ask(&self) -> Asking {
        let (requests, receiver) = mpsc::unbounded_channel();
        let pending = Arc::new(Mutex::new(Pending::Open(VecDeque::new())));
        tokio::spawn(answers(self.client.clone(), receiver, Arc::clone(&pending)));
        Asking { session: self.id.clone(), requests, pending, sent: Arc::clone(&self.requests) }
    }

    /// Starts a stream of bundles. Must be called within a runtime.
    pub fn put_bundles(&self) -> (Bundles, mpsc::Receiver<Result<BundleAck, Fault>>) {
        let (requests, receiver) = mpsc::channel(1);
        let (acks, replies) = mpsc::channel(64);
        let mut client = self.client.clone();
        tokio::spawn(async move {
            let stream = match client.put_bundles(ReceiverStream::new(receiver)).await {
                Ok(response) => response.into_inner(),
                Err(status) => return drop(acks.send(Err(fault(status))).await),
            };
            forward(stream, acks, |reply: api::PutBundlesReply| {
                let conflicts = unpack_ids(&reply.conflicts)?.collect();
                Ok(BundleAck { blobs_new: reply.blobs_new, blobs_known: reply.blobs_known, conflicts })
            })
            .await;
        });
        (Bundles { session: self.id.clone(), requests, sent: Arc::clone(&self.requests) }, replies)
    }

    /// Starts a stream of objects. Must be called within a runtime.
    pub fn put_objects(&self) -> (Objects, mpsc::Receiver<Result<ObjectAck, Fault>>) {
        let (requests, receiver) = mpsc::channel(1);
        let (acks, replies) = mpsc::channel(64);
        let mut client = self.client.clone();
        tokio::spawn(async move {
            let stream = match client.put_objects(ReceiverStream::new(receiver)).await {
                Ok(response) => response.into_inner(),
                Err(status) => return drop(acks.send(Err(fault(status))).await),
            };
            forward(stream, acks, |reply: api::PutObjectsReply| {
                let answers = unpack_answers(&reply.answers)?;
                let conflicts = unpack_ids(&reply.conflicts)?.map(|id| *id.as_bytes()).collect();
                let missing = unpack_ids(&reply.missing)?.collect();
                Ok(ObjectAck { answers, missing, conflicts })
            })
            .await;
        });
        (Objects { session: self.id.clone(), requests, sent: Arc::clone(&self.requests) }, replies)
    }

    /// Makes the backup.
    pub async fn commit(&self, commit: &Commit) -> Result<Committed, Fault> {
        let Commit { token, host, path, root, time, counts, tags } = commit;
        let request = api::CommitRequest {
            session: self.id.clone(),
            token: Bytes::copy_from_slice(token),
            host: host.as_str().to_owned(),
            path: Bytes::copy_from_slice(path.as_bytes()),
            root: root.clone(),
            time: time.unwrap_or(0),
            files: counts.files,
            dirs: counts.dirs,
            bytes: counts.bytes,
            errors: counts.errors,
            changed: counts.changed,
            tags: tags.clone().into_iter().collect(),
        };
        self.requests.fetch_add(1, Ordering::Relaxed);
        let reply = self.client.clone().commit(request).await.map_err(fault)?.into_inner();
        let backup = Backup::try_from(reply.backup.ok_or_else(|| nonsense("no backup"))?)?;
        Ok(Committed { backup, store_requests: reply.store_requests.into_iter().collect() })
    }
}

/// Passes replies on until the stream ends, converted; an error is the last thing passed.
async fn forward<R, T>(
    mut stream: tonic::Streaming<R>,
    to: mpsc::Sender<Result<T, Fault>>,
    convert: impl Fn(R) -> Result<T, datadb::codec::DecodeError>,
) {
    loop {
        let next = match stream.message().await {
            Ok(Some(reply)) => convert(reply).map_err(|error| nonsense(&error.to_string())),
            Ok(None) => return,
            Err(status) => Err(fault(status)),
        };
        let is_last = next.is_err();
        if to.send(next).await.is_err() || is_last {
            return;
        }
    }
}

fn unpack_answers(packed: &[u8]) -> Result<Vec<Answer>, datadb::codec::DecodeError> {
    packed.iter().map(|byte| Answer::try_from(*byte)).collect()
}

/// What the server says to one question, in its order.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Per blob.
    pub blobs: Vec<Answer>,
    /// Per object.
    pub objects: Vec<Answer>,
}

type Reply = oneshot::Sender<Result<Answers, Fault>>;

#[derive(Debug)]
enum Pending {
    /// Who waits, with the numbers of answers expected.
    Open(VecDeque<(usize, usize, Reply)>),
    Broken(Fault),
}

/// A stream of questions; any thread may ask. Callers bound how many they have in flight.
#[derive(Clone, Debug)]
pub struct Asking {
    session: Bytes,
    requests: mpsc::UnboundedSender<api::FindMissingRequest>,
    pending: Arc<Mutex<Pending>>,
    sent: Arc<AtomicU64>,
}

impl Asking {
    /// Asks which of these are not there; the answer comes through the receiver. An empty question renews the session.
    pub fn ask(&self, blobs: &[BlobRef], objects: &[ObjectRef]) -> oneshot::Receiver<Result<Answers, Fault>> {
        let (sender, receiver) = oneshot::channel();
        let request = api::FindMissingRequest {
            session: self.session.clone(),
            blobs: pack_question(blobs.iter().map(|blob| (blob.id.as_bytes(), &blob.digest))),
            objects: pack_question(objects.iter().map(|object| (object.key.as_bytes(), &object.digest))),
        };
        // Under the lock, so that the queue has the order of the stream.
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *pending {
            Pending::Broken(fault) => drop(sender.send(Err(fault.clone()))),
            Pending::Open(waiting) => {
                waiting.push_back((blobs.len(), objects.len(), sender));
                self.sent.fetch_add(1, Ordering::Relaxed);
                drop(self.requests.send(request));
            }
        }
        receiver
    }
}

/// Waits for an answer, from a thread that may block.
pub fn wait(answer: oneshot::Receiver<Result<Answers, Fault>>) -> Result<Answers, Fault> {
    answer.blocking_recv().unwrap_or_else(|_| Err(Fault::new(Kind::Unavailable, "the server ended the session")))
}

async fn answers(
    mut client: UploadClient<Wire>,
    requests: mpsc::UnboundedReceiver<api::FindMissingRequest>,
    pending: Arc<Mutex<Pending>>,
) {
    let end = match client.find_missing(UnboundedReceiverStream::new(requests)).await {
        Err(status) => fault(status),
        Ok(response) => {
            let mut replies = response.into_inner();
            loop {
                match replies.message().await {
                    Ok(Some(reply)) => {
                        if let Err(fault) = pass_on(&reply, &pending) {
                            break fault;
                        }
                    }
                    Ok(None) => break Fault::new(Kind::Unavailable, "the server ended the session"),
                    Err(status) => break fault(status),
                }
            }
        }
    };
    let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
    if let Pending::Open(waiting) = std::mem::replace(&mut *pending, Pending::Broken(end.clone())) {
        for (_, _, sender) in waiting {
            drop(sender.send(Err(end.clone())));
        }
    }
}

fn pass_on(reply: &api::FindMissingReply, pending: &Mutex<Pending>) -> Result<(), Fault> {
    let answers = Answers { blobs: unpack_answers(&reply.blobs)?, objects: unpack_answers(&reply.objects)? };
    let next = match &mut *pending.lock().unwrap_or_else(PoisonError::into_inner) {
        Pending::Open(waiting) => waiting.pop_front(),
        Pending::Broken(_) => None,
    };
    let Some((blobs, objects, sender)) = next else { return Err(nonsense("an answer without a question")) };
    if (answers.blobs.len(), answers.objects.len()) != (blobs, objects) {
        drop(sender.send(Err(nonsense("answers do not fit the question"))));
        return Err(nonsense("answers do not fit the question"));
    }
    drop(sender.send(Ok(answers)));
    Ok(())
}

/// A bundle was verified and accepted.
#[derive(Clone, Debug)]
pub struct BundleAck {
    /// Blobs stored now.
    pub blobs_new: u32,
    /// Blobs that were there already.
    pub blobs_known: u32,
    /// Ids that meanwhile belong to other bytes; not stored.
    pub conflicts: Vec<BlobId>,
}

/// The way for bundles; dropping it ends the stream.
#[derive(Debug)]
pub struct Bundles {
    session: Bytes,
    requests: mpsc::Sender<api::PutBundlesRequest>,
    sent: Arc<AtomicU64>,
}

impl Bundles {
    /// Sends a bundle when there is room; gives its bytes on the wire, or `None` if the stream broke (the acks say why).
    pub fn send(&self, bundle: &Bundle) -> Option<u64> {
        let bytes = wire_bytes(bundle);
        let request = api::PutBundlesRequest { session: self.session.clone(), bundle: Some(bundle.into()) };
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.requests.blocking_send(request).ok().map(|()| bytes)
    }
}

/// What a bundle takes on the wire.
pub fn wire_bytes(bundle: &Bundle) -> u64 {
    (bundle.data().len() + bundle.table().len()) as u64
}

/// Some objects were taken, or refused.
#[derive(Clone, Debug)]
pub struct ObjectAck {
    /// Per object.
    pub answers: Vec<Answer>,
    /// What was named and is not there (keys and blob ids alike).
    pub missing: Vec<BlobId>,
    /// Keys that belong to other content.
    pub conflicts: Vec<[u8; 20]>,
}

/// The way for objects; dropping it ends the stream.
#[derive(Debug)]
pub struct Objects {
    session: Bytes,
    requests: mpsc::Sender<api::PutObjectsRequest>,
    sent: Arc<AtomicU64>,
}

impl Objects {
    /// Sends objects, children first; false if the stream broke (the acks say why).
    pub fn send(&self, objects: Vec<Bytes>) -> bool {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.requests.blocking_send(api::PutObjectsRequest { session: self.session.clone(), objects }).is_ok()
    }
}
