//! Sides of a mirror that are wiped, damaged, or away.

use std::{fs, path::Path};

use crate::{
    site::{Site, TWO, assert_latest_is_the_tree},
    support::{processes::count, tree::next_second},
};

const SECOND_ALONE: &str = "[blobs]\ntype = \"blobsfile\"\npath = \"SCRATCH/second\"\n";
const FIRST_ALONE: &str = "[blobs]\ntype = \"blobsfile\"\npath = \"SCRATCH/data/blobs\"\n[meta]\ntype = \"blobsfile\"\npath = \"SCRATCH/data/meta\"\n";

#[test]
fn a_wiped_side_is_no_reason_to_refuse_and_is_whole_again_afterwards() {
    let mut site = Site::new(TWO);
    for _ in 0..3 {
        site.back_up();
    }
    site.server.stop();
    fs::remove_dir_all(site.path("second")).expect("the side is wiped");
    fs::create_dir(site.path("second")).expect("an empty directory");
    site.server.start();
    site.check_all();
    site.wait_for(1, "level");
    site.back_up();
    assert_latest_is_the_tree(&site);
    site.server.stop();
    site.check_alone("second-alone", SECOND_ALONE);
}

/// The first side, which the data directory had before there was a second one.
#[test]
fn the_data_directorys_own_blobs_can_be_wiped_too() {
    let mut site = Site::new(TWO);
    for _ in 0..2 {
        site.back_up();
    }
    site.server.stop();
    fs::remove_dir_all(site.server.data().join("blobs")).expect("the side is wiped");
    site.server.start();
    site.check_all();
    site.wait_for(0, "level");
    site.server.stop();
    site.check_alone("first-alone", FIRST_ALONE);
}

/// Flips a byte in every tenth record of every pack.
fn damage(dir: &Path) -> usize {
    let mut flipped = 0;
    for (path, _) in
        crate::support::tree::files(dir).into_iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "pack"))
    {
        let mut bytes = fs::read(&path).expect("a pack");
        let magic = bytes[24..32].to_vec();
        let records: Vec<usize> = (0..bytes.len() - 8).filter(|at| bytes[*at..at + 8] == magic[..]).collect();
        // Heads stand in the footer too, close together; between a record's head and the next lies its data.
        let with_data = records.windows(2).filter(|pair| pair[1] - pair[0] > 2000);
        for pair in with_data.step_by(10) {
            bytes[pair[0].midpoint(pair[1])] ^= 0x10;
            flipped += 1;
        }
        fs::write(&path, bytes).expect("damage");
    }
    flipped
}

#[test]
fn with_every_tenth_record_flipped_all_restores_succeed_and_the_side_is_whole_again() {
    let mut site = Site::new(TWO);
    for _ in 0..4 {
        site.back_up();
    }
    site.server.stop();
    assert!(damage(&site.server.data().join("blobs")) >= 3);
    site.server.start();
    site.check_all();
    let sides = site.sides();
    assert!(count(&sides[0], "healed-blobs") >= 3, "{sides:?}");
    site.server.stop();
    site.check_alone("first-alone", FIRST_ALONE);
}

/// The same with `heal --verify`, which reads what nobody has asked for.
#[test]
fn heal_makes_sides_level_and_says_so() {
    let mut site = Site::new(TWO);
    for _ in 0..3 {
        site.back_up();
    }
    site.server.stop();
    let flipped = damage(&site.path("second"));
    let said = site.command("heal", &["--verify"]).ok().text();
    assert!(said.contains("of them damaged") && said.trim_end().ends_with("all sides are level"), "{said}");
    let copied: usize = said
        .lines()
        .filter_map(|line| line.strip_suffix(" blobs copied")?.rsplit(' ').next()?.parse::<usize>().ok())
        .sum();
    assert!(copied >= flipped, "{flipped} records were damaged: {said}");
    site.check_alone("second-alone", SECOND_ALONE);
    let again = site.command("heal", &[]).ok().text();
    assert!(
        again.lines().filter(|line| line.contains("copied")).all(|line| line.ends_with(" 0 blobs copied")),
        "{again}"
    );
}

/// A disk that is taken away while the server runs. It comes back with what it had, and gets the rest.
#[test]
fn a_side_away_for_ten_snapshots_catches_up() {
    let mut site = Site::new(&TWO.replace("ACK", "ack = 1"));
    site.back_up();
    fs::rename(site.path("second"), site.path("taken")).expect("the disk is taken away");
    for _ in 0..10 {
        site.back_up();
    }
    site.wait_for(1, "away");
    let sides = site.sides();
    let trouble = sides[1]["trouble"].as_str().expect("a text");
    // A flush finds it gone, whoever tries to open it again finds it missing.
    assert!(trouble.contains("second") && ["gone", "missing"].iter().any(|word| trouble.contains(word)), "{sides:?}");
    fs::rename(site.path("taken"), site.path("second")).expect("the disk is back");
    site.wait_for(1, "level");
    next_second();
    site.back_up();
    site.server.stop();
    site.check_alone("second-alone", SECOND_ALONE);
}

#[test]
fn with_ack_all_a_side_that_is_away_fails_the_commit_by_name_until_it_is_back() {
    let mut site = Site::new(TWO);
    site.back_up();
    fs::rename(site.path("second"), site.path("taken")).expect("the disk is taken away");
    site.change(1);
    let failed = site.client.snapshot(&site.tree()).code(1);
    assert!(failed.stderr.contains("second"), "{}", failed.stderr);
    site.check_all();
    fs::rename(site.path("taken"), site.path("second")).expect("the disk is back");
    site.wait_for(1, "level");
    site.back_up_as_it_is();
    site.check_all();
    assert!(site.client.backups().len() <= 3, "what failed may be there, once");
    site.server.stop();
    site.check_alone("second-alone", SECOND_ALONE);
}

/// What an existing repository has goes to a side that it gets.
#[test]
fn an_existing_repository_becomes_a_side() {
    let mut site = Site::new("[blobs]\ntype = \"blobsfile\"\npath = \"blobs\"\n");
    for _ in 0..2 {
        site.back_up();
    }
    site.server.stop();
    site.write_config("stores.toml", &TWO.replace("ACK\n", ""));
    site.server.start();
    site.wait_for(1, "level");
    site.back_up();
    site.server.stop();
    site.check_alone("second-alone", SECOND_ALONE);
}
