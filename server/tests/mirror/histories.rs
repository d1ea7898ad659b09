//! Logs on mirrors: order, doubt, and two histories that must not meet.

use std::sync::Arc;

use datadb::{BlobRef, Digest, bundle::BundleBuilder};
use datadb_server::{
    log::{Log, LogError, LogReader, Logged, Position, fork::LogKin},
    record::{Body, CopyPlace, Record},
    store::mirror::Ack,
    store::{
        BlobStore, Cursor, SharedStore, StoreError, mirror::Mirror, testing::faulty::Fault,
        testing::memory::MemoryStore,
    },
};

use crate::scene::Scene;

fn body(number: u64) -> Vec<Body> {
    vec![Body::Bad(vec![CopyPlace { leaf: "x".into(), cursor: Cursor { pack: number, offset: 0 } }])]
}

async fn append(log: &mut Log, number: u64) -> Result<Vec<Logged>, LogError> {
    let (logged, result) = log.append(body(number), &[], 0).await;
    result.map(|()| logged)
}

async fn put_record(store: &dyn BlobStore, record: &Record) -> BlobRef {
    let bytes = record.encode();
    let blob = BlobRef::of(&bytes);
    let mut bundle = BundleBuilder::new();
    bundle.push(&blob, &bytes);
    store.put(bundle.seal(1), bytes::Bytes::new()).await.unwrap();
    blob
}

/// A chain of records, each the continuation of the one before.
fn chain(count: u64) -> Vec<Record> {
    let mut previous = Digest::new([0; 32]);
    (1..=count)
        .map(|sequence| {
            let record = Record { sequence, previous, time: 0, durable: Vec::new(), entries: body(sequence) };
            previous = BlobRef::of(&record.encode()).digest;
            record
        })
        .collect()
}

async fn read(store: &SharedStore, from: Position) -> (Vec<u64>, Result<Position, LogError>) {
    let mut reader = LogReader::new(store.clone(), from, false);
    let mut numbers = Vec::new();
    loop {
        match reader.next().await {
            Ok(Some(logged)) => numbers.push(logged.record.sequence),
            Ok(None) => return (numbers, Ok(reader.position())),
            Err(error) => return (numbers, Err(error)),
        }
    }
}

/// Records that were lost and put again lie at the end; the reader gives them in their order, from every place at which it
/// may have been interrupted.
#[tokio::test]
async fn records_in_any_order_are_read_in_their_order_from_every_position() {
    let records = chain(12);
    for shift in 0..12 {
        let mut order = records.clone();
        order.rotate_left(shift);
        let store: SharedStore = Arc::new(MemoryStore::default());
        for record in &order {
            put_record(&*store, record).await;
        }
        let mut reader = LogReader::new(store.clone(), Position::START, false);
        let mut positions = vec![Position::START];
        while let Some(logged) = reader.next().await.unwrap() {
            positions.push(logged.position);
        }
        assert_eq!(positions.len(), 13);
        for (at, position) in positions.into_iter().enumerate() {
            let (numbers, end) = read(&store, position).await;
            assert_eq!(numbers, ((at as u64 + 1)..=12).collect::<Vec<_>>(), "shift {shift}, from {at}");
            assert_eq!(end.unwrap().sequence, 12);
        }
    }
}

#[tokio::test]
async fn a_missing_record_is_a_gap_and_a_second_one_of_a_number_is_named() {
    let records = chain(6);
    let store: SharedStore = Arc::new(MemoryStore::default());
    for record in records.iter().filter(|record| record.sequence != 4) {
        put_record(&*store, record).await;
    }
    let (numbers, end) = read(&store, Position::START).await;
    assert_eq!(numbers, [1, 2, 3]);
    assert!(matches!(end.unwrap_err(), LogError::Gap { expected: 4, found: 5 }));
    put_record(&*store, &records[3]).await;
    assert_eq!(read(&store, Position::START).await.0, [1, 2, 3, 4, 5, 6]);
    let mut twin = records[4].clone();
    twin.time = 1;
    put_record(&*store, &twin).await;
    let (_, end) = read(&store, Position::START).await;
    assert!(matches!(end.unwrap_err(), LogError::Twins { sequence: 5 }));
}

/// A record in doubt is put again, the very same, before any other; there are never two of one number.
#[tokio::test]
async fn a_record_in_doubt_goes_first() {
    for fault in [Fault::Fails, Fault::FailsAfterApplying] {
        for calls_before in 0..2 {
            let scene = Scene::new(&["a", "b"], Ack::All);
            let mirror = scene.open().await.unwrap();
            let mut log = Log::new(Arc::new(mirror.clone()), Position::START);
            append(&mut log, 1).await.unwrap();
            // Fails in the put, or in the flush behind it.
            let plan = std::iter::repeat_n(None, calls_before).chain([Some(fault)]);
            scene.side(1).faulty.next(plan);
            let error = append(&mut log, 2).await.unwrap_err();
            assert!(matches!(error, LogError::Store(StoreError::InDoubt { .. })), "{error:?}");
            assert!(append(&mut log, 3).await.is_err(), "nothing goes before what is in doubt");
            let settled = log.settle().await.unwrap().expect("a record was in doubt");
            assert_eq!((settled.record.sequence, &settled.record.entries), (2, &body(2)));
            append(&mut log, 3).await.unwrap();
            for side in 0..2 {
                let store: SharedStore = scene.side(side).faulty.clone();
                let (numbers, end) = read(&store, Position::START).await;
                assert_eq!((numbers, end.unwrap().sequence), (vec![1, 2, 3], 3), "{fault:?}");
            }
            mirror.stop().await;
        }
    }
}

/// Whatever crash left one side ahead, after a start both have the same history.
#[tokio::test]
async fn a_side_that_is_ahead_brings_the_other_up() {
    let scene = Scene::new(&["a", "b"], Ack::All);
    let records = chain(5);
    for record in &records {
        put_record(&*scene.side(1).faulty, record).await;
    }
    for record in &records[..3] {
        put_record(&*scene.side(0).faulty, record).await;
    }
    let mut config = scene.config();
    config.kin = Some(Arc::new(LogKin));
    let mirror = Mirror::open(config).await.unwrap();
    let store: SharedStore = Arc::new(mirror.clone());
    assert_eq!(read(&store, Position::START).await.0, [1, 2, 3, 4, 5]);
    mirror.stop().await;
}

#[tokio::test]
async fn two_histories_are_named_and_neither_side_gets_the_others_records() {
    let scene = Scene::new(&["a", "b"], Ack::All);
    let records = chain(3);
    let mut other = records[2].clone();
    other.time = 77;
    for (side, last) in [(0, &records[2]), (1, &other)] {
        for record in [&records[0], &records[1], last] {
            put_record(&*scene.side(side).faulty, record).await;
        }
    }
    let mut config = scene.config();
    config.kin = Some(Arc::new(LogKin));
    let error = Mirror::open(config).await.unwrap_err();
    assert!(error.to_string().contains("record number 3") && error.to_string().starts_with("b: "), "{error}");
    for side in 0..2 {
        assert_eq!(scene.side(side).faulty.stats().await.unwrap().records, 3);
    }
}
