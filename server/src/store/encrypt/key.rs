//! Keys: how they lie in a file, where else they come from, and what names them.
//!
//! # Format of a key file (version 1)
//! One line of text, `datadb-key 1 KEY ID`: the key as 64 hex digits, and its id as 16, by which a damaged file is noticed.
//! The id is the first 8 bytes of the BLAKE3, keyed with the key, of `datadb key id`: it tells keys apart and says nothing
//! of them. A newer version is refused by name.
//!
//! Keys are wiped from memory when they are dropped, and no `Debug` shows them.

use std::{
    env::VarError,
    ffi::OsStr,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use datadb::blob::{parse_hex, write_hex};
use thiserror::Error;
use zeroize::Zeroizing;

use super::phrase;
use crate::random;

/// Bytes of a key, as XSalsa20 wants them.
pub const KEY_BYTES: usize = 32;

/// A key file is one short line; whatever is longer is another file, and is not read to its end.
const FILE_BYTES_MAX: u64 = 1 << 10;

/// Keys of one store: one for each rotation in the life of a repository, with room to spare.
pub const KEYS_MAX: usize = 64;

const MAGIC: &str = "datadb-key";
const VERSION: u32 = 1;

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// Nothing says where the key is.
    #[error("no key is named")]
    None,
    /// There are too many.
    #[error("{found} keys are named, at most {KEYS_MAX} are allowed")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// The file is not there.
    #[error(
        "the key file {path} is missing: make it again from its recovery phrase with `datadb-server keygen {path} --recover` \
         (or, for a new store, make one with `datadb-server keygen {path}`)",
        path = path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is there already.
    #[error("{path} exists, and is not overwritten: it may hold the only key to your backups", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner may read the file.
    #[error("others may read the key file {path} (mode {mode:04o}): run `chmod 600 {path}`", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// What is there is no key.
    #[error("{place} holds no key: {what}")]
    Malformed {
        /// Where.
        place: String,
        /// What is wrong, without showing any of it.
        what: &'static str,
    },
    /// Written by a newer version.
    #[error("{place} holds a key of version {version}, which this version does not know: use a newer datadb-server")]
    Newer {
        /// Where.
        place: String,
        /// The version found.
        version: u32,
    },
    /// The environment lacks the variable.
    #[error("the environment variable {name} is not set, but should hold a key")]
    NoVariable {
        /// Its name.
        name: String,
    },
    /// The credential's name is a path.
    #[error("{name:?} is no name of a credential: it is the ID of `LoadCredential=ID:PATH`")]
    BadCredential {
        /// As it was given.
        name: String,
    },
    /// Not started by systemd with credentials.
    #[error(
        "the credential {name} is missing, as CREDENTIALS_DIRECTORY is not set: \
         put `LoadCredential={name}:PATH` into the service's unit"
    )]
    NoCredentials {
        /// The credential.
        name: String,
    },
    /// The system failed.
    #[error("{place}: {source}")]
    Io {
        /// Where.
        place: String,
        /// What it said.
        source: io::Error,
    },
}

/// Tells keys apart without telling a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; Self::LEN]);

impl KeyId {
    /// Bytes of an id.
    pub const LEN: usize = 8;

    /// Takes the bytes as they are.
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// One key. It prints as its id.
pub struct Key {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    id: KeyId,
}

impl Key {
    /// Takes the bytes as they are.
    pub fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let hash = blake3::keyed_hash(&bytes, b"datadb key id");
        let id = KeyId(*hash.as_bytes().first_chunk().expect("a BLAKE3 is 32 bytes long"));
        Self { bytes, id }
    }

    /// A new one, from the system's generator.
    pub fn generate() -> Result<Self, KeyError> {
        let bytes = random::bytes().map_err(|source| KeyError::Io { place: "getrandom".to_owned(), source })?;
        Ok(Self::new(Zeroizing::new(bytes)))
    }

    /// What names it.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The secret itself.
    pub fn secret(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }

    /// The words from which it can be made again.
    pub fn phrase(&self) -> Zeroizing<Vec<String>> {
        phrase::of(&self.bytes)
    }

    /// The line of a key file.
    fn line(&self) -> Zeroizing<String> {
        // Every byte is written straight into its place: a buffer that grows would leave copies behind.
        let mut line = Zeroizing::new(String::with_capacity(MAGIC.len() + 2 * KEY_BYTES + 2 * KeyId::LEN + 8));
        line.push_str(MAGIC);
        line.push_str(" 1 ");
        for byte in *self.bytes {
            for digit in [byte >> 4, byte & 15] {
                line.push(char::from_digit(u32::from(digit), 16).expect("four bits are one digit"));
            }
        }
        line.push_str(&format!(" {}\n", self.id));
        line
    }

    /// Reads the line of a key file.
    fn parse(text: &str, place: &dyn fmt::Display) -> Result<Self, KeyError> {
        let malformed = |what| KeyError::Malformed { place: place.to_string(), what };
        let mut words = text.split_ascii_whitespace();
        if words.next() != Some(MAGIC) {
            return Err(malformed("it does not begin with `datadb-key`"));
        }
        let version: Option<u32> = words.next().and_then(|version| version.parse().ok());
        match version.ok_or_else(|| malformed("it says no version"))? {
            VERSION => {}
            version => return Err(KeyError::Newer { place: place.to_string(), version }),
        }
        let bytes = words.next().and_then(parse_hex).map(Zeroizing::new);
        let key = Self::new(bytes.ok_or_else(|| malformed("the key is not 64 hex digits"))?);
        let id = words.next().and_then(parse_hex).map(KeyId);
        if id != Some(key.id) || words.next().is_some() {
            return Err(malformed("key and id do not belong together, so the line is damaged"));
        }
        Ok(key)
    }

    /// Writes a new key file that its owner alone can read, and returns when it is on the medium.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let io = |source| KeyError::Io { place: path.display().to_string(), source };
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(KeyError::Exists { path: path.to_owned() });
            }
            Err(error) => return Err(io(error)),
        };
        let written = file.write_all(self.line().as_bytes()).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // Half a key would stand in the way of the next try.
            return Err(io(fs::remove_file(path).err().unwrap_or(error)));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(io)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

/// Where a key comes from. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file that its owner alone can read.
    File(PathBuf),
    /// An environment variable that holds the line of a key file.
    Environment(String),
    /// A credential that systemd passed on, by its ID.
    Credential(String),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Environment(name) => write!(f, "${name}"),
            Self::Credential(name) => write!(f, "credential {name}"),
        }
    }
}

/// How a variable of the environment is looked up: `std::env::var`, or a test's own.
pub type Variables<'a> = &'a dyn Fn(&str) -> Result<String, VarError>;

impl KeySource {
    fn load(&self, variables: Variables<'_>) -> Result<Key, KeyError> {
        match self {
            Self::File(path) => Key::parse(&read(path, self, true)?, self),
            Self::Environment(name) => match variables(name) {
                Ok(line) => Key::parse(&Zeroizing::new(line), self),
                Err(VarError::NotPresent) => Err(KeyError::NoVariable { name: name.clone() }),
                Err(VarError::NotUnicode(_)) => {
                    Err(KeyError::Malformed { place: self.to_string(), what: "it is not text" })
                }
            },
            Self::Credential(name) => {
                if Path::new(name).file_name() != Some(OsStr::new(name)) {
                    return Err(KeyError::BadCredential { name: name.clone() });
                }
                let dir =
                    variables("CREDENTIALS_DIRECTORY").map_err(|_| KeyError::NoCredentials { name: name.clone() })?;
                // Who may read it is systemd's business: its lists of access look like a group's right here.
                Key::parse(&read(&Path::new(&dir).join(name), self, false)?, self)
            }
        }
    }
}

/// The text of a key file.
fn read(path: &Path, place: &dyn fmt::Display, is_private: bool) -> Result<Zeroizing<String>, KeyError> {
    let io = |source| KeyError::Io { place: path.display().to_string(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(KeyError::Missing { path: path.to_owned() });
        }
        Err(error) => return Err(io(error)),
    };
    let mode = file.metadata().map_err(io)?.mode() & 0o7777;
    if is_private && mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize + 1));
    let is_text = match file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => false,
        Err(error) => return Err(io(error)),
    };
    if !is_text || text.len() as u64 > FILE_BYTES_MAX {
        return Err(KeyError::Malformed { place: place.to_string(), what: "it is no short line of text" });
    }
    Ok(text)
}

/// The keys of a store: the first seals what is written, each opens what it sealed.
#[derive(Debug)]
pub struct Keys {
    /// Each with where it came from. A store has few of them.
    keys: Vec<(Key, String)>,
}

impl Keys {
    /// Loads all of them, or says which one can't be had. A key that is named twice counts once.
    pub fn load(sources: &[KeySource]) -> Result<Self, KeyError> {
        Self::load_with(sources, &|name| std::env::var(name))
    }

    /// The same with another environment.
    pub fn load_with(sources: &[KeySource], variables: Variables<'_>) -> Result<Self, KeyError> {
        if sources.len() > KEYS_MAX {
            return Err(KeyError::TooMany { found: sources.len() });
        }
        let mut keys: Vec<(Key, String)> = Vec::new();
        for source in sources {
            let key = source.load(variables)?;
            if keys.iter().all(|(other, _)| other.id != key.id) {
                keys.push((key, source.to_string()));
            }
        }
        if keys.is_empty() { Err(KeyError::None) } else { Ok(Self { keys }) }
    }

    /// The one that seals.
    pub fn first(&self) -> &Key {
        &self.keys.first().expect("load refuses an empty list").0
    }

    /// The one of this id.
    pub fn get(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().map(|(key, _)| key).find(|key| key.id == id)
    }
}

/// The ids and where the keys came from, for a person.
impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (key, source)) in self.keys.iter().enumerate() {
            write!(f, "{}{} ({source})", if at == 0 { "" } else { ", " }, key.id)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key(byte: u8) -> Key {
        Key::new(Zeroizing::new([byte; KEY_BYTES]))
    }

    fn file(path: &Path) -> [KeySource; 1] {
        [KeySource::File(path.to_owned())]
    }

    /// The format is for ever: key files lie in safes.
    #[test]
    fn a_key_file_stays_what_it_is() {
        let line = format!("datadb-key 1 {} {AN_ID}\n", "07".repeat(32));
        assert_eq!(*key(7).line(), line);
        assert_eq!(Key::parse(&line, &"here").unwrap().secret(), &[7; KEY_BYTES]);
    }

    const AN_ID: &str = "9434ce03b9027540";

    #[test]
    fn a_key_file_is_private_is_never_overwritten_and_gives_the_key_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        key(1).write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(Keys::load(&file(&path)).unwrap().first().secret(), key(1).secret());
        assert!(matches!(key(2).write(&path), Err(KeyError::Exists { .. })));
        assert_eq!(Keys::load(&file(&path)).unwrap().first().id(), key(1).id());
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        key(1).write(&path).unwrap();
        for mode in [0o640, 0o604, 0o610, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Keys::load(&file(&path)).unwrap_err().to_string();
            assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        Keys::load(&file(&path)).unwrap();
    }

    #[test]
    fn every_changed_letter_of_a_key_file_is_noticed_and_none_is_shown() {
        let line = key(0xab).line();
        for at in 0..line.trim_end().len() {
            let mut wrong = line.as_bytes().to_vec();
            wrong[at] = if wrong[at] == b'3' { b'4' } else { b'3' };
            let wrong = String::from_utf8(wrong).unwrap();
            let error = Key::parse(&wrong, &"FILE").unwrap_err();
            assert!(!format!("{error} {error:?}").contains("abab"), "{error}");
        }
        for end in 0..line.trim_end().len() {
            Key::parse(&line[..end], &"FILE").unwrap_err();
        }
        assert!(matches!(Key::parse("datadb-key 2 whatever comes", &"FILE"), Err(KeyError::Newer { version: 2, .. })));
    }

    #[test]
    fn other_files_are_refused_without_being_read_to_their_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for bytes in [&b""[..], b"hello", &[0xff; 100], &[b' '; 5000]] {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(Keys::load(&file(&path)), Err(KeyError::Malformed { .. })));
        }
        fs::remove_file(&path).unwrap();
        let error = Keys::load(&file(&path)).unwrap_err().to_string();
        assert!(error.contains("--recover"), "{error}");
    }

    #[test]
    fn keys_come_from_the_environment_and_from_credentials_too() {
        let dir = tempfile::tempdir().unwrap();
        key(2).write(&dir.path().join("cred")).unwrap();
        let variables = |name: &str| match name {
            "A_KEY" => Ok(key(1).line().to_string()),
            "CREDENTIALS_DIRECTORY" => Ok(dir.path().display().to_string()),
            _ => Err(VarError::NotPresent),
        };
        let sources = ["A_KEY", "B_KEY"].map(|name| KeySource::Environment(name.to_owned()));
        let credential = |name: &str| KeySource::Credential(name.to_owned());
        let keys = Keys::load_with(&[sources[0].clone(), credential("cred"), sources[0].clone()], &variables).unwrap();
        assert_eq!((keys.first().id(), keys.keys.len()), (key(1).id(), 2));
        assert!(keys.get(key(2).id()).is_some() && keys.get(key(3).id()).is_none());
        let refused = |source| Keys::load_with(&[source], &variables).unwrap_err();
        assert!(matches!(refused(sources[1].clone()), KeyError::NoVariable { .. }));
        assert!(matches!(refused(credential("other")), KeyError::Missing { .. }));
        for bad in ["", "..", "a/b", "/etc/passwd"] {
            assert!(matches!(refused(credential(bad)), KeyError::BadCredential { .. }));
        }
        let bare = Keys::load_with(&[credential("cred")], &|_| Err(VarError::NotPresent)).unwrap_err();
        assert!(bare.to_string().contains("LoadCredential=cred:PATH"), "{bare}");
        assert!(matches!(Keys::load(&[]), Err(KeyError::None)));
    }

    #[test]
    fn no_key_is_ever_printed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        key(0xab).write(&path).unwrap();
        let keys = Keys::load(&file(&path)).unwrap();
        let shown = format!("{keys:?} {keys} {:?} {:?}", keys.first(), file(&path));
        assert!(shown.contains(&keys.first().id().to_string()) && shown.contains(&path.display().to_string()));
        assert!(!shown.contains("abab") && !shown.contains("171, 171"), "{shown}");
    }
}
