//! Storage classes, which the server of the other tests does not keep: with moto, from the environment that `make test`
//! makes (`DATADB_PYTHON`). Outside of CI these tests are skipped where that is not set.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use datadb_server::store::{
    BlobStore as _,
    s3::{Patience, S3Config},
};

use crate::{
    http::{Page, ask},
    merge::until,
    s3_server::ACCESS_KEY,
    scene::{BUCKET, Scene, noise, put, read},
};

/// How long it may take until it listens: it is a large program in Python.
const PATIENCE: Duration = Duration::from_secs(60);

/// Says where it listens, after this.
const READY: &str = "Running on http://";

/// A running moto with one empty bucket, which ends with the test.
struct Moto {
    child: Child,
    address: String,
}

impl Moto {
    fn start() -> Option<Self> {
        let Some(python) = std::env::var_os("DATADB_PYTHON") else {
            assert!(std::env::var_os("CI").is_none(), "DATADB_PYTHON names no Python: run `make test`");
            println!("skipped: DATADB_PYTHON names no Python with moto (`make test` makes one)");
            return None;
        };
        let mut child = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let (send, ready) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once(READY) {
                    // Whoever waited may be gone; the rest is read all the same, or moto would stop.
                    drop(send.send(address.trim_end_matches(|c: char| !c.is_ascii_digit()).to_owned()));
                }
            }
        });
        let address = ready.recv_timeout(PATIENCE).expect("moto says where it listens");
        let moto = Self { child, address };
        assert_eq!(moto.ask("PUT", "", "Content-Length: 0\r\n").status, 200);
        Some(moto)
    }

    fn ask(&self, method: &str, key: &str, fields: &str) -> Page {
        // It wants to know who asks, and believes whatever it is told.
        let fields = format!("Authorization: AWS {ACCESS_KEY}:anything\r\n{fields}");
        ask(&self.address, method, &format!("/{BUCKET}/{key}"), &fields)
    }

    /// Keys of packs and of merged ones.
    fn packs(&self) -> Vec<String> {
        let listing = self.ask("GET", "?list-type=2", "").body;
        let keys = listing.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        keys.filter(|key| key.contains(".pack")).map(ToOwned::to_owned).collect()
    }

    /// The class of an object; `None` is the standard class.
    fn class(&self, key: &str) -> Option<String> {
        let head = self.ask("HEAD", key, "").head;
        let class = head.lines().find_map(|line| line.strip_prefix("x-amz-storage-class: "));
        class.filter(|class| *class != "standard").map(ToOwned::to_owned)
    }

    /// Copies an object into a class, as rules of the bucket do with an object and itself.
    fn copy(&self, from: &str, to: &str, class: &str) {
        let fields =
            format!("x-amz-copy-source: /{BUCKET}/{from}\r\nx-amz-storage-class: {class}\r\nContent-Length: 0\r\n");
        let page = self.ask("PUT", to, &fields);
        assert_eq!(page.status, 200, "{page:?}");
    }

    fn config(&self, scene: &Scene) -> S3Config {
        S3Config { endpoint: Some(format!("http://{}", self.address)), ..scene.config() }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("moto ends");
    }
}

/// A store that keeps classes has the grown object in the one that was asked for, and the small ones in its standard class.
#[tokio::test(flavor = "multi_thread")]
async fn a_grown_object_is_in_the_class_and_small_ones_are_not() {
    let Some(moto) = Moto::start() else { return };
    let scene = Scene::new();
    let patience = Patience { merge: Some(Duration::from_millis(100)), ..scene.config().patience };
    let config = S3Config { storage_class: Some("STANDARD_IA".into()), patience, ..moto.config(&scene) };
    let store = scene.side("one").open(config);
    let blobs: Vec<Bytes> = (0..16).map(|seed| noise(seed, 700_000)).collect();
    for (number, blob) in blobs.iter().enumerate() {
        put(&store, blob).await;
        store.flush().await.unwrap();
        if number == 0 {
            assert_eq!(moto.packs().iter().map(|key| moto.class(key)).collect::<Vec<_>>(), [None]);
        }
    }
    until("one object", || moto.packs().len() == 1).await;
    assert_eq!(moto.class(&moto.packs()[0]).as_deref(), Some("standard_ia"));
    for blob in &blobs {
        assert_eq!(read(&store, blob).await.as_ref(), Some(blob));
    }
}

/// A pack that somebody's rule has moved to an archive is named as that: it is not damaged, and comes back as it was.
#[tokio::test(flavor = "multi_thread")]
async fn an_archived_pack_is_said_to_be_archived() {
    let Some(moto) = Moto::start() else { return };
    let scene = Scene::new();
    let side = scene.side("one");
    let store = side.open(moto.config(&scene));
    let blob = noise(1, 1000);
    put(&store, &blob).await;
    store.flush().await.unwrap();
    let key = moto.packs().remove(0);
    moto.copy(&key, "aside", "STANDARD");
    moto.copy(&key, &key, "GLACIER");
    let error = store.get(&datadb::BlobId::of(&blob)).await.unwrap_err().to_string();
    assert!(error.contains("an object is archived") && error.contains("restore it in the store first"), "{error}");
    assert_eq!(store.stats().await.unwrap().bad_blobs, 0);
    moto.copy("aside", &key, "STANDARD");
    assert_eq!(read(&store, &blob).await, Some(blob));
}
