//! How much of a file is holes, which its list tells.

use datadb::{FileType, Meta, Object, ObjectKey, meta::Content, object::Chunk};

use super::{Engine, EngineError, browse::object};
use crate::index::Index;

/// Bytes of a file that are holes. Reads its list; a file without one has none, or is one.
pub(super) fn hole_bytes(index: &Index, meta: &Meta) -> Result<u64, EngineError> {
    match (meta.file_type, meta.content) {
        (FileType::File, Content::Ref(list)) => of_list(index, &list),
        _ => Ok(0),
    }
}

fn of_list(index: &Index, list: &ObjectKey) -> Result<u64, EngineError> {
    match object(index, list)? {
        Object::List(chunks) => Ok(of_chunks(&chunks)),
        Object::ListHead(segments) => {
            let mut bytes = 0_u64;
            for segment in segments {
                bytes = bytes.saturating_add(of_list(index, &segment.key)?);
            }
            Ok(bytes)
        }
        _ => Ok(0),
    }
}

fn of_chunks(chunks: &[Chunk]) -> u64 {
    chunks.iter().filter(|chunk| chunk.blob.is_none()).map(|chunk| chunk.len).fold(0, u64::saturating_add)
}

impl Engine {
    /// Bytes of a file that are holes.
    pub async fn hole_bytes(&self, meta: &Meta) -> Result<u64, EngineError> {
        let meta = meta.clone();
        self.with_index(move |index| hole_bytes(index, &meta)).await
    }
}
