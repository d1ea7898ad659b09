//! `ls BACKUP[:PATH]`

use std::ffi::OsString;

use datadb::{Fault, FileType, Meta, clock::format_time, meta::Content};
use serde_json::json;

use super::{
    Context,
    choose::{Among, choose},
    output,
};
use crate::{clock, exit::Outcome, report::escape};

/// Arguments of `ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which backup, and which path in it: BACKUP[:PATH]
    #[arg(value_name = "BACKUP[:PATH]")]
    what: OsString,
    /// Modes, owners, sizes and times
    #[arg(short, long)]
    long: bool,
    /// Everything below, too
    #[arg(short = 'R', long)]
    recursive: bool,
    #[command(flatten)]
    among: Among,
}

/// Lists a directory, or shows a file.
pub fn run(context: &Context, args: &Args) -> Result<Outcome, Fault> {
    let connection = context.connect()?;
    let chosen = choose(context, &connection, &args.what, &args.among)?;
    let mut printer = Printer { context, long: args.long, entries: 0, zone: clock::zone() };
    if chosen.meta.file_type != FileType::Dir {
        let name = chosen.path.components().last().unwrap_or(chosen.backup.path.shown_name()).to_vec();
        printer.print(&name, &chosen.meta)?;
    } else if let Content::Ref(set) = chosen.meta.content {
        let mut listing = context.wait(connection.list_directory(&set, args.recursive))?;
        let mut path: Vec<Vec<u8>> = Vec::new();
        while let Some(page) = context.wait(listing.page())? {
            for (depth, meta) in page {
                path.truncate(depth as usize);
                path.push(meta.name_bytes().to_vec());
                printer.print(&path.join(&b'/'), &meta)?;
            }
        }
    }
    if context.json {
        let (id, entries) = (chosen.backup.key().to_string(), printer.entries);
        output::json(&json!({"type": "summary", "id": id, "entries": entries}))?;
    }
    Ok(Outcome::Done)
}

struct Printer<'a> {
    context: &'a Context,
    long: bool,
    entries: u64,
    zone: jiff::tz::TimeZone,
}

impl Printer<'_> {
    fn print(&mut self, path: &[u8], meta: &Meta) -> Result<(), Fault> {
        self.entries += 1;
        if self.context.json {
            return output::json(&as_json(path, meta));
        }
        if !self.long {
            return output::line(&escape(path));
        }
        let or_number = |name: &str, id: u32| if name.is_empty() { id.to_string() } else { escape(name.as_bytes()) };
        let size = meta.rdev.map_or_else(|| meta.size.to_string(), |(major, minor)| format!("{major}, {minor}"));
        let mut line = format!(
            "{} {:>3} {:<8} {:<8} {size:>12} {} {}",
            mode(meta),
            meta.link.map_or(1, |link| link.nlink),
            or_number(&meta.user, meta.uid),
            or_number(&meta.group, meta.gid),
            format_time(meta.mtime.seconds, &self.zone),
            escape(path),
        );
        if let Some(target) = &meta.target {
            line += &format!(" -> {}", escape(target));
        }
        if let Some(error) = &meta.error {
            line += &format!("  [{}]", escape(error.as_bytes()));
        }
        output::line(&line)
    }
}

/// Type and permissions as `ls -l` shows them.
fn mode(meta: &Meta) -> String {
    let kind = match meta.file_type {
        FileType::File => '-',
        FileType::Dir => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::CharDevice => 'c',
        FileType::BlockDevice => 'b',
    };
    let mut text = String::from(kind);
    for (shift, special, low, high) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')] {
        let bits = meta.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (meta.mode & special != 0, bits & 1 != 0) {
            (true, true) => low,
            (true, false) => high,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn as_json(path: &[u8], meta: &Meta) -> serde_json::Value {
    let nanos = meta.mtime.nanos;
    let mut value = json!({
        "type": "entry",
        "path": output::text(path),
        "kind": meta.file_type.word(),
        "size": meta.size,
        "mode": format!("{:04o}", meta.mode),
        "uid": meta.uid,
        "gid": meta.gid,
        "user": meta.user,
        "group": meta.group,
        "mtime": format!("{}.{nanos:09}", meta.mtime.seconds),
    });
    if let Some(target) = &meta.target {
        value["target"] = output::text(target);
    }
    if let Some((major, minor)) = meta.rdev {
        value["rdev"] = json!(format!("{major}:{minor}"));
    }
    if let Some(link) = &meta.link {
        value["nlink"] = json!(link.nlink);
    }
    if let Some(error) = &meta.error {
        value["error"] = json!(error);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_ls_shows_them() {
        let mut meta = Meta::bare(None, FileType::Dir);
        meta.mode = 0o1777;
        assert_eq!(mode(&meta), "drwxrwxrwt");
        meta.file_type = FileType::File;
        meta.mode = 0o6744;
        assert_eq!(mode(&meta), "-rwsr-Sr--");
    }
}
