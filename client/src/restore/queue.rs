//! Files whose bytes are to be fetched, or to be compared, in the order of the tree. While one waits for its list, what
//! comes behind it is planned and its lists are asked for; the workers get everything in order.

use std::{collections::VecDeque, sync::Arc};

use crossbeam_channel::Sender;
use datadb::{BlobId, Fault};

use super::{
    check::Check,
    file::File,
    shared::Shared,
    work::{Job, Piece},
};
use crate::fetch::chunks::{Chunks, Source, is_of_the_file};
use crate::fetch::window::Window;

/// Lists that are asked for at the same time; the server allows 256 streams on a connection.
const LISTS_MAX: usize = 64;

/// Files that wait for one that waits for its list.
const FILES_MAX: usize = 1024;

/// A file in the queue.
#[derive(Debug)]
enum Waiting {
    Fetch { file: Arc<File>, size: u64, source: Source },
    Check(Box<Check>),
}

impl Waiting {
    fn list(&self) -> Option<&Chunks> {
        match self {
            Self::Fetch { source: Source::List(chunks), .. } => Some(chunks),
            Self::Check(check) => check.list(),
            Self::Fetch { .. } => None,
        }
    }
}

/// The queue.
#[derive(Debug)]
pub struct Queue<'a> {
    shared: &'a Shared,
    waiting: VecDeque<Waiting>,
    lists: usize,
    window: Window<Piece>,
    jobs: Sender<Job>,
}

impl<'a> Queue<'a> {
    /// An empty one that feeds the workers.
    pub fn new(shared: &'a Shared, jobs: Sender<Job>) -> Self {
        Self { shared, waiting: VecDeque::new(), lists: 0, window: Window::default(), jobs }
    }

    /// A file to be fetched.
    pub fn fetch(&mut self, file: Arc<File>, size: u64, source: Source) -> Result<(), Fault> {
        self.push(Waiting::Fetch { file, size, source })
    }

    /// A file to be compared.
    pub fn check(&mut self, check: Box<Check>) -> Result<(), Fault> {
        self.push(Waiting::Check(check))
    }

    fn push(&mut self, waiting: Waiting) -> Result<(), Fault> {
        self.lists += usize::from(waiting.list().is_some());
        self.waiting.push_back(waiting);
        while self.waiting.front().is_some_and(|first| {
            let is_full = self.lists > LISTS_MAX || self.waiting.len() > FILES_MAX;
            is_full || first.list().is_none_or(Chunks::is_here)
        }) {
            self.pop()?;
        }
        Ok(())
    }

    /// Hands everything on. Blocks until all lists are read.
    pub fn flush(&mut self) -> Result<(), Fault> {
        while !self.waiting.is_empty() && !self.shared.is_over() {
            self.pop()?;
        }
        self.send();
        Ok(())
    }

    fn pop(&mut self) -> Result<(), Fault> {
        let Some(first) = self.waiting.pop_front() else { return Ok(()) };
        self.lists -= usize::from(first.list().is_some());
        match first {
            Waiting::Check(check) => {
                // Workers take jobs to the end; after trouble they drop them.
                drop(self.jobs.send(Job::Check(check)));
                Ok(())
            }
            Waiting::Fetch { source: Source::Nothing, .. } => Ok(()),
            Waiting::Fetch { file, size, source: Source::Blob(blob) } => {
                self.piece(blob, Piece { file, number: 0, offset: 0, len: size });
                Ok(())
            }
            Waiting::Fetch { file, size, source: Source::List(chunks) } => self.pieces(&file, size, *chunks),
        }
    }

    fn pieces(&mut self, file: &Arc<File>, size: u64, mut chunks: Chunks) -> Result<(), Fault> {
        let (mut offset, mut number) = (0, 0);
        loop {
            let batch = match chunks.next() {
                Ok(None) => break,
                Ok(Some(batch)) => batch,
                Err(fault) if is_of_the_file(&fault) => {
                    file.fail(&fault.message);
                    return Ok(());
                }
                Err(fault) => return Err(fault),
            };
            for chunk in batch {
                if let Some(blob) = chunk.blob {
                    self.piece(blob, Piece { file: Arc::clone(file), number, offset, len: chunk.len });
                    number += 1;
                }
                offset += chunk.len;
            }
            if self.shared.is_over() {
                return Ok(());
            }
        }
        if offset != size {
            file.fail("its list does not end at its size");
        }
        Ok(())
    }

    fn piece(&mut self, blob: BlobId, piece: Piece) {
        self.window.push(blob, piece.len, piece);
        if self.window.is_full() {
            self.send();
        }
    }

    fn send(&mut self) {
        let window = std::mem::take(&mut self.window);
        if !window.is_empty() {
            drop(self.jobs.send(Job::Fetch(window)));
        }
    }
}
