//! A real tree of thousands of files, restored and compared whole. `DATADB_TEST_USR=1` takes all of `/usr`.

mod support;

use std::path::{Path, PathBuf};

use support::{
    compare::assert_same,
    place::scratch,
    processes::{Server, count},
};

/// All of `/usr` where that is asked for, else the first of its parts that is there and large enough to mean something.
fn tree() -> Option<PathBuf> {
    if std::env::var_os("DATADB_TEST_USR").is_some_and(|value| value == "1") {
        return Some("/usr".into());
    }
    let parts = ["/usr/share/doc", "/usr/share/perl5", "/usr/lib/python3", "/usr/bin", "/usr"];
    parts.iter().map(Path::new).find(|part| part.read_dir().is_ok_and(|dir| dir.count() > 20)).map(Into::into)
}

/// The system's own files come back equal in bytes and in all metadata; an unchanged second backup reads none of them.
#[test]
fn invariant_7_same_bytes_same_tree_of_a_system() {
    let Some(tree) = tree() else {
        println!("skipped: there is no /usr of any size");
        return;
    };
    let (server, scratch) = (Server::new(), scratch());
    let client = server.client();
    let first = client.snapshot(&tree).ok().summary();
    let second = client.snapshot(&tree).ok().summary();
    assert_eq!(count(&second, "files_read"), 0, "{second}");
    assert_eq!(count(&second, "bytes_uploaded"), 0, "{second}");
    let back = scratch.path().join("back");
    client.restore(first["id"].as_str().expect("an id"), &back).ok();
    let entries = assert_same(&tree, &back);
    println!("{}: {entries} entries are equal, {} MiB", tree.display(), count(&first, "bytes") >> 20);
}
