//! What is read from a config, and how its mistakes are told.

use std::{path::Path, time::Duration};

use super::*;
use crate::store::{
    mirror::Ack,
    s3::{CredentialsSource, S3Config},
};

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("/etc/stores.toml"), text).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(text: &str, line: usize, key: &str) -> String {
    let error = parse(text).expect_err("it is refused");
    let head = format!("/etc/stores.toml:{line}: {key}: ");
    error.strip_prefix(&head).unwrap_or_else(|| panic!("{error:?} does not begin with {head:?}")).to_owned()
}

const WHOLE: &str = r#"
[blobs]
type = "mirror"
ack = "all"
[[blobs.sides]]
type = "blobsfile"
path = "blobs"
[[blobs.sides]]
type = "encrypt"
key_file = "datadb.key"
[blobs.sides.inner]
type = "s3"
bucket = "backups"
prefix = "home/"
region = "eu-west-1"
endpoint = "http://127.0.0.1:9000"
path_style = true
storage_class = "STANDARD_IA"
"#;

#[test]
fn the_tree_of_a_file_is_plain_data() {
    let config = parse(WHOLE).unwrap();
    let Tree::Mirror { ack: Ack::All, sides } = &config.blobs else { panic!("{config:?}") };
    assert_eq!(sides[0].tree, Tree::BlobsFile { path: "blobs".into() });
    let Tree::Encrypt { keys, inner } = &sides[1].tree else { panic!("{config:?}") };
    assert_eq!(keys, &[KeySource::File("datadb.key".into())]);
    let Tree::S3(s3) = &**inner else { panic!("{config:?}") };
    let wanted = S3Config {
        region: Some("eu-west-1".into()),
        endpoint: Some("http://127.0.0.1:9000".into()),
        is_path_style: true,
        storage_class: Some("STANDARD_IA".into()),
        ..S3Config::new("backups", "home/")
    };
    assert_eq!(**s3, wanted);
    assert_eq!(s3.credentials, CredentialsSource::Chain { profile: None });
    assert_eq!((config.meta.as_ref(), config.log()), (None, &config.blobs));
    assert_eq!(config.blobs.copies(), 2);
}

#[test]
fn whatever_key_is_unknown_is_told_with_its_line() {
    for (line, _) in WHOLE.lines().enumerate().filter(|(_, line)| line.contains(" = ")) {
        let mut lines: Vec<&str> = WHOLE.lines().collect();
        lines.insert(line, "nobody_knows_this = 1");
        let error = parse(&lines.join("\n")).expect_err("an unknown key");
        let head = format!("/etc/stores.toml:{}: blobs", line + 1);
        assert!(error.starts_with(&head) && error.contains(".nobody_knows_this: is not a key"), "{error}");
    }
    assert!(refused("[blobs]\ntype = \"blobsfile\"\npath = \"a\"\n[meat]\n", 4, "meat").contains("not a key"));
}

#[test]
fn mistakes_say_what_may_be_written() {
    assert!(refused("", 1, "blobs").contains("write a table [blobs]"));
    assert!(refused("[blobs]\ntype = \"s4\"\n", 2, "blobs.type").contains("\"mirror\""));
    assert!(refused("[blobs]\n", 1, "blobs.type").contains("is missing"));
    assert!(refused("[blobs]\ntype = \"blobsfile\"\npath = 3\n", 3, "blobs.path").contains("a text"));
    assert!(refused("[blobs]\ntype = \"encrypt\"\n", 1, "blobs.key_file").contains("keygen"));
    assert!(parse("[blobs\n").unwrap_err().starts_with("/etc/stores.toml:1: "));
    for ack in ["0", "3", "\"most\"", "\"local\""] {
        let text = WHOLE.replace("\"all\"", ack).replace("\"blobsfile\"\npath = \"blobs\"", "\"s3\"\nbucket = \"b\"");
        assert!(!refused(&text, 4, "blobs.ack").is_empty());
    }
    let one = "[blobs]\ntype = \"mirror\"\n[[blobs.sides]]\ntype = \"blobsfile\"\npath = \"a\"\n";
    assert!(refused(one, 3, "blobs.sides").contains("2 to 15 sides"));
    let twice = format!("{one}[[blobs.sides]]\ntype = \"blobsfile\"\npath = \"a\"\n");
    assert!(refused(&twice, 1, "blobs").contains("named twice"));
}

#[test]
fn a_rest_before_merging_is_a_number_of_seconds_and_0_means_never() {
    let merge = |line: &str| {
        let config = parse(&format!("[blobs]\ntype = \"s3\"\nbucket = \"b\"\n{line}\n"))?;
        let Tree::S3(s3) = config.blobs else { panic!("it is no bucket") };
        Ok::<_, String>(s3.patience.merge)
    };
    assert_eq!(merge(""), Ok(Some(Duration::from_secs(30))));
    assert_eq!(merge("merge_after_seconds = 5"), Ok(Some(Duration::from_secs(5))));
    assert_eq!(merge("merge_after_seconds = 0"), Ok(None));
    for wrong in ["86401", "\"soon\""] {
        let error = merge(&format!("merge_after_seconds = {wrong}")).unwrap_err();
        assert!(error.starts_with("/etc/stores.toml:4: blobs.merge_after_seconds: must be"), "{error}");
    }
}

#[test]
fn a_secret_in_the_file_is_refused_without_being_printed() {
    for name in ["key", "secret_key", "access_key", "secret_access_key"] {
        let text = format!("[blobs]\ntype = \"s3\"\n{name} = \"hunter2\"\nbucket = \"b\"\n");
        let error = parse(&text).unwrap_err();
        assert!(error.contains("name a file") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn copies_are_all_sides_whether_a_commit_waits_for_them_or_not() {
    let sides = "sides = [{ type = \"blobsfile\", path = \"a\" }, { type = \"s3\", bucket = \"b\" }]";
    for ack in ["\"all\"", "1", "\"local\""] {
        let config = parse(&format!("[blobs]\ntype = \"mirror\"\nack = {ack}\n{sides}\n")).unwrap();
        assert_eq!((config.blobs.copies(), config.log().copies()), (2, 2), "{ack}");
    }
}
