//! Decoding allocates in proportion to its input, whatever lengths the input claims (invariant 6). A program of its own,
//! with one test, because the allocator counts for the whole process.

use datadb::{Backup, Bundle, Meta, Object, bundle::Codec, codec::Reader, limits, object::set_members};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// What `work` allocates at most at one moment, in bytes.
fn peak_bytes(work: impl FnOnce()) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    work();
    ALLOCATOR.peak_usage().saturating_sub(before)
}

/// A claim of every size, at every place of small inputs of every kind: never more than a hundred times the input and
/// 64 KiB.
#[test]
fn invariant_6_bounded_decoding_of_what_claims_to_be_huge() {
    let claims: Vec<Vec<u8>> = (7..64u32).map(|bits| varint(1u64 << bits)).collect();
    let mut tried = 0;
    for kind in 0..7u8 {
        for claim in &claims {
            for prefix in 0..12 {
                for filler in [0u8, 1, 7] {
                    let input = [&[0, kind][..], &vec![filler; prefix], claim, &[filler; 600]].concat();
                    let used = peak_bytes(|| {
                        let _object = Object::decode(&input);
                        let _meta = Meta::decode(&input);
                        let _members = set_members(&input);
                        let _backup = Backup::decode(&mut Reader::new(&input[1..]));
                    });
                    let bound = 100 * input.len() + (64 << 10);
                    assert!(
                        used <= bound,
                        "{used} bytes for an input of {} that begins {:?}",
                        input.len(),
                        &input[..16]
                    );
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 10_000);
    bundles_that_claim();
}

fn bundles_that_claim() {
    let table = |len: u32| [&[0; 52][..], &len.to_be_bytes()].concat();
    for bits in 0..32 {
        let declared = 1u32 << bits;
        for codec in [Codec::Raw, Codec::Zstd] {
            let used = peak_bytes(|| {
                let bundle = Bundle::new(codec, declared, table(declared).into(), vec![7; 100].into());
                let _plain = bundle.and_then(|bundle| bundle.verify());
            });
            let bound = limits::LOG_RECORD_BYTES_MAX + (1 << 20);
            assert!(used <= bound, "{used} bytes for a bundle that declares {declared}");
        }
    }
}

fn varint(value: u64) -> Vec<u8> {
    let mut w = datadb::codec::Writer::default();
    w.varint(value);
    w.finish()
}
