//! How a person names a backup: a prefix, `latest`, `latest~N`, `NAME@TIME`, narrowed by `--host` and `--path`.

mod support;

use std::fs;

use support::{
    place::scratch,
    processes::{Client, Server},
    tree::{next_second, write},
};

fn content(client: &Client, words: &[&str]) -> String {
    let run = client.run(words).ok();
    run.text()
}

/// Every form finds the backup it names, and only that.
#[test]
fn every_form_of_a_backup_finds_it() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("photos");
    let client = server.client().on_host("alpha");
    let ids: Vec<String> = (0..3)
        .map(|round| {
            write(tree.join("file"), format!("round {round}"));
            next_second();
            client.backup(&tree)
        })
        .collect();
    for (round, id) in ids.iter().enumerate() {
        let expected = format!("round {round}");
        let before_newest = ids.len() - 1 - round;
        assert_eq!(content(&client, &["cat", &format!("{id}:/file")]), expected);
        assert_eq!(content(&client, &["cat", &format!("{}:/file", &id[..12])]), expected);
        assert_eq!(content(&client, &["cat", &format!("{}:/file", id.to_uppercase())]), expected);
        assert_eq!(content(&client, &["cat", &format!("latest~{before_newest}:/file")]), expected);
    }
    assert_eq!(content(&client, &["cat", "latest:/file"]), "round 2");
    assert_eq!(content(&client, &["cat", "photos@now:/file"]), "round 2");
    let full = tree.to_str().expect("UTF-8");
    assert_eq!(content(&client, &["cat", &format!("{full}@now:/file")]), "round 2");
    client.run(["cat", "photos@2001:/file"]).code(1).one_line_with(&["photos"]);
    client.run(["cat", "pictures@now:/file"]).code(1).one_line_with(&["pictures"]);
    client.run(["cat", "photos@never:/file"]).code(1).one_line_with(&["never"]);
}

/// The time of a backup, as `snapshots` shows it, finds that backup; a second before finds the one before.
#[test]
fn a_time_finds_the_nearest_earlier_backup() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("photos");
    let client = server.client();
    for round in 0..3 {
        write(tree.join("file"), format!("round {round}"));
        next_second();
        client.backup(&tree);
    }
    for (round, backup) in client.backups().iter().enumerate() {
        let seconds = backup["time"].as_i64().expect("unix seconds");
        let time = datadb::clock::format_time(seconds, &jiff::tz::TimeZone::UTC);
        assert_eq!(content(&client, &["cat", &format!("photos@{time}:/file")]), format!("round {round}"), "{time}");
    }
}

/// `--host` and `--path` narrow what `latest` counts among; a name that several snapshots share is ambiguous.
#[test]
fn host_and_path_narrow_the_choice() {
    let (server, scratch) = (Server::new(), scratch());
    let (one, two) = (scratch.path().join("one/data"), scratch.path().join("two/data"));
    let alpha = server.client().on_host("alpha");
    let beta = server.client().on_host("beta");
    for (client, path, text) in [(&alpha, &one, "alpha one"), (&beta, &one, "beta one"), (&alpha, &two, "alpha two")] {
        write(path.join("file"), text);
        next_second();
        client.backup(path);
    }
    let (one, two) = (one.to_str().expect("UTF-8"), two.to_str().expect("UTF-8"));
    let cat = "latest:/file";
    assert_eq!(content(&alpha, &["cat", "--host", "beta", cat]), "beta one");
    assert_eq!(content(&alpha, &["cat", "--host", "alpha", "--path", one, cat]), "alpha one");
    assert_eq!(content(&alpha, &["cat", "--path", two, cat]), "alpha two");
    assert_eq!(content(&alpha, &["cat", "--host", "alpha", "latest~1:/file"]), "alpha one");
    alpha.run(["cat", "--host", "gamma", cat]).code(1);
    alpha.run(["cat", "--host", "beta", "latest~1:/file"]).code(1);
    alpha.run(["cat", "data@now:/file"]).code(1).one_line_with(&["ambiguous"]);
    assert_eq!(content(&alpha, &["cat", "--host", "beta", "data@now:/file"]), "beta one");
    let listed = alpha.run(["--json", "snapshots", "--host", "alpha"]).ok().json();
    assert_eq!(listed.iter().filter(|line| line["type"] == "backup").count(), 2, "{listed:?}");
    let listed = alpha.run(["--json", "snapshots", "--host", "alpha", "--path", one]).ok().json();
    assert_eq!(listed.iter().filter(|line| line["type"] == "backup").count(), 1, "{listed:?}");
}

/// `ls` shows what is in a directory of a backup, in the order of names.
#[test]
fn ls_lists_a_directory_of_a_backup() {
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("tree");
    for name in ["b", "a", "sub/inner", "c d"] {
        write(tree.join(name), name);
    }
    fs::create_dir(tree.join("empty")).expect("a directory");
    let client = server.client();
    client.backup(&tree);
    let text = content(&client, &["ls", "latest"]);
    let positions: Vec<Option<usize>> = ["a", "b", "c d", "empty", "sub"]
        .iter()
        .map(|name| text.lines().position(|line| line.trim_end_matches('/').ends_with(name)))
        .collect();
    assert!(positions.iter().all(Option::is_some), "{text}");
    assert!(positions.is_sorted(), "{text}");
    assert!(content(&client, &["ls", "latest:/sub"]).contains("inner"));
    let listed = client.run(["--json", "ls", "latest:/sub"]).ok().json();
    assert_eq!(listed.last().expect("a summary")["type"], "summary");
}
