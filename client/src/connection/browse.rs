//! Finding, walking and reading backups.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use datadb::{
    Backup, BlobId, Bundle, Fault, Kind, Meta, Name, ObjectKey, TreePath, api,
    backup::BackupSpec,
    object::Chunk,
    terminal::escape,
    wire::{pack_ids, unpack_ids},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::{Connection, Wire, fault, nonsense};

/// Which backups to look among; empty fields let everything through.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Exact host name.
    pub host: Option<String>,
    /// Exact path of the backups.
    pub path: Option<Vec<u8>>,
}

impl From<&Filter> for api::BackupFilter {
    fn from(filter: &Filter) -> Self {
        Self { host: filter.host.clone().unwrap_or_default(), path: filter.path.clone().unwrap_or_default().into() }
    }
}

/// A snapshot, by its newest backup.
#[derive(Clone, Debug)]
pub struct SnapshotName {
    /// Its newest backup, which names host and path, too.
    pub newest: Backup,
    /// Record of the log and place in it where the snapshot began; the smaller was there first.
    pub rank: (u64, u32),
}

/// A directory's entries, page by page, in the order of the tree.
#[derive(Debug)]
pub struct Listing(tonic::Streaming<api::ListDirectoryReply>);

impl Listing {
    /// The next page of depths and metas; `None` at the end.
    pub async fn page(&mut self) -> Result<Option<Vec<(u32, Meta)>>, Fault> {
        let page = self.page_with_holes().await?;
        Ok(page.map(|page| page.into_iter().map(|(depth, meta, _)| (depth, meta)).collect()))
    }

    /// The same, with the bytes of each file that are holes, where they were asked for.
    pub async fn page_with_holes(&mut self) -> Result<Option<Vec<(u32, Meta, u64)>>, Fault> {
        let Some(reply) = self.0.message().await.map_err(fault)? else { return Ok(None) };
        reply.entries.into_iter().map(entry).collect::<Result<_, Fault>>().map(Some)
    }
}

fn entry(entry: api::Entry) -> Result<(u32, Meta, u64), Fault> {
    let meta = entry.meta.ok_or_else(|| nonsense("an entry without a meta"))?;
    Ok((entry.depth, Meta::try_from(meta)?, entry.hole_bytes))
}

/// A directory of a tree, or the next entries of the one before.
#[derive(Debug)]
pub struct TreePart {
    /// The directory's set.
    pub set: ObjectKey,
    /// Metas, and how many bytes of each file are holes.
    pub entries: Vec<(Meta, u64)>,
    /// Whether it ends here.
    pub is_last: bool,
}

/// The directories of a tree, page by page.
#[derive(Debug)]
pub struct Tree {
    stream: tonic::Streaming<api::ListTreeReply>,
    next: Option<TreePath>,
}

impl Tree {
    /// The next parts; `None` at the end.
    pub async fn page(&mut self) -> Result<Option<Vec<TreePart>>, Fault> {
        let Some(reply) = self.stream.message().await.map_err(fault)? else { return Ok(None) };
        if !reply.next.is_empty() {
            self.next = Some(TreePath::new(&reply.next)?);
        }
        let part = |part: api::TreePart| {
            let entries = part.entries.into_iter().map(|one| entry(one).map(|(_, meta, holes)| (meta, holes)));
            let set = ObjectKey::try_from(&part.set[..])?;
            Ok(TreePart { set, entries: entries.collect::<Result<_, Fault>>()?, is_last: part.last })
        };
        reply.parts.into_iter().map(part).collect::<Result<_, Fault>>().map(Some)
    }

    /// After the last page: the directory with which to go on; `None` if there is none.
    pub const fn next(&self) -> Option<&TreePath> {
        self.next.as_ref()
    }
}

/// A file's chunks, page by page.
#[derive(Debug)]
pub struct Lists {
    stream: tonic::Streaming<api::ReadListReply>,
    end: u64,
}

impl Lists {
    /// The next chunks; `None` at the end.
    pub async fn page(&mut self) -> Result<Option<Vec<Chunk>>, Fault> {
        let Some(reply) = self.stream.message().await.map_err(fault)? else { return Ok(None) };
        let ids = unpack_ids(&reply.ids)?;
        if ids.len() != reply.ends.len() {
            return Err(nonsense("ends and ids differ in number"));
        }
        let chunk = |(end, id): (&u64, BlobId)| {
            let len = end.checked_sub(self.end).filter(|len| *len > 0).ok_or_else(|| nonsense("ends do not grow"))?;
            self.end = *end;
            Ok(Chunk { len, blob: (id != BlobId::HOLE).then_some(id) })
        };
        reply.ends.iter().zip(ids).map(chunk).collect::<Result<_, Fault>>().map(Some)
    }
}

impl Connection {
    /// All backups that the filter lets through, each handed on as it comes: oldest first within a snapshot, snapshots
    /// by host and path.
    pub async fn list_backups(
        &self,
        filter: &Filter,
        mut each: impl FnMut(Backup) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let request = api::ListBackupsRequest { filter: Some(filter.into()) };
        let mut replies = self.browse().list_backups(request).await.map_err(fault)?.into_inner();
        while let Some(reply) = replies.message().await.map_err(fault)? {
            reply.backups.into_iter().try_for_each(|backup| each(Backup::try_from(backup)?))?;
        }
        Ok(())
    }

    /// Finds one backup, and the meta of one path in it. `now` and `zone` are for times as people write them.
    pub async fn resolve(
        &self,
        spec: &BackupSpec,
        filter: &Filter,
        path: &TreePath,
        now: i64,
        zone: &jiff::tz::TimeZone,
    ) -> Result<(Backup, Meta), Fault> {
        let request = resolve_request(spec, filter, path, now, zone)?;
        self.resolved(request).await.map(|(backup, meta, _)| (backup, meta))
    }

    /// The same, with the bytes of a file that are holes.
    pub async fn resolve_with_holes(
        &self,
        spec: &BackupSpec,
        filter: &Filter,
        path: &TreePath,
        now: i64,
        zone: &jiff::tz::TimeZone,
    ) -> Result<(Backup, Meta, u64), Fault> {
        let request = resolve_request(spec, filter, path, now, zone)?;
        self.resolved(api::ResolveRequest { holes: true, ..request }).await
    }

    async fn resolved(&self, request: api::ResolveRequest) -> Result<(Backup, Meta, u64), Fault> {
        let reply = self.browse().resolve(request).await.map_err(fault)?.into_inner();
        let backup = reply.backup.ok_or_else(|| nonsense("no backup"))?;
        let meta = reply.meta.ok_or_else(|| nonsense("no meta"))?;
        Ok((Backup::try_from(backup)?, Meta::try_from(meta)?, reply.hole_bytes))
    }

    /// All snapshots that the filter lets through, by host and path.
    pub async fn list_names(&self, filter: &Filter) -> Result<Vec<SnapshotName>, Fault> {
        let request = api::ListNamesRequest { filter: Some(filter.into()) };
        let mut replies = self.browse().list_names(request).await.map_err(fault)?.into_inner();
        let mut names = Vec::new();
        while let Some(reply) = replies.message().await.map_err(fault)? {
            for name in reply.names {
                let newest = name.newest.ok_or_else(|| nonsense("a snapshot without a backup"))?;
                let rank = (name.rank_record, name.rank_place);
                names.push(SnapshotName { newest: Backup::try_from(newest)?, rank });
            }
        }
        Ok(names)
    }

    /// Lists a directory's set; recursively, each directory is followed by its own entries.
    pub async fn list_directory(&self, set: &ObjectKey, recursive: bool) -> Result<Listing, Fault> {
        self.list_from(set, recursive, None).await
    }

    /// Lists a directory's set alone, from the first name after the given one.
    pub async fn list_directory_after(&self, set: &ObjectKey, after: Option<&Name>) -> Result<Listing, Fault> {
        self.list_from(set, false, after).await
    }

    /// Lists a directory's set, from the first name of its own after the given one.
    pub async fn list_from(&self, set: &ObjectKey, recursive: bool, after: Option<&Name>) -> Result<Listing, Fault> {
        self.listed(set, recursive, after, false).await
    }

    /// Lists a directory's set alone, from the first name after the given one, and tells what of each file is holes.
    pub async fn list_with_holes(&self, set: &ObjectKey, after: Option<&Name>) -> Result<Listing, Fault> {
        self.listed(set, false, after, true).await
    }

    /// The directories of a tree from a path below its set on, each whole before those inside it; ends behind the one
    /// with which so many entries were told.
    pub async fn list_tree(&self, set: &ObjectKey, from: &TreePath, entries_max: u32) -> Result<Tree, Fault> {
        let (set, from) = (Bytes::copy_from_slice(set.as_bytes()), Bytes::copy_from_slice(from.as_bytes()));
        let request = api::ListTreeRequest { set, from, entries_max };
        Ok(Tree { stream: self.browse().list_tree(request).await.map_err(fault)?.into_inner(), next: None })
    }

    async fn listed(
        &self,
        set: &ObjectKey,
        recursive: bool,
        after: Option<&Name>,
        holes: bool,
    ) -> Result<Listing, Fault> {
        let after = after.map(|name| Bytes::copy_from_slice(name.as_bytes())).unwrap_or_default();
        let request =
            api::ListDirectoryRequest { set: Bytes::copy_from_slice(set.as_bytes()), recursive, after, holes };
        Ok(Listing(self.browse().list_directory(request).await.map_err(fault)?.into_inner()))
    }

    /// Reads a file's list from the chunk that begins at this byte.
    pub async fn read_list(&self, list: &ObjectKey, offset: u64) -> Result<Lists, Fault> {
        let request = api::ReadListRequest { list: Bytes::copy_from_slice(list.as_bytes()), offset };
        Ok(Lists { stream: self.browse().read_list(request).await.map_err(fault)?.into_inner(), end: offset })
    }

    /// Starts a stream of downloads. Must be called within a runtime.
    pub fn downloads(&self) -> Downloads {
        let (requests, receiver) = mpsc::unbounded_channel();
        let waiting = Waiting::default();
        tokio::spawn(deliver(self.browse(), receiver, Arc::clone(&waiting)));
        Downloads { requests, waiting }
    }
}

/// A question about one backup and one path in it.
fn resolve_request(
    spec: &BackupSpec,
    filter: &Filter,
    path: &TreePath,
    now: i64,
    zone: &jiff::tz::TimeZone,
) -> Result<api::ResolveRequest, Fault> {
    use api::resolve_request::Backup as Wanted;
    let backup = match spec {
        BackupSpec::Prefix(prefix) => Wanted::Prefix(prefix.clone()),
        BackupSpec::Latest(n) => Wanted::Latest(*n),
        BackupSpec::NameAtTime { name, time } => {
            let time = datadb::clock::parse_time(time, now, zone)
                .map_err(|error| Fault::new(Kind::Invalid, error.to_string()))?;
            Wanted::Named(api::NameAtTime { name: name.clone().into(), time })
        }
    };
    let path = Bytes::copy_from_slice(path.as_bytes());
    Ok(api::ResolveRequest { backup: Some(backup), filter: Some(filter.into()), path, holes: false })
}

/// A part of the answer to one download request.
#[derive(Debug)]
pub enum Delivery {
    /// Holds at least one of the blobs asked for; not verified yet.
    Bundle(Bundle),
    /// These are not there.
    Missing(Vec<BlobId>),
    /// The only copies of these failed verification.
    Damaged(Vec<BlobId>),
    /// The server can't read these now, and says why; nothing says that they are damaged.
    Unreadable(Vec<BlobId>, String),
}

/// Who waits for the answers to requests, in their order; and why there will be no more answers, once that is so.
#[derive(Debug, Default)]
struct Waiters {
    queue: VecDeque<mpsc::Sender<Result<Delivery, Fault>>>,
    end: Option<Fault>,
}

type Waiting = Arc<Mutex<Waiters>>;

/// A stream of downloads. The caller bounds how many requests are in flight.
#[derive(Debug)]
pub struct Downloads {
    requests: mpsc::UnboundedSender<api::DownloadRequest>,
    waiting: Waiting,
}

/// The answer to one request; it ends when everything asked for has come or was named.
#[derive(Debug)]
pub struct Download(mpsc::Receiver<Result<Delivery, Fault>>);

impl Downloads {
    /// Asks for blobs, at most `limits::QUESTION_REFS_MAX` of them.
    pub fn request(&self, ids: &[BlobId]) -> Download {
        let (sender, receiver) = mpsc::channel(4);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(end) = &waiting.end {
            sender.try_send(Err(end.clone())).expect("the channel is new and has room");
            return Download(receiver);
        }
        waiting.queue.push_back(sender);
        // Where nobody takes it any more, the end is about to be told to all who wait.
        drop(self.requests.send(api::DownloadRequest { ids: pack_ids(ids) }));
        Download(receiver)
    }
}

impl Download {
    /// The next part, from a thread that may block. After a broken connection, an error; `None` at the end.
    pub fn part(&mut self) -> Option<Result<Delivery, Fault>> {
        self.0.blocking_recv()
    }

    /// The same, from a task.
    pub async fn next(&mut self) -> Option<Result<Delivery, Fault>> {
        self.0.recv().await
    }
}

async fn deliver(
    mut client: api::browse_client::BrowseClient<Wire>,
    requests: mpsc::UnboundedReceiver<api::DownloadRequest>,
    waiting: Waiting,
) {
    let receive = async {
        let mut replies = client.download(UnboundedReceiverStream::new(requests)).await.map_err(fault)?.into_inner();
        while let Some(reply) = replies.message().await.map_err(fault)? {
            hand_over(reply, &waiting).await?;
        }
        Err::<Infallible, _>(Fault::new(Kind::Unavailable, "the server ended the download"))
    };
    let Err(end) = crate::exit::unless_interrupted(receive).await;
    let queue = {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.end = Some(end.clone());
        std::mem::take(&mut waiting.queue)
    };
    for sender in queue {
        drop(sender.send(Err(end.clone())).await);
    }
}

async fn hand_over(reply: api::DownloadReply, waiting: &Waiting) -> Result<(), Fault> {
    let sender = {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let first = if reply.done { waiting.queue.pop_front() } else { waiting.queue.front().cloned() };
        first.ok_or_else(|| nonsense("a delivery that nobody asked for"))?
    };
    let mut parts = Vec::new();
    if let Some(bundle) = reply.bundle {
        let bundle = Bundle::try_from(bundle).map_err(|error| Fault::new(Kind::Damaged, error.to_string()));
        parts.push(bundle.map(Delivery::Bundle));
    }
    if !reply.missing.is_empty() {
        parts.push(Ok(Delivery::Missing(unpack_ids(&reply.missing)?.collect())));
    }
    if !reply.damaged.is_empty() {
        parts.push(Ok(Delivery::Damaged(unpack_ids(&reply.damaged)?.collect())));
    }
    if !reply.unreadable.is_empty() {
        parts
            .push(Ok(Delivery::Unreadable(unpack_ids(&reply.unreadable)?.collect(), escape(reply.trouble.as_bytes()))));
    }
    for part in parts {
        // Nobody listening means that the request was given up: the rest of the stream goes on.
        drop(sender.send(part).await);
    }
    Ok(())
}
