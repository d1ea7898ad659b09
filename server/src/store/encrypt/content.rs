//! What is sealed: a bundle in its blob, and the table of what is inside in its record's label.
//!
//! # Format (version 1), inside a box of [`super::seal`]
//! | bundle | |
//! | --- | --- |
//! | 1 | codec of the data: 0 raw, 1 zstd |
//! | varint | plain length |
//! | bytes | table: per blob SHA-1, BLAKE3, plain length (big endian) |
//! | bytes | the label that it was put with |
//! | bytes | data |
//!
//! | label | |
//! | --- | --- |
//! | 32 | BLAKE3 of the blob that it belongs to, as that is stored, so that no label passes for another's |
//! | bytes | table, the same |
//! | bytes | the label that it was put with |
//!
//! Bytes stand behind their length, a varint. Behind the last of them there are zeros to the padded length and no more.

use std::io;

use bytes::Bytes;
use datadb::{
    BlobRef, Bundle, Digest,
    bundle::{BundleError, Codec},
    codec::{DecodeError, Reader, Writer},
    limits,
};

use super::{
    key::{Key, Keys},
    seal::{self, Kind, OVERHEAD_BYTES, SealError},
};
use crate::store::{StoreError, Stored};

/// A bundle as the inner store gets it.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The blob that it has become.
    pub blob: BlobRef,
    /// A bundle of that blob alone.
    pub bundle: Bundle,
    /// The sealed label of its record.
    pub label: Bytes,
}

/// What a label tells of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The blobs inside.
    pub refs: Vec<BlobRef>,
    /// The label that the bundle was put with.
    pub label: Bytes,
}

/// Bytes of a varint.
const fn varint_bytes(value: usize) -> usize {
    (usize::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

const fn with_length(bytes: usize) -> usize {
    varint_bytes(bytes) + bytes
}

/// Refuses what would be too long when it is sealed, before anything is.
pub fn check_fits(bundle: &Bundle, label: &[u8]) -> Result<(), StoreError> {
    let both = with_length(bundle.table().len()) + with_length(label.len());
    let sealed_label = seal::padded(OVERHEAD_BYTES + Digest::LEN + both);
    if sealed_label > limits::LABEL_BYTES_MAX {
        let what = format!(
            "a label of {} bytes, which with its table and sealed has {sealed_label}, and at most {} are kept",
            label.len(),
            limits::LABEL_BYTES_MAX
        );
        return Err(StoreError::Unfit { what });
    }
    let head = 1 + varint_bytes(bundle.plain_bytes() as usize) + both;
    let sealed = seal::padded(OVERHEAD_BYTES + head + with_length(bundle.data().len()));
    if sealed > limits::SEALED_BYTES_MAX {
        let what = format!(
            "a bundle that has {sealed} bytes when it is sealed, and at most {} are kept",
            limits::SEALED_BYTES_MAX
        );
        return Err(StoreError::Unfit { what });
    }
    Ok(())
}

/// Seals a bundle and its label, after [`check_fits`].
pub fn seal_bundle(key: &Key, bundle: &Bundle, label: &[u8]) -> io::Result<Result<Sealed, BundleError>> {
    let mut head = Writer::with_capacity(bundle.table().len() + label.len() + 32);
    head.u8(bundle.codec() as u8).varint(u64::from(bundle.plain_bytes())).bytes(bundle.table()).bytes(label);
    head.varint(bundle.data().len() as u64);
    let data = seal::seal(key, Kind::Bundle, &[&head.finish(), bundle.data()])?;
    let blob = BlobRef::of(&data);
    let mut inside = Writer::with_capacity(bundle.table().len() + label.len() + 48);
    inside.raw(blob.digest.as_bytes()).bytes(bundle.table()).bytes(label);
    let label = seal::seal(key, Kind::Label, &[&inside.finish()])?;
    let mut table = Vec::with_capacity(BlobRef::LEN);
    blob.pack(&mut table);
    let bundle = Bundle::new(Codec::Raw, blob.len, table.into(), data);
    Ok(bundle.map(|bundle| Sealed { blob, bundle, label }))
}

/// Opens what the inner store gave back.
pub fn open_bundle(keys: &Keys, bundle: &Bundle) -> Result<Stored, SealError> {
    if bundle.codec() != Codec::Raw {
        return Err(SealError::Absent);
    }
    let inside = seal::open(keys, Kind::Bundle, bundle.data())?;
    let mut r = Reader::new(&inside);
    let codec = Codec::try_from(r.u8("codec")?)?;
    let plain_bytes = r.varint32("plain length")?;
    let table = inside.slice_ref(r.bytes("table", TABLE_BYTES_MAX)?);
    let label = inside.slice_ref(r.bytes("label", limits::LABEL_BYTES_MAX)?);
    let data = inside.slice_ref(r.bytes("data", limits::SEALED_BYTES_MAX)?);
    end(&r, &inside)?;
    let bundle = Bundle::new(codec, plain_bytes, table, data).map_err(|error| match error {
        BundleError::Malformed(error) => error,
        BundleError::Undecodable { .. } | BundleError::Mismatch { .. } => DecodeError::rule("bundle", "is damaged"),
    })?;
    Ok(Stored { bundle, label })
}

/// Opens the label of a record that holds these blobs.
pub fn open_label(keys: &Keys, refs: &[BlobRef], label: &[u8]) -> Result<Contents, SealError> {
    let inside = seal::open(keys, Kind::Label, label)?;
    let mut r = Reader::new(&inside);
    let digest = Digest::new(r.array("digest")?);
    let table = r.bytes("table", TABLE_BYTES_MAX)?;
    let label = inside.slice_ref(r.bytes("label", limits::LABEL_BYTES_MAX)?);
    end(&r, &inside)?;
    if refs.len() != 1 || refs[0].digest != digest {
        return Err(SealError::Foreign);
    }
    match table.as_chunks::<{ BlobRef::LEN }>() {
        ([], _) => Err(DecodeError::rule("table", "is empty").into()),
        (refs, []) => Ok(Contents { refs: refs.iter().map(BlobRef::unpack).collect(), label }),
        _ => Err(DecodeError::rule("table", "is not a whole number of refs").into()),
    }
}

/// The longest table.
const TABLE_BYTES_MAX: usize = limits::BUNDLE_BLOBS_MAX * BlobRef::LEN;

/// Checks that nothing but the padding follows.
fn end(r: &Reader<'_>, inside: &[u8]) -> Result<(), DecodeError> {
    let (content, padding) = inside.split_at(inside.len() - r.remaining());
    if OVERHEAD_BYTES + inside.len() != seal::padded(OVERHEAD_BYTES + content.len()) {
        return Err(DecodeError::rule("padding", "has another length"));
    }
    if padding.iter().any(|byte| *byte != 0) {
        return Err(DecodeError::rule("padding", "is not zero"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use datadb::bundle::BundleBuilder;
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    use super::*;
    use crate::store::encrypt::key::KeySource;

    fn keys() -> Keys {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        Key::new(Zeroizing::new([5; 32])).write(&path).unwrap();
        Keys::load(&[KeySource::File(path)]).unwrap()
    }

    fn bundle(blobs: &[Vec<u8>]) -> Bundle {
        let mut builder = BundleBuilder::new();
        for bytes in blobs {
            builder.push(&BlobRef::of(bytes), bytes);
        }
        builder.seal(1)
    }

    fn with_data(sealed: &Sealed, data: Vec<u8>) -> Bundle {
        let len = u32::try_from(data.len()).unwrap();
        let mut table = Vec::new();
        BlobRef { len, ..sealed.blob }.pack(&mut table);
        Bundle::new(Codec::Raw, len, table.into(), data.into()).unwrap()
    }

    #[test]
    fn every_single_flipped_bit_and_every_cut_of_bundle_and_label_is_found() {
        let keys = keys();
        let sealed = seal_bundle(keys.first(), &bundle(&[vec![1; 40], vec![2; 50]]), b"label").unwrap().unwrap();
        let (data, label) = (sealed.bundle.data().to_vec(), sealed.label.to_vec());
        let flipped = |bytes: &[u8], at: usize| {
            let mut bytes = bytes.to_vec();
            bytes[at / 8] ^= 1 << (at % 8);
            bytes
        };
        for at in 0..data.len() * 8 {
            assert!(open_bundle(&keys, &with_data(&sealed, flipped(&data, at))).is_err(), "bit {at}");
        }
        for at in 0..label.len() * 8 {
            assert!(open_label(&keys, &[sealed.blob], &flipped(&label, at)).is_err(), "bit {at}");
        }
        for end in 0..data.len() {
            assert!(open_bundle(&keys, &with_data(&sealed, data[..end].to_vec())).is_err(), "cut at {end}");
        }
        for end in 0..label.len() {
            assert!(open_label(&keys, &[sealed.blob], &label[..end]).is_err(), "cut at {end}");
        }
    }

    /// Whoever has the key is no attacker, but a version of ours with a fault might be: padding has one form.
    #[test]
    fn padding_that_is_not_zero_or_too_long_is_refused() {
        let keys = keys();
        let blob = BlobRef::of(b"x");
        let mut label = Writer::default();
        let mut table = Vec::new();
        blob.pack(&mut table);
        label.raw(blob.digest.as_bytes()).bytes(&table).bytes(b"");
        let label = label.finish();
        let open = |behind: &[u8]| {
            let sealed = seal::seal(keys.first(), Kind::Label, &[&label, behind]).unwrap();
            open_label(&keys, &[blob], &sealed).map(|contents| contents.refs)
        };
        assert_eq!(open(b"").unwrap(), [blob]);
        assert_eq!(open(&[0; 10]).unwrap(), [blob], "the same box");
        assert!(matches!(open(&[1]), Err(SealError::Content(_))));
        assert!(matches!(open(&[0; 300]), Err(SealError::Content(_))));
    }

    #[test]
    fn the_largest_bundles_can_be_sealed_and_what_is_larger_is_refused() {
        let keys = keys();
        let noise = |len: usize| {
            let mut noise = vec![0; len];
            blake3::Hasher::new().finalize_xof().fill(&mut noise);
            noise
        };
        let largest = bundle(&[noise(limits::LOG_RECORD_BYTES_MAX)]);
        let mut sealed = seal_bundle(keys.first(), &largest, &[7; 1000]).unwrap().unwrap();
        assert_eq!(open_bundle(&keys, &sealed.bundle).unwrap().bundle, largest);
        let twice = seal_bundle(keys.first(), &sealed.bundle, &sealed.label).unwrap().unwrap();
        let once = open_bundle(&keys, &twice.bundle).unwrap();
        assert_eq!((&once.bundle, &once.label), (&sealed.bundle, &sealed.label));
        let most: Vec<Vec<u8>> = (0..limits::BUNDLE_BLOBS_MAX).map(|at| at.to_le_bytes().to_vec()).collect();
        let most = bundle(&most);
        sealed = seal_bundle(keys.first(), &most, &[]).unwrap().unwrap();
        assert_eq!(open_label(&keys, &[sealed.blob], &sealed.label).unwrap().refs.len(), limits::BUNDLE_BLOBS_MAX);
        let twice = seal_bundle(keys.first(), &sealed.bundle, &sealed.label).unwrap().unwrap();
        assert_eq!(open_label(&keys, &[twice.blob], &twice.label).unwrap().label, sealed.label);
    }

    /// What is told before anything is sealed is what sealing comes to, to the byte: with labels, tables and data of lengths
    /// at which a varint, a padding or a limit changes.
    #[test]
    fn what_fits_is_known_before_it_is_sealed() {
        let keys = keys();
        let mut refused = 0;
        let tables = [1, limits::BUNDLE_BLOBS_MAX];
        let labels =
            [0, 127, 128, 16_383, 16_384, limits::LABEL_BYTES_MAX / 2, 507_904 - 200, 507_904, limits::LABEL_BYTES_MAX];
        for (blobs, around) in tables.into_iter().flat_map(|blobs| labels.map(|label| (blobs, label))) {
            let blobs: Vec<Vec<u8>> = (0..blobs).map(|at| at.to_le_bytes().to_vec()).collect();
            let bundle = bundle(&blobs);
            for label in around.saturating_sub(70)..=(around + 70).min(limits::LABEL_BYTES_MAX) {
                if label % 9 != 0 && label != around {
                    continue;
                }
                let label = vec![7; label];
                let sealed = seal_bundle(keys.first(), &bundle, &label).unwrap();
                let fits = sealed.as_ref().is_ok_and(|sealed| sealed.label.len() <= limits::LABEL_BYTES_MAX);
                assert_eq!(check_fits(&bundle, &label).is_ok(), fits, "{} blobs, {} bytes", blobs.len(), label.len());
                refused += usize::from(!fits);
            }
        }
        assert!(refused > 9);
        let edge = limits::SEALED_BYTES_MAX;
        for len in [edge, edge - 100, edge - 300, edge - (300 << 10), edge - (1 << 20)] {
            let mut table = Vec::new();
            BlobRef { len: u32::try_from(len).unwrap(), ..BlobRef::of(b"") }.pack(&mut table);
            let bundle = Bundle::new(Codec::Raw, len as u32, table.into(), vec![7; len].into()).unwrap();
            let sealed = seal_bundle(keys.first(), &bundle, b"").unwrap();
            assert_eq!(check_fits(&bundle, b"").is_ok(), sealed.is_ok(), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn bundles_and_labels_come_back_as_they_were(
            blobs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..9),
            label in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let (keys, bundle) = (keys(), bundle(&blobs));
            let sealed = seal_bundle(keys.first(), &bundle, &label).unwrap().unwrap();
            prop_assert!(sealed.bundle.verify().is_ok());
            let contents = open_label(&keys, &[sealed.blob], &sealed.label).unwrap();
            prop_assert_eq!(contents.refs, bundle.refs().collect::<Vec<_>>());
            prop_assert_eq!(&contents.label[..], &label[..]);
            let opened = open_bundle(&keys, &sealed.bundle).unwrap();
            prop_assert_eq!((opened.bundle, &opened.label[..]), (bundle, &label[..]));
            let other = BlobRef::of(b"another blob");
            prop_assert_eq!(open_label(&keys, &[other], &sealed.label).unwrap_err(), SealError::Foreign);
        }
    }
}
