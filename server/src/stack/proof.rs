//! A place that is not there is not an empty place: a directory of packs proves that it is the one it was.
//!
//! # Format (version 1)
//! The file `side`, one line: `datadb side` and 32 hex digits by chance (the name is from when only sides of mirrors had
//! one). The index keeps the same digits, and whether the directory was a mount point. A log that lies below the blobs'
//! directory has no file of its own.
//!
//! A directory that is missing, another's, or no mount point any more is never made again and never written to: the side of
//! a mirror is *away* then, anything else refuses to open. So is an empty one, but for the side of a mirror, which is filled
//! again from another. A directory without proof that holds the packs of which the index knows gets one: it is from before
//! there was any, or was copied without the file. The only directory that is made again by itself is a side's within the
//! data directory.
//!
//! What was looked at is noted only when the whole stack is accepted (see [`super::Stack::accept`]): a start that
//! refuses leaves nothing behind that would pass for a proof later.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Ground, Purpose, Room};
use crate::{
    index::{Family, SharedIndex, keys},
    store::{
        StoreError,
        blobsfile::{BlobsFile, known::Known},
        disk::Disk,
    },
};

const FILE: &str = "side";
const WORDS: &str = "datadb side ";

/// Hex digits of a proof.
const DIGITS: usize = 32;

/// More bytes than any proof has.
const FILE_BYTES_MAX: usize = 256;

/// A directory of packs that a stack needs.
#[derive(Clone, Debug)]
pub struct Place {
    /// By what name the index knows the proof.
    pub name: String,
    /// The directory that has the proof.
    pub dir: PathBuf,
    /// Where the packs lie: there, or below it.
    pub packs: PathBuf,
    /// The name of the leaf.
    pub leaf: String,
    /// Whether the config names it relative to the data directory.
    pub is_relative: bool,
    /// Whether a mirror fills it from another side.
    pub is_side: bool,
}

/// What looking at a directory found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is what it was, or it is new.
    Same,
    /// It lost everything.
    Wiped,
}

/// What is to be noted of a directory.
pub struct Proof {
    /// The directory.
    pub dir: PathBuf,
    disk: Arc<dyn Disk>,
    index: SharedIndex,
    name: String,
    is_mount: bool,
    digits: Option<String>,
    /// Whether the index has them already.
    is_noted: bool,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof").field("dir", &self.dir).field("digits", &self.digits).finish_non_exhaustive()
    }
}

/// Whether anybody relies on packs in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relied {
    /// Nobody.
    No,
    /// The index knows packs of this very leaf.
    Here,
    /// The index knows that there is a log, or that there are backups; wherever they are kept, it is not nowhere.
    Somewhere,
}

/// What the index knows of a directory.
struct Noted {
    was_mount: bool,
    digits: Vec<u8>,
}

/// Looks whether a directory is the one of this name, and makes it if it is new.
pub fn look(ground: &Ground, place: &Place) -> Result<(Seen, Proof), StoreError> {
    let Ground { disk, index, room, purpose, .. } = ground;
    let io = |source| StoreError::io(place.dir.display(), source);
    let noted = noted(index, &place.name)?;
    let relied = relied(ground, place)?;
    let is_known = noted.is_some() || relied != Relied::No;
    let is_there = disk.identity(&place.dir).map_err(io)?.is_some();
    if !is_there {
        let may_make = match (is_known, place.is_side) {
            (true, is_side) => is_side && place.is_relative,
            (false, _) => place.is_relative || *purpose != Purpose::Rebuild,
        };
        if !may_make {
            return Err(refusal(ground, place, "the directory is missing"));
        }
        disk.create_dir(&place.dir).map_err(io)?;
    }
    let is_mount = disk.identity(&place.dir).map_err(io)?.is_some_and(|identity| identity.is_mount_point);
    let found = read_proof(&**disk, &place.dir).map_err(io)?;
    let proof = |digits: Option<String>| Proof {
        dir: place.dir.clone(),
        disk: disk.clone(),
        index: index.clone(),
        name: place.name.clone(),
        is_mount,
        digits,
        is_noted: noted.is_some(),
    };
    let has_packs = BlobsFile::holds_packs(&**disk, &place.packs)?;
    let holds_its_own =
        || Ok::<_, StoreError>(has_packs && Known::of(&**disk, &place.packs, index, &place.leaf)?.is_it());
    let other = || match has_packs {
        true => refusal(ground, place, "the packs there are not those that the index knows"),
        false => refusal(ground, place, "the directory is empty"),
    };
    let seen = match (&noted, &found) {
        (Some(noted), Some(found)) if noted.digits == found.as_bytes() => Seen::Same,
        (Some(_), Some(_)) => {
            return Err(refusal(
                ground,
                place,
                "the directory is another's: its file `side` is not the one that was here",
            ));
        }
        (Some(noted), None) if noted.was_mount && !is_mount => {
            return Err(refusal(ground, place, "the directory was a mount point and is none now"));
        }
        (Some(_), None) if place.is_side => Seen::Wiped,
        (Some(_), None) if holds_its_own()? => Seen::Same,
        (Some(_), None) => return Err(other()),
        (None, found) => match relied {
            Relied::No => Seen::Same,
            Relied::Here if place.is_side && !has_packs => Seen::Wiped,
            Relied::Here if holds_its_own()? => Seen::Same,
            Relied::Somewhere if has_packs => Seen::Same,
            // Backups of nothing but empty files rely on no pack, and a rebuild knows no proof.
            Relied::Somewhere if found.is_some() && *room == Room::Blobs => Seen::Same,
            Relied::Here | Relied::Somewhere => return Err(other()),
        },
    };
    Ok((seen, proof(found)))
}

fn relied(ground: &Ground, place: &Place) -> Result<Relied, StoreError> {
    match BlobsFile::is_known(&ground.index, &place.leaf)? {
        Some(true) => return Ok(Relied::Here),
        Some(false) => return Ok(Relied::No),
        // Another side may have all of it.
        None if place.is_side => return Ok(Relied::No),
        None => {}
    }
    let is_somewhere = match ground.room {
        Room::Log { .. } => ground.index.applied()?.sequence > 0,
        Room::Blobs => ground.index.totals()?.backups > 0,
    };
    Ok(if is_somewhere { Relied::Somewhere } else { Relied::No })
}

/// Says what is wrong, and the ways out.
fn refusal(ground: &Ground, place: &Place, what: &str) -> StoreError {
    let shown = place.dir.display().to_string();
    let what = if place.is_side {
        format!("{what}: mount its disk, or make it, empty, to have it filled anew")
    } else {
        format!(
            "{what}, and what is known relies on packs in it. Mount its disk, or put the directory back. If it is lost for \
             good, `datadb-server heal --data-dir {} --accept-empty {shown}` (with the server's --config, if it has one) \
             begins it anew, and what only it had counts as missing",
            ground.root.display()
        )
    };
    match place.is_side {
        true => StoreError::Away { place: shown, what },
        false => StoreError::Inconsistent { place: shown, what },
    }
}

fn noted(index: &SharedIndex, name: &str) -> Result<Option<Noted>, StoreError> {
    let value = index.get(Family::State, &keys::side(name))?;
    Ok(value.as_deref().and_then(|value| {
        let (was_mount, digits) = value.split_first()?;
        Some(Noted { was_mount: *was_mount == 1, digits: digits.to_vec() })
    }))
}

impl Proof {
    /// Whether the directory has none yet.
    pub const fn is_new(&self) -> bool {
        self.digits.is_none()
    }

    /// Writes it to the directory, durably, and to the index. A file that was found there, of which the index does not know,
    /// is written once more: it may be what an interrupted start left, and not durable.
    pub fn write(&self) -> Result<(), StoreError> {
        let io = |source| StoreError::io(self.dir.display(), source);
        let digits = match &self.digits {
            Some(digits) if self.is_noted => digits.clone(),
            Some(digits) => write_proof(&*self.disk, &self.dir, digits.clone()).map_err(io)?,
            None => write_proof(&*self.disk, &self.dir, new_digits().map_err(io)?).map_err(io)?,
        };
        let mut batch = self.index.batch();
        batch.put(
            Family::State,
            &keys::side(&self.name),
            &[&[u8::from(self.is_mount)][..], digits.as_bytes()].concat(),
        );
        Ok(self.index.write(batch)?)
    }
}

/// Makes a directory, if it is missing, and gives it a proof of its own: what it held is given up. `index` may be lost too.
///
/// # Errors
/// If it holds packs that the index does not know.
pub fn begin_anew(disk: &dyn Disk, index: Option<&SharedIndex>, places: &[Place]) -> Result<(), StoreError> {
    for place in places {
        let is_empty = !BlobsFile::holds_packs(disk, &place.packs)?;
        let is_rest = || match index {
            Some(index) => Ok(Known::of(disk, &place.packs, index, &place.leaf)?.same > 0),
            None => Ok::<_, StoreError>(false),
        };
        if !is_empty && !is_rest()? {
            let what =
                "it is not empty: the packs there are not those that the index knows. Move them away first".to_owned();
            return Err(StoreError::Inconsistent { place: place.packs.display().to_string(), what });
        }
    }
    for place in places {
        let io = |source| StoreError::io(place.dir.display(), source);
        disk.create_dir(&place.dir).map_err(io)?;
        let is_mount = disk.identity(&place.dir).map_err(io)?.is_some_and(|identity| identity.is_mount_point);
        let digits = match read_proof(disk, &place.dir).map_err(io)? {
            Some(digits) => digits,
            None => new_digits().map_err(io)?,
        };
        let digits = write_proof(disk, &place.dir, digits).map_err(io)?;
        if let Some(index) = index {
            let mut batch = index.batch();
            batch.put(
                Family::State,
                &keys::side(&place.name),
                &[&[u8::from(is_mount)][..], digits.as_bytes()].concat(),
            );
            index.write(batch)?;
            index.sync()?;
        }
    }
    Ok(())
}

/// `None` if there is none, or if it is torn or damaged.
fn read_proof(disk: &dyn Disk, dir: &Path) -> io::Result<Option<String>> {
    let file = match disk.open(&dir.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; FILE_BYTES_MAX];
    let read = file.read_at(&mut bytes, 0)?;
    let digits = std::str::from_utf8(&bytes[..read]).ok().and_then(|text| text.trim_end().strip_prefix(WORDS));
    let is_proof = |digits: &&str| digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(digits.filter(is_proof).map(ToOwned::to_owned))
}

fn new_digits() -> io::Result<String> {
    let bytes: [u8; DIGITS / 2] = crate::random::bytes()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn write_proof(disk: &dyn Disk, dir: &Path, digits: String) -> io::Result<String> {
    let path = dir.join(FILE);
    let file = match disk.create(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(&path),
        created => created,
    }?;
    file.truncate(0)?;
    file.write_at(format!("{WORDS}{digits}\n").as_bytes(), 0)?;
    file.sync()?;
    disk.sync_dir(dir)?;
    Ok(digits)
}
