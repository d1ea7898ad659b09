//! Workers: each has a download stream of its own, asks for the next window while it writes the present one, and compares
//! files in between.

use std::{collections::VecDeque, sync::Arc};

use crossbeam_channel::{Receiver, TryRecvError};

use super::{check::Check, file::File, shared::Shared};
use crate::connection::Downloads;
use crate::fetch::window::{Fetching, Window};

/// Windows that one worker has asked for.
const WINDOWS_MAX: usize = 2;

/// What a worker is given to do.
#[derive(Debug)]
pub enum Job {
    /// Pieces to be fetched and written.
    Fetch(Window<Piece>),
    /// A file to be compared.
    Check(Box<Check>),
}

/// A chunk of a file.
#[derive(Debug)]
pub struct Piece {
    /// The file; it is finished when its last piece is dropped.
    pub file: Arc<File>,
    /// Its number among the file's chunks.
    pub number: u64,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
}

/// Works until there are no more jobs.
pub fn work(todo: &Receiver<Job>, downloads: &Downloads, shared: &Shared) {
    let mut fetching: VecDeque<Fetching<Piece>> = VecDeque::new();
    let mut buffer = Vec::new();
    loop {
        while fetching.len() < WINDOWS_MAX {
            let next = match todo.try_recv() {
                Err(TryRecvError::Empty) if fetching.is_empty() => todo.recv().ok(),
                other => other.ok(),
            };
            match next {
                Some(Job::Fetch(window)) => fetching.push_back(window.request(downloads)),
                Some(Job::Check(check)) => check.run(shared, &mut buffer),
                None => break,
            }
        }
        let Some(window) = fetching.pop_front() else { return };
        if !shared.is_over() {
            write(window, shared);
        }
    }
}

fn write(mut window: Fetching<Piece>, shared: &Shared) {
    let drained = window.drain(|piece, found| match found {
        // Nobody wants it any more.
        _ if shared.is_over() => {}
        Ok((blob, bytes)) if u64::from(blob.len) == piece.len => {
            piece.file.write(piece.number, piece.offset, bytes, blob.digest);
        }
        Ok((blob, _)) => piece.file.fail(&format!("blob {} has another length than its file says", blob.id)),
        Err(what) => piece.file.fail(&what),
    });
    // Before the window is dropped: what its files lack then is no news of theirs.
    if let Err(fault) = drained {
        shared.fail(fault);
    }
}
