//! A directory of any size is accepted within a fixed share of memory (invariant 6). A program of its own, with one test,
//! because the system counts memory for the whole process. `DATADB_DIRECTORY_ENTRIES` says how many entries (200,000; ten
//! million take some minutes and 3 GB of disk).

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{collections::BTreeMap, fs, sync::Arc};

use datadb::{
    FileType, HostName, Meta, Name, Object, ObjectKey, TreePath,
    backup::Counts,
    meta::Content,
    object::{Encoded, SetBuilder},
    wire::Answer,
};
use datadb_server::{
    engine::{Engine, clock::SystemClock, commit::CommitCall, open::DataDir},
    store::disk::RealDisk,
};

/// As in the server.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What a server may take more than before, whatever is sent, beside the caches of its index.
const BYTES_MAX: u64 = 100 << 20;

/// Encoded bytes that are sent at once: more than any client sends.
const BATCH_BYTES: usize = 4 << 20;

/// A line of what the system knows of this process, in bytes.
fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap() << 10
}

async fn send(engine: &Engine, objects: &mut Vec<Encoded>) {
    let sent = objects.len();
    let answers = engine.put_objects(objects.drain(..).map(|object| object.bytes).collect()).await.unwrap().answers;
    assert_eq!(answers, vec![Answer::Have; sent]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_millions_of_entries_is_accepted_within_100_mib() {
    let entries = std::env::var("DATADB_DIRECTORY_ENTRIES").ok().and_then(|it| it.parse().ok()).unwrap_or(200_000u64);
    let dir = tempfile::tempdir().unwrap();
    let held = DataDir::hold(dir.path(), Arc::new(RealDisk)).unwrap();
    let (engine, _) = Engine::open(held, Arc::new(SystemClock)).await.unwrap();
    // From here on the peak counts.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS:");
    let never = |_: &ObjectKey| false;
    let mut builder = SetBuilder::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for at in 0..entries {
        let name = Name::new(format!("entry-{at:010}").as_bytes()).unwrap();
        let meta = Meta { mode: 0o644, uid: 1000, ..Meta::bare(Some(name.clone()), FileType::File) };
        if let Some(segment) = builder.push(&name, meta.encode(), &never) {
            bytes += segment.bytes.len();
            batch.push(segment);
        }
        if bytes >= BATCH_BYTES {
            send(&engine, &mut batch).await;
            bytes = 0;
        }
    }
    let (rest, content) = builder.finish(&never);
    batch.extend(rest);
    let head = batch.last().unwrap().bytes.clone();
    send(&engine, &mut batch).await;
    let Content::Ref(key) = content else { panic!("so large a directory has a ref") };
    let root = Meta { mode: 0o755, content: Content::Ref(key), ..Meta::bare(None, FileType::Dir) };
    let call = CommitCall {
        token: [7; 16],
        host: HostName::new("here").unwrap(),
        path: TreePath::new(b"/many").unwrap(),
        root: root.encode().into(),
        time: None,
        counts: Counts { files: entries, dirs: 1, ..Counts::default() },
        tags: BTreeMap::new(),
    };
    assert_eq!(engine.commit(call).await.unwrap().counts.files, entries);
    let grown = memory("VmHWM:").saturating_sub(before);
    let index = engine.index_memory().await.unwrap();
    println!(
        "{entries} entries: {} MiB more, of it the index {} MiB",
        grown >> 20,
        (index.block_cache_bytes + index.memtable_bytes) >> 20
    );
    // The caches of the index have limits of their own, and fill up whatever is done.
    let grown = grown.saturating_sub(index.block_cache_bytes + index.memtable_bytes);
    assert!(grown <= BYTES_MAX, "{} MiB more", grown >> 20);
    // And what it says of its segments is compared with each of them.
    let Object::SetHead(mut segments) = Object::decode(&head).unwrap() else {
        panic!("so large a directory has a head")
    };
    assert!(segments.len() as u64 > entries / 1100);
    segments.last_mut().unwrap().entries += 1;
    let lie = Object::SetHead(segments).encode(0);
    let error = engine.put_objects(vec![lie.into()]).await.unwrap_err();
    assert_eq!(error.kind(), datadb::Kind::Invalid, "{error}");
}
