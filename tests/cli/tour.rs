//! The tours of the pages: every `console` block of a page is run, in order and on a repository of the page's own, and must
//! show what the page says. What differs from run to run (ids, times, rates) counts as equal. `UPDATE_EXPECT=1` writes the
//! present output into the page.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use crate::{
    scene::Scene,
    support::{processes::program, tree::write},
};

/// A command of a page and what it shows there.
struct Shown {
    command: String,
    output: String,
}

/// A page in pieces: text as it is, and what is run.
enum Piece {
    Text(String),
    Shown(Shown),
}

fn pieces(page: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut is_console = false;
    for line in page.lines() {
        if is_console && line != "```" {
            if let Some(command) = line.strip_prefix("$ ") {
                pieces.push(Piece::Shown(Shown { command: command.to_owned(), output: String::new() }));
            } else if let Some(Piece::Shown(shown)) = pieces.last_mut() {
                writeln!(shown.output, "{line}").expect("a String takes everything");
            }
            continue;
        }
        is_console = line == "```console";
        pieces.push(Piece::Text(format!("{line}\n")));
    }
    pieces
}

/// The tree of the tour, with known times.
fn letters(scene: &Scene) {
    write(scene.path("home/me/letters/draft.txt"), "Dear Ada,\n");
    write(scene.path("home/me/letters/2013/june.txt"), "It rains.\n".repeat(40));
    write(scene.path("home/me/photos/sea.jpg"), vec![0xd8; 150_000]);
    write(scene.path("home/me/photos/sea.jpg.tmp"), vec![0; 1000]);
    scene.settle("home/me");
}

fn run(scene: &Scene, command: &str) -> String {
    let programs = program("datadb-client");
    let programs = programs.parent().expect("programs lie in a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let root = scene.path("").canonicalize().expect("the scratch directory");
    let real = |text: &str| text.replace("/home/me", &format!("{}/home/me", root.display()));
    let output = Command::new("sh")
        .args(["-c", &format!("{{ {}; }} 2>&1", real(command))])
        .current_dir(scene.path("home/me"))
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("DATADB_SERVER", scene.client().url())
        .env("HOME", scene.path("home/me"))
        .env("XDG_CACHE_HOME", scene.path("cache"))
        .env("TZ", "UTC")
        .output()
        .expect("a shell");
    String::from_utf8_lossy(&output.stdout).replace(root.to_str().expect("UTF-8"), "")
}

/// Runs a page's commands, at least `commands_min` of them, and compares what they show.
fn tour(page: &str, commands_min: usize) {
    let scene = Scene::new();
    fs::remove_dir_all(scene.path("home")).expect("the scene's own tree");
    letters(&scene);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{page}: {error}"));
    let is_update = std::env::var_os("UPDATE_EXPECT").is_some();
    let (mut updated, mut count) = (String::new(), 0);
    for piece in pieces(&text) {
        let Shown { command, output } = match piece {
            Piece::Text(text) => {
                updated += &text;
                continue;
            }
            Piece::Shown(shown) => shown,
        };
        count += 1;
        let real = run(&scene, &command);
        let kept = scene.alike(&real) == scene.alike(&output);
        assert!(kept || is_update, "$ {command}\nshows now:\n{real}\nand in {page}:\n{output}");
        updated += &format!("$ {command}\n{}", if kept { &output } else { &real });
    }
    assert!(count >= commands_min, "the tour of {page} has {count} commands");
    if is_update {
        fs::write(&file, updated).unwrap_or_else(|error| panic!("{page}: {error}"));
    }
}

#[test]
fn the_front_page_shows_what_really_happens() {
    tour("README.md", 9);
}

#[test]
fn the_page_of_the_client_shows_what_really_happens() {
    tour("client/README.md", 24);
}
