//! Opening: bring the index up to the end of the packs, cut what a crash tore, report what is damaged.
//!
//! Start and rebuild are one and the same: a rebuild is a start with an empty index.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    sync::Arc,
};

use datadb::BlobId;

use super::{
    BlobsFile, Inner, OpenReport, Relied, Totals,
    append::OpenPack,
    entry::Entry,
    given::Given,
    pack::{self, HEADER_BYTES, PackFile},
    record::Head,
    scan::{Scan, Step},
};
use crate::{
    index::{Batch, Family, IndexError, keys},
    store::{Cursor, Damage, StoreError, disk::DiskFile},
};

/// Entries read at once when looking for those whose packs are gone.
const AUDIT_PAGE: usize = 4096;

/// What decides between a torn tail and damage.
#[derive(Clone, Copy)]
struct Rules {
    relied: Relied,
    durable: Cursor,
    is_last: bool,
}

/// What is gathered on the way through the packs.
struct Progress<'a> {
    batch: Batch<'a>,
    /// Entries in the batch, which the index doesn't show yet.
    fresh: HashMap<BlobId, Entry>,
    totals: Totals,
    report: OpenReport,
}

impl Inner {
    /// See [`BlobsFile::open`].
    pub(super) fn catch_up(&self, relied: Relied, bad: &[Cursor]) -> Result<OpenReport, StoreError> {
        let dir = &self.config.dir;
        let io = |source| StoreError::io(dir.display(), source);
        self.config.disk.create_dir(dir).map_err(io)?;
        let files = self.config.disk.list(dir).map_err(io)?;
        let mut packs: BTreeMap<u64, u64> =
            files.iter().filter_map(|(name, len)| Some((pack::parse_file_name(name)?, *len))).collect();
        let (indexed, totals) = BlobsFile::load_state(&self.config)?;
        let given = Given::load(&self.config)?;
        let durable = match relied {
            Relied::UpTo(durable) => durable.max(indexed),
            Relied::Index | Relied::Unknown => indexed,
        };
        let bad: HashSet<Cursor> = bad.iter().copied().collect();
        let mut progress = Progress {
            batch: self.config.index().batch(),
            fresh: HashMap::new(),
            totals,
            report: OpenReport::default(),
        };
        self.mark_indexed(bad.iter().copied().filter(|cursor| *cursor < indexed), &mut progress)?;
        self.audit(&packs, indexed, durable, &mut progress)?;
        let last = packs.keys().next_back().copied().unwrap_or(0);
        let numbers: Vec<u64> = packs.range(indexed.pack..).map(|(number, _)| *number).collect();
        let mut end = indexed;
        for number in numbers {
            let from = if number == indexed.pack { indexed.offset } else { HEADER_BYTES };
            let len =
                self.index_pack(number, from, Rules { relied, durable, is_last: number == last }, &bad, &mut progress)?;
            packs.insert(number, len);
            end = end.max(Cursor { pack: number, offset: len });
        }
        self.write_progress(&mut progress, end)?;
        let open = match packs.get(&last) {
            // A damaged pack takes no more, or what is appended could pass for the rest of what was lost.
            Some(len)
                if !self.config.is_sealed_by_flush
                    && !self.is_sealed(last)?
                    && !progress.report.damage.iter().any(|it| it.cursor.pack == last) =>
            {
                self.reopen(last, *len)?
            }
            _ => None,
        };
        let mut state = self.state();
        match open {
            // Nor does one that may be shorter than it was.
            Some(open) if !given.is_durable || open.pack.number < given.pack => {
                state.appender.closed.push((open.pack.number, open.len));
            }
            open => state.appender.open = open,
        }
        state.given = given;
        state.appender.last_number = last.max(indexed.pack).max(durable.pack).max(given.pack);
        state.packs = packs;
        (state.totals, state.durable_totals) = (progress.totals, progress.totals);
        drop(state);
        self.fold(end.pack)?;
        Ok(progress.report)
    }

    /// Adds the records of one pack from an offset on, and gives the length that counts.
    fn index_pack<'a>(
        &'a self,
        number: u64,
        from: u64,
        rules: Rules,
        bad: &HashSet<Cursor>,
        progress: &mut Progress<'a>,
    ) -> Result<u64, StoreError> {
        let Rules { relied, durable, is_last } = rules;
        let path = self.path(number);
        let io = |source: io::Error| StoreError::io(path.display(), source);
        let file = self.file(number)?;
        let size = file.size().map_err(io)?;
        // How much of this pack the log relies on, or can't have been torn.
        let durable_len = match number.cmp(&durable.pack) {
            _ if self.config.is_sealed_by_flush => u64::MAX,
            std::cmp::Ordering::Less => u64::MAX,
            std::cmp::Ordering::Equal => durable.offset,
            std::cmp::Ordering::Greater => 0,
        };
        if !pack::check_header(&*file, &path, number)? {
            // What nobody relies on was torn by a crash; where nobody knows, only the last pack can have been.
            if durable_len <= HEADER_BYTES && (is_last || relied != Relied::Unknown) {
                return self.restart_pack(&*file, number, size, progress);
            }
            let cursor = Cursor { pack: number, offset: 0 };
            progress.report.damage.push(Damage { cursor, bytes: HEADER_BYTES });
        }
        // Where a flush seals, a pack is there with its footer or not at all. Of any other one the last may have none.
        let may_be_open = is_last && !self.config.is_sealed_by_flush && !self.is_sealed(number)?;
        if let Some(records) = trusted_footer(&*file, durable_len, may_be_open).map_err(io)? {
            for (offset, head) in records.into_iter().filter(|(offset, _)| *offset >= from) {
                self.add_record(Cursor { pack: number, offset }, &head, bad, progress)?;
            }
            progress.batch.put(Family::State, &keys::pack(&self.config.name, number), &size.to_be_bytes());
            return Ok(size);
        }
        // A start that goes on in the middle is lost where the one before it was.
        let lost_from =
            if from > HEADER_BYTES && from < size { Scan::find_lost(&*file, size).map_err(io)? } else { None };
        let mut scan = Scan::new(&*file, from, size, durable_len).lost_since(lost_from);
        while let Some(step) = scan.next_step().map_err(io)? {
            match step {
                Step::Record { offset, head } => {
                    self.add_record(Cursor { pack: number, offset }, &head, bad, progress)?;
                }
                Step::Damage { offset, bytes }
                    if offset >= durable_len && (relied != Relied::Unknown || (is_last && offset + bytes >= size)) =>
                {
                    // Nobody relies on what lies here: a crash interrupted its writing.
                    if relied == Relied::Unknown {
                        self.keep_aside(&*file, number, offset, size)?;
                    }
                    file.truncate(offset).and_then(|()| file.sync()).map_err(io)?;
                    progress.report.torn_bytes += size - offset;
                    return Ok(offset);
                }
                Step::Damage { offset, bytes } => {
                    progress.report.damage.push(Damage { cursor: Cursor { pack: number, offset }, bytes });
                }
            }
        }
        if is_last && !self.config.is_sealed_by_flush && scan.position() < size {
            // A torn footer.
            let len = scan.position();
            file.truncate(len).and_then(|()| file.sync()).map_err(io)?;
            return Ok(len);
        }
        Ok(size)
    }

    /// Copies a broken tail to a file of its own before it is cut.
    fn keep_aside(&self, file: &dyn DiskFile, number: u64, offset: u64, size: u64) -> Result<(), StoreError> {
        let path = self.config.dir.join(format!("{}.torn-{offset}", pack::file_name(number)));
        let io = |source| StoreError::io(path.display(), source);
        let copy = match self.config.disk.create(&path) {
            Ok(copy) => copy,
            // Kept by an earlier try.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) => return Err(io(error)),
        };
        let mut buf = vec![0; 1 << 20];
        let mut at = offset;
        while at < size {
            let read = file.read_at(&mut buf, at).map_err(io)?;
            if read == 0 {
                break;
            }
            copy.write_at(&buf[..read], at - offset).map_err(io)?;
            at += read as u64;
        }
        copy.sync().map_err(io)
    }

    /// A pack whose header never reached the disk holds nothing that counts.
    fn restart_pack(
        &self,
        file: &dyn DiskFile,
        number: u64,
        size: u64,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        let written =
            file.truncate(0).and_then(|()| file.write_at(&pack::header(number), 0)).and_then(|()| file.sync());
        written.map_err(|source| StoreError::io(self.path(number).display(), source))?;
        progress.report.torn_bytes += size;
        Ok(HEADER_BYTES)
    }

    fn add_record<'a>(
        &'a self,
        cursor: Cursor,
        head: &Head,
        bad: &HashSet<Cursor>,
        progress: &mut Progress<'a>,
    ) -> Result<(), StoreError> {
        let ids: Vec<BlobId> = head.refs().map(|blob| blob.id).collect();
        let known = self.entries(&ids)?;
        let is_bad = bad.contains(&cursor);
        progress.report.records_added += 1;
        progress.totals.records += 1;
        for (position, (blob, known)) in head.refs().zip(known).enumerate() {
            let known = progress.fresh.get(&blob.id).copied().or(known);
            let totals = &mut progress.totals;
            match known {
                // A second copy is there because the first was lost or damaged, or it came along: it is as good or better.
                Some(known) if !known.is_bad && (is_bad || known.digest != blob.digest) => {
                    totals.dead_bytes += u64::from(blob.len);
                    continue;
                }
                Some(known) if !known.is_bad => totals.dead_bytes += u64::from(blob.len),
                // A newer copy heals a bad one.
                Some(_) if !is_bad => totals.bad_blobs = totals.bad_blobs.saturating_sub(1),
                Some(_) => continue,
                None => {
                    totals.blobs += 1;
                    totals.blob_bytes += u64::from(blob.len);
                    totals.bad_blobs += u64::from(is_bad);
                }
            }
            let entry = Entry { is_bad, ..Entry::new(cursor, head.record_len(), position, &blob) };
            self.config.space.put(&mut progress.batch, blob.id.as_bytes(), &entry.encode());
            progress.fresh.insert(blob.id, entry);
        }
        if progress.batch.is_full() {
            let end = Cursor { pack: cursor.pack, offset: cursor.offset + head.record_len() };
            self.write_progress(progress, end)?;
        }
        Ok(())
    }

    fn write_progress<'a>(&'a self, progress: &mut Progress<'a>, end: Cursor) -> Result<(), StoreError> {
        let mut batch = std::mem::replace(&mut progress.batch, self.config.index().batch());
        batch.put(Family::State, &keys::leaf(&self.config.name), &progress.totals.encode(end));
        self.config.index().write(batch)?;
        progress.fresh.clear();
        Ok(())
    }

    /// Marks entries bad whose packs are gone or shorter than what was durable.
    fn audit(
        &self,
        packs: &BTreeMap<u64, u64>,
        indexed: Cursor,
        durable: Cursor,
        progress: &mut Progress<'_>,
    ) -> Result<(), StoreError> {
        let folded = self.folded()?;
        let is_folded_short = !folded.are_all_there(packs);
        // Up to where the entries tell that a pack without a key should reach.
        let mut reached: BTreeMap<u64, u64> = BTreeMap::new();
        let mut short: HashMap<u64, u64> = HashMap::new();
        for number in folded.up_to + 1..=indexed.pack.max(durable.pack) {
            let sealed = self.config.index().get(Family::State, &keys::pack(&self.config.name, number))?;
            let sealed = sealed.and_then(|len| Some(u64::from_be_bytes(len.as_slice().try_into().ok()?)));
            let position = |cursor: Cursor| if cursor.pack == number { cursor.offset } else { 0 };
            let expected = sealed.unwrap_or(0).max(position(indexed)).max(position(durable));
            let actual = packs.get(&number).copied().unwrap_or(0);
            if actual < expected {
                let cursor = Cursor { pack: number, offset: actual };
                progress.report.damage.push(Damage { cursor, bytes: expected - actual });
                short.insert(number, actual);
            }
        }
        if short.is_empty() && !is_folded_short {
            return Ok(());
        }
        let is_beyond = |entry: &Entry| {
            let number = entry.cursor.pack;
            let there = || packs.get(&number).copied().unwrap_or(0);
            let len = if number <= folded.up_to { is_folded_short.then(there) } else { short.get(&number).copied() };
            len.is_some_and(|len| entry.cursor.offset + entry.record_len > len)
        };
        let mut after = None;
        loop {
            let page = self.config.space.page(after.as_deref(), AUDIT_PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (id, value) in &page {
                let mut entry = Entry::decode(value).map_err(IndexError::value("a blob's entry"))?;
                let is_marked = BlobId::try_from(&id[..]).is_ok_and(|id| progress.fresh.contains_key(&id));
                let Cursor { pack, offset } = entry.cursor;
                if is_beyond(&entry) && pack <= folded.up_to {
                    let end = reached.entry(pack).or_default();
                    *end = (offset + entry.record_len).max(*end);
                }
                if is_beyond(&entry) && !entry.is_bad && !is_marked {
                    entry.is_bad = true;
                    progress.totals.bad_blobs += 1;
                    progress.report.lost_blobs += 1;
                    self.config.space.put(&mut progress.batch, id, &entry.encode());
                }
            }
        }
        let told = reached.into_iter().map(|(pack, end)| {
            let offset = packs.get(&pack).copied().unwrap_or(0);
            Damage { cursor: Cursor { pack, offset }, bytes: end - offset }
        });
        progress.report.damage.extend(told);
        Ok(())
    }

    /// Marks entries bad that the index holds, of records that the log calls bad: a crash may have taken the mark. It comes
    /// before any record is added, or a newer copy would count as a second one of a good blob.
    fn mark_indexed(&self, bad: impl Iterator<Item = Cursor>, progress: &mut Progress<'_>) -> Result<(), StoreError> {
        for cursor in bad {
            let ids = self.ids_of_damaged(cursor)?;
            for (id, entry) in ids.iter().zip(self.entries(&ids)?) {
                let Some(mut entry) = entry.filter(|entry| !entry.is_bad && entry.cursor == cursor) else { continue };
                entry.is_bad = true;
                progress.totals.bad_blobs += 1;
                self.config.space.put(&mut progress.batch, id.as_bytes(), &entry.encode());
                progress.fresh.insert(*id, entry);
            }
        }
        Ok(())
    }

    /// Makes an unsealed pack the one that takes the next record.
    fn reopen(&self, number: u64, len: u64) -> Result<Option<OpenPack>, StoreError> {
        let io = |source| StoreError::io(self.path(number).display(), source);
        let file: Arc<dyn DiskFile> = self.file(number)?;
        let mut records = Vec::new();
        let mut scan = Scan::new(&*file, HEADER_BYTES, len, u64::MAX);
        while let Some(step) = scan.next_step().map_err(io)? {
            match step {
                Step::Record { offset, head } => records.push((offset, head)),
                // It takes no more: a footer lists records without gaps.
                Step::Damage { .. } => return Ok(None),
            }
        }
        // What catch-up read may be in memory only; from here on it is durable.
        file.sync().map_err(io)?;
        self.config.disk.sync_dir(&self.config.dir).map_err(io)?;
        Ok(Some(OpenPack::new(PackFile { number, file }, len, len, records)))
    }
}

/// The footer, unless it lists a record behind `durable_len` that is torn: a crash may have kept the one and not the other.
/// Of a pack that `may_be_open`, and so may end in anybody's data, every head that it lists must be there.
fn trusted_footer(file: &dyn DiskFile, durable_len: u64, may_be_open: bool) -> io::Result<Option<Vec<(u64, Head)>>> {
    let Some(records) = pack::read_footer(file)? else { return Ok(None) };
    for (offset, head) in &records {
        let is_unsure = *offset >= durable_len;
        if (is_unsure || may_be_open) && pack::read_head(file, *offset)?.as_ref() != Ok(head) {
            return Ok(None);
        }
        let is_torn = || -> io::Result<bool> {
            let data = pack::read_data(file, *offset, head)?;
            Ok(data.and_then(|data| head.clone().into_bundle(data)).is_err())
        };
        if is_unsure && is_torn()? {
            return Ok(None);
        }
    }
    Ok(Some(records))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bytes::Bytes;
    use datadb::{BlobRef, Bundle, bundle::Codec};

    use super::*;
    use crate::{
        index::{Index, space::Space},
        store::{
            BlobStore as _, Presence,
            blobsfile::LeafConfig,
            disk::Disk as _,
            testing::conformance::{bundle, sample},
            testing::power_cut::CutDisk,
        },
    };

    fn open(disk: &CutDisk, index: &std::path::Path, relied: Relied) -> BlobsFile {
        let index = Arc::new(Index::open(index).unwrap());
        let config = LeafConfig {
            name: "blobs".into(),
            dir: PathBuf::from("/packs"),
            disk: Arc::new(disk.clone()),
            space: Space::of(&index, "blobs").unwrap(),
            pack_bytes: 1 << 30,
            reserve_bytes: 0,
            is_sealed_by_flush: false,
            threads: None,
        };
        BlobsFile::open(config, relied, &[]).unwrap().0
    }

    /// Somebody knows how a pack is built, and lets the last blob of an open one end in a footer that tells another story, of
    /// records that fill the pack without gaps.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_blob_that_ends_like_a_pack_hides_nothing_from_a_rebuild() {
        let truth = sample(1, 5000);
        let first = Head::new(&bundle(std::slice::from_ref(&truth)), b"").record_len();
        let mut filler = vec![0; 3000];
        blake3::Hasher::new().finalize_xof().fill(&mut filler);
        let outer_head = Head::new(&bundle(&[Bytes::from(filler.clone())]), b"").bytes().len() as u64;
        let footer_at = HEADER_BYTES + first + outer_head + filler.len() as u64;
        let liar = BlobId::of(b"never put");
        let len = (footer_at - HEADER_BYTES - outer_head) as u32;
        let mut table = Vec::new();
        BlobRef { id: liar, len, ..BlobRef::of(b"never put") }.pack(&mut table);
        let story = Bundle::new(Codec::Raw, len, table.into(), vec![0; len as usize].into()).unwrap();
        let planted = [filler, pack::footer(&[(HEADER_BYTES, Head::new(&story, b""))])].concat();
        let outer = bundle(&[planted.into()]);
        assert_eq!(outer.codec(), Codec::Raw);
        let outer_id = outer.refs().next().unwrap().id;

        let (disk, index) = (CutDisk::default(), tempfile::tempdir().unwrap());
        let store = open(&disk, index.path(), Relied::Index);
        store.put(bundle(std::slice::from_ref(&truth)), Bytes::new()).await.unwrap();
        store.put(outer, Bytes::new()).await.unwrap();
        let end = store.flush().await.unwrap()[0].end;
        drop(store);
        let file = disk.open(&PathBuf::from("/packs").join(pack::file_name(1))).unwrap();
        assert!(pack::read_footer(&*file).unwrap().is_some(), "it looks like a footer in every way");
        for relied in [Relied::Index, Relied::UpTo(end), Relied::Unknown] {
            let fresh = tempfile::tempdir().unwrap();
            let store = open(&disk, fresh.path(), relied);
            let found = store.find(&[BlobId::of(&truth), outer_id, liar]).await.unwrap();
            assert!(matches!(found[..], [Presence::Have(_), Presence::Have(_), Presence::Missing]), "{found:?}");
        }
    }
}
