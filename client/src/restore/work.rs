//! Workers: each has a download stream of its own, asks for the next window while it writes the present one.

use std::{collections::VecDeque, sync::Arc};

use crossbeam_channel::{Receiver, TryRecvError};

use super::{
    file::File,
    shared::Shared,
    window::{Fetching, Window},
};
use crate::connection::Downloads;

/// Windows that one worker has asked for.
const WINDOWS_MAX: usize = 2;

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

/// Works until there are no more windows.
pub fn work(todo: &Receiver<Window<Piece>>, downloads: &Downloads, shared: &Shared) {
    let mut fetching: VecDeque<Fetching<Piece>> = VecDeque::new();
    loop {
        while fetching.len() < WINDOWS_MAX {
            let next = match todo.try_recv() {
                Err(TryRecvError::Empty) if fetching.is_empty() => todo.recv().ok(),
                other => other.ok(),
            };
            let Some(window) = next else { break };
            fetching.push_back(window.request(downloads));
        }
        let Some(mut window) = fetching.pop_front() else { return };
        if shared.is_over() {
            continue;
        }
        let drained = window.drain(|piece, found| match found {
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
        shared.report.tick();
    }
}
