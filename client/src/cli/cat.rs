//! `cat BACKUP:PATH`

use std::ffi::OsString;

use datadb::{Fault, FileType, Kind, Meta, meta::Content};
use serde_json::json;

use super::{
    Context,
    choose::{Among, choose},
    output,
};
use crate::{
    connection::Connection,
    content::{Piece, Reader},
    exit::Outcome,
};

const EXAMPLES: &str = "\
Every byte is verified before it is written.

Examples:
  datadb-client cat latest:/letters/draft.txt
  datadb-client cat databases.sql@yesterday:/ | psql";

/// Arguments of `cat`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which backup, and which file in it: BACKUP:PATH
    #[arg(value_name = "BACKUP:PATH")]
    what: OsString,
    #[command(flatten)]
    among: Among,
}

/// Holes are written as zeros, at most so many at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes the file; bytes are verified before they are written, the whole at the end.
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
    write(context, &connection, &meta)?;
    output::flush()?;
    if context.json {
        eprintln!("{}", json!({"type": "summary", "id": chosen.backup.key().to_string(), "bytes": meta.size}));
    }
    Ok(Outcome::Done)
}

fn write(context: &Context, connection: &Connection, meta: &Meta) -> Result<(), Fault> {
    let _entered = context.handle().enter();
    let mut reader = Reader::new(context.handle(), connection, meta, 0..meta.size);
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
