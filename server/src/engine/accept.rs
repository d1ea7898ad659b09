//! Taking an empty directory for one that is lost, because a person says so.

use std::path::{Path, absolute};

use datadb::Kind;

use super::{
    EngineError,
    data_dir::{DataDir, OpenError},
};
use crate::{
    index::{Family, keys},
    stack::{
        Room,
        proof::{Place, begin_anew},
    },
};

/// Makes a directory of blobs or of the log, if it is missing, and begins it anew: what only the old one held counts as
/// missing from the next start on, and the side of a mirror is filled again. An index that is lost too learns of it by the
/// next rebuild.
///
/// # Errors
/// If no store of the config lies there, or if the directory holds packs of somebody else.
pub fn accept_empty(dir: &DataDir, path: &Path) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { place: path.to_owned(), source };
    let (named, below) = (absolute(path).map_err(io)?, dir.root.join(path));
    let below = absolute(below).map_err(io)?;
    let all: Vec<Place> = [Room::Blobs, dir.log_room()].into_iter().flat_map(|room| dir.places(room)).collect();
    let is_meant = |place: &&Place| {
        [&place.dir, &place.packs].iter().any(|it| absolute(it).is_ok_and(|it| it == named || it == below))
    };
    let Some(meant) = all.iter().find(is_meant) else {
        let mut known: Vec<String> = all.iter().map(|place| place.dir.display().to_string()).collect();
        known.dedup();
        let what = format!("no store lies in {}; those of the config are: {}", path.display(), known.join(", "));
        return Err(EngineError::refused(Kind::Invalid, what).into());
    };
    let same: Vec<Place> = all.iter().filter(|place| place.dir == meant.dir).cloned().collect();
    let index = dir.root.join("index/CURRENT").exists().then(|| dir.open_index("index")).transpose()?;
    let is_complete = match &index {
        Some(index) => index.get(Family::State, keys::COMPLETE)?.is_some(),
        None => false,
    };
    Ok(begin_anew(dir.disk(), index.as_ref().filter(|_| is_complete), &same)?)
}
