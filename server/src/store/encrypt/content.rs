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
use crate::store::Stored;

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

/// Seals a bundle and its label.
pub fn seal_bundle(key: &Key, bundle: &Bundle, label: &[u8]) -> io::Result<Result<Sealed, BundleError>> {
    let mut head = Writer::with_capacity(bundle.table().len() + label.len() + 32);
    head.u8(bundle.codec() as u8).varint(u64::from(bundle.plain_bytes())).bytes(bundle.table()).bytes(label);
    head.varint(bundle.data().len() as u64);
    let data = seal::seal(key, Kind::Bundle, &[&head.finish(), bundle.data()])?;
    let blob = BlobRef::of(&data);
    let mut inside = Writer::with_capacity(bundle.table().len() + label.len() + 48);
    inside.raw(blob.digest.as_bytes()).bytes(bundle.table()).bytes(label);
    let label = seal::seal(key, Kind::Label, &[&inside.finish()])?;
    if label.len() > limits::LABEL_BYTES_MAX {
        return Ok(Err(DecodeError::rule("label", "is too long to be sealed with its table").into()));
    }
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
