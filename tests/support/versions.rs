//! The versions of every path of several backups, found the long way: by listing each backup whole. And random trees that
//! change enough to have some.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::{chance::Chance, processes::Client, tree::write};

/// What `ls` shows of one backup: path (beginning with `/`) to everything it says of it.
pub type Listing = BTreeMap<String, Value>;

/// A row of `history` or `find`: path, numbers of the first and the last backup, and what is there, if anything.
pub type Row = (String, usize, usize, Option<Value>);

/// Lists a backup whole.
#[track_caller]
pub fn list(client: &Client, id: &str) -> Listing {
    let lines = client.run(["--json", "ls", "-R", id]).ok().json();
    let entry = |mut line: Value| {
        let path = line["path"].as_str().expect("a path").to_owned();
        let fields = line.as_object_mut().expect("an object");
        fields.remove("path");
        fields.remove("type");
        (format!("/{path}"), line)
    };
    lines.into_iter().filter(|line| line["type"] == "entry").map(entry).collect()
}

/// What a path shows in a listing: an entry, and of a directory all that lies below too.
type Look<'a> = Option<Vec<(&'a str, &'a Value)>>;

fn look<'a>(listing: &'a Listing, path: &str) -> Look<'a> {
    let (path, entry) = listing.get_key_value(path)?;
    let mut look = vec![(&path[..], entry)];
    if entry["kind"] == "dir" {
        let below = format!("{path}/");
        let from = listing.range(below.clone()..).map(|(path, entry)| (&path[..], entry));
        look.extend(from.take_while(|(path, _)| path.starts_with(&below)));
    }
    Some(look)
}

/// All paths of all listings.
pub fn paths(listings: &[Listing]) -> BTreeSet<String> {
    listings.iter().flat_map(|listing| listing.keys().cloned()).collect()
}

/// The versions of one path: runs of listings that show the same, from the first that shows anything.
pub fn versions(listings: &[Listing], path: &str) -> Vec<Row> {
    let mut rows: Vec<(Row, Look<'_>)> = Vec::new();
    for (number, listing) in listings.iter().enumerate() {
        let look = look(listing, path);
        match rows.last_mut() {
            None if look.is_none() => {}
            Some((row, before)) if *before == look => row.2 = number,
            _ => rows.push(((path.to_owned(), number, number, listing.get(path).cloned()), look)),
        }
    }
    rows.into_iter().map(|(row, _)| row).collect()
}

/// The rows that the client printed, with backups as their numbers among these.
#[track_caller]
pub fn rows(lines: Vec<Value>, ids: &[String]) -> Vec<Row> {
    let number = |id: &Value| ids.iter().position(|known| *id == **known).expect("a known backup");
    let row = |mut line: Value| {
        let (first, last) = (number(&line["first"]), number(&line["last"]));
        assert_eq!(line["backups"], json!(last - first + 1), "{line}");
        let path = line["path"].as_str().expect("a path").to_owned();
        let fields = line.as_object_mut().expect("an object");
        let others = ["path", "type", "host", "snapshot_path", "first", "first_time", "last", "last_time", "backups"];
        others.iter().for_each(|field| drop(fields.remove(*field)));
        let is_absent = line["kind"] == "absent";
        (path, first, last, (!is_absent).then_some(line))
    };
    lines.into_iter().filter(|line| line["type"] == "version").map(row).collect()
}

/// Backs up a random tree so many times, with changes in between; gives the ids, oldest first.
pub fn random_backups(client: &Client, tree: &Path, seed: u64, backups: usize) -> Vec<String> {
    let mut chance = Chance::new(seed);
    // More names than one segment of a directory holds.
    for number in 0..1500 {
        write(tree.join(format!("many/{number:05}.txt")), "");
    }
    let backup = |number: usize| {
        for _ in 0..40 {
            change(tree, &mut chance);
        }
        write(tree.join(format!("many/{:05}.txt", chance.below(1600))), format!("{number}"));
        let time = (1_400_000_000 + 60 * number).to_string();
        let words = ["--json", "snapshot", "--time", &time, tree.to_str().expect("UTF-8")];
        client.run(words).ok().summary()["id"].as_str().expect("an id").to_owned()
    };
    (0..backups).map(backup).collect()
}

/// Writes or removes something.
fn change(tree: &Path, chance: &mut Chance) {
    const NAMES: [&str; 6] = ["a", "a-b", "a.c", "b.C", "dir", "e"];
    let depth = 1 + chance.below(3);
    let names: Vec<&str> = (0..depth).map(|_| *chance.pick(&NAMES)).collect();
    let path = tree.join(names.join("/"));
    if chance.one_in(6) && path.exists() {
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        return removed.expect("removed");
    }
    if fs::create_dir_all(path.parent().expect("it has one")).is_ok() && !path.is_dir() {
        fs::write(&path, format!("content {}", chance.below(3))).expect("written");
        let time = UNIX_EPOCH + Duration::from_secs(1 + chance.below(3));
        fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(time)).expect("a time");
    }
}
