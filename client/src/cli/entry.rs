//! An entry of a backup as people and programs read it.

use datadb::{FileType, Meta, clock::format_time};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::output;
use crate::{
    color::{self, Hue},
    report::{bytes, escape},
};

/// How a long listing shows entries.
#[derive(Debug)]
pub struct Look {
    /// Sizes for people instead of bytes.
    pub human: bool,
    /// The zone of times.
    pub zone: TimeZone,
}

impl Look {
    /// Columns of numbers in `cells`.
    pub const RIGHT: &'static [usize] = &[1, 4];

    /// Mode, number of links, owner, group, size, time, and the name with what belongs to it.
    pub fn cells(&self, name: &[u8], meta: &Meta) -> Vec<String> {
        let or_number = |name: &str, id: u32| if name.is_empty() { id.to_string() } else { escape(name.as_bytes()) };
        vec![
            mode(meta),
            meta.link.map_or(1, |link| link.nlink).to_string(),
            or_number(&meta.user, meta.uid),
            or_number(&meta.group, meta.gid),
            self.size(meta),
            format_time(meta.mtime.seconds, &self.zone),
            full_name(name, meta),
        ]
    }

    /// The size, or the numbers of a device.
    pub fn size(&self, meta: &Meta) -> String {
        match meta.rdev {
            Some((major, minor)) => format!("{major}, {minor}"),
            None if self.human => bytes(meta.size),
            None => meta.size.to_string(),
        }
    }
}

/// The name, in the colour of its type.
pub fn colored(name: &[u8], meta: &Meta) -> String {
    let text = escape(name);
    match meta.file_type {
        FileType::Dir => color::out(Hue::Dir, &text).into_owned(),
        FileType::Symlink => color::out(Hue::Symlink, &text).into_owned(),
        _ => text,
    }
}

/// The name, the target of a symlink, and why it could not be read.
fn full_name(name: &[u8], meta: &Meta) -> String {
    let mut text = colored(name, meta);
    if let Some(target) = &meta.target {
        text += &format!(" -> {}", escape(target));
    }
    if let Some(error) = &meta.error {
        text += &format!("  {}", color::out(Hue::Trouble, &format!("[{}]", escape(error.as_bytes()))));
    }
    text
}

/// Type and permissions as `ls -l` shows them.
pub fn mode(meta: &Meta) -> String {
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

/// The entry as fields of an object of this type.
pub fn as_json(what: &str, path: &[u8], meta: &Meta) -> Value {
    let nanos = meta.mtime.nanos;
    let mut value = json!({
        "type": what,
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
    if let Some(digest) = &meta.digest {
        value["digest"] = json!(digest.to_string());
    }
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
