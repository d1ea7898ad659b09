//! `datadb.v1.Browse`: how backups are found, walked and read.

use bytes::Bytes;
use datadb::{
    Backup, BackupKey, BlobId, Fault, HostName, Kind, Name, ObjectKey, TreePath, api, limits,
    wire::{meta_to_api, pack_ids, unpack_ids},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{REPLIES_MAX, Replies, spawn, status, versions};
use crate::engine::{
    Engine, EngineError,
    browse::{BackupPages, Filter, Wanted},
    download::Piece,
    find::Among,
    list::{Entry, ListOptions},
    names::{NamePages, SnapshotName},
    totals::{SnapshotTotals, TotalsPages},
    tree::TreePart,
};

/// The service.
#[derive(Debug)]
pub struct Service(pub Engine);

impl Service {
    async fn backup(&self, key: BackupKey) -> Result<Backup, Status> {
        let backup = self.0.backup_by_key(key).await?;
        backup.ok_or_else(|| Fault::new(Kind::NotFound, format!("backup {key} is not there")).into())
    }
}

pub(super) fn filter(filter: Option<api::BackupFilter>) -> Result<Filter, Status> {
    let api::BackupFilter { host, path } = filter.unwrap_or_default();
    Ok(Filter {
        host: if host.is_empty() { None } else { Some(HostName::new(&host).map_err(status)?) },
        path: if path.is_empty() { None } else { Some(TreePath::lenient(&path).map_err(status)?) },
        holding: None,
    })
}

fn wanted(backup: Option<api::resolve_request::Backup>) -> Result<Wanted, Status> {
    use api::resolve_request::Backup;
    match backup {
        Some(Backup::Prefix(prefix)) => Ok(Wanted::Prefix(prefix.to_ascii_lowercase())),
        Some(Backup::Latest(back)) => Ok(Wanted::Latest(back)),
        Some(Backup::Named(named)) => Ok(Wanted::NameAtTime { name: named.name.to_vec(), time: named.time }),
        None => Err(Fault::new(Kind::Invalid, "the request names no backup").into()),
    }
}

/// Runs a producer of replies in a task of its own; its error is the last reply.
pub(super) fn produce<T: Send + 'static, F>(
    work: impl FnOnce(mpsc::Sender<Result<T, Status>>) -> F,
) -> Response<Replies<T>>
where
    F: Future<Output = Result<(), EngineError>> + Send + 'static,
{
    let (replies, stream) = mpsc::channel(REPLIES_MAX);
    let work = work(replies.clone());
    spawn(async move {
        if let Err(error) = work.await {
            // Where nobody listens any more nobody needs to know.
            drop(replies.send(Err(error.into())).await);
        }
    });
    Response::new(ReceiverStream::new(stream))
}

async fn download(
    engine: &Engine,
    request: api::DownloadRequest,
    replies: &mpsc::Sender<Result<api::DownloadReply, Status>>,
) -> Result<(), EngineError> {
    let ids = unpack_ids(&request.ids)?;
    if ids.len() > limits::QUESTION_REFS_MAX {
        let message = format!("more than {} ids in one request", limits::QUESTION_REFS_MAX);
        return Err(EngineError::refused(Kind::Invalid, message));
    }
    let ids: Vec<BlobId> = ids.collect();
    let (pieces, mut incoming) = mpsc::channel(REPLIES_MAX);
    let forward = async {
        while let Some(piece) = incoming.recv().await {
            let reply = match piece {
                Piece::Bundle(bundle) => api::DownloadReply { bundle: Some((&bundle).into()), ..Default::default() },
                Piece::Missing(ids) => api::DownloadReply { missing: pack_ids(&ids), ..Default::default() },
                Piece::Unreadable(ids, trouble) => {
                    api::DownloadReply { unreadable: pack_ids(&ids), trouble, ..Default::default() }
                }
                Piece::Damaged(ids) => api::DownloadReply { damaged: pack_ids(&ids), ..Default::default() },
            };
            if replies.send(Ok(reply)).await.is_err() {
                return;
            }
        }
    };
    let fetch = async move { engine.download(&ids, &pieces).await };
    let (fetched, ()) = tokio::join!(fetch, forward);
    fetched?;
    let done = api::DownloadReply { done: true, ..Default::default() };
    // A client that has gone away needs no end either.
    drop(replies.send(Ok(done)).await);
    Ok(())
}

fn entry(entry: Entry) -> api::Entry {
    let meta = Some(meta_to_api(&entry.meta, Some(entry.key)));
    api::Entry { depth: entry.depth, meta, hole_bytes: entry.hole_bytes }
}

fn part(part: TreePart) -> api::TreePart {
    let set = Bytes::copy_from_slice(part.set.as_bytes());
    api::TreePart { set, entries: part.entries.into_iter().map(entry).collect(), last: part.is_last }
}

#[tonic::async_trait]
impl api::browse_server::Browse for Service {
    type ListBackupsStream = Replies<api::ListBackupsReply>;

    async fn list_backups(
        &self,
        request: Request<api::ListBackupsRequest>,
    ) -> Result<Response<Self::ListBackupsStream>, Status> {
        let mut pages = BackupPages::new(filter(request.into_inner().filter)?);
        let engine = self.0.clone();
        Ok(produce(move |replies| async move {
            loop {
                let (rest, page) = engine.next_backups(pages).await?;
                let backups: Vec<api::Backup> = page.iter().map(Into::into).collect();
                if backups.is_empty() || replies.send(Ok(api::ListBackupsReply { backups })).await.is_err() {
                    return Ok(());
                }
                pages = rest;
            }
        }))
    }

    type ListSnapshotsStream = Replies<api::ListSnapshotsReply>;

    async fn list_snapshots(
        &self,
        request: Request<api::ListSnapshotsRequest>,
    ) -> Result<Response<Self::ListSnapshotsStream>, Status> {
        let mut pages = TotalsPages::new(filter(request.into_inner().filter)?);
        let engine = self.0.clone();
        Ok(produce(move |replies| async move {
            while let (rest, Some(page)) = engine.next_totals(pages).await? {
                let totals = |totals: &SnapshotTotals| api::SnapshotTotals {
                    newest: Some((&totals.newest).into()),
                    backups: totals.backups,
                    bytes: totals.bytes,
                };
                let snapshots = page.iter().map(totals).collect();
                if replies.send(Ok(api::ListSnapshotsReply { snapshots })).await.is_err() {
                    return Ok(());
                }
                pages = rest;
            }
            Ok(())
        }))
    }

    type ListNamesStream = Replies<api::ListNamesReply>;

    async fn list_names(
        &self,
        request: Request<api::ListNamesRequest>,
    ) -> Result<Response<Self::ListNamesStream>, Status> {
        let mut pages = NamePages::new(filter(request.into_inner().filter)?);
        let engine = self.0.clone();
        Ok(produce(move |replies| async move {
            while let (rest, Some(page)) = engine.next_names(pages).await? {
                let name = |name: &SnapshotName| api::SnapshotName {
                    newest: Some((&name.newest).into()),
                    rank_record: name.rank.record,
                    rank_place: name.rank.place,
                };
                let names = page.iter().map(name).collect();
                if replies.send(Ok(api::ListNamesReply { names })).await.is_err() {
                    return Ok(());
                }
                pages = rest;
            }
            Ok(())
        }))
    }

    type ListTreeStream = Replies<api::ListTreeReply>;

    async fn list_tree(
        &self,
        request: Request<api::ListTreeRequest>,
    ) -> Result<Response<Self::ListTreeStream>, Status> {
        let api::ListTreeRequest { set, from, entries_max } = request.into_inner();
        let set = ObjectKey::try_from(&set[..]).map_err(status)?;
        let from = TreePath::lenient(&from).map_err(status)?;
        let max = match entries_max as usize {
            0 => limits::TREE_ENTRIES_MAX,
            max => max.min(limits::TREE_ENTRIES_MAX),
        };
        let mut tree = self.0.tree(set, from, max).await?;
        let engine = self.0.clone();
        Ok(produce(move |replies| async move {
            loop {
                let (rest, page) = engine.next_parts(tree).await?;
                if page.is_empty() {
                    let next = engine.next_place(rest).await?;
                    let next = next.map(|path| Bytes::copy_from_slice(path.as_bytes())).unwrap_or_default();
                    // Whoever has gone away needs no end.
                    drop(replies.send(Ok(api::ListTreeReply { parts: Vec::new(), next })).await);
                    return Ok(());
                }
                let parts = page.into_iter().map(part).collect();
                if replies.send(Ok(api::ListTreeReply { parts, next: Bytes::new() })).await.is_err() {
                    return Ok(());
                }
                tree = rest;
            }
        }))
    }

    type HistoryStream = Replies<api::VersionsReply>;

    async fn history(&self, request: Request<api::HistoryRequest>) -> Result<Response<Self::HistoryStream>, Status> {
        let api::HistoryRequest { path, filter: among, unfolded } = request.into_inner();
        let path = TreePath::lenient(&path).map_err(status)?;
        let mut history = self.0.history(path, filter(among)?, unfolded);
        let engine = self.0.clone();
        Ok(produce(move |replies| async move {
            while let (rest, Some(page)) = engine.next_versions(history).await? {
                if replies.send(Ok(versions::reply(&page))).await.is_err() {
                    return Ok(());
                }
                history = rest;
            }
            Ok(())
        }))
    }

    type FindStream = Replies<api::VersionsReply>;

    async fn find(&self, request: Request<api::FindRequest>) -> Result<Response<Self::FindStream>, Status> {
        let request = request.into_inner();
        let query = versions::query(&request)?;
        let below = TreePath::lenient(&request.below).map_err(status)?;
        let among = match &request.backup[..] {
            [] => Among::All(filter(request.filter)?),
            key => Among::One(Box::new(self.backup(BackupKey::try_from(key).map_err(status)?).await?)),
        };
        let mut search = self.0.find(query, among, below);
        let engine = self.0.clone();
        Ok(produce(move |replies| async move {
            while let (rest, Some(page)) = engine.next_found(search).await? {
                if replies.send(Ok(versions::reply(&page))).await.is_err() {
                    return Ok(());
                }
                search = rest;
            }
            Ok(())
        }))
    }

    async fn resolve(&self, request: Request<api::ResolveRequest>) -> Result<Response<api::ResolveReply>, Status> {
        let request = request.into_inner();
        let path = TreePath::lenient(&request.path).map_err(status)?;
        let backup = self.0.find_backup(wanted(request.backup)?, filter(request.filter)?).await?;
        let meta = self.0.find_path(&backup, &path).await?;
        let hole_bytes = if request.holes { self.0.hole_bytes(&meta).await? } else { 0 };
        let meta = Some(meta_to_api(&meta, None));
        Ok(Response::new(api::ResolveReply { backup: Some((&backup).into()), meta, hole_bytes }))
    }

    type ListDirectoryStream = Replies<api::ListDirectoryReply>;

    async fn list_directory(
        &self,
        request: Request<api::ListDirectoryRequest>,
    ) -> Result<Response<Self::ListDirectoryStream>, Status> {
        let api::ListDirectoryRequest { set, recursive: is_recursive, after, holes: with_holes } = request.into_inner();
        let set = ObjectKey::try_from(&set[..]).map_err(status)?;
        let after = if after.is_empty() { None } else { Some(Name::new(&after).map_err(status)?) };
        let mut listing = self.0.list(set, ListOptions { is_recursive, after, with_holes }).await?;
        let engine = self.0.clone();
        Ok(produce(move |replies| async move {
            loop {
                let (rest, page) = engine.next_entries(listing).await?;
                if page.is_empty() {
                    return Ok(());
                }
                let entries = page.into_iter().map(entry).collect();
                if replies.send(Ok(api::ListDirectoryReply { entries })).await.is_err() {
                    return Ok(());
                }
                listing = rest;
            }
        }))
    }

    type ReadListStream = Replies<api::ReadListReply>;

    async fn read_list(
        &self,
        request: Request<api::ReadListRequest>,
    ) -> Result<Response<Self::ReadListStream>, Status> {
        let api::ReadListRequest { list, offset } = request.into_inner();
        let list = ObjectKey::try_from(&list[..]).map_err(status)?;
        let mut pages = self.0.chunks(list, offset).await?;
        let engine = self.0.clone();
        Ok(produce(move |replies| async move {
            loop {
                let (rest, page) = engine.next_chunks(pages).await?;
                if page.is_empty() {
                    return Ok(());
                }
                let ends = page.iter().map(|chunk| chunk.end).collect();
                let ids: Vec<BlobId> = page.iter().map(|chunk| chunk.blob.unwrap_or(BlobId::HOLE)).collect();
                if replies.send(Ok(api::ReadListReply { ends, ids: pack_ids(&ids) })).await.is_err() {
                    return Ok(());
                }
                pages = rest;
            }
        }))
    }

    type ReadFileStream = Replies<api::ReadFileReply>;

    async fn read_file(
        &self,
        request: Request<api::ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        let api::ReadFileRequest { backup, path, offset, length } = request.into_inner();
        let key = BackupKey::try_from(&backup[..]).map_err(status)?;
        let path = TreePath::lenient(&path).map_err(status)?;
        let backup = self.backup(key).await?;
        let meta = self.0.find_path(&backup, &path).await?;
        let end = if length == 0 { u64::MAX } else { offset.saturating_add(length) };
        let engine = self.0.clone();
        Ok(produce(move |replies| async move {
            let (pieces, mut incoming) = mpsc::channel::<Bytes>(REPLIES_MAX);
            let read = async move { engine.read_file(&meta, offset, end, &pieces).await };
            let forward = async {
                while let Some(data) = incoming.recv().await {
                    if replies.send(Ok(api::ReadFileReply { data })).await.is_err() {
                        return;
                    }
                }
            };
            tokio::join!(read, forward).0
        }))
    }

    type DownloadStream = Replies<api::DownloadReply>;

    async fn download(
        &self,
        requests: Request<Streaming<api::DownloadRequest>>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let mut requests = requests.into_inner();
        let engine = self.0.clone();
        Ok(produce(move |replies| async move {
            while let Some(request) = requests.message().await.map_err(|status| EngineError::Refused(status.into()))? {
                download(&engine, request, &replies).await?;
                if replies.is_closed() {
                    return Ok(());
                }
            }
            Ok(())
        }))
    }
}
