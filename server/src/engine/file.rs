//! Reading a range of a file, verified, holes as zeros.

use bytes::Bytes;
use datadb::{FileType, Kind, Meta, meta::Content};
use tokio::sync::mpsc;

use super::{Engine, EngineError, list::PlacedChunk};

/// Bytes of one piece of a hole.
const ZEROS: usize = 256 << 10;

impl Engine {
    /// Sends the bytes of a file from `offset` to `end` (exclusive), cut at the file's size.
    pub async fn read_file(
        &self,
        meta: &Meta,
        offset: u64,
        end: u64,
        pieces: &mpsc::Sender<Bytes>,
    ) -> Result<(), EngineError> {
        if meta.file_type != FileType::File {
            return Err(EngineError::refused(Kind::Invalid, format!("it is a {}, not a file", meta.file_type.word())));
        }
        if let Some(error) = &meta.error {
            return Err(EngineError::refused(
                Kind::Missing,
                format!("it could not be read when it was backed up: {error}"),
            ));
        }
        let end = end.min(meta.size);
        if offset >= end {
            return Ok(());
        }
        match meta.content {
            Content::None => Ok(()),
            Content::Blob(id) => {
                let chunk = PlacedChunk { end: meta.size, len: meta.size, blob: Some(id) };
                self.send_chunk(chunk, offset, end, pieces).await.map(drop)
            }
            Content::Ref(list) => {
                let mut pages = self.chunks(list, offset).await?;
                loop {
                    let (rest, page) = self.next_chunks(pages).await?;
                    if page.is_empty() {
                        return Ok(());
                    }
                    for chunk in page {
                        if chunk.end - chunk.len >= end || !self.send_chunk(chunk, offset, end, pieces).await? {
                            return Ok(());
                        }
                    }
                    pages = rest;
                }
            }
        }
    }

    /// Sends what of a chunk lies in the range; tells whether anybody still listens.
    async fn send_chunk(
        &self,
        chunk: PlacedChunk,
        offset: u64,
        end: u64,
        pieces: &mpsc::Sender<Bytes>,
    ) -> Result<bool, EngineError> {
        let start = chunk.end - chunk.len;
        let (from, to) = (offset.max(start), end.min(chunk.end));
        let Some(id) = chunk.blob else {
            let mut left = to - from;
            while left > 0 {
                let piece = left.min(ZEROS as u64);
                if pieces.send(Bytes::from(vec![0; piece as usize])).await.is_err() {
                    return Ok(false);
                }
                left -= piece;
            }
            return Ok(true);
        };
        let bytes = self.read_blob(&id).await?;
        let bytes =
            bytes.ok_or_else(|| EngineError::refused(Kind::Damaged, format!("blob {id} is missing or damaged")))?;
        let range = (from - start) as usize..(to - start) as usize;
        if range.end > bytes.len() {
            return Err(EngineError::refused(Kind::Damaged, format!("blob {id} is shorter than its file says")));
        }
        Ok(pieces.send(bytes.slice(range)).await.is_ok())
    }
}
