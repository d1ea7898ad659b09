//! Invariants 1 and 6, said to the server's face: nothing may name what is not there, nothing may exceed its limit.

mod support;

use datadb::{
    BlobId, Digest, FileType, Meta, Name, Object, ObjectKey,
    api::{self, store_client::StoreClient},
    blob::{BlobRef, FileDigest},
    limits,
    meta::Content,
    object::{Chunk, ObjectRef},
};
use support::{
    place::scratch,
    processes::{Server, count},
    raw::{Session, bundle_of},
    tree::{random_bytes, sources, write},
};
use tonic::Code;

fn file(name: &str, bytes: &[u8]) -> Meta {
    let blob = BlobRef::of(bytes);
    let mut digest = FileDigest::new();
    digest.chunk(&blob.digest);
    let mut meta = Meta::bare(Some(Name::new(name.as_bytes()).expect("a name")), FileType::File);
    meta.mode = 0o644;
    meta.size = bytes.len() as u64;
    meta.content = Content::Blob(blob.id);
    meta.digest = Some(digest.finish());
    meta
}

fn root(content: Content) -> Vec<u8> {
    let mut meta = Meta::bare(None, FileType::Dir);
    meta.mode = 0o755;
    meta.content = content;
    meta.encode()
}

/// An object that names a blob nobody uploaded is refused, and the answer lists the blob; after the upload it is accepted.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_1_blob_before_reference() {
    let server = Server::new();
    let mut session = Session::open(server.url()).await;
    let bytes = random_bytes(1, 1000);
    let set = Object::Set(vec![file("file", &bytes)]).encode(0);
    let reply = session.put_objects(vec![set.clone()]).await.expect("an answer");
    assert_eq!(&reply.answers[..], [api::Answer::Missing as u8]);
    assert_eq!(&reply.missing[..], BlobId::of(&bytes).as_bytes());
    session.put_bundle((&bundle_of(&[&bytes])).into()).await.expect("the blob");
    let reply = session.put_objects(vec![set.clone()]).await.expect("an answer");
    assert_eq!(&reply.answers[..], [api::Answer::Have as u8]);
    assert!(reply.missing.is_empty());
    let known = session.find(&[], &[ObjectRef::of(&set)]).await.expect("an answer");
    assert_eq!(&known.objects[..], [api::Answer::Have as u8]);
}

/// Children come first: an object whose child follows later in the same request is refused, the other order is accepted.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_1_blob_before_reference_holds_for_objects() {
    let server = Server::new();
    let mut session = Session::open(server.url()).await;
    let bytes = random_bytes(2, 1000);
    session.put_bundle((&bundle_of(&[&bytes])).into()).await.expect("the blob");
    let child = Object::Set(vec![file("file", &bytes)]).encode(0);
    let mut dir = Meta::bare(Some(Name::new(b"dir").expect("a name")), FileType::Dir);
    dir.content = Content::Ref(ObjectKey::of(&child));
    let parent = Object::Set(vec![dir]).encode(0);
    let alone = session.put_objects(vec![parent.clone()]).await.expect("an answer");
    assert_eq!(&alone.answers[..], [api::Answer::Missing as u8]);
    assert_eq!(&alone.missing[..], ObjectKey::of(&child).as_bytes());
    let both = session.put_objects(vec![child, parent]).await.expect("an answer");
    assert_eq!(&both.answers[..], [api::Answer::Have as u8; 2]);
}

/// A file's list with a chunk that is not there is refused too; holes need nothing.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_1_blob_before_reference_holds_for_lists() {
    let server = Server::new();
    let mut session = Session::open(server.url()).await;
    let id = BlobId::of(b"nobody has this");
    let hole = Chunk { len: 4096, blob: None };
    let list = Object::List(vec![hole, Chunk { len: 15, blob: Some(id) }]).encode(0);
    let reply = session.put_objects(vec![list]).await.expect("an answer");
    assert_eq!((&reply.answers[..], &reply.missing[..]), (&[api::Answer::Missing as u8][..], &id.as_bytes()[..]));
    let holes = Object::List(vec![hole]).encode(0);
    let reply = session.put_objects(vec![holes]).await.expect("an answer");
    assert_eq!(&reply.answers[..], [api::Answer::Have as u8]);
}

/// A commit whose root names a directory that is not there is refused, says what is missing, and makes no backup; a
/// repeated commit gives the same backup.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_1_blob_before_reference_holds_for_commits() {
    let server = Server::new();
    let mut session = Session::open(server.url()).await;
    let bytes = random_bytes(3, 1000);
    let set = Object::Set(vec![file("file", &bytes)]).encode(0);
    let commit = session.commit_of(root(Content::Ref(ObjectKey::of(&set))), [1; 16]);
    let refusal = session.upload.commit(commit.clone()).await.expect_err("its child is missing");
    assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal:?}");
    assert!(refusal.message().contains(&ObjectKey::of(&set).to_string()), "{}", refusal.message());
    assert_eq!(server.client().backups().len(), 0);
    session.put_bundle((&bundle_of(&[&bytes])).into()).await.expect("the blob");
    session.put_objects(vec![set]).await.expect("the set");
    let first = session.upload.commit(commit.clone()).await.expect("all is there").into_inner().backup;
    let again = session.upload.commit(commit).await.expect("the same once more").into_inner().backup;
    assert!(first.is_some());
    assert_eq!(first, again, "a commit whose answer got lost may be repeated");
    assert_eq!(server.client().backups().len(), 1);
}

/// Bytes that are no object are refused, whatever they claim to be.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_object_is_refused() {
    let server = Server::new();
    let mut session = Session::open(server.url()).await;
    for noise in [vec![], vec![0], vec![0, 9], vec![0, 2, 0xff, 0xff, 0xff, 0x7f], vec![0; 1000], random_bytes(4, 300)]
    {
        let refusal = session.put_objects(vec![noise]).await.expect_err("noise is refused");
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal:?}");
    }
    let mut foreign = session.commit_of(root(Content::None), [2; 16]);
    foreign.session = vec![9; 16].into();
    let refusal = session.upload.commit(foreign).await.expect_err("no such session");
    assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal:?}");
    let mut bad_host = session.commit_of(root(Content::None), [3; 16]);
    bad_host.host = "a/b".into();
    assert_eq!(session.upload.commit(bad_host).await.expect_err("a host without /").code(), Code::InvalidArgument);
    let mut bad_path = session.commit_of(root(Content::None), [4; 16]);
    bad_path.path = b"relative/../path".to_vec().into();
    assert_eq!(session.upload.commit(bad_path).await.expect_err("a path in normal form").code(), Code::InvalidArgument);
}

/// Messages, questions, bundles and objects over their limits are refused in words; the server goes on.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_6_bounded_messages() {
    let server = Server::new();
    let mut session = Session::open(server.url()).await;
    let many = vec![BlobRef::of(b"x"); limits::QUESTION_REFS_MAX + 1];
    let refusal = session.find(&many, &[]).await.expect_err("too many questions");
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal:?}");
    assert!(refusal.message().contains("1024"), "{}", refusal.message());
    session.find(&many[1..], &[]).await.expect("as many as are allowed");

    let large = vec![7; limits::BLOB_BYTES_MAX + 1];
    let refusal = session.put_bundle((&bundle_of(&[&large])).into()).await.expect_err("too long a blob");
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal:?}");

    let object = [&[0u8, 2][..], &vec![1; limits::OBJECT_BYTES_MAX]].concat();
    let refusal = session.put_objects(vec![object]).await.expect_err("too long an object");
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal:?}");

    let huge = vec![vec![0u8; 1 << 20]; limits::MESSAGE_BYTES_MAX / (1 << 20) + 2];
    let refusal = session.put_objects(huge).await.expect_err("too long a message");
    assert!(
        matches!(refusal.code(), Code::OutOfRange | Code::ResourceExhausted | Code::InvalidArgument),
        "{refusal:?}"
    );
    assert!(!refusal.message().is_empty());

    let mut session = Session::open(server.url()).await;
    session.find(&[], &[]).await.expect("the server goes on");
    assert!(server.memory_peak_bytes() < 300 << 20);
}

/// Memory does not grow with what is backed up: a tree ten times as large takes no more than its share of queues.
#[test]
fn invariant_6_bounded_memory() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    for part in 0..10 {
        sources(&tree.join(format!("part{part}")), part);
    }
    for number in 0..8 {
        write(tree.join(format!("large{number}")), random_bytes(100 + number, 64 << 20));
    }
    let client = server.client();
    let report = scratch.path().join("memory");
    let mut timed = std::process::Command::new("/usr/bin/time");
    let inner = client.command([std::ffi::OsStr::new("--json"), "snapshot".as_ref(), tree.as_os_str()]);
    timed.args(["-f", "%M", "-o"]).arg(&report).arg(inner.get_program()).args(inner.get_args());
    for (key, value) in inner.get_envs() {
        match value {
            Some(value) => timed.env(key, value),
            None => timed.env_remove(key),
        };
    }
    let Ok(output) = timed.output() else {
        println!("the client's memory is not measured: /usr/bin/time is not here");
        client.backup(&tree);
        return;
    };
    let summary = support::processes::Run::from(output).ok().summary();
    assert!(count(&summary, "bytes") > 500 << 20);
    let kib: u64 = std::fs::read_to_string(&report).expect("a report").trim().parse().expect("a number");
    println!("peaks: client {} MiB, server {} MiB", kib >> 10, server.memory_peak_bytes() >> 20);
    assert!(kib < 150 << 10, "the client took {kib} KiB");
    assert!(server.memory_peak_bytes() < 300 << 20, "the server took {} bytes", server.memory_peak_bytes());
}

/// The digest in a question matters as much as the id: other bytes with the same SHA-1 are a conflict, not "have".
#[tokio::test(flavor = "multi_thread")]
async fn a_question_with_another_digest_is_a_conflict() {
    let server = Server::new();
    let mut session = Session::open(server.url()).await;
    let bytes = random_bytes(5, 1000);
    session.put_bundle((&bundle_of(&[&bytes])).into()).await.expect("the blob");
    let other = BlobRef { digest: Digest::of(b"other bytes"), ..BlobRef::of(&bytes) };
    let answers = session.find(&[other], &[]).await.expect("an answer");
    assert_eq!(&answers.blobs[..], [api::Answer::Conflict as u8]);
}

/// A label that no reader would take is refused in words, and leaves no trace.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_6_a_label_that_is_too_long_is_refused_before_anything_is_written() {
    let server = Server::new();
    let mut client = StoreClient::connect(server.url().to_owned()).await.expect("the server is there");
    let blob = random_bytes(1, 100);
    for (more, is_fine) in [(1, false), (100_000, false), (0, true)] {
        let label = random_bytes(2, limits::LABEL_BYTES_MAX + more).into();
        let request = api::StorePutRequest { bundle: Some((&bundle_of(&[&blob])).into()), label };
        match client.put(request).await {
            Ok(_) => assert!(is_fine, "{more} bytes too long"),
            Err(status) => {
                assert!(!is_fine && status.code() == Code::InvalidArgument, "{status}");
                assert!(status.message().contains(&limits::LABEL_BYTES_MAX.to_string()), "{status}");
            }
        }
        let records = client.totals(api::StoreTotalsRequest {}).await.expect("totals").into_inner().records;
        assert_eq!(records, u64::from(is_fine));
    }
}
