//! Configs: what is wrong with one is told by file, line and key; what is right is printed and tried.

use std::fs;

use crate::{
    site::Site,
    support::{
        place::scratch,
        processes::{refused_server, server_command},
        tree::write,
    },
};

#[test]
fn an_unknown_key_is_an_error_with_file_line_and_key_and_nothing_is_made() {
    let scratch = scratch();
    let (config, data) = (scratch.path().join("stores.toml"), scratch.path().join("data"));
    write(&config, "[blobs]\ntype = \"blobsfile\"\npath = \"blobs\"\npaht = \"x\"\n");
    let refused = refused_server(&data, &["--config", config.to_str().expect("UTF-8")]).code(1);
    let expected = format!("{}:4: blobs.paht: is not a key that is known here", config.display());
    assert!(refused.stderr.contains(&expected), "{}", refused.stderr);
    assert!(!data.exists());
}

#[test]
fn check_config_prints_the_stack_and_tries_each_leaf() {
    let site = Site::new(
        r#"
        [blobs]
        type = "mirror"
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
        [meta]
        type = "blobsfile"
        path = "meta"
        "#,
    );
    let data = site.server.data().display().to_string();
    let said = site.command("check-config", &[]).ok().text();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], format!("blobs: mirror(blobsfile:{data}/blobs, encrypt(s3://backups/home))"), "{said}");
    assert_eq!(lines[1], format!("  blobsfile:{data}/blobs: written, read, removed"));
    assert!(lines[2].starts_with("  s3://backups/home: written, read, removed"), "{said}");
    assert_eq!(lines[3], format!("log: blobsfile:{data}/meta"));
    assert!(said.contains("warning: the log is in 1 place, the blobs in 2"), "{said}");
    let secret = crate::support::s3::SECRET_KEY;
    let debug = [said, site.server.stderr()].concat();
    assert!(!debug.contains(secret) && !debug.contains(&fs::read_to_string(site.path("key")).expect("a key")));
}

#[test]
fn a_leaf_that_can_not_be_used_is_told() {
    let scratch = scratch();
    let config = scratch.path().join("stores.toml");
    write(scratch.path().join("file"), "no directory");
    let path = scratch.path().join("file/below");
    write(&config, format!("[blobs]\ntype = \"blobsfile\"\npath = {:?}\n", path.display().to_string()));
    let data = scratch.path().join("data");
    let words =
        ["check-config".as_ref(), "--data-dir".as_ref(), data.as_os_str(), "--config".as_ref(), config.as_os_str()];
    let failed = server_command(&words).code(1);
    let line = format!("  blobsfile:{}: Not a directory (os error 20)", path.display());
    assert!(failed.text().lines().any(|found| found == line), "{failed:?}");
}
