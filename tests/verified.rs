//! Invariant 4, verified at every border: nobody ever gets bytes that are not those they asked for.

mod support;

use std::fs;

use datadb::{api, blob::BlobRef};
use support::{
    compare::differences,
    place::scratch,
    processes::{Client, Server, count},
    raw::{Session, bundle_of},
    tree::{files, flip_byte, random_bytes, write},
};
use tonic::Code;

/// A byte flips in a pack: restore names the file that it belongs to, exits 3, and brings back all others.
#[test]
fn invariant_4_verified_restore_names_the_damaged_file() {
    let (mut server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    for number in 0..6u64 {
        write(tree.join(format!("file{number}")), random_bytes(number, 3 << 20));
    }
    let id = server.client().backup(&tree);
    server.stop();
    let packs = files(&server.data().join("blobs"));
    let (pack, len) = packs.iter().max_by_key(|(_, len)| *len).expect("there is a pack");
    flip_byte(pack, len / 2);
    server.start();
    let back = scratch.path().join("back");
    let run = server.client().restore(&id, &back).code(3);
    let found = differences(&tree, &back);
    let damaged: Vec<String> = found
        .iter()
        .filter(|one| one.what == "presence")
        .map(|one| String::from_utf8_lossy(&one.path).into())
        .collect();
    // The end of one file and the beginning of the next may share a bundle.
    assert!(matches!(damaged.len(), 1 | 2), "not left under their names: {found:?}");
    assert_eq!(found.len(), damaged.len(), "{found:?}");
    assert_eq!(count(&run.summary(), "errors"), damaged.len() as u64);
    for name in &damaged {
        assert!(run.stderr.contains(name.as_str()), "{name} is not named: {}", run.stderr);
    }
    let cat = server.client().run(["cat", &format!("{id}:/{}", damaged[0])]);
    assert!(matches!(cat.code, Some(1 | 3)), "{cat:?}");
    let good = fs::read(tree.join(&damaged[0])).expect("the source");
    assert!(good.starts_with(&cat.stdout), "cat writes no byte that is wrong");
}

/// What is damaged counts as missing: the next backup reads those files again and heals the repository, whether the byte
/// lies in the middle of data or in the head that tells what a record holds.
#[test]
fn invariant_4_verified_the_next_backup_heals() {
    heals_after_flipping(|len| len / 3);
}

/// The same for a byte at the beginning of a record, where its table is.
#[test]
fn invariant_4_verified_the_next_backup_heals_a_record_without_its_head() {
    heals_after_flipping(|_| 100);
}

fn heals_after_flipping(place: impl Fn(u64) -> u64) {
    let (mut server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    // Each bundle holds several of these files.
    for number in 0..24u64 {
        write(tree.join(format!("file{number:02}")), random_bytes(number, 100_000));
    }
    support::tree::let_settle();
    let client = server.client();
    let id = client.backup(&tree);
    server.stop();
    let packs = files(&server.data().join("blobs"));
    let (pack, len) = packs.iter().max_by_key(|(_, len)| *len).expect("there is a pack");
    flip_byte(pack, place(*len));
    server.start();
    let client = client.at(server.url());
    let damaged = client.restore(&id, &scratch.path().join("damaged")).code(3);
    let healing = client.snapshot(&tree).ok().summary();
    assert!(count(&healing, "files_read") >= 1 && count(&healing, "blobs_new") >= 1, "{healing} after {damaged:?}");
    for backup in [&id[..], "latest"] {
        let back = scratch.path().join(format!("healed {backup}"));
        client.restore(backup, &back).ok();
        support::compare::assert_same(&tree, &back);
    }
}

/// The server recomputes both hashes: a bundle whose table lies about id, digest or length is refused, and stores nothing.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_4_verified_upload_refuses_what_is_not_what_it_says() {
    let server = Server::new();
    let mut session = Session::open(server.url()).await;
    let (first, second) = (random_bytes(1, 5000), random_bytes(2, 5000));
    let good = bundle_of(&[&first, &second]);
    for (what, lie) in [("SHA-1", 3usize), ("BLAKE3", 25), ("SHA-1", 56 + 3), ("BLAKE3", 56 + 25)] {
        let mut table = good.table().to_vec();
        table[lie] ^= 1;
        let message = api::Bundle { table: table.into(), ..api::Bundle::from(&good) };
        let refusal = session.put_bundle(message).await.expect_err("a lie is refused");
        assert!(matches!(refusal.code(), Code::InvalidArgument | Code::DataLoss), "{refusal:?}");
        assert!(refusal.message().contains(what), "{}", refusal.message());
    }
    let refs: Vec<BlobRef> = good.refs().collect();
    let answers = session.find(&refs, &[]).await.expect("an answer").blobs;
    assert_eq!(&answers[..], [api::Answer::Missing as u8; 2], "nothing of a refused bundle is stored");
    let reply = session.put_bundle((&good).into()).await.expect("the truth is accepted");
    assert_eq!((reply.blobs_new, reply.blobs_known), (2, 0));
    assert_eq!(&session.find(&refs, &[]).await.expect("an answer").blobs[..], [api::Answer::Have as u8; 2]);
}

/// Data that does not decode to the declared length is refused before it takes more memory than declared.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_4_verified_upload_refuses_what_does_not_decode() {
    let server = Server::new();
    let mut session = Session::open(server.url()).await;
    let good = bundle_of(&[&vec![7; 100_000]]);
    let bomb = bundle_of(&[&vec![0; 4 << 20]]);
    let lies = [
        api::Bundle { data: vec![0; 100].into(), ..api::Bundle::from(&good) },
        api::Bundle { data: bomb.data().clone(), ..api::Bundle::from(&good) },
        api::Bundle { data: good.data().slice(..good.data().len() / 2), ..api::Bundle::from(&good) },
        api::Bundle { plain_bytes: 99_999, ..api::Bundle::from(&good) },
        api::Bundle { plain_bytes: u32::MAX, ..api::Bundle::from(&good) },
        api::Bundle { table: Vec::new().into(), ..api::Bundle::from(&good) },
        api::Bundle { codec: 77, ..api::Bundle::from(&good) },
    ];
    for lie in lies {
        let refusal = session.put_bundle(lie).await.expect_err("a lie is refused");
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal:?}");
        assert!(!refusal.message().is_empty());
    }
    assert!(Client::of(server.url()).run(["stats"]).ok().code == Some(0), "the server goes on");
}
