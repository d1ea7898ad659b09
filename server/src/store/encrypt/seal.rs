//! Sealed boxes: bytes that only a key opens, of which nobody else sees more than a padded length.
//!
//! # Format (version 1)
//! | bytes | what |
//! | --- | --- |
//! | 1 | version, 1 |
//! | 8 | id of the key |
//! | 24 | nonce, from the system's generator |
//! | 16 | tag |
//! | | what is inside, sealed: XSalsa20-Poly1305, as `crypto_secretbox` of NaCl does it |
//!
//! Inside stand one byte for the kind of the box, so that none passes for one of another kind, the content, which tells its
//! own end, and zeros. The whole is at least 256 bytes long, and rounded up to the next length of Padmé: the last
//! `E - S` bits of a length with exponent `E` are zero, where `S` is the number of bits of `E`. So of a length `n` no more
//! than some `log log n` bits are seen, for at most 12 % more bytes (3 % at 1 MiB).

use std::io;

use bytes::Bytes;
use crypto_secretbox::{AeadInPlace as _, KeyInit as _, XSalsa20Poly1305};
use datadb::codec::DecodeError;
use thiserror::Error;

use super::key::{Key, KeyId, Keys};
use crate::random;

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const KEY_ID_AT: usize = 1;
const NONCE_AT: usize = KEY_ID_AT + KeyId::LEN;
const TAG_AT: usize = NONCE_AT + NONCE_BYTES;
const INSIDE_AT: usize = TAG_AT + TAG_BYTES;

/// Bytes of a box around its content, without the padding.
pub const OVERHEAD_BYTES: usize = INSIDE_AT + 1;

/// Shorter boxes would tell the number of blobs in a table, as Padmé hardly rounds so short a length.
const BOX_BYTES_MIN: usize = 256;

/// What is in a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A bundle.
    Bundle = b'b',
    /// A label.
    Label = b'l',
}

/// Why a box gives nothing.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SealError {
    /// These bytes are no box.
    #[error("it is not sealed")]
    Absent,
    /// A box of another version.
    #[error("it is sealed in version {0}, which this version does not know")]
    Version(u8),
    /// None of the keys is the one.
    #[error("it is sealed with the key {0}, which is not at hand")]
    Key(KeyId),
    /// The key is right, the bytes are not.
    #[error("its seal is broken")]
    Broken,
    /// What is inside is for something else.
    #[error("another thing is sealed in it")]
    Foreign,
    /// What is inside is no valid encoding.
    #[error("inside its seal: {0}")]
    Content(#[from] DecodeError),
}

/// The length that a box of this length is padded to.
pub fn padded(len: usize) -> usize {
    let len = len.max(BOX_BYTES_MIN);
    let exponent = len.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1usize << (exponent - kept)) - 1;
    (len + mask) & !mask
}

/// Seals these parts, one after the other, with a nonce of its own.
pub fn seal(key: &Key, kind: Kind, parts: &[&[u8]]) -> io::Result<Bytes> {
    Ok(seal_with(key, random::bytes()?, kind, parts))
}

fn seal_with(key: &Key, nonce: [u8; NONCE_BYTES], kind: Kind, parts: &[&[u8]]) -> Bytes {
    let len = padded(OVERHEAD_BYTES + parts.iter().map(|part| part.len()).sum::<usize>());
    let mut sealed = Vec::with_capacity(len);
    sealed.push(VERSION);
    sealed.extend_from_slice(key.id().as_bytes());
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&[0; TAG_BYTES]);
    sealed.push(kind as u8);
    parts.iter().for_each(|part| sealed.extend_from_slice(part));
    sealed.resize(len, 0);
    let (head, inside) = sealed.split_at_mut(INSIDE_AT);
    let cipher = XSalsa20Poly1305::new(key.secret().into());
    let tag = cipher.encrypt_in_place_detached(&nonce.into(), b"", inside);
    head[TAG_AT..].copy_from_slice(&tag.expect("a secretbox without further data takes any length"));
    sealed.into()
}

/// The key that a box is sealed with.
pub fn key_id(sealed: &[u8]) -> Result<KeyId, SealError> {
    match sealed.first() {
        _ if sealed.len() < INSIDE_AT => Err(SealError::Absent),
        Some(&VERSION) => Ok(KeyId::new(*sealed[KEY_ID_AT..].first_chunk().expect("the length was checked"))),
        other => Err(SealError::Version(other.copied().unwrap_or_default())),
    }
}

/// Opens a box of this kind, and gives its content with the padding behind it.
pub fn open(keys: &Keys, kind: Kind, sealed: &[u8]) -> Result<Bytes, SealError> {
    let id = key_id(sealed)?;
    let key = keys.get(id).ok_or(SealError::Key(id))?;
    let (head, inside) = sealed.split_at(INSIDE_AT);
    let nonce: [u8; NONCE_BYTES] = *head[NONCE_AT..].first_chunk().expect("a head has a nonce");
    let tag: [u8; TAG_BYTES] = *head[TAG_AT..].first_chunk().expect("a head ends in a tag");
    let mut inside = inside.to_vec();
    let cipher = XSalsa20Poly1305::new(key.secret().into());
    let opened = cipher.decrypt_in_place_detached(&nonce.into(), b"", &mut inside, &tag.into());
    opened.map_err(|_| SealError::Broken)?;
    if inside.first() != Some(&(kind as u8)) {
        return Err(SealError::Foreign);
    }
    Ok(Bytes::from(inside).slice(1..))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    use super::*;
    use crate::store::encrypt::key::KeySource;

    fn keys(bytes: &[u8]) -> Keys {
        let dir = tempfile::tempdir().unwrap();
        let source = |byte: &u8| {
            let path = dir.path().join(byte.to_string());
            Key::new(Zeroizing::new([*byte; 32])).write(&path).unwrap();
            KeySource::File(path)
        };
        Keys::load(&bytes.iter().map(source).collect::<Vec<_>>()).unwrap()
    }

    /// The test vector of NaCl (`tests/secretbox.c`), so that any of its kin opens our boxes.
    #[test]
    fn a_seal_is_that_of_nacl() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
        };
        let key: [u8; 32] = hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389").try_into().unwrap();
        let nonce: [u8; 24] = hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37").try_into().unwrap();
        let mut message = hex(
            "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f4\
             1db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52\
             f0a089bc76897040e082f937763848645e0705",
        );
        let cipher = XSalsa20Poly1305::new(&key.into());
        let tag = cipher.encrypt_in_place_detached(&nonce.into(), b"", &mut message).unwrap();
        assert_eq!(tag.as_slice(), hex("f3ffc7703f9400e52a7dfb4b3d3305d9"));
        assert_eq!(message[..16], hex("8e993b9f48681273c29650ba32fc76ce"));
    }

    /// The format is for ever.
    #[test]
    fn a_box_stays_what_it_is() {
        let keys = keys(&[7]);
        let sealed = seal_with(keys.first(), [9; NONCE_BYTES], Kind::Label, &[b"some", b"thing"]);
        assert_eq!(sealed.len(), 256);
        assert_eq!(blake3::hash(&sealed).to_hex().as_str(), A_BOX);
        let inside = open(&keys, Kind::Label, &sealed).unwrap();
        assert_eq!((&inside[..9], inside[9..].iter().all(|byte| *byte == 0)), (&b"something"[..], true));
    }

    const A_BOX: &str = "0117cc7c572cba4ea96cdb43622dd83f322e9cf841de65b4e2a1ef0a7a96c20c";

    #[test]
    fn a_box_of_another_kind_key_or_version_is_told_apart() {
        let (one, both) = (keys(&[1]), keys(&[2, 1]));
        let sealed = seal(one.first(), Kind::Label, &[b"x"]).unwrap();
        assert_eq!(open(&one, Kind::Bundle, &sealed).unwrap_err(), SealError::Foreign);
        assert!(open(&both, Kind::Label, &sealed).is_ok());
        let newer = seal(both.first(), Kind::Label, &[b"x"]).unwrap();
        assert_eq!(open(&one, Kind::Label, &newer).unwrap_err(), SealError::Key(both.first().id()));
        assert_eq!(open(&one, Kind::Label, b"").unwrap_err(), SealError::Absent);
        let mut other = sealed.to_vec();
        other[0] = 2;
        assert_eq!(open(&one, Kind::Label, &other).unwrap_err(), SealError::Version(2));
    }

    #[test]
    fn lengths_are_those_of_padme() {
        for (len, expected) in [(0, 256), (256, 256), (257, 272), (1000, 1024), (1025, 1088), (9 << 20, 9 << 20)] {
            assert_eq!(padded(len), expected, "{len}");
        }
        assert_eq!(padded((9 << 20) + 1), (9 << 20) + (256 << 10));
    }

    proptest! {
        #[test]
        fn padding_is_small_final_and_grows_with_the_length(len in 0usize..(20 << 20)) {
            let padded_len = padded(len);
            prop_assert_eq!(padded(padded_len), padded_len);
            prop_assert!(padded_len >= len && padded_len <= padded(len + 1));
            prop_assert!(len < BOX_BYTES_MIN || padded_len <= len + len * 12 / 100);
        }

        #[test]
        fn what_was_sealed_comes_back_and_no_flipped_bit_is_overlooked(
            content in prop::collection::vec(any::<u8>(), 0..600), at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>(),
        ) {
            let keys = keys(&[1, 2]);
            let sealed = seal(keys.first(), Kind::Bundle, &[&content]).unwrap();
            prop_assert_eq!(sealed.len(), padded(content.len() + OVERHEAD_BYTES));
            let inside = open(&keys, Kind::Bundle, &sealed).unwrap();
            prop_assert_eq!(&inside[..content.len()], &content[..]);
            let mut flipped = sealed.to_vec();
            flipped[at.index(sealed.len())] ^= 1u8 << bit;
            prop_assert!(open(&keys, Kind::Bundle, &flipped).is_err());
            prop_assert!(open(&keys, Kind::Bundle, &sealed[..cut.index(sealed.len())]).is_err());
        }
    }
}
