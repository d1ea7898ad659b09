//! `ls BACKUP[:PATH]`

use std::ffi::OsString;

use datadb::{Fault, FileType, Meta, meta::Content};
use serde_json::json;

use super::{
    Context,
    choose::{Among, choose},
    entry::{self, Look},
    output::{self, Columns},
};
use crate::{clock, exit::Outcome};

const EXAMPLES: &str = "\
Examples:
  datadb-client ls latest
  datadb-client ls -lH latest:/photos            sizes as people read them
  datadb-client ls -R --path /etc latest~1:/ssh
  datadb-client ls -ld home@yesterday:/letters   the directory itself";

/// Arguments of `ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which backup, and which path in it: BACKUP[:PATH]
    #[arg(value_name = "BACKUP[:PATH]")]
    what: OsString,
    /// Modes, owners, sizes and times
    #[arg(short, long)]
    long: bool,
    /// With -l: sizes as people read them, such as 3.4 MiB
    #[arg(short = 'H', long)]
    human: bool,
    /// Everything below, too
    #[arg(short = 'R', long, conflicts_with = "directory")]
    recursive: bool,
    /// The directory itself, not what is in it
    #[arg(short, long)]
    directory: bool,
    #[command(flatten)]
    among: Among,
}

/// Lists a directory, or shows a file.
pub fn run(context: &Context, args: &Args) -> Result<Outcome, Fault> {
    let connection = context.connect()?;
    let chosen = choose(context, &connection, &args.what, &args.among)?;
    let look = Look { human: args.human, zone: clock::zone() };
    let mut printer =
        Printer { json: context.json, look: args.long.then_some(look), columns: Columns::new(Look::RIGHT), entries: 0 };
    if chosen.meta.file_type != FileType::Dir || args.directory {
        let name = chosen.path.components().last().unwrap_or(chosen.backup.path.shown_name()).to_vec();
        printer.print(&[(name, chosen.meta)])?;
    } else if let Content::Ref(set) = chosen.meta.content {
        let mut listing = context.wait(connection.list_directory(&set, args.recursive))?;
        let mut path: Vec<Vec<u8>> = Vec::new();
        while let Some(page) = context.wait(listing.page())? {
            let named = page.into_iter().map(|(depth, meta)| {
                path.truncate(depth as usize);
                path.push(meta.name_bytes().to_vec());
                (path.join(&b'/'), meta)
            });
            printer.print(&named.collect::<Vec<_>>())?;
        }
    }
    if context.json {
        let (id, entries) = (chosen.backup.key().to_string(), printer.entries);
        output::json(&json!({"type": "summary", "id": id, "entries": entries}))?;
    }
    Ok(Outcome::Done)
}

struct Printer {
    json: bool,
    /// `None`: names alone.
    look: Option<Look>,
    columns: Columns,
    entries: u64,
}

impl Printer {
    fn print(&mut self, page: &[(Vec<u8>, Meta)]) -> Result<(), Fault> {
        self.entries += page.len() as u64;
        match &self.look {
            _ if self.json => {
                page.iter().try_for_each(|(path, meta)| output::json(&entry::as_json("entry", path, meta)))
            }
            None => page.iter().try_for_each(|(path, meta)| output::line(&entry::colored(path, meta))),
            Some(look) => {
                let rows: Vec<Vec<String>> = page.iter().map(|(path, meta)| look.cells(path, meta)).collect();
                self.columns.print(&rows)
            }
        }
    }
}
