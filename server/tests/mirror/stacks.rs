//! Every stack that the config's words make conforms, whichever leaves and wrappers it is of.

use std::{path::Path, sync::Arc, time::Instant};

use datadb_server::{
    config::Config,
    index::Index,
    stack::{Ground, Purpose, Recorded, Room, Stack},
    store::{blobsfile::PACK_BYTES, disk::RealDisk, encrypt::key::Key, mirror::SILENCE, testing::conformance::check},
};

use crate::s3::{ACCESS_KEY, S3Server, SECRET_KEY};

const DISK: &str = r#"{ type = "blobsfile", path = "NAME" }"#;
const S3: &str = r#"{ type = "s3", bucket = "backups", prefix = "NAME", endpoint = "ENDPOINT", path_style = true,
    access_key_file = "access", secret_key_file = "secret" }"#;

/// A leaf at a place of its own.
fn leaf(kind: &str, name: &str) -> String {
    kind.replace("NAME", name).replace('\n', "")
}

fn encrypt(inner: &str) -> String {
    format!(r#"{{ type = "encrypt", key_file = "key", inner = {inner} }}"#)
}

fn mirror(one: &str, other: &str) -> String {
    format!(r#"{{ type = "mirror", sides = [{one}, {other}] }}"#)
}

async fn conforms(tree: &str, server: &S3Server) -> String {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in [("access", ACCESS_KEY), ("secret", SECRET_KEY)] {
        std::fs::write(root.path().join(name), text).unwrap();
    }
    Key::generate().unwrap().write(&root.path().join("key")).unwrap();
    let text = format!("blobs = {}\n", tree.replace("ENDPOINT", server.endpoint()));
    let config = Config::parse(Path::new("stores.toml"), &text).unwrap();
    let index = Arc::new(Index::open(&root.path().join("index")).unwrap());
    let ground = Ground {
        root: root.path().to_owned(),
        disk: Arc::new(RealDisk),
        pack_bytes: PACK_BYTES,
        index,
        room: Room::Blobs,
        purpose: Purpose::Serve,
        silence: SILENCE,
    };
    let stack = Stack::open(&config.blobs, ground, Recorded::default(), None, None).await.unwrap();
    let began = Instant::now();
    check(stack.store.clone(), &mut |_| None).await;
    stack.stop().await;
    let name = stack.store.to_string().replace(&format!("{}/", root.path().display()), "");
    format!("| {name} | conforms | {:.1} s |", began.elapsed().as_secs_f64())
}

/// What was run is printed as a table.
#[tokio::test(flavor = "multi_thread")]
async fn every_stack_conforms() {
    let server = S3Server::with_bucket("backups");
    let stacks = [
        leaf(DISK, "a"),
        leaf(S3, "a"),
        encrypt(&leaf(DISK, "a")),
        encrypt(&leaf(S3, "b")),
        mirror(&leaf(DISK, "a"), &leaf(DISK, "b")),
        mirror(&leaf(DISK, "a"), &encrypt(&leaf(S3, "c"))),
        encrypt(&mirror(&leaf(S3, "d"), &leaf(DISK, "a"))),
        mirror(&mirror(&leaf(DISK, "a"), &leaf(DISK, "b")), &leaf(DISK, "c")),
    ];
    println!("| stack | | |\n| --- | --- | --- |");
    for stack in &stacks {
        println!("{}", conforms(stack, &server).await);
    }
}
