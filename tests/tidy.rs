//! The rules of the house that no compiler knows: which crate may use which, who names what, what lies where.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use regex::Regex;
use serde_json::Value;

/// Every edge between our own crates that the picture in the README shows. Root tests alone may use every crate.
const EDGES: [(&str, &str); 8] = [
    ("datadb-client", "datadb"),
    ("datadb-server", "datadb"),
    ("datadb-fuse", "datadb"),
    ("datadb-fuse", "datadb-client"),
    ("datadb-scheduler", "datadb"),
    ("datadb-scheduler", "datadb-client"),
    ("datadb-resp", "datadb"),
    ("datadb-resp", "datadb-client"),
];

/// Foreign things, and the only crate that may name each.
const FOREIGN: [(&str, &str); 13] = [
    ("rocksdb", "datadb-server"),
    ("aws-config", "datadb-server"),
    ("aws-sdk-s3", "datadb-server"),
    ("aws-sdk-glacier", "datadb-server"),
    ("aws-smithy-http-client", "datadb-server"),
    ("fuser", "datadb-fuse"),
    ("redis-protocol", "datadb-resp"),
    ("croner", "datadb-scheduler"),
    ("rusqlite", "datadb-scheduler"),
    ("ureq", "datadb-scheduler"),
    ("fastcdc", "datadb-client"),
    ("indicatif", "datadb-client"),
    ("protox", "datadb"),
];

/// All that lies at the top of the repository.
const TOP: [&str; 25] = [
    ".cargo",
    ".ci",
    ".git",
    ".gitattributes",
    ".gitignore",
    ".venv",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "Makefile",
    "README.md",
    "build.rs",
    "client",
    "clippy.toml",
    "compat-resp",
    "fuse",
    "proto",
    "rustfmt.toml",
    "scheduler",
    "server",
    "src",
    "target",
    "tests",
];

/// The manual: the front page, and a page in each room.
const PAGES: [&str; 8] = [
    "README.md",
    "client/README.md",
    "server/README.md",
    "fuse/README.md",
    "scheduler/README.md",
    "compat-resp/README.md",
    "proto/README.md",
    "tests/README.md",
];

/// More than that nobody reads before the first backup: the rest belongs on the pages of the rooms.
const FRONT_PAGE_LINES_MAX: usize = 180;

/// Rooms of our crates, bottom up, and which others each imports, outside tests: a room is a folder or a file below `src/`.
/// What is not here is no edge. Add one only if it leads downwards.
const ROOMS: [(&str, &str, &str); 37] = [
    ("server", "record", "place"),
    ("server", "index", "descriptors place record"),
    ("server", "store", "descriptors index observe place random"),
    ("server", "log", "record store"),
    ("server", "config", "store"),
    ("server", "stack", "config index random record store"),
    ("server", "engine", "config index log observe random record stack store"),
    ("server", "rpc", "descriptors engine observe store"),
    ("server", "http", "descriptors engine observe store"),
    ("server", "cli", "config descriptors engine http rpc stack store"),
    ("client", "report", "color"),
    ("client", "exit", "color report"),
    ("client", "connection", "exit"),
    ("client", "cache", "fs"),
    ("client", "select", "fs glob report"),
    ("client", "walk", "cache clock exit fs report select"),
    ("client", "snapshot", "cache chunker clock connection exit fs report select walk"),
    ("client", "fetch", "connection exit fs"),
    ("client", "restore", "connection exit fetch field fs glob report"),
    ("client", "diff", "connection exit fetch field fs report select snapshot walk"),
    ("client", "dump", "connection exit fetch report restore"),
    (
        "client",
        "cli",
        "clock color connection diff dump exit fetch field fs glob process report restore select snapshot",
    ),
    ("fuse", "cache", "entry"),
    ("fuse", "view", "cache entry"),
    ("fuse", "adapter", "entry view"),
    ("fuse", "cli", "adapter cache view"),
    ("scheduler", "clock", "plan"),
    ("scheduler", "config", "plan"),
    ("scheduler", "run", "clock config history plan"),
    ("scheduler", "status", "config history plan run"),
    ("scheduler", "metrics", "clock config history run status"),
    ("scheduler", "cli", "clock config history metrics plan run status"),
    ("compat-resp", "clients", "frame"),
    ("compat-resp", "command", "clients frame sidecar"),
    ("compat-resp", "connection", "clients command frame lanes sidecar"),
    ("compat-resp", "sidecar", "clients connection frame lanes strangers"),
    ("compat-resp", "cli", "lanes sidecar"),
];

/// Edges that still lead upwards, each a part of a circle. This list only gets shorter.
const UPWARDS: [(&str, &str, &str); 2] =
    [("compat-resp", "command", "sidecar"), ("compat-resp", "connection", "sidecar")];

/// Who may name the generated API: the one place of conversions, and the two ends of the wire.
const API_ROOMS: [&str; 8] = [
    "src/api.rs",
    "src/lib.rs",
    "src/wire.rs",
    "src/wire/",
    "server/src/rpc",
    "server/src/store/remote",
    "client/src/connection",
    "tests/",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"];
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Package, dependency, and whether it is for tests only.
fn dependencies() -> Vec<(String, String, bool)> {
    let mut all = Vec::new();
    for package in packages() {
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let for_tests = text(dependency, "kind") == "dev";
            all.push((text(&package, "name").to_owned(), text(dependency, "name").to_owned(), for_tests));
        }
    }
    all
}

#[test]
fn crates_depend_on_each_other_as_the_picture_shows() {
    let ours: BTreeSet<String> = packages().iter().map(|package| text(package, "name").to_owned()).collect();
    for (from, to, for_tests) in dependencies() {
        let is_root_test = from == "datadb" && for_tests;
        if ours.contains(&to) && !is_root_test {
            assert!(EDGES.contains(&(&from, &to)), "{from} -> {to} is not in the picture of the README");
        }
    }
}

#[test]
fn only_one_crate_names_a_foreign_thing() {
    for (from, to, for_tests) in dependencies() {
        let is_root_test = from == "datadb" && for_tests;
        if let Some((_, owner)) = FOREIGN.iter().find(|(foreign, _)| *foreign == to) {
            assert!(from == *owner || is_root_test, "{from} uses {to}, which belongs to {owner} alone");
        }
    }
}

/// Every Rust file of ours, by its path below the root, with its text.
fn sources() -> Vec<(String, String)> {
    let mut git = Command::new("git");
    let mut listed =
        listed_or_walked(git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.rs"]));
    listed.sort();
    listed.into_iter().filter_map(|path| Some((path.clone(), fs::read_to_string(root().join(path)).ok()?))).collect()
}

/// What git knows, or, where there is no git, every Rust file in the rooms.
fn listed_or_walked(git: &mut Command) -> Vec<String> {
    if let Ok(output) = git.current_dir(root()).output()
        && output.status.success()
    {
        return String::from_utf8_lossy(&output.stdout)
            .split('\0')
            .filter(|path| !path.is_empty())
            .map(ToOwned::to_owned)
            .collect();
    }
    let mut open: Vec<PathBuf> =
        ["src", "tests", "server", "client", "fuse", "scheduler", "compat-resp"].map(|name| root().join(name)).to_vec();
    let mut found = vec!["build.rs".to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(root()).expect("it lies below the root");
                found.push(below.to_string_lossy().into_owned());
            }
        }
    }
    found
}

#[test]
fn every_file_says_first_what_it_is_for() {
    for (path, text) in sources() {
        let first = text.lines().find(|line| !line.starts_with("#!")).unwrap_or_default();
        assert!(first.starts_with("//! "), "{path} begins with {first:?}, not with //! and what it is for");
    }
    for path in ["Makefile", ".ci/run"] {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let first = text.lines().find(|line| !line.starts_with("#!")).unwrap_or_default();
        assert!(first.starts_with("# "), "{path} begins with {first:?}, not with # and what it is for");
    }
}

#[test]
fn only_the_ends_of_the_wire_name_the_generated_api() {
    for (path, text) in sources() {
        if API_ROOMS.iter().any(|room| path.starts_with(room)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            assert!(!names_api(code), "{path}:{}: the generated API is named here", number + 1);
        }
    }
}

/// Whether a line holds the path segment `api`.
fn names_api(code: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let is_start = |at: usize| at == 0 || !is_word(&code.as_bytes()[at - 1]);
    code.contains("datadb::api") || code.match_indices("api::").any(|(at, _)| is_start(at))
}

/// A file's lines before its own tests begin; files of tests have none.
fn lines_outside_tests(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().take_while(|(_, line)| !line.trim_start().starts_with("#[cfg(test)]"))
}

fn is_test_file(path: &str) -> bool {
    // What stores are tested with lies beside the trait, where every crate's tests can use it.
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_test.rs")
        || path.starts_with("server/src/store/testing/")
}

/// The rooms of its own crate that a text imports: what stands behind `crate::`, alone or in braces.
fn imported_rooms(text: &str) -> BTreeSet<String> {
    let code: String =
        lines_outside_tests(text).flat_map(|(_, line)| [line.split("//").next().unwrap_or_default(), "\n"]).collect();
    let mut rooms = BTreeSet::new();
    for (at, found) in code.match_indices("crate::") {
        let mut rest = &code[at + found.len()..];
        let is_group = rest.starts_with('{');
        let mut depth = 0;
        loop {
            rest = rest.trim_start_matches(['{', ',', ' ', '\n']);
            let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
            if name.starts_with(|c: char| c.is_ascii_lowercase()) {
                rooms.insert(name.to_owned());
            }
            // To the next name of the same group.
            let next = rest.find(|c: char| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                depth < 0 || (depth == 0 && c == ',')
            });
            match next {
                Some(next) if is_group && rest[next..].starts_with(',') => rest = &rest[next..],
                _ => break,
            }
            if rest.trim_start_matches([',', ' ', '\n']).starts_with('}') {
                break;
            }
        }
    }
    rooms
}

#[test]
fn what_a_file_imports_is_read_from_all_forms() {
    let text = "use crate::{\n    a::{B, c::D},\n    e::F,\n};\nuse crate::g::H; // crate::no\nlet x = crate::i::j();\nuse crate::{k::L, m};";
    assert_eq!(imported_rooms(text).into_iter().collect::<Vec<_>>(), ["a", "e", "g", "i", "k", "m"]);
}

/// Rooms know what lies below them and nothing else, so that each can be read, tested and moved without those above.
#[test]
fn rooms_import_each_other_as_the_table_says() {
    let mut edges = BTreeSet::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test_file(path)) {
        let Some((of_crate, inside)) = path.split_once("/src/") else { continue };
        let room = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        if of_crate.contains('/') || ["lib", "main"].contains(&room) {
            continue;
        }
        for other in imported_rooms(&text).into_iter().filter(|other| other != room) {
            let permitted = ROOMS.iter().find(|(krate, from, _)| *krate == of_crate && *from == room);
            let is_permitted = permitted.is_some_and(|(.., to)| to.split(' ').any(|to| to == other));
            assert!(is_permitted, "{path}: {room} -> {other} is not in the table of rooms");
            edges.insert((of_crate.to_owned(), room.to_owned(), other));
        }
    }
    for (of_crate, from, to) in ROOMS {
        for to in to.split(' ') {
            let edge = (of_crate.to_owned(), from.to_owned(), to.to_owned());
            assert!(
                edges.contains(&edge),
                "{of_crate}: nothing of {from} imports {to} any more: take it from the table"
            );
        }
    }
    let height = |krate: &str, room: &str| ROOMS.iter().position(|(of, from, _)| *of == krate && *from == room);
    let leads_up = |(krate, from, to): &(&str, &str, &str)| height(krate, to) > height(krate, from);
    let all = ROOMS.iter().flat_map(|(krate, from, to)| to.split(' ').map(move |to| (*krate, *from, to)));
    assert_eq!(all.filter(leads_up).collect::<Vec<_>>(), UPWARDS, "no new circle, and none that is gone");
}

#[test]
fn no_unwrap_and_no_stub_outside_tests() {
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test_file(path)) {
        for (number, line) in lines_outside_tests(&text) {
            let code = line.split("//").next().unwrap_or_default();
            for bad in [".unwrap()", "todo!(", "unimplemented!(", "dbg!("] {
                assert!(!code.contains(bad), "{path}:{}: {bad} outside a test: {line}", number + 1);
            }
        }
    }
}

#[test]
fn rooms_have_names_that_say_what_is_in_them() {
    for (path, _) in sources() {
        for part in path.trim_end_matches(".rs").split('/') {
            assert!(
                !["util", "utils", "common", "misc", "helpers", "helper"].contains(&part),
                "{path}: {part} says nothing"
            );
        }
    }
}

#[test]
fn the_top_of_the_repository_stays_as_agreed() {
    for entry in fs::read_dir(root()).expect("the root is a directory") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        assert!(TOP.contains(&&*name), "{name} does not belong at the top of the repository");
    }
}

/// Every package takes its version, edition, licence and lints from the workspace.
#[test]
fn every_package_follows_the_workspace() {
    for package in packages() {
        let manifest = fs::read_to_string(text(&package, "manifest_path")).expect("a manifest");
        for line in ["version.workspace = true", "license.workspace = true", "[lints]\nworkspace = true"] {
            assert!(manifest.contains(line), "{} lacks {line:?}", text(&package, "name"));
        }
        assert_eq!(text(&package, "license"), "MIT OR Apache-2.0");
    }
}

/// All invariants of the design that have a test by now; a rename or a removal is noticed.
#[test]
fn each_invariant_has_a_test_named_after_it() {
    let all: String = sources().into_iter().map(|(_, text)| text).collect();
    for invariant in
        ["invariant_1_blob_before_reference", "invariant_2_all_or_nothing", "invariant_3_the_index_is_disposable"]
            .into_iter()
            .chain([
                "invariant_4_verified",
                "invariant_5_a_collision_harms_nobody",
                "invariant_6_bounded",
                "invariant_7_same_bytes_same_tree",
            ])
    {
        assert!(all.contains(&format!("fn {invariant}")), "no test is named after {invariant}");
    }
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A page's lines outside its blocks of code.
fn prose(page: &str) -> Vec<&str> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            lines.push(line);
        }
    }
    lines
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> Vec<String> {
    let mut anchors = Vec::new();
    for line in prose(page) {
        if line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            anchors.push(heading.chars().filter(|&it| it.is_alphanumeric() || it == '-' || it == '_').collect());
        }
    }
    anchors
}

#[test]
fn the_front_page_is_short_and_leads_to_every_other_page() {
    let front = page("README.md");
    let lines = front.lines().count();
    assert!(lines <= FRONT_PAGE_LINES_MAX, "README.md has {lines} lines, and may have {FRONT_PAGE_LINES_MAX}");
    for other in &PAGES[1..] {
        assert!(front.contains(&format!("]({other})")), "README.md has no link to {other}");
    }
}

#[test]
fn every_link_of_the_pages_leads_somewhere() {
    let link = Regex::new(r"\]\(([^()\s]+)\)").expect("a pattern");
    for path in PAGES {
        let text = page(path);
        let room = Path::new(path).parent().expect("a page lies in a directory");
        let own = anchors(&text);
        assert_eq!(own.len(), own.iter().collect::<BTreeSet<_>>().len(), "{path}: two headings have the same anchor");
        for line in prose(&text) {
            for found in link.captures_iter(line) {
                let target = &found[1];
                if target.contains("://") {
                    continue;
                }
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let there = if file.is_empty() { root().join(path) } else { root().join(room).join(file) };
                assert!(there.exists(), "{path}: {target}: there is no such file");
                if !anchor.is_empty() {
                    let text = fs::read_to_string(&there).expect("a page");
                    let is_there = anchors(&text).iter().any(|known| known == anchor);
                    assert!(is_there, "{path}: {target}: there is no such heading");
                }
            }
        }
    }
}

#[test]
fn every_path_of_the_code_that_a_page_names_is_there() {
    let named =
        Regex::new(r"`((src|server|client|fuse|scheduler|compat-resp|proto|tests)/[^`\s]*)`").expect("a pattern");
    for path in PAGES {
        let text = page(path);
        for line in prose(&text) {
            for found in named.captures_iter(line) {
                let there = &found[1];
                assert!(root().join(there).exists(), "{path} names {there}, which is not there");
            }
        }
    }
}
