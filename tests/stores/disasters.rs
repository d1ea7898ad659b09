//! The whole data directory is lost: config, key and bucket are enough.

use std::fs;

use crate::site::Site;

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
    let refused =
        crate::support::processes::refused_server(site.server.data(), &["--config", config.to_str().expect("UTF-8")])
            .code(1);
    assert!(refused.stderr.contains("datadb-server rebuild"), "{}", refused.stderr);
}
