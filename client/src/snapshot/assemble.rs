//! Assembling: with the answers at hand, missing chunks go into bundles, files get their lists, directories their sets,
//! and the new cache its records. In memory: the open directories from the root down, each with one segment of its set.

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use datadb::{
    BlobRef, FileType, Meta, Name, ObjectKey,
    backup::Counts,
    blob::FileDigest,
    meta::{Content, XattrValue},
    object::{Chunk, Encoded, ListBuilder, SetBuilder},
    wire::Answer,
};

use super::{
    ask::Asked,
    item::{Item, State, Taken},
    missing::Missing,
    objects::Batch,
    run::{self, Run, Trouble},
};
use crate::{
    cache::Writer,
    connection::wait,
    report::{Report, count},
};

/// Encodings of unchanged entries that a directory holds back: if nothing in it changed, nobody needs them.
const HELD_MAX: usize = 4096;
/// Objects and their bytes in one batch.
const BATCH_OBJECTS: usize = 512;
const BATCH_BYTES: usize = 256 << 10;

/// What the assembler made of a tree.
#[derive(Debug, Default)]
pub struct Assembled {
    /// Encoding of the root's meta; `None` if the walk ended before it.
    pub root: Option<Bytes>,
    /// Counts; errors are counted elsewhere.
    pub counts: Counts,
    /// Files whose bytes were read.
    pub files_read: u64,
}

struct Frame {
    taken: Box<Taken>,
    /// Unchanged entries so far, as long as all are.
    held: Vec<(Name, Vec<u8>)>,
    set: SetBuilder,
}

/// Builds one tree.
pub struct Assembler<'a> {
    run: &'a Run,
    report: &'a Report,
    taken_keys: &'a run::Taken,
    missing: Missing<'a>,
    objects: Sender<Batch>,
    batch: Batch,
    batch_bytes: usize,
    cache: Option<Writer>,
    frames: Vec<Frame>,
    list: ListBuilder,
    digest: FileDigest,
    has_chunks: bool,
    xattr_lost: bool,
    done: Assembled,
}

/// The attempt is over; `Run` knows why.
pub struct Stopped;

impl<'a> Assembler<'a> {
    /// Starts with nothing.
    pub fn new(
        run: &'a Run,
        report: &'a Report,
        taken_keys: &'a run::Taken,
        missing: Missing<'a>,
        objects: Sender<Batch>,
        cache: Option<Writer>,
    ) -> Self {
        Self {
            run,
            report,
            taken_keys,
            missing,
            objects,
            batch: Batch::default(),
            batch_bytes: 0,
            cache,
            frames: Vec::new(),
            list: ListBuilder::new(),
            digest: FileDigest::new(),
            has_chunks: false,
            xattr_lost: false,
            done: Assembled::default(),
        }
    }

    /// Takes everything; gives the tree and its cache.
    pub fn assemble(mut self, asked: &Receiver<Asked>) -> Result<(Assembled, Option<Writer>), Stopped> {
        for Asked { items, answers } in asked {
            let answers = match answers.map(wait).transpose() {
                Ok(answers) => answers.unwrap_or_default().blobs,
                Err(fault) => {
                    self.run.fail(fault);
                    return Err(Stopped);
                }
            };
            self.missing.settled();
            let mut answers = answers.into_iter();
            for item in items {
                self.item(item, &mut answers)?;
            }
        }
        self.missing.seal()?;
        self.send_batch()?;
        Ok((self.done, self.cache))
    }

    fn item(&mut self, item: Item, answers: &mut impl Iterator<Item = Answer>) -> Result<(), Stopped> {
        match item {
            Item::Blob(blob, bytes) => {
                self.has_chunks = true;
                // `Missing` is always right to assume.
                let answer = answers.next().unwrap_or(Answer::Missing);
                self.chunk(blob, bytes, answer)?;
            }
            Item::Hole(len) => self.push_chunk(Chunk { len, blob: None })?,
            Item::Xattr(blob, bytes) => {
                let answer = answers.next().unwrap_or(Answer::Missing);
                // An attribute is one blob and can't be cut: a collision costs this attribute, and is an error of its file.
                self.xattr_lost |= !self.missing.offer(&blob, &bytes, answer)?;
            }
            Item::Leaf(taken) => self.leaf(*taken)?,
            Item::Enter(taken) => self.enter(taken),
            Item::Leave(content) => self.leave(content)?,
        }
        Ok(())
    }

    /// Offers a chunk; one whose id is taken by other bytes is cut after its first byte, and both parts are offered.
    fn chunk(&mut self, blob: BlobRef, bytes: Bytes, answer: Answer) -> Result<(), Stopped> {
        if self.missing.offer(&blob, &bytes, answer)? {
            self.digest.chunk(&blob.digest);
            return self.push_chunk(Chunk { len: u64::from(blob.len), blob: Some(blob.id) });
        }
        if bytes.len() < 2 {
            let reason = format!("blob {} of one byte collides with another", blob.id);
            self.run.fail(Trouble::Again { reason, taken: Vec::new() });
            return Err(Stopped);
        }
        let parts = [bytes.slice(..1), bytes.slice(1..)].map(|part| (BlobRef::of(&part), part));
        let answers = self.missing.ask(&[parts[0].0, parts[1].0])?;
        for ((blob, part), answer) in parts.into_iter().zip(answers) {
            self.chunk(blob, part, answer)?;
        }
        Ok(())
    }

    fn push_chunk(&mut self, chunk: Chunk) -> Result<(), Stopped> {
        self.has_chunks = true;
        count(&self.report.counters.bytes, chunk.len);
        let keys = self.taken_keys;
        match self.list.push(chunk, &|key| keys.contains(key)) {
            Some(segment) => self.send_object(segment),
            None => Ok(()),
        }
    }

    fn leaf(&mut self, taken: Taken) -> Result<(), Stopped> {
        count(&self.report.counters.files, 1);
        self.done.counts.files += 1;
        self.done.counts.changed += u64::from(taken.changed);
        self.done.files_read += u64::from(taken.read);
        let Taken { name, stat, seen, file_type, state, changed, .. } = taken;
        let (encoding, trusted) = match state {
            State::Unchanged(encoding) => {
                if file_type == FileType::File {
                    self.done.counts.bytes += stat.size;
                    count(&self.report.counters.bytes, stat.size);
                }
                (encoding, true)
            }
            State::Fresh(mut meta) => {
                self.mark_lost_xattr(&mut meta);
                if std::mem::take(&mut self.has_chunks) {
                    self.finish_list(&mut meta)?;
                }
                if meta.content != Content::None {
                    self.done.counts.bytes += meta.size;
                }
                let trusted = meta.error.is_none() && !changed && stat.is_settled(seen);
                (self.encode(*meta), trusted)
            }
        };
        if let Some(cache) = &mut self.cache {
            let name = name.as_ref().map_or(&b""[..], Name::as_bytes);
            cache.entry(name, &stat, file_type, trusted, &encoding);
        }
        self.add(name, encoding)
    }

    fn mark_lost_xattr(&mut self, meta: &mut Meta) {
        if std::mem::take(&mut self.xattr_lost) {
            meta.xattrs.retain(|xattr| matches!(xattr.value, XattrValue::Inline(_)));
            let what = "a long extended attribute collides with other data and was left out";
            self.report.error(meta.name_bytes(), what);
            meta.error.get_or_insert(what.to_owned());
        }
    }

    fn finish_list(&mut self, meta: &mut Meta) -> Result<(), Stopped> {
        let keys = self.taken_keys;
        let (rest, content) = std::mem::take(&mut self.list).finish(&|key| keys.contains(key));
        rest.into_iter().try_for_each(|object| self.send_object(object))?;
        meta.content = content;
        meta.digest = Some(std::mem::take(&mut self.digest).finish());
        Ok(())
    }

    /// A meta's encoding; one whose key is taken gets the next salt.
    fn encode(&self, mut meta: Meta) -> Vec<u8> {
        let mut encoding = meta.encode();
        while !self.taken_keys.is_empty() && self.taken_keys.contains(&ObjectKey::of(&encoding)) && meta.salt < u8::MAX
        {
            meta.salt += 1;
            encoding = meta.encode();
        }
        encoding
    }

    fn enter(&mut self, mut taken: Box<Taken>) {
        self.done.counts.dirs += 1;
        if let State::Fresh(meta) = &mut taken.state {
            self.mark_lost_xattr(meta);
        }
        if let Some(cache) = &mut self.cache {
            let name = taken.name.as_ref().map_or(&b""[..], Name::as_bytes);
            let Taken { stat, seen, .. } = &*taken;
            match &taken.state {
                State::Unchanged(meta) => cache.entry(name, stat, FileType::Dir, true, meta),
                State::Fresh(meta) => {
                    let trusted = meta.error.is_none() && stat.is_settled(*seen);
                    cache.entry(name, stat, FileType::Dir, trusted, &meta.encode());
                }
            }
        }
        self.frames.push(Frame { taken, held: Vec::new(), set: SetBuilder::new() });
    }

    fn leave(&mut self, unchanged: Option<Content>) -> Result<(), Stopped> {
        let Some(mut frame) = self.frames.pop() else { return Ok(()) };
        let content = match unchanged {
            Some(content) => content,
            None => {
                self.frames.push(frame);
                self.release()?;
                frame = match self.frames.pop() {
                    Some(frame) => frame,
                    None => return Ok(()),
                };
                let keys = self.taken_keys;
                let (rest, content) = frame.set.finish(&|key| keys.contains(key));
                rest.into_iter().try_for_each(|object| self.send_object(object))?;
                content
            }
        };
        if let Some(cache) = &mut self.cache {
            cache.leave(&content);
        }
        let Taken { name, state, .. } = *frame.taken;
        let mut meta = match state {
            State::Fresh(meta) => *meta,
            State::Unchanged(encoding) => match Meta::decode(&encoding) {
                Ok(meta) => meta,
                Err(error) => {
                    let reason = format!("the cache is damaged: {error}");
                    self.run.fail(Trouble::Again { reason, taken: Vec::new() });
                    return Err(Stopped);
                }
            },
        };
        meta.content = content;
        let encoding = self.encode(meta);
        self.add(name, encoding)
    }

    /// Adds an entry to the present directory; without one it is the root.
    fn add(&mut self, name: Option<Name>, encoding: Vec<u8>) -> Result<(), Stopped> {
        let (Some(frame), Some(name)) = (self.frames.last_mut(), name) else {
            self.done.root = Some(encoding.into());
            return Ok(());
        };
        frame.held.push((name, encoding));
        if frame.held.len() >= HELD_MAX { self.release() } else { Ok(()) }
    }

    /// Puts what the present directory holds back into its set.
    fn release(&mut self) -> Result<(), Stopped> {
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        let keys = self.taken_keys;
        let mut segments = Vec::new();
        for (name, encoding) in std::mem::take(&mut frame.held) {
            segments.extend(frame.set.push(&name, encoding, &|key| keys.contains(key)));
        }
        segments.into_iter().try_for_each(|segment| self.send_object(segment))
    }

    fn send_object(&mut self, object: Encoded) -> Result<(), Stopped> {
        self.batch_bytes += object.bytes.len();
        self.batch.objects.push(object);
        self.batch.bundle = self.missing.last_bundle();
        let is_full = self.batch.objects.len() >= BATCH_OBJECTS || self.batch_bytes >= BATCH_BYTES;
        if is_full { self.send_batch() } else { Ok(()) }
    }

    fn send_batch(&mut self) -> Result<(), Stopped> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if batch.objects.is_empty() {
            return Ok(());
        }
        match self.objects.try_send(batch) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(batch)) => {
                // Those before it may wait for the bundle that is open here: nobody waits in a circle.
                self.missing.seal()?;
                self.objects.send(batch).map_err(|_| Stopped)
            }
            Err(TrySendError::Disconnected(_)) => Err(Stopped),
        }
    }
}
