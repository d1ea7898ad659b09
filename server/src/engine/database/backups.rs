//! Backups as keys of the default database: `snapshots`, `backup:…`, and 40 hex digits of a snapshot, a meta, a
//! directory's set or a file's list. They are only read; what is too large for one reply is for `datadb-client`.

use bytes::Bytes;
use datadb::{
    Backup, BackupKey, Meta, Object, ObjectKey, SnapshotKey,
    codec::{DecodeError, Reader},
    command::Refusal,
    limits,
    meta::{Content, XattrValue},
    object::set_members,
};

use super::{DEFAULT, Stop};
use crate::{
    engine::{browse, list::ChunkPages},
    index::{Family, Index, IndexError, data::Element, keys},
    record::effect::{DataType, Spot},
};

/// Keys read at once.
const PAGE: usize = 1024;

/// What a key that belongs to backups holds.
#[derive(Debug)]
pub struct Shown {
    /// As what.
    pub kind: DataType,
    /// In order: of names for a directory's set, else of themselves.
    pub elements: Vec<Element>,
    /// Whether the order is that of the elements.
    pub is_sorted: bool,
}

fn is_hex(key: &str) -> bool {
    key.len() == 40 && key.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a key belongs to backups, be it there or not.
pub fn is_reserved(spot: &Spot) -> bool {
    let key = &*spot.key;
    spot.database == DEFAULT && (key == "snapshots" || key.starts_with("backup:") || is_hex(key))
}

/// Refuses to write where backups are.
pub fn check_writable(spot: &Spot) -> Result<(), Refusal> {
    if !is_reserved(spot) {
        return Ok(());
    }
    let key = &spot.key;
    Err(Refusal::err(format!(
        "{key} can't be written: snapshots, backup:* and keys of 40 hex digits show backups, which only the client makes"
    )))
}

/// What a reserved key holds.
pub fn read(index: &Index, key: &str) -> Result<Option<Shown>, Stop> {
    if key == "snapshots" {
        return snapshots(index).map(Some);
    }
    if let Some(hex) = key.strip_prefix("backup:") {
        let Ok(key) = hex.parse::<BackupKey>() else { return Ok(None) };
        return Ok(index.backup(&key)?.map(|backup| hash(backup_fields(&backup))));
    }
    let Ok(object) = key.parse::<ObjectKey>() else { return Ok(None) };
    let snapshot = SnapshotKey::new(*object.as_bytes());
    if let Some(list) = versions(index, &snapshot)? {
        return Ok(Some(list));
    }
    if index.get(Family::Objects, object.as_bytes())?.is_some() {
        return shown_object(index, &object).map(Some);
    }
    Ok(meta(index, &object)?.map(|meta| hash(meta_fields(&meta))))
}

fn hash(fields: Vec<(String, Bytes)>) -> Shown {
    let mut elements: Vec<Element> = fields.into_iter().map(|(field, value)| (field.into(), value)).collect();
    elements.sort();
    Shown { kind: DataType::Hash, elements, is_sorted: true }
}

fn check_count(count: usize) -> Result<(), Stop> {
    if count <= limits::REPLY_ELEMENTS_MAX {
        return Ok(());
    }
    let max = limits::REPLY_ELEMENTS_MAX;
    Err(Refusal::err(format!("it has more than {max} elements: `datadb-client ls` and `cat` show it")).into())
}

fn snapshots(index: &Index) -> Result<Shown, Stop> {
    let mut elements = Vec::new();
    let mut from = b"s".to_vec();
    // Behind the last version of each snapshot the next one begins.
    while let Some((key, _)) = index.scan(Family::Backups, &from, b"t", 1)?.first() {
        let snapshot = SnapshotKey::try_from(key.get(1..21).unwrap_or_default())?;
        elements.push((Bytes::from(snapshot.to_string()), Bytes::new()));
        check_count(elements.len())?;
        from = [&keys::versions(&snapshot).1[..], &[0]].concat();
    }
    Ok(Shown { kind: DataType::Set, elements, is_sorted: true })
}

fn versions(index: &Index, snapshot: &SnapshotKey) -> Result<Option<Shown>, Stop> {
    let (mut from, end) = keys::versions(snapshot);
    let mut elements = Vec::new();
    loop {
        let page = index.scan(Family::Backups, &from, &end, PAGE)?;
        for (key, value) in &page {
            let time = Bytes::copy_from_slice(key.get(21..).unwrap_or_default());
            elements.push((time, format!("backup:{}", BackupKey::try_from(&value[..])?).into()));
        }
        check_count(elements.len())?;
        match page.last() {
            Some((key, _)) if page.len() == PAGE => from = [key, &[0][..]].concat(),
            _ => break,
        }
    }
    Ok((!elements.is_empty()).then_some(Shown { kind: DataType::List, elements, is_sorted: true }))
}

fn shown_object(index: &Index, key: &ObjectKey) -> Result<Shown, Stop> {
    Ok(match browse::object(index, key)? {
        Object::Meta(meta) => hash(meta_fields(&meta)),
        Object::Set(_) => set(index, &[*key])?,
        Object::SetHead(segments) => {
            let entries: u64 = segments.iter().map(|segment| segment.entries).sum();
            check_count(usize::try_from(entries).unwrap_or(usize::MAX))?;
            set(index, &segments.iter().map(|segment| segment.key).collect::<Vec<_>>())?
        }
        Object::List(_) | Object::ListHead(_) => chunks(index, key)?,
    })
}

fn set(index: &Index, segments: &[ObjectKey]) -> Result<Shown, Stop> {
    let mut elements = Vec::new();
    for segment in segments {
        let encoding = browse::encoding(index, segment)?;
        let members = set_members(&encoding).map_err(IndexError::value("an object"))?;
        elements.extend(members.into_iter().map(|meta| (ObjectKey::of(meta).to_string().into(), Bytes::new())));
    }
    Ok(Shown { kind: DataType::Set, elements, is_sorted: false })
}

fn chunks(index: &Index, list: &ObjectKey) -> Result<Shown, Stop> {
    let mut pages = ChunkPages::open(index, list, 0)?;
    let mut elements = Vec::new();
    loop {
        let page = pages.next_page(index)?;
        if page.is_empty() {
            return Ok(Shown { kind: DataType::List, elements, is_sorted: true });
        }
        for chunk in page {
            let blob = chunk.blob.map(|blob| blob.to_string()).unwrap_or_default();
            elements.push((Bytes::copy_from_slice(&chunk.end.to_be_bytes()), blob.into()));
        }
        check_count(elements.len())?;
    }
}

/// A meta that stands in a set.
fn meta(index: &Index, key: &ObjectKey) -> Result<Option<Meta>, Stop> {
    let Some(value) = index.get(Family::Metas, key.as_bytes())? else { return Ok(None) };
    let damaged = IndexError::value("a meta's place");
    let place = |value: &[u8]| {
        let mut r = Reader::new(value);
        r.raw("mark", 16)?;
        Ok::<_, DecodeError>((ObjectKey::new(r.array("set")?), r.varint("position")? as usize))
    };
    let (set, position) = place(&value).map_err(damaged)?;
    let encoding = browse::encoding(index, &set)?;
    let members = set_members(&encoding).map_err(IndexError::value("an object"))?;
    let meta = members.get(position).map(|meta| Meta::decode(meta)).transpose();
    Ok(meta.map_err(IndexError::value("an object"))?)
}

type Fields = Vec<(String, Bytes)>;

fn backup_fields(backup: &Backup) -> Fields {
    let counts = backup.counts;
    let mut fields: Fields = [
        ("hostname", Bytes::from(backup.host.as_str().to_owned())),
        ("path", Bytes::copy_from_slice(backup.path.as_bytes())),
        ("type", Bytes::from(backup.file_type.word())),
        ("ts", backup.time.seconds().to_string().into()),
        ("ref", backup.root.to_string().into()),
        ("files", counts.files.to_string().into()),
        ("dirs", counts.dirs.to_string().into()),
        ("bytes", counts.bytes.to_string().into()),
        ("errors", counts.errors.to_string().into()),
        ("changed", counts.changed.to_string().into()),
        ("complete", u8::from(backup.is_complete()).to_string().into()),
    ]
    .map(|(field, value)| (field.to_owned(), value))
    .to_vec();
    fields.extend(backup.tags.iter().map(|(tag, value)| (format!("tag:{tag}"), value.clone().into())));
    fields
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn meta_fields(meta: &Meta) -> Fields {
    let mut fields: Fields = [
        ("type", meta.file_type.word().to_owned()),
        ("size", meta.size.to_string()),
        ("mode", format!("{:o}", meta.mode)),
        ("uid", meta.uid.to_string()),
        ("gid", meta.gid.to_string()),
        ("user", meta.user.clone()),
        ("group", meta.group.clone()),
        ("mtime", format!("{}.{:09}", meta.mtime.seconds, meta.mtime.nanos)),
    ]
    .map(|(field, value)| (field.to_owned(), value.into()))
    .to_vec();
    let mut add = |field: &str, value: Option<Bytes>| fields.extend(value.map(|value| (field.to_owned(), value)));
    add("name", meta.name.as_ref().map(|name| Bytes::copy_from_slice(name.as_bytes())));
    add("target", meta.target.clone().map(Bytes::from));
    add("rdev", meta.rdev.map(|(major, minor)| format!("{major}:{minor}").into()));
    add("digest", meta.digest.map(|digest| digest.to_string().into()));
    add("nlink", meta.link.map(|link| link.nlink.to_string().into()));
    add("link", meta.link.map(|link| hex(&link.id).into()));
    add("error", meta.error.clone().map(Bytes::from));
    match meta.content {
        Content::None => {}
        Content::Blob(blob) => add("blob", Some(blob.to_string().into())),
        Content::Ref(object) => add("ref", Some(object.to_string().into())),
    }
    for xattr in &meta.xattrs {
        let value = match &xattr.value {
            XattrValue::Inline(value) => Bytes::copy_from_slice(value),
            XattrValue::Blob(blob) => blob.to_string().into(),
        };
        add(&format!("xattr:{}", String::from_utf8_lossy(&xattr.name)), Some(value));
    }
    fields
}
