//! What the server was promised, so that it is told only what has changed, and that a path comes no more.

use std::collections::BTreeMap;

use datadb::{HostName, TreePath, backup::BackupTime, codec::DecodeError, expected::Expectation};
use rusqlite::{Connection, Row, params};

/// A path of a host.
pub type Place = (HostName, TreePath);

/// A promise.
pub type Told = Expectation;

fn broken(error: DecodeError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Told> {
    let (host, path): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
    Ok(Told {
        host: HostName::new(&host).map_err(broken)?,
        path: TreePath::new(&path).map_err(broken)?,
        due: BackupTime::new(row.get(2)?).map_err(broken)?,
        age_seconds_max: row.get::<_, i64>(3)?.max(0) as u64,
        entry: row.get(4)?,
        schedule: row.get(5)?,
    })
}

/// All promises to a server.
pub fn all(database: &Connection, server: &str) -> rusqlite::Result<BTreeMap<Place, Told>> {
    let mut query = database.prepare("SELECT host, path, due, age, entry, schedule FROM told WHERE server = ?1")?;
    let told = query.query_map([server], read)?;
    told.map(|told| told.map(|told| ((told.host.clone(), told.path.clone()), told))).collect()
}

/// Keeps a promise.
pub fn put(database: &Connection, server: &str, told: &Told) -> rusqlite::Result<()> {
    let age = i64::try_from(told.age_seconds_max).unwrap_or(i64::MAX);
    let values =
        params![server, told.host.as_str(), told.path.as_bytes(), told.due.seconds(), age, told.entry, told.schedule];
    let put = "INSERT OR REPLACE INTO told (server, host, path, due, age, entry, schedule) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    database.execute(put, values).map(drop)
}

/// Forgets a promise.
pub fn remove(database: &Connection, server: &str, place: &Place) -> rusqlite::Result<()> {
    let remove = "DELETE FROM told WHERE server = ?1 AND host = ?2 AND path = ?3";
    database.execute(remove, params![server, place.0.as_str(), place.1.as_bytes()]).map(drop)
}

/// The servers that were promised something.
pub fn servers(database: &Connection) -> rusqlite::Result<Vec<String>> {
    database.prepare("SELECT DISTINCT server FROM told")?.query_map([], |row| row.get(0))?.collect()
}
