//! Headers of a tar archive in the pax format: a block of the ustar format for every entry, and before it, where that
//! cannot hold something, records `LENGTH KEYWORD=VALUE\n` in an entry of their own. No IO.
//!
//! Names are bytes. One that is no UTF-8 stands in the records as it is, which GNU tar writes and reads, too.

use datadb::meta::Timestamp;

/// Everything in an archive is padded to such blocks.
pub const BLOCK_BYTES: usize = 512;

/// The largest number of eleven octal digits, and that of seven.
const LONG_MAX: u64 = 0o777_7777_7777;
const SHORT_MAX: u64 = 0o777_7777;

const NAME_BYTES: usize = 100;
const OWNER_BYTES_MAX: usize = 31;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File = b'0' as isize,
    /// Another name of an entry before.
    HardLink = b'1' as isize,
    /// A symbolic link.
    Symlink = b'2' as isize,
    /// A character device.
    CharDevice = b'3' as isize,
    /// A block device.
    BlockDevice = b'4' as isize,
    /// A directory.
    Dir = b'5' as isize,
    /// A named pipe.
    Fifo = b'6' as isize,
    /// The records of the entry that follows.
    Records = b'x' as isize,
}

/// One entry.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    /// Its whole name in the archive.
    pub name: &'a [u8],
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Owner's name, empty where there is none.
    pub user: &'a str,
    /// Group's name, empty where there is none.
    pub group: &'a str,
    /// Bytes that follow in the archive, padding not counted.
    pub size: u64,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Where a link leads.
    pub target: &'a [u8],
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
    /// Set if the file has holes: its real size. `size` then counts the map and the data.
    pub sparse: Option<u64>,
}

impl Header<'_> {
    /// Everything up to the entry's bytes; the records given come last.
    pub fn encode(&self, more: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut records = self.records();
        for (keyword, value) in more {
            record(&mut records, keyword, value);
        }
        let mut out = Vec::with_capacity(3 * BLOCK_BYTES);
        if !records.is_empty() {
            let name = beside(b"PaxHeaders", self.name);
            let mtime = Timestamp { seconds: self.mtime.seconds, nanos: 0 };
            let empty = Header { name: &name, target: b"", rdev: (0, 0), sparse: None, uid: 0, gid: 0, ..*self };
            let size = records.len() as u64;
            let header = Header { kind: Kind::Records, mode: 0o644, user: "", group: "", size, mtime, ..empty };
            out.extend(header.block(&name));
            out.extend(&records);
            out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
        }
        if self.sparse.is_some() {
            // Whoever knows no sparse files gets the map with the data under this name.
            out.extend(self.block(&beside(b"GNUSparseFile.0", self.name)));
        } else {
            out.extend(self.block(self.name));
        }
        out
    }

    /// What a block cannot hold.
    fn records(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(size) = self.sparse {
            record(&mut out, b"GNU.sparse.major", b"1");
            record(&mut out, b"GNU.sparse.minor", b"0");
            record(&mut out, b"GNU.sparse.name", self.name);
            record(&mut out, b"GNU.sparse.realsize", size.to_string().as_bytes());
        } else if !is_plain(self.name) {
            record(&mut out, b"path", self.name);
        }
        if !is_plain(self.target) {
            record(&mut out, b"linkpath", self.target);
        }
        let numbers = [
            (&b"size"[..], self.size, LONG_MAX),
            (b"uid", u64::from(self.uid), SHORT_MAX),
            (b"gid", u64::from(self.gid), SHORT_MAX),
        ];
        for (keyword, number, max) in numbers {
            if number > max {
                record(&mut out, keyword, number.to_string().as_bytes());
            }
        }
        for (keyword, owner) in [(&b"uname"[..], self.user), (b"gname", self.group)] {
            if owner.len() > OWNER_BYTES_MAX || !owner.is_ascii() {
                record(&mut out, keyword, owner.as_bytes());
            }
        }
        if self.mtime.nanos > 0 || !(0..=LONG_MAX as i64).contains(&self.mtime.seconds) {
            record(&mut out, b"mtime", decimal(self.mtime).as_bytes());
        }
        out
    }

    /// The block of 512 bytes, under this name. What does not fit is cut, and stands in the records.
    fn block(&self, name: &[u8]) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        let octal = |number: u64, max: u64, digits: usize| format!("{:0digits$o}", number.min(max)).into_bytes();
        let cut = |bytes: &[u8], max: usize| bytes[..bytes.len().min(max)].to_vec();
        put(0, &cut(name, NAME_BYTES));
        put(100, &octal(u64::from(self.mode), SHORT_MAX, 7));
        put(108, &octal(u64::from(self.uid), SHORT_MAX, 7));
        put(116, &octal(u64::from(self.gid), SHORT_MAX, 7));
        put(124, &octal(self.size, LONG_MAX, 11));
        put(136, &octal(u64::try_from(self.mtime.seconds).unwrap_or(0), LONG_MAX, 11));
        put(148, b"        ");
        put(156, &[self.kind as u8]);
        put(157, &cut(self.target, NAME_BYTES));
        put(257, b"ustar\x0000");
        put(265, &cut(self.user.as_bytes(), OWNER_BYTES_MAX));
        put(297, &cut(self.group.as_bytes(), OWNER_BYTES_MAX));
        put(329, &octal(u64::from(self.rdev.0), SHORT_MAX, 7));
        put(337, &octal(u64::from(self.rdev.1), SHORT_MAX, 7));
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block
    }
}

/// Whether a block holds the name, and everybody reads it alike: the records are for UTF-8.
fn is_plain(name: &[u8]) -> bool {
    name.len() <= NAME_BYTES && (name.is_ascii() || std::str::from_utf8(name).is_err())
}

/// A name in a directory of this name, beside the entry that it stands for as far as there is room.
fn beside(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let at = name.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let full = [&name[..at], dir, b"/", &name[at..]].concat();
    let room = NAME_BYTES - dir.len() - 1;
    if full.len() <= NAME_BYTES { full } else { [dir, b"/", &name[at..name.len().min(at + room)]].concat() }
}

/// Appends a record; its length counts itself.
fn record(out: &mut Vec<u8>, keyword: &[u8], value: &[u8]) {
    let rest = keyword.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    out.extend(len.to_string().as_bytes());
    out.extend([b" ", keyword, b"=", value, b"\n"].concat());
}

/// Seconds with their fraction. Nanoseconds count forwards, in decimals before 1970 they count backwards.
fn decimal(time: Timestamp) -> String {
    let Timestamp { seconds, nanos } = time;
    let (sign, seconds, nanos) = match (seconds, nanos) {
        (0.., _) => ("", seconds.unsigned_abs(), nanos),
        (_, 0) => ("-", seconds.unsigned_abs(), 0),
        _ => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanos),
    };
    let text = format!("{sign}{seconds}.{nanos:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::FileExt as _, process::Command};

    use proptest::prelude::*;

    use super::*;

    /// Prints what it read of each entry, a line for each.
    const READ: &str = r#"
import os, sys, tarfile
for m in tarfile.open(sys.argv[1], errors="surrogateescape", encoding="utf-8"):
    mtime = m.pax_headers.get("mtime", m.mtime)
    names = [os.fsencode(name).hex() for name in (m.name, m.linkname, m.uname, m.gname)]
    print(m.type.decode(), *names, m.size, m.uid, m.gid, m.mode, mtime, m.devmajor, m.devminor, sep=",")
"#;

    #[derive(Clone, Debug)]
    struct Drawn {
        name: Vec<u8>,
        target: Vec<u8>,
        owners: (String, String),
        ids: (u32, u32),
        size: u64,
        mtime: Timestamp,
        kind: Kind,
        rdev: (u32, u32),
    }

    /// Names without `/` at an end, which Python takes off, of all lengths, now and then no UTF-8.
    fn names() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            proptest::collection::vec(prop_oneof![b'a'..=b'z', 0x80..=0xffu8], 1..60),
            "[a-z =%äß日\n]{1,120}".prop_map(String::into_bytes),
        ];
        proptest::collection::vec(part, 1..8).prop_map(|parts| parts.join(&b'/'))
    }

    fn drawn() -> impl Strategy<Value = Drawn> {
        let kind = prop_oneof![Just(Kind::File), Just(Kind::Symlink), Just(Kind::CharDevice), Just(Kind::HardLink)];
        let size = prop_oneof![0..2000u64, 0..1u64 << 38];
        let ids = (0..=u32::MAX, prop_oneof![0..3000u32, 0..=u32::MAX]);
        let seconds = prop_oneof![-5_000_000_000..20_000_000_000i64, -2..2i64];
        let nanos = prop_oneof![Just(0), 0..1_000_000_000u32];
        let owner = || "[a-zé]{0,40}";
        let rest = (ids, size, seconds, nanos, kind, (0..4096u32, 0..1u32 << 20));
        (names(), names(), owner(), owner(), rest).prop_map(|(name, target, user, group, rest)| {
            let (ids, size, seconds, nanos, kind, rdev) = rest;
            let mtime = Timestamp { seconds, nanos };
            Drawn { name, target, owners: (user, group), ids, size, mtime, kind, rdev }
        })
    }

    impl Drawn {
        fn header(&self) -> Header<'_> {
            let is_link = matches!(self.kind, Kind::Symlink | Kind::HardLink);
            Header {
                name: &self.name,
                kind: self.kind,
                mode: 0o4751,
                uid: self.ids.0,
                gid: self.ids.1,
                user: &self.owners.0,
                group: &self.owners.1,
                size: if self.kind == Kind::File { self.size } else { 0 },
                mtime: self.mtime,
                target: if is_link { &self.target } else { b"" },
                rdev: if self.kind == Kind::CharDevice { self.rdev } else { (0, 0) },
                sparse: None,
            }
        }

        /// The line that Python should print.
        fn line(&self) -> String {
            let Header { kind, size, uid, gid, mode, mtime, rdev, .. } = self.header();
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let names = [&self.name, self.header().target, self.owners.0.as_bytes(), self.owners.1.as_bytes()];
            let [name, target, user, group] = names.map(hex);
            let (kind, mtime, (major, minor)) = (kind as u8 as char, decimal(mtime), rdev);
            format!("{kind},{name},{target},{user},{group},{size},{uid},{gid},{mode},{mtime},{major},{minor}")
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Names, numbers and times of any size are read back by a reader that is not ours. Bytes of files are holes.
        #[test]
        fn what_is_written_is_read_back(all in proptest::collection::vec(drawn(), 1..60)) {
            let file = tempfile::NamedTempFile::new().unwrap();
            let mut at = 0;
            for one in &all {
                let header = one.header();
                let bytes = header.encode(&[(b"SCHILY.xattr.user.x".to_vec(), b"\0\n=".to_vec())]);
                file.as_file().write_all_at(&bytes, at).unwrap();
                at = (at + bytes.len() as u64 + header.size).next_multiple_of(BLOCK_BYTES as u64);
            }
            file.as_file().set_len(at + 1024).unwrap();
            let read = Command::new("python3").args(["-c", READ]).arg(file.path()).output().unwrap();
            prop_assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
            let expected: Vec<String> = all.iter().map(Drawn::line).collect();
            let read = String::from_utf8(read.stdout).unwrap();
            prop_assert_eq!(read.lines().collect::<Vec<_>>(), expected);
            let listed = Command::new("tar").args(["--warning=no-timestamp", "-tf"]).arg(file.path()).output().unwrap();
            prop_assert!(listed.status.success() && listed.stderr.is_empty(), "{}", String::from_utf8_lossy(&listed.stderr));
            prop_assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().count(), all.len());
        }
    }

    #[test]
    fn times_before_1970_are_written_backwards() {
        let time = |seconds, nanos| decimal(Timestamp { seconds, nanos });
        assert_eq!(time(-1, 1), "-0.999999999");
        assert_eq!(time(-2, 500_000_000), "-1.5");
        assert_eq!(time(-3, 0), "-3");
        assert_eq!(time(10, 5), "10.000000005");
        assert_eq!(time(0, 0), "0");
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for len in [1, 86, 87, 88, 89, 90, 985, 986, 987, 988, 100_000] {
            let mut out = Vec::new();
            record(&mut out, b"path", &vec![b'x'; len]);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.split(' ').next(), Some(text.len().to_string().as_str()), "a value of {len} bytes");
        }
    }
}
