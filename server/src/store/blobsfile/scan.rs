//! Walking through a pack record by record, by its footer or by the records themselves, past damage.
//!
//! **What lies inside a record is no record.** Labels and data are bytes of others, who may have put there what looks like one.
//! So damage is passed over as a whole where its extent is certain: its head, damaged or not, tells lengths that end where
//! something else begins, or at whose end the data has the checksum that the head has for it. Where nothing tells how far it
//! reaches, the walk is *lost*: from there to the end of the pack only such records count as are found by their magic and
//! whose blobs, each, have the very bytes that their ids and digests name. Whoever planted one of those has planted nothing
//! but a copy of the truth.

use std::{io, vec};

use super::{
    pack::{self, HEADER_BYTES},
    record::{Claim, Head},
};
use crate::store::disk::DiskFile;

/// What lies next in a pack.
#[derive(Debug)]
pub(super) enum Step {
    /// A record whose head is intact.
    Record { offset: u64, head: Head },
    /// Bytes that are no record.
    Damage { offset: u64, bytes: u64 },
}

/// A walk through one pack.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    file: &'a dyn DiskFile,
    offset: u64,
    end: u64,
    /// From here on data is verified too.
    verify_from: u64,
    /// From here on nothing tells where records begin.
    lost_from: Option<u64>,
    footer: Option<vec::IntoIter<(u64, Head)>>,
}

impl<'a> Scan<'a> {
    /// Starts at an offset, at which something begins, and verifies the data of records from `verify_from` on.
    pub(super) fn new(file: &'a dyn DiskFile, offset: u64, end: u64, verify_from: u64) -> Self {
        Self { file, offset: offset.max(HEADER_BYTES), end, verify_from, lost_from: None, footer: None }
    }

    /// Goes by the footer, if there is an intact one.
    pub(super) fn by_footer(file: &'a dyn DiskFile, after: Option<u64>, end: u64) -> io::Result<Option<Self>> {
        let Some(mut records) = pack::read_footer(file)? else { return Ok(None) };
        records.retain(|(offset, _)| after.is_none_or(|after| *offset > after));
        let scan = Self::new(file, HEADER_BYTES, end, u64::MAX);
        Ok(Some(Self { footer: Some(records.into_iter()), ..scan }))
    }

    /// Starts behind what another walk met at `after`; `lost_from` is where any walk through this pack is lost.
    pub(super) fn after(file: &'a dyn DiskFile, after: u64, end: u64, lost_from: Option<u64>) -> io::Result<Self> {
        let mut scan = Self { lost_from, ..Self::new(file, after, end, u64::MAX) };
        drop(scan.next_step()?);
        Ok(scan)
    }

    /// From where on a walk through all of a pack is lost, if it is.
    pub(super) fn find_lost(file: &'a dyn DiskFile, end: u64) -> io::Result<Option<u64>> {
        let mut scan = Self::new(file, HEADER_BYTES, end, u64::MAX);
        while scan.lost_from.is_none() && scan.next_step()?.is_some() {}
        Ok(scan.lost_from)
    }

    /// The same walk, which was lost before it came here.
    pub(super) fn lost_since(self, lost_from: Option<u64>) -> Self {
        Self { lost_from: lost_from.filter(|from| *from < self.offset), ..self }
    }

    /// The next record or stretch of damage; `None` at the end or at a footer.
    pub(super) fn next_step(&mut self) -> io::Result<Option<Step>> {
        if let Some(records) = &mut self.footer {
            return Ok(records.next().map(|(offset, head)| Step::Record { offset, head }));
        }
        let offset = self.offset;
        if offset >= self.end {
            return Ok(None);
        }
        let is_lost = self.lost_from.is_some_and(|from| offset >= from);
        let is_footer = pack::is_footer(self.file, offset)?;
        if is_footer && !is_lost {
            return Ok(None);
        }
        if let Some(head) = self.record_at(offset, is_lost)? {
            self.offset = offset + head.record_len();
            return Ok(Some(Step::Record { offset, head }));
        }
        if !is_lost && let Some(end) = self.certain_end(offset)? {
            self.offset = end;
            return Ok(Some(Step::Damage { offset, bytes: end - offset }));
        }
        self.lost_from.get_or_insert(offset);
        let next = self.next_true_record(offset + 1)?;
        if is_footer && next.is_none() {
            return Ok(None);
        }
        self.offset = next.unwrap_or(self.end);
        Ok(Some(Step::Damage { offset, bytes: self.offset - offset }))
    }

    /// The record at an offset, if there is one that counts.
    fn record_at(&self, offset: u64, is_lost: bool) -> io::Result<Option<Head>> {
        let Ok(head) = pack::read_head(self.file, offset)? else { return Ok(None) };
        let does_count = offset + head.record_len() <= self.end
            && if is_lost {
                self.are_blobs_true(offset, &head)?
            } else {
                self.is_plausible(offset, &head)? || self.is_data_intact(offset, &head)?
            };
        Ok(does_count.then_some(head))
    }

    /// Whether a record may be believed without reading its data: something is known to rely on it, and something starts
    /// where it ends. (Where it doesn't, bytes were lost, and the record would swallow those that follow.)
    fn is_plausible(&self, offset: u64, head: &Head) -> io::Result<bool> {
        let next = offset + head.record_len();
        Ok(offset < self.verify_from && (next == self.end || pack::is_boundary(self.file, next)?))
    }

    /// Where a damaged record ends, if that is certain.
    fn certain_end(&self, offset: u64) -> io::Result<Option<u64>> {
        let Some(claim) = pack::read_claim(self.file, offset)? else { return Ok(None) };
        let end = offset + claim.record_len();
        if end > self.end {
            return Ok(None);
        }
        let is_certain =
            end == self.end || pack::is_boundary(self.file, end)? || self.has_claimed_data(offset, &claim)?;
        Ok(is_certain.then_some(end))
    }

    fn has_claimed_data(&self, offset: u64, claim: &Claim) -> io::Result<bool> {
        Ok(pack::read_claimed(self.file, offset, claim)?.is_ok_and(|data| claim.is_data(&data)))
    }

    /// The next record, found by its magic, whose blobs are what it says.
    fn next_true_record(&self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        while let Some(found) = pack::find_magic(self.file, at, self.end)? {
            if self.record_at(found, true)?.is_some() {
                return Ok(Some(found));
            }
            at = found + 1;
        }
        Ok(None)
    }

    /// Where the walk stands: the end of what was understood.
    pub(super) const fn position(&self) -> u64 {
        self.offset
    }

    fn is_data_intact(&self, offset: u64, head: &Head) -> io::Result<bool> {
        let data = pack::read_data(self.file, offset, head)?;
        Ok(data.and_then(|data| head.clone().into_bundle(data)).is_ok())
    }

    fn are_blobs_true(&self, offset: u64, head: &Head) -> io::Result<bool> {
        let data = pack::read_data(self.file, offset, head)?;
        let bundle = data.and_then(|data| head.clone().into_bundle(data));
        Ok(bundle.is_ok_and(|bundle| bundle.verify().is_ok()))
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use bytes::Bytes;
    use datadb::{BlobId, BlobRef, Bundle, Digest, bundle::Codec};
    use proptest::prelude::*;

    use super::*;
    use crate::store::{
        blobsfile::record::FIXED_BYTES,
        disk::Disk as _,
        testing::conformance::{bundle, sample},
        testing::power_cut::CutDisk,
    };

    fn file(bytes: &[u8]) -> Arc<dyn DiskFile> {
        let disk = CutDisk::default();
        disk.replace(Path::new("/pack"), Some(bytes.to_vec()));
        disk.open(Path::new("/pack")).unwrap()
    }

    fn record(bundle: &Bundle, label: &[u8]) -> Vec<u8> {
        [Head::new(bundle, label).bytes(), bundle.data()].map(|bytes| &bytes[..]).concat()
    }

    /// Bytes that don't shrink.
    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut noise = vec![0; len];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
        noise
    }

    /// A record, right in all its checksums, that gives other bytes for a blob.
    fn lie() -> (BlobId, Vec<u8>) {
        let id = BlobId::of(b"the truth");
        let mut table = Vec::new();
        BlobRef { id, digest: Digest::of(b"the truth"), len: 5 }.pack(&mut table);
        (id, record(&Bundle::new(Codec::Raw, 5, table.into(), Bytes::from("a lie")).unwrap(), b""))
    }

    /// What a walk meets: offset, length of damage, blobs.
    type Met = (u64, u64, Vec<BlobId>);

    fn rest(mut scan: Scan<'_>) -> Vec<Met> {
        let mut met = Vec::new();
        while let Some(step) = scan.next_step().unwrap() {
            met.push(match step {
                Step::Record { offset, head } => (offset, 0, head.refs().map(|blob| blob.id).collect()),
                Step::Damage { offset, bytes } => (offset, bytes, Vec::new()),
            });
        }
        met
    }

    fn walk(file: &dyn DiskFile) -> Vec<Met> {
        rest(Scan::new(file, 0, file.size().unwrap(), u64::MAX))
    }

    struct Scene {
        bytes: Vec<u8>,
        /// Where the record begins that holds what was planted, and how long its head is.
        outer: (usize, usize),
        lie: BlobId,
        /// Of the records before and behind it.
        others: [BlobId; 3],
        planted_truth: BlobId,
    }

    /// A pack with a record that somebody filled with records: a true one, and a lie right behind it, where the walk would
    /// go next; in its data, or in its label.
    fn scene(is_in_label: bool) -> Scene {
        let (lie_id, lie) = lie();
        let truth = sample(7, 300);
        let planted = [noise(1, 200), record(&bundle(std::slice::from_ref(&truth)), b""), lie, noise(2, 4000)].concat();
        let (blob, label) = if is_in_label { (noise(3, 500), planted) } else { (planted, Vec::new()) };
        let outer = bundle(&[blob.into()]);
        assert_eq!(outer.codec(), Codec::Raw, "it is there as it was sent");
        let mut bytes = pack::header(1);
        let others = [sample(11, 500), sample(12, 900), sample(13, 50)];
        bytes.extend(record(&bundle(&others[..1]), b"label"));
        let at = bytes.len();
        bytes.extend(record(&outer, &label));
        let head_len = bytes.len() - at - outer.data().len();
        bytes.extend(record(&bundle(&others[1..2]), b""));
        bytes.extend(record(&bundle(&others[2..]), b""));
        let others = others.map(|blob| BlobId::of(&blob));
        Scene { bytes, outer: (at, head_len), lie: lie_id, others, planted_truth: BlobId::of(&truth) }
    }

    /// However the head of a record is damaged, what its bytes look like inside is not believed: the lie never comes up. What
    /// lies before it and behind it does.
    #[test]
    fn what_was_planted_in_a_record_replaces_nothing_when_its_head_is_damaged() {
        for is_in_label in [false, true] {
            let Scene { bytes, outer: (at, head_len), lie, others, planted_truth } = scene(is_in_label);
            let judge = |bytes: &[u8], what: &str| {
                let met = walk(&*file(bytes));
                let ids: Vec<BlobId> = met.iter().flat_map(|(_, _, ids)| ids.iter().copied()).collect();
                assert!(!ids.contains(&lie), "{what}");
                assert!(others.iter().all(|id| ids.contains(id)), "{what}");
                assert!(met.iter().any(|(_, bytes, _)| *bytes > 0), "{what}: damage is told");
                ids.contains(&planted_truth)
            };
            let mut surfaced = 0;
            for hit in (0..head_len).step_by(if is_in_label { 7 } else { 1 }) {
                let mut bytes = bytes.clone();
                bytes[at + hit] ^= 0x40;
                surfaced += usize::from(judge(&bytes, &format!("byte {hit} of the head")));
            }
            assert!(surfaced <= 12, "only damaged lengths leave any doubt of where the record ends, {surfaced} did");
            for zeros in [8, FIXED_BYTES, FIXED_BYTES + 100] {
                let mut bytes = bytes.clone();
                bytes[at..at + zeros].fill(0);
                judge(&bytes, &format!("{zeros} zeros"));
                bytes.drain(at..at + zeros);
                judge(&bytes, &format!("{zeros} bytes lost"));
            }
        }
    }

    /// A damaged footer makes no difference to that, nor does a walk that was lost take what is planted for a footer.
    #[test]
    fn what_looks_like_a_footer_within_a_record_ends_no_walk() {
        let Scene { mut bytes, outer: (at, _), others, .. } = scene(false);
        let footer = record(&bundle(&[[&b"DataDBft"[..], &noise(5, 900)].concat().into()]), b"");
        let magic = bytes.len() + footer.len() - 908;
        bytes.extend(footer);
        let last = sample(14, 100);
        bytes.extend(record(&bundle(std::slice::from_ref(&last)), b""));
        bytes[at..at + FIXED_BYTES].fill(0);
        bytes[magic - 100..magic].fill(0);
        let ids: Vec<BlobId> = walk(&*file(&bytes)).into_iter().flat_map(|(_, _, ids)| ids).collect();
        assert!(others.iter().chain([&BlobId::of(&last)]).all(|id| ids.contains(id)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A walk that begins anywhere meets what the whole walk meets from there, whatever is damaged.
        #[test]
        fn a_walk_goes_on_from_everything_that_another_met(
            is_in_label: bool, has_footer: bool,
            hits in prop::collection::vec((any::<prop::sample::Index>(), 1usize..80, any::<u8>()), 0..4),
        ) {
            let Scene { mut bytes, lie, .. } = scene(is_in_label);
            if has_footer {
                bytes.extend(b"DataDBft and what else is left of it");
            }
            for (at, len, byte) in hits {
                let at = at.index(bytes.len());
                let end = (at + len).min(bytes.len());
                bytes[at..end].fill(byte);
            }
            let file = file(&bytes);
            let end = file.size().unwrap();
            let all = walk(&*file);
            prop_assert!(all.iter().all(|(_, _, ids)| !ids.contains(&lie)));
            let lost_from = Scan::find_lost(&*file, end).unwrap();
            for (number, (offset, ..)) in all.iter().enumerate() {
                let scan = Scan::after(&*file, *offset, end, lost_from).unwrap();
                prop_assert_eq!(&rest(scan)[..], &all[number + 1..]);
            }
        }
    }
}
