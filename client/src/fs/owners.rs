//! Names of users and groups, from `/etc/passwd` and `/etc/group`. Network directories are not asked: numbers are what
//! a restore goes by, names are for people.

use std::{collections::HashMap, fs};

use datadb::limits;

/// Both tables, read once.
#[derive(Debug, Default)]
pub struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// Reads the machine's tables; what can't be read is empty.
    pub fn read() -> Self {
        let table = |path| parse(&fs::read(path).unwrap_or_default());
        Self { users: table("/etc/passwd"), groups: table("/etc/group") }
    }

    /// A user's name, empty if there is none.
    pub fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_default()
    }

    /// A group's name, empty if there is none.
    pub fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_default()
    }
}

/// Lines of `name:password:id:…`; the first of several with one id counts.
fn parse(table: &[u8]) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in String::from_utf8_lossy(table).lines() {
        let mut fields = line.split(':');
        let (name, id) = (fields.next().unwrap_or_default(), fields.nth(1).and_then(|id| id.parse().ok()));
        if let (false, Some(id)) = (name.is_empty() || name.len() > limits::OWNER_BYTES_MAX, id) {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_make_no_sense_are_passed_over() {
        let names = parse(b"root:x:0:0::/root:/bin/sh\ntoor:x:0:\n\nbroken\nme:x:notanumber\nyou:x:7:7\n:x:8:8");
        assert_eq!(names.len(), 2);
        assert_eq!(names[&0], "root");
        assert_eq!(names[&7], "you");
    }
}
