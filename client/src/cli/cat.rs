//! `cat BACKUP:PATH`

use std::{ffi::OsString, ops::Range};

use datadb::{Fault, FileType, Kind, Meta, meta::Content};
use serde_json::json;

use super::{
    Context,
    choose::{Among, choose},
    output, size,
};
use crate::{
    connection::Connection,
    exit::Outcome,
    fetch::content::{Piece, Reader},
};

const EXAMPLES: &str = "\
Every byte is verified before it is written. Of a part of a file only the chunks are fetched that it touches; the digest
of the whole is not looked at then.

Examples:
  datadb-client cat latest:/letters/draft.txt
  datadb-client cat databases.sql@yesterday:/ | psql
  datadb-client cat latest:/disk.img --offset 1M --bytes 512 | hexdump -C
  datadb-client cat latest:/log/syslog --tail 64k";

/// Arguments of `cat`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which backup, and which file in it: BACKUP:PATH
    #[arg(value_name = "BACKUP:PATH")]
    what: OsString,
    /// Begin behind so many bytes; k, M, G and T are powers of 1024
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    offset: Option<u64>,
    /// Write no more than so many bytes
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    bytes: Option<u64>,
    /// Write the last so many bytes alone
    #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with_all = ["offset", "bytes"])]
    tail: Option<u64>,
    #[command(flatten)]
    among: Among,
}

impl Args {
    /// What is to be written of a file of so many bytes.
    fn range(&self, size: u64) -> Range<u64> {
        let start = match self.tail {
            Some(tail) => size.saturating_sub(tail),
            None => self.offset.unwrap_or(0).min(size),
        };
        start..self.bytes.map_or(size, |bytes| start.saturating_add(bytes).min(size))
    }
}

/// Holes are written as zeros, at most so many at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes the file, or a part of it; bytes are verified before they are written, the whole at the end.
pub fn run(context: &Context, args: &Args) -> Result<Outcome, Fault> {
    let connection = context.connect()?;
    let chosen = choose(context, &connection, &args.what, &args.among)?;
    let meta = chosen.meta;
    if meta.file_type != FileType::File {
        let (path, word) = (crate::report::escape(chosen.path.as_bytes()), meta.file_type.word());
        return Err(Fault::new(Kind::Invalid, format!("{path} is a {word}, not a file: `datadb-client ls` lists it")));
    }
    if let (Some(error), Content::None) = (&meta.error, meta.content) {
        return Err(Fault::new(Kind::Damaged, format!("could not be read when it was backed up: {error}")));
    }
    let range = args.range(meta.size);
    let (offset, bytes) = (range.start, range.end - range.start);
    write(context, &connection, &meta, range)?;
    output::flush()?;
    if context.json {
        let id = chosen.backup.key().to_string();
        eprintln!("{}", json!({"type": "summary", "id": id, "offset": offset, "bytes": bytes}));
    }
    Ok(Outcome::Done)
}

fn write(context: &Context, connection: &Connection, meta: &Meta, range: Range<u64>) -> Result<(), Fault> {
    let _entered = context.handle().enter();
    let mut reader = Reader::new(context.handle(), connection, meta, range);
    while let Some(piece) = reader.piece()? {
        match piece {
            Piece::Bytes(bytes, _) => output::raw(&bytes)?,
            Piece::Hole(mut left) => {
                while left > 0 {
                    let n = left.min(ZEROS.len() as u64);
                    output::raw(&ZEROS[..n as usize])?;
                    left -= n;
                }
            }
        }
    }
    Ok(())
}
