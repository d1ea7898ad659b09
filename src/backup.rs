//! Backups and snapshots: their keys, their fields, and how a person names one.

use std::{collections::BTreeMap, fmt};

use sha1::Digest as _;

use crate::{
    blob::{id20, parse_hex},
    codec::{DecodeError, Reader, Writer},
    limits,
    meta::FileType,
    object::ObjectKey,
};

id20! {
    /// Names a backup: SHA-1 of host, path and time (ten decimal digits), the bytes one after the other.
    BackupKey
}

id20! {
    /// Names a snapshot, which is all backups of one path on one host: SHA-1 of host and path.
    SnapshotKey
}

impl BackupKey {
    /// The key of the backup of this path at this time. The host holds no `/`, the path begins with one, the time has a
    /// fixed length: so no two triples share their bytes.
    pub fn of(host: &HostName, path: &TreePath, time: BackupTime) -> Self {
        let mut sha1 = sha1::Sha1::new();
        sha1.update(host.as_str());
        sha1.update(path.as_bytes());
        sha1.update(format!("{:010}", time.0));
        Self(sha1.finalize().into())
    }
}

impl SnapshotKey {
    /// The key of all backups of this path.
    pub fn of(host: &HostName, path: &TreePath) -> Self {
        let mut sha1 = sha1::Sha1::new();
        sha1.update(host.as_str());
        sha1.update(path.as_bytes());
        Self(sha1.finalize().into())
    }
}

/// A host's name: 1 to 255 bytes of text without `/`, control characters and spaces at the ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

impl HostName {
    /// Checks the rules above.
    pub fn new(name: &str) -> Result<Self, DecodeError> {
        let rule = |rule| Err(DecodeError::rule("host name", rule));
        if name.is_empty() || name.trim() != name {
            return rule("is empty, or begins or ends with a space");
        }
        if name.len() > limits::OWNER_BYTES_MAX {
            return rule("is longer than 255 bytes");
        }
        if name.contains('/') || name.contains(char::is_control) {
            return rule("holds / or a control character");
        }
        Ok(Self(name.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An absolute path in normal form: begins with `/`, no empty, `.` or `..` component, no `/` at the end (but `/` alone).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(Vec<u8>);

impl TreePath {
    /// The root.
    pub fn root() -> Self {
        Self(b"/".to_vec())
    }

    /// Checks the rules above.
    pub fn new(bytes: &[u8]) -> Result<Self, DecodeError> {
        let path = Self::lenient(bytes)?;
        if path.0 != bytes {
            return Err(DecodeError::rule("path", "is not in normal form"));
        }
        Ok(path)
    }

    /// Drops needless slashes and `.` components, refuses `..` and NUL. The empty path is the root.
    pub fn lenient(bytes: &[u8]) -> Result<Self, DecodeError> {
        let rule = |rule| Err(DecodeError::rule("path", rule));
        if bytes.len() > limits::PATH_BYTES_MAX {
            return rule("is longer than its limit");
        }
        if bytes.contains(&0) {
            return rule("holds NUL");
        }
        if !bytes.is_empty() && bytes[0] != b'/' {
            return rule("does not begin with /");
        }
        let mut normal = Vec::with_capacity(bytes.len());
        for component in bytes.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")) {
            if component == b".." {
                return rule("holds ..");
            }
            normal.push(b'/');
            normal.extend_from_slice(component);
        }
        Ok(if normal.is_empty() { Self::root() } else { Self(normal) })
    }

    /// The bytes, beginning with `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The part of it that lies below `root`, `/` if the two are equal; `None` if it lies elsewhere.
    pub fn below(&self, root: &Self) -> Option<Self> {
        if *root == Self::root() {
            return Some(self.clone());
        }
        match self.0.strip_prefix(&root.0[..])? {
            b"" => Some(Self::root()),
            rest => rest.starts_with(b"/").then(|| Self(rest.to_vec())),
        }
    }

    /// The components in order; none for the root.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
    }

    /// The name under which a backup of this path is shown: the last component, `root` for `/`.
    pub fn shown_name(&self) -> &[u8] {
        self.components().last().unwrap_or(b"root")
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// Unix seconds of a backup, 0 to 9,999,999,999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupTime(i64);

impl BackupTime {
    /// Checks the range.
    pub const fn new(seconds: i64) -> Result<Self, DecodeError> {
        if seconds < 0 || seconds > limits::TIME_SECONDS_MAX {
            return Err(DecodeError::rule("time", "does not lie between 1970 and 2286"));
        }
        Ok(Self(seconds))
    }

    /// Unix seconds.
    pub const fn seconds(self) -> i64 {
        self.0
    }
}

/// The state of one path of one host at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Whose path it is.
    pub host: HostName,
    /// What was backed up.
    pub path: TreePath,
    /// When; given by the server at commit.
    pub time: BackupTime,
    /// Key of the root's meta.
    pub root: ObjectKey,
    /// What the path is.
    pub file_type: FileType,
    /// Counts of what is inside.
    pub counts: Counts,
    /// The user's own words.
    pub tags: BTreeMap<String, String>,
    /// The client's random token, by which a repeated commit is recognised.
    pub token: [u8; 16],
}

/// What a backup consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Everything that is not a directory.
    pub files: u64,
    /// Directories, the root included.
    pub dirs: u64,
    /// Sizes of regular files added up.
    pub bytes: u64,
    /// Entries that could not be read.
    pub errors: u64,
    /// Files that changed while they were read.
    pub changed: u64,
}

impl Backup {
    /// Its key.
    pub fn key(&self) -> BackupKey {
        BackupKey::of(&self.host, &self.path, self.time)
    }

    /// The key of the snapshot that it belongs to.
    pub fn snapshot(&self) -> SnapshotKey {
        SnapshotKey::of(&self.host, &self.path)
    }

    /// Whether everything could be read.
    pub const fn is_complete(&self) -> bool {
        self.counts.errors == 0
    }

    /// Checks what tags may be.
    pub fn checked(self) -> Result<Self, DecodeError> {
        let is_long = |text: &String| text.len() > limits::TAG_BYTES_MAX;
        if self.tags.len() > limits::TAGS_MAX || self.tags.iter().any(|(k, v)| is_long(k) || is_long(v)) {
            return Err(DecodeError::rule("tags", "are more or longer than their limits"));
        }
        Ok(self)
    }

    /// Encoding (version 1): `host · path · time · root (20) · type u8 · files · dirs · bytes · errors · changed ·
    /// token (16) · number of tags · key and value of each`, numbers as varints, texts behind their lengths.
    pub fn encode(&self, w: &mut Writer) {
        w.bytes(self.host.as_str().as_bytes()).bytes(self.path.as_bytes()).varint(self.time.0 as u64);
        w.raw(self.root.as_bytes()).u8(self.file_type as u8);
        let c = &self.counts;
        w.varint(c.files).varint(c.dirs).varint(c.bytes).varint(c.errors).varint(c.changed);
        w.raw(&self.token).varint(self.tags.len() as u64);
        for (key, value) in &self.tags {
            w.bytes(key.as_bytes()).bytes(value.as_bytes());
        }
    }

    /// Reads what `encode` wrote.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let host = HostName::new(r.text("host", limits::OWNER_BYTES_MAX)?)?;
        let path = TreePath::new(r.bytes("path", limits::PATH_BYTES_MAX)?)?;
        let seconds = i64::try_from(r.varint("time")?).unwrap_or(i64::MAX);
        let time = BackupTime::new(seconds)?;
        let root = ObjectKey::new(r.array("root")?);
        let file_type = FileType::try_from(r.u8("type")?)?;
        let counts = Counts {
            files: r.varint("files")?,
            dirs: r.varint("dirs")?,
            bytes: r.varint("bytes")?,
            errors: r.varint("errors")?,
            changed: r.varint("changed")?,
        };
        let token = r.array("token")?;
        let mut tags = BTreeMap::new();
        for _ in 0..r.count("tags", 2)? {
            let key = r.text("tag", limits::TAG_BYTES_MAX)?.to_owned();
            if tags.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(DecodeError::rule("tags", "are not in ascending order"));
            }
            tags.insert(key, r.text("tag", limits::TAG_BYTES_MAX)?.to_owned());
        }
        Self { host, path, time, root, file_type, counts, tags, token }.checked()
    }
}

/// How a person names one backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupSpec {
    /// The beginning of its 40 hex digits, in lower case.
    Prefix(String),
    /// The N-th before the newest; 0 is the newest.
    Latest(u32),
    /// The nearest backup at or before a time, of the snapshot with this path or last component.
    NameAtTime {
        /// Path or last component.
        name: Vec<u8>,
        /// The time as it was written, see [`crate::clock::parse_time`].
        time: String,
    },
}

impl BackupSpec {
    /// Reads `ID`, `latest`, `latest~N` or `NAME@TIME`.
    pub fn parse(text: &[u8]) -> Result<Self, DecodeError> {
        let unreadable = DecodeError::rule(
            "BACKUP",
            "is neither hex digits of an id, nor latest, latest~N or NAME@TIME (see `datadb-client snapshots`)",
        );
        if text == b"latest" {
            return Ok(Self::Latest(0));
        }
        if let Some(n) = text.strip_prefix(b"latest~") {
            let n = std::str::from_utf8(n).ok().and_then(|n| n.parse().ok());
            return n.map(Self::Latest).ok_or(unreadable);
        }
        if let Some(at) = text.iter().rposition(|byte| *byte == b'@') {
            let time = std::str::from_utf8(&text[at + 1..]).map_err(|_| unreadable)?;
            return Ok(Self::NameAtTime { name: text[..at].to_vec(), time: time.to_owned() });
        }
        match std::str::from_utf8(text) {
            Ok(hex) if is_hex_prefix(hex) => Ok(Self::Prefix(hex.to_ascii_lowercase())),
            _ => Err(unreadable),
        }
    }

    /// Reads `BACKUP[:PATH]`; the path begins with `/` and starts behind the first `:/`.
    pub fn parse_with_path(text: &[u8]) -> Result<(Self, TreePath), DecodeError> {
        let cut = text.windows(2).position(|pair| pair == b":/");
        let (spec, path) = cut.map_or((text, &b"/"[..]), |cut| (&text[..cut], &text[cut + 1..]));
        Ok((Self::parse(spec)?, TreePath::lenient(path)?))
    }
}

fn is_hex_prefix(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The smallest and the largest key that begin with these hex digits.
pub fn prefix_range(prefix: &str) -> Option<(BackupKey, BackupKey)> {
    if !is_hex_prefix(prefix) {
        return None;
    }
    let low = parse_hex(&format!("{prefix:0<40}"))?;
    let high = parse_hex(&format!("{prefix:f<40}"))?;
    Some((BackupKey::new(low), BackupKey::new(high)))
}
