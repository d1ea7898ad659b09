//! The bodies of the fuzz targets as properties: on noise, on the corpora that fuzzing left, and on damaged pieces of them.

use std::{fs, path::Path};

use datadb_server::{index, record};
use proptest::{collection::vec, prelude::*, sample::Index};

#[path = "fuzz/bodies.rs"]
mod bodies;

use bodies::BODIES;

/// What fuzzing found worth keeping of a target.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.iter().map(|path| fs::read(path).expect("a readable file")).collect()
}

#[test]
fn every_target_holds_on_its_corpus() {
    for (target, body) in BODIES {
        let corpus = corpus(target);
        assert!(corpus.len() >= 5, "{target} has a corpus of {}", corpus.len());
        corpus.iter().for_each(|bytes| body(bytes));
    }
}

/// Every target with a body is built, and the other way round but for those of other packages.
#[test]
fn every_body_is_a_target() {
    let manifest = include_str!("fuzz/Cargo.toml");
    for (target, _) in BODIES {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target} is not built");
    }
}

/// Pieces of one or two inputs, with some bytes changed.
fn damaged(corpus: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let wounds = vec((any::<Index>(), any::<u8>()), 0..5);
    let which = any::<(Index, Index, Index, Index, bool)>();
    (which, wounds, vec(any::<u8>(), 0..4)).prop_map(move |((one, other, from, to, is_spliced), wounds, more)| {
        let mut bytes = one.get(&corpus).clone();
        if is_spliced {
            let tail = other.get(&corpus);
            bytes.truncate(from.index(bytes.len() + 1));
            bytes.extend_from_slice(&tail[to.index(tail.len() + 1)..]);
        }
        for (at, byte) in wounds {
            if !bytes.is_empty() {
                *at.get_mut(&mut bytes) = byte;
            }
        }
        bytes.extend(more);
        bytes
    })
}

#[test]
fn every_target_holds_on_noise_and_on_damaged_inputs() {
    let config = ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() };
    for (target, body) in BODIES {
        let run = |strategy: BoxedStrategy<Vec<u8>>| {
            proptest::test_runner::TestRunner::new(config.clone())
                .run(&strategy, |bytes| {
                    body(&bytes);
                    Ok(())
                })
                .unwrap_or_else(|error| panic!("{target}: {error}"));
        };
        run(vec(any::<u8>(), 0..300).boxed());
        run(damaged(corpus(target)).boxed());
    }
}
