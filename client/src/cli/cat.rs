//! `cat BACKUP:PATH`

use std::{collections::VecDeque, ffi::OsString};

use datadb::{Fault, FileType, Kind, Meta, blob::FileDigest, meta::Content, object::Chunk};
use serde_json::json;

use super::{
    Context,
    choose::{Among, choose},
    output,
};
use crate::{
    connection::{Connection, Downloads},
    exit::Outcome,
    restore::window::Window,
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
    let mut out = Out { downloads: connection.downloads(), digest: FileDigest::new(), ahead: VecDeque::new() };
    let mut window = Vec::new();
    match meta.content {
        Content::None => return Ok(()),
        Content::Blob(id) => window.push(Chunk { len: meta.size, blob: Some(id) }),
        Content::Ref(list) => {
            let mut pages = context.wait(connection.read_list(&list))?;
            while let Some(chunks) = context.wait(pages.page())? {
                for chunk in chunks {
                    window.push(chunk);
                    if window.iter().filter(|c| c.blob.is_some()).map(|c| c.len).sum::<u64>() >= CAT_BYTES
                        || window.len() >= 512
                    {
                        out.window(std::mem::take(&mut window))?;
                    }
                }
            }
        }
    }
    out.window(window)?;
    while !out.ahead.is_empty() {
        out.first()?;
    }
    if meta.digest != Some(out.digest.finish()) {
        return Err(Fault::new(
            Kind::Damaged,
            "the file does not match its digest: what was written is not to be trusted",
        ));
    }
    Ok(())
}

/// Plain bytes of one window.
const CAT_BYTES: u64 = 8 << 20;

type Fetching = crate::restore::window::Fetching<usize>;

struct Out {
    downloads: Downloads,
    digest: FileDigest,
    /// The window after the one being written is on its way already.
    ahead: VecDeque<(Vec<Chunk>, Fetching)>,
}

impl Out {
    fn window(&mut self, chunks: Vec<Chunk>) -> Result<(), Fault> {
        let mut window = Window::default();
        for (i, chunk) in chunks.iter().enumerate() {
            if let Some(id) = chunk.blob {
                window.push(id, chunk.len, i);
            }
        }
        self.ahead.push_back((chunks, window.request(&self.downloads)));
        if self.ahead.len() > 1 { self.first() } else { Ok(()) }
    }

    fn first(&mut self) -> Result<(), Fault> {
        let Some((chunks, mut fetching)) = self.ahead.pop_front() else { return Ok(()) };
        let mut found: Vec<Option<(datadb::Digest, Vec<u8>)>> = vec![None; chunks.len()];
        let mut trouble = None;
        fetching.drain(|i, result| match result {
            Ok((blob, bytes)) if bytes.len() as u64 == chunks[i].len => found[i] = Some((blob.digest, bytes.to_vec())),
            Ok((blob, _)) => trouble = Some(format!("blob {} has another length than its file says", blob.id)),
            Err(what) => trouble = Some(what),
        })?;
        if let Some(what) = trouble {
            return Err(Fault::new(Kind::Damaged, what));
        }
        for (chunk, found) in chunks.iter().zip(found) {
            if let Some((digest, bytes)) = found {
                self.digest.chunk(&digest);
                output::raw(&bytes)?;
                continue;
            }
            let mut left = chunk.len;
            while left > 0 {
                let n = left.min(ZEROS.len() as u64);
                output::raw(&ZEROS[..n as usize])?;
                left -= n;
            }
        }
        Ok(())
    }
}
