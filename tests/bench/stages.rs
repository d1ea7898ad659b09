//! The stages of a backup one by one, each on the same data every time: for counting instructions (`make bench-check`) and
//! for rates.
//!
//! `stages list` names them, `stages NAME ROUNDS` runs one so often, `stages rates` times all of them on one core.

#![allow(clippy::unwrap_used, reason = "a bench that can't go on stops where it stands")]

use std::{
    hint::black_box,
    io::Cursor as Input,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use datadb::{
    BackupKey, BlobId, BlobRef, Bundle, Digest, FileType, Meta, Name, Object,
    bundle::BundleBuilder,
    chunking::ChunkerParams,
    meta::{Content, Timestamp},
    object::SetBuilder,
};
use datadb_client::{
    cache::{Cursor, Writer},
    chunker::Chunker,
    fs::Stat,
};
use datadb_server::{
    index::{Index, space::Space},
    store::{
        BlobStore,
        blobsfile::{BLOBS_RESERVE_BYTES, BlobsFile, LeafConfig, Relied},
        disk::RealDisk,
    },
};
use tempfile::TempDir;

/// Rounds that any stage has data for.
const ROUNDS_MAX: usize = 24;

/// Files of one bundle, and their bytes: a source tree's.
const FILES: usize = 64;
const FILE_BYTES: usize = 16 << 10;

/// Blobs that the index knows, and how many one question holds.
const KNOWN: usize = 20_000;
const ASKED: usize = 1000;

/// Entries of a directory, of a cache.
const ENTRIES: usize = 1000;

/// Does its work once; takes the number of the round.
type Round = Box<dyn FnMut(usize)>;

/// A stage: how many plain bytes or items a round handles (and what these are), and a round.
struct Stage {
    name: &'static str,
    amount: f64,
    unit: &'static str,
    prepare: fn(&Path) -> Round,
}

const STAGES: [Stage; 9] = [
    Stage { name: "chunk", amount: 8.0, unit: "MiB", prepare: chunk },
    Stage { name: "hash", amount: 1.0, unit: "MiB", prepare: hash },
    Stage { name: "bundle", amount: 1.0, unit: "MiB", prepare: bundle },
    Stage { name: "verify", amount: 1.0, unit: "MiB", prepare: verify },
    Stage { name: "pack-append", amount: 1.0, unit: "MiB", prepare: pack_append },
    Stage { name: "index-lookup", amount: ASKED as f64, unit: "blobs", prepare: index_lookup },
    Stage { name: "object-encode", amount: ENTRIES as f64, unit: "metas", prepare: object_encode },
    Stage { name: "object-decode", amount: ENTRIES as f64, unit: "metas", prepare: object_decode },
    Stage { name: "tree-compare", amount: ENTRIES as f64, unit: "entries", prepare: tree_compare },
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let scratch = TempDir::with_prefix_in("stages", env!("CARGO_TARGET_TMPDIR")).unwrap();
    match &words[..] {
        [word] if word == "list" => STAGES.iter().for_each(|stage| println!("{}", stage.name)),
        [word] if word == "rates" => STAGES.iter().for_each(|stage| rate(stage, scratch.path())),
        [name, rounds] => {
            let stage = STAGES.iter().find(|stage| stage.name == name).expect("`stages list` names them");
            let rounds: usize = rounds.parse().expect("a number of rounds");
            assert!(rounds <= ROUNDS_MAX, "there is data for {ROUNDS_MAX} rounds");
            let mut round = (stage.prepare)(scratch.path());
            (0..rounds).for_each(&mut round);
        }
        _ => eprintln!("usage: stages list | stages rates | stages NAME ROUNDS"),
    }
}

fn rate(stage: &Stage, scratch: &Path) {
    let mut round = (stage.prepare)(scratch);
    let mut best = Duration::MAX;
    for number in 0..ROUNDS_MAX {
        let started = Instant::now();
        round(number);
        best = best.min(started.elapsed());
    }
    println!("{:<14} {:>10.0} {}/s", stage.name, stage.amount / best.as_secs_f64(), stage.unit);
}

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Text that compresses about as well as C does.
fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut numbers = Numbers(seed * 2 + 1);
    let words: Vec<String> =
        (0..600).map(|i| format!("{}_{:x}", ["int", "dev", "ret", "->"][i % 4], i * 7919)).collect();
    let mut out = Vec::with_capacity(len + 16);
    while out.len() < len {
        let number = numbers.next();
        out.extend_from_slice(words[(number % 600) as usize].as_bytes());
        out.extend_from_slice([" ", "(", ";\n\t", ", "][(number >> 32) as usize % 4].as_bytes());
    }
    out.truncate(len);
    out
}

fn files(seed: usize) -> Vec<Vec<u8>> {
    (0..FILES).map(|file| text((seed * FILES + file) as u64, FILE_BYTES)).collect()
}

fn sealed(seed: usize) -> Bundle {
    let mut builder = BundleBuilder::new();
    for file in files(seed) {
        builder.push(&BlobRef::of(&file), &file);
    }
    builder.seal(1)
}

fn chunk(_: &Path) -> Round {
    let chunker = Chunker::new(ChunkerParams::with_seed(7));
    let data = text(1, 8 << 20);
    Box::new(move |_| {
        let mut rest = &data[..];
        while let Some(len) = chunker.cut(rest, true).filter(|len| *len > 0) {
            rest = &rest[black_box(len)..];
        }
    })
}

fn hash(_: &Path) -> Round {
    let files = files(1);
    Box::new(move |_| {
        for file in &files {
            black_box(BlobRef::of(black_box(file)));
        }
    })
}

fn bundle(_: &Path) -> Round {
    let files: Vec<(BlobRef, Vec<u8>)> = files(1).into_iter().map(|file| (BlobRef::of(&file), file)).collect();
    Box::new(move |_| {
        let mut builder = BundleBuilder::new();
        for (blob, file) in &files {
            builder.push(blob, file);
        }
        black_box(builder.seal(1));
    })
}

fn verify(_: &Path) -> Round {
    let bundle = sealed(1);
    Box::new(move |_| drop(black_box(bundle.verify().unwrap())))
}

/// A store on the disk, and a runtime to wait for it.
fn store(root: &Path) -> (BlobsFile, tokio::runtime::Runtime) {
    let root = TempDir::new_in(root).unwrap().keep();
    let index = Arc::new(Index::open(&root.join("index")).unwrap());
    let space = Space::of(&index, "blobs").unwrap();
    let (name, dir, disk) = ("blobs".to_owned(), root.join("blobs"), Arc::new(RealDisk));
    let config = LeafConfig {
        name,
        dir,
        disk,
        space,
        pack_bytes: 1 << 30,
        reserve_bytes: BLOBS_RESERVE_BYTES,
        is_sealed_by_flush: false,
        threads: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    (BlobsFile::open(config, Relied::Index, &[]).unwrap().0, runtime)
}

fn pack_append(root: &Path) -> Round {
    let bundles: Vec<Bundle> = (0..ROUNDS_MAX).map(sealed).collect();
    let (store, runtime) = store(root);
    Box::new(move |round| {
        runtime.block_on(store.put(bundles[round].clone(), Bytes::new())).unwrap();
        runtime.block_on(store.flush()).unwrap();
    })
}

fn index_lookup(root: &Path) -> Round {
    let (store, runtime) = store(root);
    let mut ids: Vec<BlobId> = Vec::with_capacity(KNOWN);
    let blobs: Vec<Vec<u8>> = (0..KNOWN).map(|i| i.to_be_bytes().to_vec()).collect();
    for part in blobs.chunks(2000) {
        let mut builder = BundleBuilder::new();
        for bytes in part {
            let blob = BlobRef::of(bytes);
            ids.push(blob.id);
            builder.push(&blob, bytes);
        }
        runtime.block_on(store.put(builder.seal(1), Bytes::new())).unwrap();
    }
    runtime.block_on(store.flush()).unwrap();
    Box::new(move |round| {
        let asked: Vec<BlobId> = ids.iter().skip(round).step_by(KNOWN / ASKED).copied().collect();
        black_box(runtime.block_on(store.find(&asked)).unwrap());
    })
}

fn metas() -> Vec<(Name, Meta)> {
    let meta = |i: usize| {
        let name = Name::new(format!("file-{i:06}.c").as_bytes()).unwrap();
        let mut meta = Meta::bare(Some(name.clone()), FileType::File);
        (meta.mode, meta.uid, meta.gid, meta.size) = (0o644, 1000, 1000, 20_000 + i as u64);
        (meta.user, meta.group) = ("user".to_owned(), "users".to_owned());
        meta.mtime = Timestamp { seconds: 1_399_806_067 + i as i64, nanos: 123_456_789 };
        meta.content = Content::Blob(BlobId::of(&i.to_be_bytes()));
        meta.digest = Some(Digest::of(&i.to_be_bytes()));
        (name, meta)
    };
    (0..ENTRIES).map(meta).collect()
}

fn object_encode(_: &Path) -> Round {
    let metas = metas();
    Box::new(move |_| {
        let mut set = SetBuilder::new();
        for (name, meta) in &metas {
            black_box(set.push(name, meta.encode(), &|_| false));
        }
        black_box(set.finish(&|_| false));
    })
}

fn object_decode(_: &Path) -> Round {
    let mut set = SetBuilder::new();
    let mut segments = Vec::new();
    for (name, meta) in metas() {
        segments.extend(set.push(&name, meta.encode(), &|_| false));
    }
    segments.extend(set.finish(&|_| false).0);
    Box::new(move |_| {
        for segment in &segments {
            black_box(Object::decode(&segment.bytes).unwrap());
        }
    })
}

/// The cache of a flat directory, and what a walk over it that finds nothing changed does with it.
fn tree_compare(root: &Path) -> Round {
    let metas = metas();
    let stat = |file_type, inode: u64, meta: &Meta| Stat {
        file_type: Some(file_type),
        mode: meta.mode,
        nlink: 1,
        uid: meta.uid,
        gid: meta.gid,
        size: meta.size,
        blocks: 8,
        rdev: (0, 0),
        dev: (8, 1),
        inode,
        mtime: meta.mtime,
        ctime: meta.mtime,
    };
    let path = root.join("cache");
    let mut writer = Writer::create(&path).unwrap();
    let dir = Meta::bare(None, FileType::Dir);
    writer.entry(b"", &stat(FileType::Dir, 1, &dir), FileType::Dir, true, &dir.encode());
    let stats: Vec<(Name, Stat)> = metas
        .iter()
        .enumerate()
        .map(|(i, (name, meta))| (name.clone(), stat(FileType::File, 2 + i as u64, meta)))
        .collect();
    for ((name, stat), (_, meta)) in stats.iter().zip(&metas) {
        writer.entry(name.as_bytes(), stat, FileType::File, true, &meta.encode());
    }
    writer.leave(&Content::None);
    let repository = [1; 16];
    writer.finish(&repository, BackupKey::new([2; 20])).unwrap();
    let cache = std::fs::read(&path).unwrap();
    Box::new(move |_| {
        let mut cursor = Cursor::new(Input::new(&cache[..]), &repository).unwrap();
        cursor.root().unwrap();
        assert!(cursor.descend());
        for (name, stat) in &stats {
            let known = cursor.seek_child(name.as_bytes()).known.unwrap();
            assert!(known.is_unchanged(stat));
        }
        black_box(cursor.leave());
    })
}
