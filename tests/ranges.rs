//! Ranges of a file, holes as zeros: through `ReadFile`, verified by the server, and through `cat`, verified by the client.

mod support;

use std::{fs::File, os::unix::fs::FileExt as _};

use datadb::{
    BackupKey, TreePath,
    api::{ReadFileRequest, browse_client::BrowseClient},
    backup::BackupSpec,
    meta::Content,
};
use datadb_client::connection::{Access, Connection, Filter};
use support::{
    chance::Chance,
    link::{Link, Quality},
    place::scratch,
    processes::{Client, Server},
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

/// Where chunks and holes of a file end.
async fn borders(server: &Server, backup: &str, path: &str) -> Vec<u64> {
    let access = Access { url: server.url().to_owned(), ..Access::default() };
    let connection = Connection::open(&access).await.expect("the server is there");
    let spec = BackupSpec::parse(backup.as_bytes()).expect("an id");
    let path = TreePath::new(path.as_bytes()).expect("a path");
    let found = connection.resolve(&spec, &Filter::default(), &path, 0, &jiff::tz::TimeZone::UTC).await;
    let (_, meta) = found.expect("the file");
    let Content::Ref(list) = meta.content else { return vec![0, meta.size] };
    let mut pages = connection.read_list(&list, 0).await.expect("a list");
    let mut ends = vec![0];
    while let Some(page) = pages.page().await.expect("a page") {
        for chunk in page {
            ends.push(ends[ends.len() - 1] + chunk.len);
        }
    }
    ends
}

fn cat(client: &Client, path: &str, options: &[String]) -> Vec<u8> {
    let words = ["-q", "cat", path].map(ToOwned::to_owned);
    client.run(words.iter().chain(options)).ok().stdout
}

/// `cat --offset --bytes` and `--tail` are slices of the file, wherever they begin and end.
#[tokio::test]
async fn a_part_that_cat_writes_is_a_slice_of_the_file() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    write(tree.join("small"), "hello");
    write(tree.join("empty"), "");
    write(tree.join("large"), random_bytes(3, 5 << 20));
    let sparse = File::create(tree.join("sparse")).expect("a file");
    for (place, len) in [(1 << 20, 300_000), (4 << 20, 4096), ((6 << 20) - 4096, 9000)] {
        sparse.write_all_at(&random_bytes(place, len), place).expect("written");
    }
    sparse.set_len(9 << 20).expect("a hole at the end");
    let client = server.client();
    let backup = client.backup(&tree);
    let mut chance = Chance::new(8);
    for name in ["small", "empty", "large", "sparse"] {
        let bytes = std::fs::read(tree.join(name)).expect("readable");
        let path = format!("latest:/{name}");
        let mut places = borders(&server, &backup, &format!("/{name}")).await;
        places.extend((0..4).map(|_| chance.below(bytes.len() as u64 + 10)));
        for place in places {
            let offset = (place + chance.below(3)).saturating_sub(1);
            let length = if chance.one_in(4) { chance.below(3) } else { chance.below(2 << 20) };
            let end = (offset + length).min(bytes.len() as u64);
            let expected = bytes.get(offset as usize..end as usize).unwrap_or_default();
            let found = cat(&client, &path, &[format!("--offset={offset}"), format!("--bytes={length}")]);
            assert!(found == expected, "{name}, {length} bytes from {offset}");
        }
        let last = chance.below(bytes.len() as u64 + 10);
        let expected = &bytes[bytes.len().saturating_sub(last as usize)..];
        assert!(cat(&client, &path, &[format!("--tail={last}")]) == expected, "{name}, the last {last}");
        assert!(cat(&client, &path, &["--offset=0".to_owned()]) == bytes, "{name}");
    }
}

/// Of a file too large to be fetched for a few bytes, only the chunks come that hold them.
#[test]
fn a_part_of_a_large_file_brings_only_the_chunks_that_it_touches() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    let bytes = random_bytes(9, 48 << 20);
    write(tree.join("image"), &bytes);
    server.client().backup(&tree);
    let link = Link::to(server.url(), Quality::default());
    let client = server.client().at(&link.url());
    for offset in [0, 1, 17 << 20, (48 << 20) - 100] {
        let before = link.down_bytes();
        let part = cat(&client, "latest:/image", &[format!("--offset={offset}"), "--bytes=100".to_owned()]);
        assert!(part == bytes[offset..offset + 100], "from {offset}");
        let came = link.down_bytes() - before;
        println!("100 bytes from {offset}: {came} bytes came");
        assert!(came < 3 << 20, "{came} bytes for 100 from {offset}");
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
