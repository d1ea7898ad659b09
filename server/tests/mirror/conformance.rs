//! What every store promises, of mirrors.

use std::{path::Path, sync::Arc};

use datadb_server::{
    index::Index,
    store::mirror::Ack,
    store::{
        SharedStore,
        mirror::{Mirror, MirrorConfig, SILENCE},
        testing::conformance::check,
    },
};

use crate::scene::{Scene, disk_side};

async fn open(root: &Path) -> SharedStore {
    let index = Arc::new(Index::open(&root.join("index")).unwrap());
    let sides = ["a", "b"].map(|name| disk_side(&index, name, &root.join(name)));
    let config = MirrorConfig {
        ack: Ack::All,
        sides: sides.into(),
        index,
        settle: None,
        needs_all_that_counts: true,
        kin: None,
        silence: SILENCE,
    };
    Arc::new(Mirror::open(config).await.unwrap())
}

/// With a restart between, as a crash would leave the data, or a rebuild.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_of_two_directories_conforms_with_and_without_its_index() {
    for has_index in [true, false] {
        let (dir, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (path, copy) = (dir.path().to_owned(), again.path().to_owned());
        let store = open(&path).await;
        assert_eq!(store.to_string(), "mirror(a, b)");
        check(store, &mut |_| {
            copy_dir(&path, &copy);
            if !has_index {
                std::fs::remove_dir_all(copy.join("index")).unwrap();
            }
            let opened = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(open(&copy)));
            Some(opened)
        })
        .await;
    }
}

#[tokio::test]
async fn a_mirror_of_stores_in_memory_conforms_and_so_does_one_within_another() {
    let scene = Scene::new(&["a", "b", "c"], Ack::Sides(2));
    check(Arc::new(scene.open().await.unwrap()), &mut |_| None).await;
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
