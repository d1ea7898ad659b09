//! Which chunks must be uploaded: what the server misses, and is not on its way already.

use std::collections::{HashMap, VecDeque};

use datadb::{BlobId, BlobRef, Digest, bundle::BundleBuilder, wire::Answer};

use super::{
    assemble::Stopped,
    bundle::{BUNDLES_IN_FLIGHT_MAX, Packer},
    run::Run,
};
use crate::connection::{Asking, wait};

/// Questions answered before the last ones asked when a bundle was accepted: until then, an answer may say *missing*
/// of what is in it. More than can be under way.
const QUESTIONS_BEFORE_FORGETTING: u64 = 16;

/// Chunks on their way. Memory is bounded by the bundles in flight.
pub struct Missing<'a> {
    run: &'a Run,
    asking: &'a Asking,
    packer: Packer,
    builder: BundleBuilder,
    in_builder: Vec<BlobId>,
    sealed: u64,
    in_flight: HashMap<BlobId, Digest>,
    /// Bundles not accepted yet, as far as was looked: number and ids.
    unacked: VecDeque<(u64, Vec<BlobId>)>,
    /// Accepted ones that old answers may still call missing: when to forget them, and ids.
    retiring: VecDeque<(u64, Vec<BlobId>)>,
    questions: u64,
}

impl<'a> Missing<'a> {
    /// Nothing on its way.
    pub fn new(run: &'a Run, asking: &'a Asking, packer: Packer) -> Self {
        Self {
            run,
            asking,
            packer,
            builder: BundleBuilder::new(),
            in_builder: Vec::new(),
            sealed: 0,
            in_flight: HashMap::new(),
            unacked: VecDeque::new(),
            retiring: VecDeque::new(),
            questions: 0,
        }
    }

    /// One more question was answered.
    pub fn settled(&mut self) {
        self.questions += 1;
        let acked = self.run.acked();
        while self.unacked.front().is_some_and(|(number, _)| *number <= acked) {
            if let Some((_, ids)) = self.unacked.pop_front() {
                self.retiring.push_back((self.questions + QUESTIONS_BEFORE_FORGETTING, ids));
            }
        }
        while self.retiring.front().is_some_and(|(when, _)| *when <= self.questions) {
            for id in self.retiring.pop_front().into_iter().flat_map(|(_, ids)| ids) {
                self.in_flight.remove(&id);
            }
        }
    }

    /// Sees to it that the server gets a chunk; false if its id belongs to other bytes.
    pub fn offer(&mut self, blob: &BlobRef, bytes: &[u8], answer: Answer) -> Result<bool, Stopped> {
        match (answer, self.in_flight.get(&blob.id)) {
            (Answer::Conflict, _) => return Ok(false),
            (Answer::Have, _) => return Ok(true),
            (Answer::Missing, Some(digest)) => return Ok(*digest == blob.digest),
            (Answer::Missing, None) => {}
        }
        if !self.builder.has_room(bytes.len()) {
            self.seal()?;
        }
        self.builder.push(blob, bytes);
        self.in_builder.push(blob.id);
        self.in_flight.insert(blob.id, blob.digest);
        Ok(true)
    }

    /// Asks about some chunks, and waits.
    pub fn ask(&self, blobs: &[BlobRef]) -> Result<Vec<Answer>, Stopped> {
        wait(self.asking.ask(blobs, &[])).map(|answers| answers.blobs).map_err(|fault| {
            self.run.fail(fault);
            Stopped
        })
    }

    /// The number of the last bundle that holds anything offered so far; 0 is none.
    pub fn last_bundle(&self) -> u64 {
        self.sealed + u64::from(!self.builder.is_empty())
    }

    /// Sends what is gathered, however little.
    pub fn seal(&mut self) -> Result<(), Stopped> {
        if self.builder.is_empty() {
            return Ok(());
        }
        if !self.run.wait_for(self.sealed.saturating_sub(BUNDLES_IN_FLIGHT_MAX)) {
            return Err(Stopped);
        }
        self.sealed += 1;
        self.unacked.push_back((self.sealed, std::mem::take(&mut self.in_builder)));
        if self.packer.pack(std::mem::take(&mut self.builder)) { Ok(()) } else { Err(Stopped) }
    }
}
