//! The chunks of a file with several of them, batch by batch. Each batch is asked for ahead of its turn, so that a
//! distant server is not waited for, and read to its end at once, so that no stream lies half read while others of the
//! same connection need the room.

use datadb::{BlobId, Fault, Kind, ObjectKey, meta::Content, object::Chunk};
use tokio::{runtime::Handle, task::JoinHandle};

use crate::{connection::Connection, exit};

/// Chunks after which a batch ends, with the page that brings them.
const BATCH_CHUNKS: usize = 4096;

/// Where the bytes of a file are told.
#[derive(Debug)]
pub enum Source {
    /// There are none.
    Nothing,
    /// One blob, the whole file.
    Blob(BlobId),
    /// A list.
    List(Box<Chunks>),
}

impl Source {
    /// Of a file's content; its list is asked for.
    pub fn of(handle: &Handle, connection: &Connection, content: &Content) -> Self {
        match content {
            Content::None => Self::Nothing,
            Content::Blob(blob) => Self::Blob(*blob),
            Content::Ref(list) => Self::List(Box::new(Chunks::ask(handle, connection, list))),
        }
    }
}

/// A list being read.
#[derive(Debug)]
pub struct Chunks {
    handle: Handle,
    connection: Connection,
    list: ObjectKey,
    /// `None` when there are no more.
    asked: Option<JoinHandle<Result<Batch, Fault>>>,
}

#[derive(Debug)]
struct Batch {
    chunks: Vec<Chunk>,
    /// Where in the file the next batch begins.
    next: Option<u64>,
}

impl Chunks {
    /// Asks for the first batch.
    pub fn ask(handle: &Handle, connection: &Connection, list: &ObjectKey) -> Self {
        Self::ask_from(handle, connection, list, 0)
    }

    /// Asks for the batch that begins with the chunk that holds this byte. That chunk's length counts from there on.
    pub fn ask_from(handle: &Handle, connection: &Connection, list: &ObjectKey, offset: u64) -> Self {
        let mut chunks = Self { handle: handle.clone(), connection: connection.clone(), list: *list, asked: None };
        chunks.ask_next(offset);
        chunks
    }

    fn ask_next(&mut self, offset: u64) {
        let (connection, list) = (self.connection.clone(), self.list);
        let read = async move { exit::unless_interrupted(batch(&connection, &list, offset)).await };
        self.asked = Some(self.handle.spawn(read));
    }

    /// Whether the next batch is here.
    pub fn is_here(&self) -> bool {
        self.asked.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Whether there is no batch left.
    pub const fn is_read(&self) -> bool {
        self.asked.is_none()
    }

    /// The next batch, after which the one behind it is asked for; `None` at the end. Blocks.
    pub fn next(&mut self) -> Result<Option<Vec<Chunk>>, Fault> {
        let Some(asked) = self.asked.take() else { return Ok(None) };
        let ended = |error| Fault::new(Kind::Internal, format!("a list could not be read: {error}"));
        let batch = self.handle.block_on(asked).map_err(ended)??;
        if let Some(next) = batch.next {
            self.ask_next(next);
        }
        Ok(Some(batch.chunks))
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        if let Some(asked) = &self.asked {
            asked.abort();
        }
    }
}

async fn batch(connection: &Connection, list: &ObjectKey, offset: u64) -> Result<Batch, Fault> {
    let mut pages = connection.read_list(list, offset).await?;
    let (mut chunks, mut end) = (Vec::new(), offset);
    while let Some(page) = pages.page().await? {
        end += page.iter().map(|chunk| chunk.len).sum::<u64>();
        chunks.extend(page);
        if chunks.len() >= BATCH_CHUNKS {
            return Ok(Batch { chunks, next: Some(end) });
        }
    }
    Ok(Batch { chunks, next: None })
}

/// Whether it is this file's own trouble, and not the connection's.
pub const fn is_of_the_file(fault: &Fault) -> bool {
    matches!(fault.kind, Kind::NotFound | Kind::Damaged | Kind::Missing)
}
