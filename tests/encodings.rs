//! Properties of every encoding that both sides share: round trips, one encoding per value, no panic on any input, and
//! the promise of the cutting rule that versions share segments. (`bounded_decoding.rs` watches the memory.)

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
};

use datadb::{
    Backup, BlobId, Bundle, Digest, FileType, HostName, Meta, Name, Object, ObjectKey, TreePath, api,
    backup::{BackupKey, BackupSpec, BackupTime, Counts, prefix_range},
    blob::BlobRef,
    bundle::{BundleBuilder, Codec},
    chunking::ChunkerParams,
    clock::{format_time, parse_time},
    codec::{Reader, Writer},
    error::{Fault, Kind},
    limits,
    meta::{Content, HardLink, Timestamp, Xattr, XattrValue},
    object::{Chunk, Encoded, ListBuilder, ListSegment, ObjectRef, SetBuilder, SetSegment, set_members},
    wire,
};
use jiff::tz::TimeZone;
use proptest::{collection::vec, option, prelude::*, sample::Index};

fn never(_: &ObjectKey) -> bool {
    false
}

fn id() -> impl Strategy<Value = BlobId> {
    any::<[u8; 20]>().prop_map(BlobId::new)
}

fn key() -> impl Strategy<Value = ObjectKey> {
    any::<[u8; 20]>().prop_map(ObjectKey::new)
}

fn name() -> impl Strategy<Value = Name> {
    let bytes = prop_oneof![vec(any::<u8>(), 1..20), vec(any::<u8>(), 255)];
    bytes.prop_filter_map("not every string of bytes is a name", |mut bytes| {
        bytes.iter_mut().filter(|byte| matches!(**byte, 0 | b'/')).for_each(|byte| *byte = b'_');
        Name::new(&bytes).ok()
    })
}

fn xattrs() -> impl Strategy<Value = Vec<Xattr>> {
    let value = prop_oneof![
        vec(any::<u8>(), 0..40).prop_map(XattrValue::Inline),
        vec(any::<u8>(), limits::XATTR_INLINE_BYTES_MAX).prop_map(XattrValue::Inline),
        id().prop_map(XattrValue::Blob),
    ];
    proptest::collection::btree_map(vec(1u8.., 1..30), value, 0..4)
        .prop_map(|all| all.into_iter().map(|(name, value)| Xattr { name, value }).collect())
}

fn file_type() -> impl Strategy<Value = FileType> {
    (1u8..=6).prop_map(|number| FileType::try_from(number).expect("1 to 6 are file types"))
}

prop_compose! {
    /// Any meta that keeps the rules between its fields.
    fn meta()(
        (salt, name, file_type) in (any::<u8>(), option::of(name()), file_type()),
        (mode, uid, gid) in (0u32..=0o7777, any::<u32>(), any::<u32>()),
        (user, group) in ("[a-zé]{0,9}", "[a-z$-]{0,9}"),
        (seconds, nanos) in (any::<i64>(), 0u32..1_000_000_000),
        (size, target) in (1u64.., vec(1u8.., 1..200)),
        rdev in any::<(u32, u32)>(),
        xattrs in xattrs(),
        (content, digest) in (option::of(prop_oneof![
            id().prop_map(Content::Blob), key().prop_map(Content::Ref)
        ]), any::<[u8; 32]>()),
        link in option::of((2u64.., any::<[u8; 16]>())),
        error in option::of("[ -~]{1,60}"),
    ) -> Meta {
        let is_file = file_type == FileType::File;
        let is_device = matches!(file_type, FileType::CharDevice | FileType::BlockDevice);
        let content = match (file_type, content) {
            (FileType::File, Some(content)) => content,
            (FileType::Dir, Some(content @ Content::Ref(_))) => content,
            _ => Content::None,
        };
        let has_bytes = is_file && content != Content::None;
        Meta {
            salt, name, file_type, mode, uid, gid, user, group,
            mtime: Timestamp { seconds, nanos },
            size: if has_bytes { size } else { 0 },
            target: (file_type == FileType::Symlink).then_some(target),
            rdev: is_device.then_some(rdev),
            xattrs, content,
            digest: has_bytes.then(|| Digest::new(digest)),
            link: link.map(|(nlink, id)| HardLink { nlink, id }),
            error,
        }
    }
}

fn metas_in_order(count: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<Meta>> {
    vec((name(), meta()), count).prop_map(|metas| {
        let by_name: BTreeMap<Name, Meta> = metas.into_iter().collect();
        by_name.into_iter().map(|(name, meta)| Meta { name: Some(name), ..meta }).collect()
    })
}

fn object() -> impl Strategy<Value = Object> {
    let chunk = (1u64..1 << 50, option::of(id())).prop_map(|(len, blob)| Chunk { len, blob });
    let list_segment =
        (key(), any::<u64>(), 0u64..1 << 50).prop_map(|(key, chunks, len)| ListSegment { key, chunks, len });
    let set_head = proptest::collection::btree_map(name(), (key(), any::<u64>()), 2..8).prop_map(|segments| {
        segments.into_iter().map(|(first, (key, entries))| SetSegment { key, entries, first }).collect()
    });
    prop_oneof![
        meta().prop_map(Box::new).prop_map(Object::Meta),
        metas_in_order(1..6).prop_map(Object::Set),
        set_head.prop_map(Object::SetHead),
        vec(chunk, 1..30).prop_map(Object::List),
        vec(list_segment, 2..8).prop_map(Object::ListHead),
    ]
}

fn host() -> impl Strategy<Value = HostName> {
    "[a-z0-9.é-]{1,30}".prop_map(|text| HostName::new(&text).expect("letters and digits are a host's name"))
}

fn path() -> impl Strategy<Value = TreePath> {
    vec(name(), 0..5).prop_map(|names| {
        let bytes: Vec<u8> = names.iter().flat_map(|name| [b"/", name.as_bytes()].concat()).collect();
        TreePath::lenient(&bytes).expect("names make a path")
    })
}

prop_compose! {
    fn backup()(
        (host, path, root) in (host(), path(), key()),
        seconds in 0..=limits::TIME_SECONDS_MAX,
        file_type in file_type(),
        counts in any::<[u64; 5]>(),
        tags in proptest::collection::btree_map(".{0,20}", ".{0,20}", 0..5),
        token in any::<[u8; 16]>(),
    ) -> Backup {
        let [files, dirs, bytes, errors, changed] = counts;
        let time = BackupTime::new(seconds).expect("within range");
        Backup { host, path, time, root, file_type, counts: Counts { files, dirs, bytes, errors, changed }, tags, token }
    }
}

fn encoded(backup: &Backup) -> Vec<u8> {
    let mut w = Writer::default();
    backup.encode(&mut w);
    w.finish()
}

fn blobs() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(prop_oneof![vec(any::<u8>(), 0..200), (any::<u8>(), 0usize..5000).prop_map(|(b, len)| vec![b; len])], 1..20)
}

fn bundle(blobs: &[Vec<u8>]) -> Bundle {
    let mut builder = BundleBuilder::new();
    for bytes in blobs {
        assert!(builder.has_room(bytes.len()));
        builder.push(&BlobRef::of(bytes), bytes);
    }
    builder.seal(1)
}

/// A valid encoding with a few bytes changed, cut off or added: closer to the rules than noise ever gets.
fn damaged(valid: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let wound = (any::<Index>(), any::<u8>());
    (valid, vec(wound, 0..4), option::of(any::<Index>()), vec(any::<u8>(), 0..3)).prop_map(
        |(mut bytes, wounds, cut, more)| {
            for (at, byte) in wounds {
                if !bytes.is_empty() {
                    *at.get_mut(&mut bytes) = byte;
                }
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            bytes.extend(more);
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn numbers_come_back_and_have_one_encoding(number in any::<u64>(), shift in 0u32..64, signed in any::<i64>()) {
        let number = number >> shift;
        let mut w = Writer::default();
        w.varint(number).signed(signed);
        let bytes = w.finish();
        let mut r = Reader::new(&bytes);
        prop_assert_eq!((r.varint("a")?, r.signed("b")?), (number, signed));
        r.end()?;
    }

    #[test]
    fn any_bytes_read_as_a_number_write_the_same(bytes in vec(any::<u8>(), 0..12)) {
        let mut r = Reader::new(&bytes);
        if let Ok(number) = r.varint("number") {
            let mut w = Writer::default();
            w.varint(number);
            prop_assert_eq!(&w.finish()[..], &bytes[..bytes.len() - r.remaining()]);
        }
    }

    #[test]
    fn metas_come_back(meta in meta()) {
        prop_assert_eq!(Meta::decode(&meta.encode())?, meta);
    }

    /// A key names one content, so a content must have one encoding.
    #[test]
    fn whatever_decodes_as_a_meta_encodes_the_same(bytes in damaged(meta().prop_map(|meta| meta.encode()))) {
        if let Ok(meta) = Meta::decode(&bytes) {
            prop_assert_eq!(meta.encode(), bytes);
        }
    }

    #[test]
    fn objects_come_back(object in object(), salt in any::<u8>()) {
        let bytes = object.encode(salt);
        prop_assert_eq!(Object::decode(&bytes)?, object);
    }

    #[test]
    fn whatever_decodes_as_an_object_encodes_the_same(
        bytes in damaged((object(), any::<u8>()).prop_map(|(object, salt)| object.encode(salt))),
    ) {
        if let Ok(object) = Object::decode(&bytes) {
            prop_assert_eq!(object.encode(bytes[0]), bytes);
        }
    }

    #[test]
    fn noise_is_an_error_and_never_a_panic(noise in vec(any::<u8>(), 0..400), kind in 0u8..7) {
        let marked = [&[0, kind], &noise[..]].concat();
        for bytes in [&noise, &marked] {
            if let Ok(object) = Object::decode(bytes) {
                prop_assert_eq!(object.encode(bytes[0]), bytes.clone());
                let _named = (object.blobs(), object.children());
            }
            let _members = set_members(bytes);
            let _backup = Backup::decode(&mut Reader::new(bytes));
        }
    }

    #[test]
    fn a_sets_members_are_its_metas(metas in metas_in_order(1..8), salt in any::<u8>()) {
        let bytes = Object::Set(metas.clone()).encode(salt);
        let members: Vec<Vec<u8>> = set_members(&bytes)?.into_iter().map(<[u8]>::to_vec).collect();
        prop_assert_eq!(members, metas.iter().map(Meta::encode).collect::<Vec<_>>());
    }

    #[test]
    fn backups_come_back(backup in backup()) {
        let bytes = encoded(&backup);
        let mut r = Reader::new(&bytes);
        prop_assert_eq!(Backup::decode(&mut r)?, backup);
        r.end()?;
    }

    #[test]
    fn whatever_decodes_as_a_backup_encodes_the_same(bytes in damaged(backup().prop_map(|one| encoded(&one)))) {
        let mut r = Reader::new(&bytes);
        if let Ok(backup) = Backup::decode(&mut r) {
            prop_assert_eq!(&encoded(&backup)[..], &bytes[..bytes.len() - r.remaining()]);
        }
    }

    #[test]
    fn bundles_come_back_verified(blobs in blobs()) {
        let bundle = bundle(&blobs);
        let again = Bundle::new(bundle.codec(), bundle.plain_bytes(), bundle.table().clone(), bundle.data().clone())?;
        let plain = again.verify()?;
        let back: Vec<Vec<u8>> = plain.iter().map(|(_, bytes)| bytes.to_vec()).collect();
        prop_assert_eq!(&back, &blobs);
        prop_assert_eq!(plain.len(), blobs.iter().map(Vec::len).sum::<usize>());
        for (blob, bytes) in again.refs().zip(&blobs) {
            prop_assert_eq!(blob, BlobRef::of(bytes));
        }
    }

    /// Whatever happens to a bundle on its way, no other bytes than those named ever come out of it.
    #[test]
    fn a_damaged_bundle_never_gives_other_bytes(
        (blobs, is_zstd) in (blobs(), any::<bool>()),
        plain_bytes in option::of(any::<u32>()),
        (in_table, in_data) in (option::of((any::<Index>(), any::<u8>())), option::of((any::<Index>(), any::<u8>()))),
    ) {
        let good = bundle(&blobs);
        let (mut table, mut data) = (good.table().to_vec(), good.data().to_vec());
        if let Some((at, byte)) = in_table { *at.get_mut(&mut table) = byte; }
        if let (Some((at, byte)), false) = (in_data, data.is_empty()) { *at.get_mut(&mut data) = byte; }
        let codec = if is_zstd { Codec::Zstd } else { Codec::Raw };
        let damaged = Bundle::new(codec, plain_bytes.unwrap_or(good.plain_bytes()), table.into(), data.into());
        if let Ok(plain) = damaged.and_then(|bundle| bundle.verify()) {
            for (blob, bytes) in plain.iter() {
                prop_assert_eq!(blob, BlobRef::of(&bytes));
            }
        }
    }

    /// Frames that hold nothing, a second frame, bytes behind the frame, a frame of empty blocks, one that doesn't tell its
    /// length: all of them would take room that no limit counts. Refused where they are sent, and where they are read.
    #[test]
    fn a_bundle_is_one_frame_and_nothing_else(len in 200usize..5000, skipped in 0usize..150, way in 0u8..7) {
        let blob = vec![7; len];
        let good = bundle(std::slice::from_ref(&blob));
        prop_assert_eq!(good.codec(), Codec::Zstd);
        let frame = good.data().to_vec();
        let skippable = |bytes: usize| [&[0x50, 0x2A, 0x4D, 0x18][..], &(bytes as u32).to_le_bytes(), &vec![9; bytes]].concat();
        let nothing = zstd::bulk::compress(b"", 1)?;
        let data = match way {
            0 => [skippable(skipped), frame].concat(),
            1 => [frame, skippable(skipped)].concat(),
            2 => [frame, skippable(len * 3)].concat(),
            3 => [frame, vec![0; skipped + 1]].concat(),
            4 => [frame, nothing].concat(),
            5 => [nothing, frame].concat(),
            _ => {
                let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1)?;
                encoder.include_contentsize(false)?;
                encoder.write_all(&blob)?;
                encoder.finish()?
            }
        };
        let read = Bundle::new(Codec::Zstd, good.plain_bytes(), good.table().clone(), data.into());
        prop_assert!(read.and_then(|bundle| bundle.verify()).is_err(), "way {}", way);
    }

    #[test]
    fn data_that_is_longer_than_its_blobs_is_refused_unread(len in 0usize..3000, more in 1usize..3000) {
        let good = bundle(&[vec![7; len]]);
        for codec in [Codec::Raw, Codec::Zstd] {
            let read = Bundle::new(codec, good.plain_bytes(), good.table().clone(), vec![7; len + more].into());
            prop_assert!(read.is_err());
        }
    }

    #[test]
    fn noise_is_no_bundle_and_never_a_panic(
        codec in 0u8..2, plain_bytes in prop_oneof![any::<u32>(), 0u32..300],
        table in vec(any::<u8>(), 0..200), data in vec(any::<u8>(), 0..300),
    ) {
        let codec = Codec::try_from(codec)?;
        if let Ok(bundle) = Bundle::new(codec, plain_bytes, table.into(), data.into()) {
            let _plain = (bundle.decode(), bundle.verify());
        }
    }

    #[test]
    fn names_are_exactly_what_linux_allows(bytes in vec(any::<u8>(), 0..300)) {
        let allowed = !bytes.is_empty() && bytes.len() <= 255 && bytes != b"." && bytes != b".."
            && !bytes.contains(&0) && !bytes.contains(&b'/');
        prop_assert_eq!(Name::new(&bytes).is_ok(), allowed);
    }

    #[test]
    fn paths_are_kept_in_one_form(bytes in vec(prop_oneof![Just(b'/'), Just(b'.'), any::<u8>()], 0..40)) {
        if let Ok(path) = TreePath::lenient(&bytes) {
            prop_assert_eq!(TreePath::new(path.as_bytes())?, path.clone());
            let joined: Vec<u8> = path.components().flat_map(|part| [b"/", part].concat()).collect();
            prop_assert_eq!(if joined.is_empty() { b"/".to_vec() } else { joined }, path.as_bytes());
            for part in path.components() {
                prop_assert!(part != b"." && part != b".." && !part.contains(&0));
            }
        }
        if let Ok(path) = TreePath::new(&bytes) {
            prop_assert_eq!(path.as_bytes(), &bytes[..]);
        }
    }

    #[test]
    fn host_names_hold_no_slash_and_come_back(text in any::<String>()) {
        if let Ok(host) = HostName::new(&text) {
            prop_assert_eq!(host.as_str(), &text);
            prop_assert!(!text.contains('/') && text.trim() == text && !text.is_empty() && text.len() <= 255);
        }
    }

    #[test]
    fn any_bytes_are_a_backup_or_an_error(bytes in vec(any::<u8>(), 0..60)) {
        let _read = (BackupSpec::parse(&bytes), BackupSpec::parse_with_path(&bytes));
    }

    #[test]
    fn a_backup_is_told_from_the_path_in_it(
        hex in "[0-9a-f]{1,40}", n in any::<u32>(), path in path(),
        name in "(/[a-z@:.]{1,8}){1,3}", time in "[0-9T:-]{4,19}",
    ) {
        prop_assume!(!name.contains(":/") && !name.ends_with(':'));
        let named = BackupSpec::NameAtTime { name: name.clone().into_bytes(), time: time.clone() };
        let cases = [
            (hex.clone(), BackupSpec::Prefix(hex)),
            (format!("latest~{n}"), BackupSpec::Latest(n)),
            ("latest".to_owned(), BackupSpec::Latest(0)),
            (format!("{name}@{time}"), named),
        ];
        for (text, expected) in cases {
            prop_assert_eq!(BackupSpec::parse(text.as_bytes())?, expected.clone());
            if path.as_bytes() != b"/" {
                let whole = [text.as_bytes(), b":", path.as_bytes()].concat();
                prop_assert_eq!(BackupSpec::parse_with_path(&whole)?, (expected, path.clone()));
            }
        }
    }

    #[test]
    fn a_prefix_spans_exactly_the_keys_that_begin_with_it(key in any::<[u8; 20]>(), other in any::<[u8; 20]>(), len in 1usize..=40) {
        let (key, other) = (BackupKey::new(key), BackupKey::new(other));
        let prefix = key.to_string()[..len].to_owned();
        let (low, high) = prefix_range(&prefix).expect("hex digits");
        prop_assert!(low <= key && key <= high);
        prop_assert_eq!(low <= other && other <= high, other.to_string().starts_with(&prefix));
        prop_assert_eq!(key.to_string().parse::<BackupKey>()?, key);
    }

    #[test]
    fn any_text_is_a_time_or_an_error(text in "[0-9TZ:+ -]{0,26}|.{0,12}|[0-9]{1,25}[smhdw]", now in any::<i64>()) {
        let _seconds = parse_time(&text, now, &TimeZone::UTC);
    }

    #[test]
    fn times_come_back(seconds in 0i64..=limits::TIME_SECONDS_MAX, hours in -12i32..=12) {
        let zone = TimeZone::fixed(jiff::tz::Offset::from_seconds(hours * 3600 + 1800).expect("below a day"));
        prop_assert_eq!(parse_time(&format_time(seconds, &zone), 0, &TimeZone::UTC), Ok(seconds));
    }

    #[test]
    fn metas_cross_the_wire(meta in meta()) {
        // The salt is no field of the message: a client has no use for it.
        prop_assert_eq!(Meta::try_from(wire::meta_to_api(&meta, None))?, Meta { salt: 0, ..meta });
    }

    #[test]
    fn backups_cross_the_wire(backup in backup()) {
        // Nor is the token: it is between the server and who made the backup.
        prop_assert_eq!(Backup::try_from(api::Backup::from(&backup))?, Backup { token: [0; 16], ..backup });
    }

    #[test]
    fn bundles_cross_the_wire(blobs in blobs()) {
        let bundle = bundle(&blobs);
        prop_assert_eq!(Bundle::try_from(api::Bundle::from(&bundle))?, bundle);
    }

    #[test]
    fn questions_cross_the_wire(refs in vec((any::<[u8; 20]>(), any::<[u8; 32]>()), 0..20), extra in 1usize..52) {
        let refs: Vec<([u8; 20], Digest)> = refs.into_iter().map(|(id, digest)| (id, Digest::new(digest))).collect();
        let packed = wire::pack_question(refs.iter().map(|(id, digest)| (id, digest)));
        let blobs: Vec<_> = wire::unpack_blob_question(&packed)?.map(|(id, digest)| (*id.as_bytes(), digest)).collect();
        prop_assert_eq!(&blobs, &refs);
        let objects: Vec<ObjectRef> = wire::unpack_object_question(&packed)?.collect();
        prop_assert!(objects.iter().zip(&refs).all(|(a, b)| (*a.key.as_bytes(), a.digest) == *b));
        prop_assert!(wire::unpack_blob_question(&[&packed[..], &vec![0; extra]].concat()).is_err());
        let ids: Vec<BlobId> = refs.iter().map(|(id, _)| BlobId::new(*id)).collect();
        prop_assert_eq!(wire::unpack_ids(&wire::pack_ids(&ids))?.collect::<Vec<_>>(), ids);
    }

    /// What crosses the wire keeps the rules of what lies on disk.
    #[test]
    fn any_message_is_a_meta_or_an_error(meta in meta(), field in 0..12, long in 0usize..5000, byte in 1u8..127) {
        let mut message = wire::meta_to_api(&meta, None);
        let bytes = vec![byte; long];
        let text = String::from_utf8(bytes.clone())?;
        match field {
            0 => message.name = bytes.into(),
            1 => message.r#type = i32::from(byte % 9) - 1,
            2 => message.mode = long as u32,
            3 => message.mtime_nanos = long as u32 * 800_000,
            4 => message.target = bytes.repeat(40).into(),
            5 => message.link = bytes.into(),
            6 => message.digest = bytes.into(),
            7 => message.user = text,
            8 => message.group = text,
            9 => message.error = text,
            10 => message.xattrs = vec![api::Xattr { name: bytes.into(), content: Some(api::xattr::Content::Blob(vec![0; 20].into())) }],
            _ => message.xattrs = vec![api::Xattr { name: "user.x".into(), content: Some(api::xattr::Content::Value(bytes.into())) }],
        }
        if let Ok(meta) = Meta::try_from(message) {
            prop_assert_eq!(Meta::decode(&meta.encode()), Ok(meta));
        }
    }

    #[test]
    fn chunker_parameters_cross_the_wire_or_are_refused(min in any::<u32>(), avg in any::<u32>(), max in 0u32..8 << 20, seed in any::<u64>()) {
        let params = ChunkerParams { bytes_min: min % (max + 1), bytes_avg: avg % (max + 1), bytes_max: max, seed };
        let crossed = ChunkerParams::try_from(api::Chunker::from(params));
        prop_assert_eq!(crossed.is_ok(), params.checked().is_ok());
        if let Ok(crossed) = crossed {
            prop_assert_eq!(crossed, params);
            prop_assert!(params.bytes_max as usize <= limits::BLOB_BYTES_MAX);
        }
    }
}

/// Every kind of trouble keeps its kind and its words on the way through gRPC.
#[test]
fn faults_cross_the_wire() {
    for kind in [
        Kind::NotFound,
        Kind::Ambiguous,
        Kind::Invalid,
        Kind::Missing,
        Kind::Conflict,
        Kind::Damaged,
        Kind::Full,
        Kind::Unavailable,
        Kind::Expired,
        Kind::Unsupported,
        Kind::Internal,
    ] {
        let fault = Fault::new(kind, "what is wrong, and the way out: é");
        assert_eq!(Fault::from(tonic::Status::from(fault.clone())), fault);
    }
}

/// Two values that differ in anything have different encodings; here, one bit of each field at a time.
#[test]
fn every_bit_of_an_encoding_counts() {
    let mut meta = Meta::bare(Some(Name::new(b"name").expect("a name")), FileType::File);
    meta.size = 5;
    meta.content = Content::Blob(BlobId::of(b"12345"));
    meta.digest = Some(Digest::of(b"12345"));
    meta.link = Some(HardLink { nlink: 2, id: [7; 16] });
    meta.xattrs = vec![Xattr { name: b"user.x".to_vec(), value: XattrValue::Inline(b"v".to_vec()) }];
    let bytes = meta.encode();
    for bit in 0..bytes.len() * 8 {
        let mut other = bytes.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        if let Ok(decoded) = Meta::decode(&other) {
            assert_ne!(decoded, meta, "bit {bit}");
            assert_eq!(decoded.encode(), other, "bit {bit}");
        }
    }
    for len in 0..bytes.len() {
        assert_ne!(Meta::decode(&bytes[..len]), Ok(meta.clone()), "cut after {len} bytes");
    }
}

fn small_meta(number: u32, size: u64) -> (Name, Vec<u8>) {
    let name = Name::new(format!("file {number:07}").as_bytes()).expect("a name");
    let mut meta = Meta::bare(Some(name.clone()), FileType::File);
    if size > 0 {
        meta.size = size;
        meta.content = Content::Blob(BlobId::of(&size.to_be_bytes()));
        meta.digest = Some(Digest::of(&size.to_be_bytes()));
    }
    (name, meta.encode())
}

fn set_of(entries: impl Iterator<Item = (Name, Vec<u8>)>) -> (Vec<Encoded>, Content) {
    let mut builder = SetBuilder::new();
    let mut all: Vec<Encoded> = entries.filter_map(|(name, meta)| builder.push(&name, meta, &never)).collect();
    let (rest, content) = builder.finish(&never);
    all.extend(rest);
    (all, content)
}

fn keys(objects: &[Encoded]) -> BTreeSet<[u8; 20]> {
    objects.iter().map(|one| *one.object.key.as_bytes()).collect()
}

/// A directory of 20,000 entries is cut into segments within their limits, which hold all entries in order.
#[test]
fn a_large_directory_is_cut_within_limits() {
    let (objects, content) = set_of((0..20_000).map(|number| small_meta(number, 1)));
    let (head, segments) = objects.split_last().expect("there are segments");
    assert_eq!(content, Content::Ref(head.object.key));
    let Ok(Object::SetHead(listed)) = Object::decode(&head.bytes) else { panic!("the last object is the head") };
    assert_eq!(listed.len(), segments.len());
    let mut names = Vec::new();
    for (index, (segment, listed)) in segments.iter().zip(&listed).enumerate() {
        let Ok(Object::Set(metas)) = Object::decode(&segment.bytes) else { panic!("a segment is a set") };
        assert_eq!(listed.key, segment.object.key);
        assert_eq!(listed.entries, metas.len() as u64);
        assert_eq!(Some(&listed.first), metas[0].name.as_ref());
        assert!(metas.len() <= limits::SEGMENT_ENTRIES_MAX, "{} entries", metas.len());
        assert!(metas.len() >= limits::SEGMENT_ENTRIES_MIN || index + 1 == segments.len(), "{} entries", metas.len());
        assert!(segment.bytes.len() <= limits::SEGMENT_BYTES_MAX + limits::META_BYTES_MAX);
        names.extend(metas.into_iter().map(|meta| meta.name.expect("entries have names")));
    }
    assert_eq!(names.len(), 20_000);
    assert!(names.is_sorted());
}

/// One changed, one new and one deleted entry each rewrite the segments around them and the head; the rest is shared.
#[test]
fn versions_of_a_large_directory_share_segments() {
    let entry = |number| small_meta(number, 1);
    let (before, _) = set_of((0..20_000).map(entry));
    let changed = set_of((0..20_000).map(|number| small_meta(number, if number == 9_999 { 2 } else { 1 })));
    let deleted = set_of((0..20_000).filter(|number| *number != 9_999).map(entry));
    let between = {
        let name = Name::new(b"file 0009999a").expect("a name");
        (name.clone(), Meta::bare(Some(name), FileType::File).encode())
    };
    let inserted = set_of((0..20_001).map(|n| match n {
        0..10_000 => entry(n),
        10_000 => between.clone(),
        _ => entry(n - 1),
    }));
    for (what, (after, _)) in [("changed", changed), ("deleted", deleted)] {
        let new = keys(&after).difference(&keys(&before)).count();
        assert!(new <= 6, "{what}: {new} of {} objects are new", after.len());
    }
    let new = keys(&inserted.0).difference(&keys(&before)).count();
    assert!(new <= 6, "inserted: {new} of {} objects are new", inserted.0.len());
}

fn list_of(chunks: impl Iterator<Item = Chunk>) -> (Vec<Encoded>, Content) {
    let mut builder = ListBuilder::new();
    let mut all: Vec<Encoded> = chunks.filter_map(|chunk| builder.push(chunk, &never)).collect();
    let (rest, content) = builder.finish(&never);
    all.extend(rest);
    (all, content)
}

/// A file of 50,000 chunks is cut within limits; a changed chunk rewrites the segment around it.
#[test]
fn versions_of_a_large_file_share_segments() {
    let chunk = |number: u32| Chunk { len: 1000, blob: (number % 7 != 3).then(|| BlobId::of(&number.to_be_bytes())) };
    let (before, content) = list_of((0..50_000).map(chunk));
    let (head, segments) = before.split_last().expect("there are segments");
    assert_eq!(content, Content::Ref(head.object.key));
    let Ok(Object::ListHead(listed)) = Object::decode(&head.bytes) else { panic!("the last object is the head") };
    assert_eq!(listed.iter().map(|segment| segment.chunks).sum::<u64>(), 50_000);
    assert_eq!(listed.iter().map(|segment| segment.len).sum::<u64>(), 50_000_000);
    for segment in segments {
        let Ok(Object::List(chunks)) = Object::decode(&segment.bytes) else { panic!("a segment is a list") };
        assert!(chunks.len() <= limits::SEGMENT_ENTRIES_MAX);
    }
    let (after, _) = list_of((0..50_000).map(|number| if number == 25_000 { chunk(60_000) } else { chunk(number) }));
    let new = keys(&after).difference(&keys(&before)).count();
    assert!(new <= 6, "{new} of {} objects are new", after.len());
    let (longer, _) =
        list_of((0..50_003).map(|number| if number < 100 { chunk(70_000 + number) } else { chunk(number - 3) }));
    let new = keys(&longer).difference(&keys(&before)).count();
    assert!(new <= 8, "{new} of {} objects are new", longer.len());
}

/// Small things stay small: an empty directory and an empty file have no object, a file of one blob has no list.
#[test]
fn small_files_and_directories_have_no_objects_to_spare() {
    assert_eq!(set_of(std::iter::empty()), (Vec::new(), Content::None));
    assert_eq!(list_of(std::iter::empty()), (Vec::new(), Content::None));
    let id = BlobId::of(b"x");
    assert_eq!(list_of([Chunk { len: 1, blob: Some(id) }].into_iter()), (Vec::new(), Content::Blob(id)));
    let (one, content) = set_of([small_meta(1, 1)].into_iter());
    assert_eq!((one.len(), content), (1, Content::Ref(one[0].object.key)));
    let (hole, content) = list_of([Chunk { len: 9, blob: None }].into_iter());
    assert_eq!((hole.len(), content), (1, Content::Ref(hole[0].object.key)));
}

/// A key that belongs to other content is passed over for the next salt, and what comes of it decodes to the same.
#[test]
fn a_taken_key_gets_the_next_salt() {
    let (name, meta) = small_meta(1, 1);
    let taken = SetBuilder::new();
    let (plain, _) = set_of([(name.clone(), meta.clone())].into_iter());
    let first = plain[0].object.key;
    let mut builder = taken;
    let is_taken = |key: &ObjectKey| *key == first;
    assert_eq!(builder.push(&name, meta, &is_taken), None);
    let (salted, content) = builder.finish(&is_taken);
    assert_ne!(content, Content::Ref(first));
    assert_eq!(salted[0].bytes[0], 1);
    assert_eq!(Object::decode(&salted[0].bytes), Object::decode(&plain[0].bytes));
}
