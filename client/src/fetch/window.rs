//! Windows: many pieces fetched by one request, bounded in bytes and number, and verified as they come.

use datadb::{BlobId, BlobRef, Fault, bundle, limits};

use crate::connection::{Delivery, Download, Downloads};

/// Plain bytes that one window asks for.
const WINDOW_BYTES: u64 = 8 << 20;

/// Pieces to be fetched together, each with what it is for.
#[derive(Debug)]
pub struct Window<T> {
    pieces: Vec<(BlobId, T)>,
    bytes: u64,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { pieces: Vec::new(), bytes: 0 }
    }
}

impl<T> Window<T> {
    /// Whether a piece more would be too many.
    pub fn is_full(&self) -> bool {
        self.bytes >= WINDOW_BYTES || self.pieces.len() >= limits::QUESTION_REFS_MAX
    }

    /// Whether there is nothing to fetch.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Adds a piece of this length.
    pub fn push(&mut self, blob: BlobId, len: u64, piece: T) {
        self.pieces.push((blob, piece));
        self.bytes += len;
    }

    /// Asks for everything. Each id is asked for once, in the order of its first piece, which is that of the tree.
    pub fn request(self, downloads: &Downloads) -> Fetching<T> {
        let mut order: Vec<u32> = (0..self.pieces.len() as u32).collect();
        order.sort_by_key(|&i| self.pieces[i as usize].0);
        let is_first =
            |at: usize| at == 0 || self.pieces[order[at] as usize].0 != self.pieces[order[at - 1] as usize].0;
        let mut firsts: Vec<u32> = (0..order.len()).filter(|&at| is_first(at)).map(|at| order[at]).collect();
        firsts.sort_unstable();
        let ids: Vec<BlobId> = firsts.iter().map(|&i| self.pieces[i as usize].0).collect();
        let left = self.pieces.len();
        let pieces = self.pieces.into_iter().map(|(blob, piece)| (blob, Some(piece))).collect();
        Fetching { download: downloads.request(&ids), pieces, order, left }
    }
}

/// A window that was asked for.
#[derive(Debug)]
pub struct Fetching<T> {
    download: Download,
    pieces: Vec<(BlobId, Option<T>)>,
    /// The pieces by id.
    order: Vec<u32>,
    left: usize,
}

impl<T> Fetching<T> {
    /// Takes everything that comes. `each` gets a piece and either its verified bytes or what is wrong with it.
    /// A broken connection is an error; the pieces that did not come then stay, until this is dropped.
    pub fn drain(&mut self, mut each: impl FnMut(T, Result<(&BlobRef, &[u8]), String>)) -> Result<(), Fault> {
        while let Some(delivery) = self.download.part() {
            match delivery? {
                Delivery::Bundle(bundle) => match bundle.decode() {
                    Ok(plain) => {
                        for (blob, bytes) in plain.iter() {
                            let mut verified = None;
                            self.take(&blob.id, |piece| {
                                let checked = verified
                                    .get_or_insert_with(|| bundle::check(&blob, &bytes).map_err(|e| e.to_string()));
                                each(piece, checked.clone().map(|()| (&blob, &bytes[..])));
                            });
                        }
                    }
                    Err(error) => {
                        for blob in bundle.refs() {
                            self.take(&blob.id, |piece| each(piece, Err(error.to_string())));
                        }
                    }
                },
                Delivery::Missing(ids) => {
                    for id in ids {
                        self.take(&id, |piece| each(piece, Err(format!("blob {id} is not on the server"))));
                    }
                }
                Delivery::Unreadable(ids, trouble) => {
                    for id in ids {
                        self.take(&id, |piece| each(piece, Err(trouble.clone())));
                    }
                }
                Delivery::Damaged(ids) => {
                    for id in ids {
                        self.take(&id, |piece| each(piece, Err(format!("blob {id} is damaged on the server"))));
                    }
                }
            }
        }
        if self.left > 0 {
            for (id, piece) in &mut self.pieces {
                if let Some(piece) = piece.take() {
                    each(piece, Err(format!("blob {id} was not delivered")));
                }
            }
        }
        Ok(())
    }

    /// Takes all pieces that wait for a blob.
    fn take(&mut self, id: &BlobId, mut each: impl FnMut(T)) {
        let from = self.order.partition_point(|&i| self.pieces[i as usize].0 < *id);
        for at in from..self.order.len() {
            let (blob, piece) = &mut self.pieces[self.order[at] as usize];
            if blob != id {
                return;
            }
            if let Some(piece) = piece.take() {
                self.left -= 1;
                each(piece);
            }
        }
    }
}
