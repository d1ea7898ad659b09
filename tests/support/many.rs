//! Many backups of one tree, made through the API: a thousand files in ten directories, of which one changes each time.

use datadb::{
    FileType, Meta, Name, ObjectKey,
    object::{Encoded, SetBuilder},
};

use super::raw::Session;

/// Directories of the tree, and files in each.
const DIRS: usize = 10;
const FILES: usize = 100;

/// Unix seconds of the first backup; the others follow an hour apart.
pub const FIRST_SECONDS: i64 = 1_400_000_000;

/// Makes so many backups of `/raw` on the host `raw`. With the backup of number N (from 0) the file
/// `/dir<N % 10>/file<N % 100>` is modified, at second N.
pub fn changing(url: &str, backups: u64) {
    make(url, backups, |number| number);
}

/// Makes so many backups of a tree that stays as it is.
pub fn unchanged(url: &str, backups: u64) {
    make(url, backups, |_| 0);
}

fn make(url: &str, backups: u64, state: impl Fn(u64) -> u64) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut session = Session::open(url).await;
        let mut mtimes = vec![[0; FILES]; DIRS];
        for number in 0..backups {
            let state = state(number);
            mtimes[state as usize % DIRS][state as usize % FILES] = state as i64;
            let (objects, root) = tree(&mtimes);
            let reply = session.put_objects(objects).await.expect("the server takes the objects");
            assert!(reply.missing.is_empty() && reply.conflicts.is_empty());
            let mut token = [0; 16];
            token[8..].copy_from_slice(&number.to_be_bytes());
            let mut commit = session.commit_of(root, token);
            commit.time = FIRST_SECONDS + 3600 * number as i64;
            commit.files = (DIRS * FILES) as u64;
            session.upload.commit(commit).await.expect("a backup");
        }
    });
}

/// The objects of the tree, children first, and the encoding of its root.
fn tree(mtimes: &[[i64; FILES]]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut objects = Vec::new();
    let dirs = mtimes.iter().enumerate().map(|(dir, files)| {
        let files = files.iter().enumerate().map(|(file, mtime)| {
            let mut meta = Meta::bare(Some(name(format!("file{file:02}"))), FileType::File);
            meta.mtime.seconds = *mtime;
            meta
        });
        directory(Some(name(format!("dir{dir}"))), files, &mut objects)
    });
    let dirs: Vec<Meta> = dirs.collect();
    let root = directory(None, dirs.into_iter(), &mut objects);
    (objects, root.encode())
}

fn directory(name: Option<Name>, entries: impl Iterator<Item = Meta>, objects: &mut Vec<Vec<u8>>) -> Meta {
    let (mut set, nothing_taken) = (SetBuilder::new(), |_: &ObjectKey| false);
    let mut keep = |encoded: Encoded| objects.push(encoded.bytes.to_vec());
    for meta in entries {
        let name = meta.name.clone().expect("an entry has a name");
        set.push(&name, meta.encode(), &nothing_taken).into_iter().for_each(&mut keep);
    }
    let (rest, content) = set.finish(&nothing_taken);
    rest.into_iter().for_each(keep);
    Meta { content, ..Meta::bare(name, FileType::Dir) }
}

fn name(text: String) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}
