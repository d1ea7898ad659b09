//! Disks that are not mounted, and logs that are not where they were.

use std::{fs, path::Path};

use crate::{
    site::Site,
    support::{
        place::LoopDisk,
        processes::{Run, refused_server, server_command},
    },
};

const ON_A_DISK: &str =
    "[blobs]\ntype = \"blobsfile\"\npath = \"SCRATCH/disk/blobs\"\n[meta]\ntype = \"blobsfile\"\npath = \"meta\"\n";
const THE_DISK: &str =
    "[blobs]\ntype = \"blobsfile\"\npath = \"SCRATCH/disk\"\n[meta]\ntype = \"blobsfile\"\npath = \"meta\"\n";

fn refused(site: &Site) -> Run {
    let config = site.config();
    refused_server(site.server.data(), &["--config", config.to_str().expect("UTF-8")]).code(1)
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).expect("a directory").next().is_none()
}

/// The blobs are on a disk, or below a directory of it. Without it nothing is made below the mount point; with it all is
/// there.
#[test]
fn blobs_on_a_disk_that_is_not_mounted_are_not_lost_and_nothing_is_written_below_the_mount_point() {
    for config in [ON_A_DISK, THE_DISK] {
        let scratch = crate::support::place::scratch();
        let Some(mut disk) = LoopDisk::mount(&scratch.path().join("disk")) else { return };
        let mut site = Site::in_scratch(scratch, config);
        for _ in 0..2 {
            site.back_up();
        }
        site.server.stop();
        disk.unmount();
        let said = refused(&site).stderr;
        assert!(said.contains(&site.path("disk").display().to_string()), "{said}");
        assert!(said.to_lowercase().contains("mount"), "{said}");
        assert!(is_empty(&site.path("disk")), "{said}");
        let rebuilt = site.command("rebuild", &[]).code(1);
        assert!(rebuilt.stderr.contains("disk"), "{}", rebuilt.stderr);
        assert!(is_empty(&site.path("disk")));
        disk.mount_again();
        site.server.start();
        site.check_all();
        site.back_up();
        site.check_all();
        site.server.stop();
    }
}

/// The command that the error names, word by word.
#[test]
fn the_command_that_a_refusal_names_begins_a_lost_place_anew() {
    let mut site = Site::new(
        "[blobs]\ntype = \"blobsfile\"\npath = \"SCRATCH/second\"\n[meta]\ntype = \"blobsfile\"\npath = \"meta\"\n",
    );
    site.back_up();
    site.server.stop();
    fs::remove_dir_all(site.path("second")).expect("the disk is lost");
    let said = refused(&site).stderr;
    let command = said.split('`').nth(1).expect("a command").to_owned();
    let mut words: Vec<&str> = command.split(' ').skip(1).collect();
    let config = site.config();
    words.extend(["--config", config.to_str().expect("UTF-8")]);
    let words: Vec<&std::ffi::OsStr> = words.into_iter().map(std::ffi::OsStr::new).collect();
    let accepted = server_command(&words).ok().text();
    assert!(accepted.contains("begins anew"), "{accepted}");
    site.server.start();
    assert!(site.server.stderr().contains("blobs are lost with their packs"), "{}", site.server.stderr());
    let (id, _) = site.backups[0].clone();
    let failed = site.client.restore(&id, &site.path("back")).code(3);
    assert!(!failed.stderr.is_empty());
    fs::remove_dir_all(site.path("back")).expect("what came back is removed");
    site.client.backup(&site.tree());
    site.check_all();
}

/// A config whose `[meta]` names an empty directory beside the old index: nothing is appended there.
#[test]
fn an_empty_directory_is_not_taken_for_the_log_of_an_old_index() {
    let mut site = Site::new("[blobs]\ntype = \"blobsfile\"\npath = \"blobs\"\n");
    site.back_up();
    site.server.stop();
    let old = fs::read_to_string(site.config()).expect("a config");
    fs::create_dir(site.path("empty")).expect("a directory");
    site.write_config("stores.toml", &format!("{old}[meta]\ntype = \"blobsfile\"\npath = \"SCRATCH/empty\"\n"));
    let said = refused(&site).stderr;
    assert!(said.contains(&site.path("empty").display().to_string()), "{said}");
    assert!(is_empty(&site.path("empty")));
    site.write_config("stores.toml", &old);
    site.server.start();
    site.back_up();
    site.server.stop();
    site.command("rebuild", &[]).ok();
    site.server.start();
    site.check_all();
}
