//! Ranges of a file through `ReadFile`: verified by the server, holes as zeros.

mod support;

use std::{fs::File, os::unix::fs::FileExt as _};

use datadb::{
    BackupKey,
    api::{ReadFileRequest, browse_client::BrowseClient},
};
use support::{
    chance::Chance,
    place::scratch,
    processes::Server,
    tree::{random_bytes, write},
};
use tonic::{Code, Status};

async fn read(url: &str, backup: &str, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, Status> {
    let mut browse = BrowseClient::connect(url.to_owned()).await.expect("the server is there");
    let key: BackupKey = backup.parse().expect("40 hex digits");
    let backup = bytes::Bytes::copy_from_slice(key.as_bytes());
    let request = ReadFileRequest { backup, path: path.as_bytes().to_vec().into(), offset, length };
    let mut replies = browse.read_file(request).await?.into_inner();
    let mut data = Vec::new();
    while let Some(reply) = replies.message().await? {
        data.extend_from_slice(&reply.data);
    }
    Ok(data)
}

/// Any range of any file, across chunks and holes and beyond the end, is what the file holds there.
#[tokio::test]
async fn any_range_is_what_the_file_holds_there() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("small"), "hello");
    write(tree.join("empty"), "");
    write(tree.join("large"), random_bytes(3, 9 << 20));
    let sparse = File::create(tree.join("sparse")).expect("a file");
    sparse.write_all_at(&random_bytes(4, 300_000), 5 << 20).expect("written");
    sparse.set_len(12 << 20).expect("a hole at the end");
    let backup = server.client().backup(&tree);
    let mut chance = Chance::new(5);
    for name in ["small", "empty", "large", "sparse"] {
        let bytes = std::fs::read(tree.join(name)).expect("readable");
        let path = format!("/{name}");
        assert!(read(server.url(), &backup, &path, 0, 0).await.expect("all of it") == bytes, "{name}");
        for _ in 0..12 {
            let offset = chance.below(bytes.len() as u64 + 10);
            let length = 1 + chance.below(3 << 20);
            let end = (offset + length).min(bytes.len() as u64);
            let expected = bytes.get(offset as usize..end as usize).unwrap_or_default();
            let found = read(server.url(), &backup, &path, offset, length).await.expect("a range");
            assert!(found == expected, "{name}, {length} bytes from {offset}");
        }
    }
}

/// What is not a file is refused in words.
#[tokio::test]
async fn a_directory_or_a_missing_path_is_refused() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("sub/file"), "x");
    let backup = server.client().backup(&tree);
    let directory = read(server.url(), &backup, "/sub", 0, 0).await.expect_err("a directory");
    assert!(directory.message().contains("dir"), "{directory}");
    let missing = read(server.url(), &backup, "/sub/none", 0, 0).await.expect_err("a missing path");
    assert_eq!(missing.code(), Code::NotFound);
    let unknown = read(server.url(), &"ab".repeat(20), "/sub/file", 0, 0).await.expect_err("an unknown backup");
    assert_eq!(unknown.code(), Code::NotFound);
}
