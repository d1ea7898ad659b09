//! Disasters: the whole data directory is lost, where config, key and bucket are enough; a bucket goes away; keys rotate.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use crate::{
    s3_proxy::{S3Proxy, Seen},
    site::Site,
    support::{
        processes::{Running, refused_server, server_command},
        tree::{random_bytes, write},
    },
};

const ALL_OF_IT: &str = r#"
[blobs]
type = "mirror"
ack = "all"
[[blobs.sides]]
type = "blobsfile"
path = "blobs"
[[blobs.sides]]
type = "encrypt"
key_file = "SCRATCH/key"
[blobs.sides.inner]
type = "s3"
bucket = "backups"
prefix = "home/"
endpoint = "ENDPOINT"
path_style = true
access_key_file = "SCRATCH/access"
secret_key_file = "SCRATCH/secret"
"#;

#[test]
fn config_key_and_bucket_give_every_backup_back() {
    let mut site = Site::new(ALL_OF_IT);
    for _ in 0..3 {
        site.back_up();
    }
    site.server.stop();
    fs::remove_dir_all(site.server.data()).expect("everything here is lost");
    let said = site.command("rebuild", &[]).ok().text();
    assert!(said.starts_with("rebuilt the index"), "{said}");
    site.server.start();
    site.check_all();
    // The side that was lost is filled again, and a backup counts on both.
    site.wait_for(0, "level");
    site.back_up();
    site.check_all();
    site.server.stop();
    let own = "[blobs]\ntype = \"blobsfile\"\npath = \"SCRATCH/data/blobs\"\n[meta]\ntype = \"blobsfile\"\npath = \"SCRATCH/data/meta\"\n";
    site.check_alone("first-alone", own);
}

/// A start that is no rebuild refuses, and says what to do: an empty index never passes for a new repository.
#[test]
fn invariant_3_the_index_is_disposable_and_a_lost_directory_is_no_new_repository() {
    let mut site = Site::new(ALL_OF_IT);
    site.back_up();
    site.server.stop();
    fs::remove_dir_all(site.server.data()).expect("everything here is lost");
    let config = site.config();
    let refused = refused_server(site.server.data(), &["--config", config.to_str().expect("UTF-8")]).code(1);
    assert!(refused.stderr.contains("datadb-server rebuild"), "{}", refused.stderr);
}

pub const SEALED_BUCKET: &str = r#"
[blobs]
type = "encrypt"
key_file = "SCRATCH/key"
[blobs.inner]
type = "s3"
bucket = "backups"
endpoint = "ENDPOINT"
path_style = true
access_key_file = "SCRATCH/access"
secret_key_file = "SCRATCH/secret"
"#;

/// It comes back before anybody loses patience: the snapshot only takes longer.
#[test]
fn a_bucket_that_is_unreachable_for_a_while_in_mid_snapshot_costs_nothing_but_time() {
    let mut site = Site::new(SEALED_BUCKET);
    site.back_up();
    site.server.stop();
    let bucket = site.bucket.as_ref().expect("a bucket");
    let proxy = S3Proxy::to(bucket.endpoint());
    site.write_config("stores.toml", &SEALED_BUCKET.replace("ENDPOINT", &proxy.endpoint()));
    site.server.start();
    let written = || proxy.seen().iter().filter(|seen| seen.is_pack_written()).count();
    site.change(1);
    write(site.tree().join("large"), random_bytes(7, 20 << 20));
    let before = written();
    let snapshot = Running::start(site.client.snapshot_command(&site.tree()));
    wait_until("the first packs are sent", || written() > before + 2);
    proxy.set_down(true);
    let tried = proxy.seen().len();
    wait_until("the server has tried in vain", || proxy.seen().len() > tried + 4);
    let is_record = |seen: &Seen| seen.target.contains("meta/") && seen.is_pack_written();
    let records = proxy.seen().iter().filter(|seen| is_record(seen)).count();
    proxy.set_down(false);
    snapshot.finish().ok();
    assert!(proxy.seen().iter().filter(|seen| is_record(seen)).count() > records, "it was in the middle of it");
    site.back_up_as_it_is();
    site.check_all();
    site.server.stop();
    site.check_alone("bucket-alone", SEALED_BUCKET);
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// New writes use the new key, old ones still need the old one, and the server says so before the first restore does.
#[test]
fn a_rotated_key_opens_what_is_new_and_the_old_one_what_is_old() {
    const SEALED: &str =
        "[blobs]\ntype = \"encrypt\"\nkey_file = KEYS\ninner = { type = \"blobsfile\", path = \"SCRATCH/sealed\" }\n";
    let mut site = Site::new(&SEALED.replace("KEYS", "\"SCRATCH/key\""));
    site.back_up();
    site.server.stop();
    server_command(&["keygen".as_ref(), site.path("new").as_os_str()]).ok();
    let both = SEALED.replace("KEYS", "[\"SCRATCH/new\", \"SCRATCH/key\"]");
    site.write_config("stores.toml", &both);
    site.server.start();
    site.back_up();
    site.check_all();
    site.server.stop();
    for one in ["new", "key"] {
        let alone = site.write_config("one.toml", &SEALED.replace("KEYS", &format!("\"SCRATCH/{one}\"")));
        let refused = refused_server(site.server.data(), &["--config", alone.to_str().expect("UTF-8")]).code(1);
        assert!(refused.stderr.contains("is sealed with the key"), "{}", refused.stderr);
    }
    site.check_alone("both-keys", &both);
}
