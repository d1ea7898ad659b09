//! Small backups through the engine, without a network, and a plain model of what must come back.

#![allow(clippy::unwrap_used, dead_code, reason = "a failed step is a failed test; not every test needs every helper")]

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use bytes::Bytes;
use datadb::{
    Backup, BackupKey, BlobId, BlobRef, FileType, HostName, Kind, Meta, Name, TreePath,
    backup::Counts,
    blob::FileDigest,
    meta::Content,
    object::{Encoded, SetBuilder},
    wire::Answer,
};
use datadb_server::{
    engine::{
        Engine, EngineError,
        browse::{BackupPages, Filter},
        clock::Clock,
        commit::CommitCall,
        list::ListOptions,
        open::{DataDir, Found, OpenError},
    },
    store::{disk::Disk, testing::conformance::bundle},
};

/// Files of a flat directory by name.
pub type Tree = BTreeMap<String, Bytes>;

/// A clock that moves on by a second each time it is read.
#[derive(Debug)]
pub struct Ticking(AtomicI64);

impl Default for Ticking {
    fn default() -> Self {
        Self(AtomicI64::new(1_400_000_000))
    }
}

impl Clock for Ticking {
    fn now(&self) -> i64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Opens a data directory whose packs lie on this disk and are small.
pub async fn open(root: &Path, disk: Arc<dyn Disk>) -> Result<(Engine, Found), OpenError> {
    let dir = DataDir::hold(root, disk)?.with_pack_bytes(20_000);
    Engine::open(dir, Arc::new(Ticking::default())).await
}

/// Backs up a flat directory as a client would: asks, sends what is missing, sends objects, commits.
pub async fn back_up(engine: &Engine, path: &str, tree: &Tree) -> Result<Backup, EngineError> {
    back_up_as(engine, "host", path, tree).await
}

/// The same from a host of this name.
pub async fn back_up_as(engine: &Engine, host: &str, path: &str, tree: &Tree) -> Result<Backup, EngineError> {
    send(engine, tree).await?;
    let mut builder = SetBuilder::new();
    let mut objects: Vec<Encoded> = Vec::new();
    for (name, bytes) in tree {
        let meta = file(name, bytes);
        let name = Name::new(name.as_bytes())?;
        objects.extend(builder.push(&name, meta.encode(), &|_| false));
    }
    let (rest, content) = builder.finish(&|_| false);
    objects.extend(rest);
    for object in objects {
        let accepted = engine.put_objects(vec![object.bytes]).await?;
        if accepted.answers != [Answer::Have] {
            return Err(EngineError::refused(Kind::Missing, format!("refused: {accepted:?}")));
        }
    }
    let mut root = Meta::bare(None, FileType::Dir);
    root.content = content;
    let counts = Counts { files: tree.len() as u64, dirs: 1, ..Counts::default() };
    let call = CommitCall {
        token: token(),
        host: HostName::new(host)?,
        path: TreePath::new(path.as_bytes())?,
        root: root.encode().into(),
        time: None,
        counts,
        tags: BTreeMap::new(),
    };
    engine.commit(call).await
}

fn token() -> [u8; 16] {
    datadb_server::engine::open::random().unwrap()
}

fn file(name: &str, bytes: &Bytes) -> Meta {
    let mut meta = Meta::bare(Some(Name::new(name.as_bytes()).unwrap()), FileType::File);
    let blob = BlobRef::of(bytes);
    let mut digest = FileDigest::new();
    digest.chunk(&blob.digest);
    (meta.size, meta.content, meta.digest) = (u64::from(blob.len), Content::Blob(blob.id), Some(digest.finish()));
    meta
}

/// Sends the blobs that are missing, and gives their number.
pub async fn send(engine: &Engine, tree: &Tree) -> Result<usize, EngineError> {
    let refs: Vec<BlobRef> = tree.values().map(|bytes| BlobRef::of(bytes)).collect();
    let answers = engine.find_blobs(refs.iter().map(|blob| (blob.id, blob.digest)).collect()).await?;
    let missing: Vec<Bytes> = tree
        .values()
        .zip(answers)
        .filter(|(_, answer)| *answer == Answer::Missing)
        .map(|(bytes, _)| bytes.clone())
        .collect();
    for some in missing.chunks(3) {
        let verified = engine.verify_bundle(bundle(some)).await?;
        engine.put_bundle(verified).await?;
    }
    Ok(missing.len())
}

/// All backups that are listed, by key.
pub async fn backups(engine: &Engine) -> BTreeMap<BackupKey, Backup> {
    let mut pages = BackupPages::new(Filter::default());
    let mut all = BTreeMap::new();
    loop {
        let (rest, page) = engine.next_backups(pages).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page.into_iter().map(|backup| (backup.key(), backup)));
        pages = rest;
    }
}

/// The files of a backup. Goes on past files that can't be read, as the client does, and then gives the first error.
pub async fn restore(engine: &Engine, backup: &Backup) -> Result<Tree, EngineError> {
    let root = engine.find_path(backup, &TreePath::root()).await?;
    let mut tree = Tree::new();
    let mut first_error = None;
    let Content::Ref(set) = root.content else { return Ok(tree) };
    let mut listing = engine.list(set, ListOptions { is_recursive: true, ..ListOptions::default() }).await?;
    loop {
        let (rest, page) = engine.next_entries(listing).await?;
        if page.is_empty() {
            return first_error.map_or(Ok(tree), Err);
        }
        for entry in page {
            let Content::Blob(id) = entry.meta.content else { panic!("every file here is one blob") };
            let name = String::from_utf8(entry.meta.name_bytes().to_vec()).unwrap();
            match read(engine, &id).await {
                Ok(bytes) => drop(tree.insert(name, bytes)),
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        listing = rest;
    }
}

async fn read(engine: &Engine, id: &BlobId) -> Result<Bytes, EngineError> {
    let bytes = engine.read_blob(id).await?;
    bytes.ok_or_else(|| EngineError::refused(Kind::Damaged, format!("blob {id} is missing")))
}

/// Copies a flat directory.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
