//! The plan: reads the listing in the order of the tree, makes what has no content, and hands the rest to the workers.

use std::{collections::HashMap, sync::Arc};

use crossbeam_channel::Sender;
use datadb::{
    Fault, FileType, Kind, Meta, ObjectKey,
    meta::{Content, XattrValue},
};
use rustix::{
    fs::{FileType as Special, Mode, makedev, mknodat, symlinkat},
    io::Errno,
};
use tokio::runtime::Handle;

use super::{
    Request,
    dir::Dir,
    file::File,
    links::Link,
    metadata::apply_name,
    place::Place,
    shared::{Overwrite, Shared},
    window::Window,
    work::Piece,
};
use crate::{connection::Connection, walk::Stat};

struct Planner<'a> {
    handle: &'a Handle,
    connection: &'a Connection,
    shared: &'a Arc<Shared>,
    root: Arc<Dir>,
    /// The directories from the target down to the present place; `None` is one that could not be made.
    open: Vec<Option<Arc<Dir>>>,
    links: HashMap<[u8; 16], Arc<Link>>,
    window: Window<Piece>,
    windows: Sender<Window<Piece>>,
}

/// Plans the whole restore; the workers may still be busy when it returns.
pub fn plan(
    handle: &Handle,
    connection: &Connection,
    request: &Request,
    shared: &Arc<Shared>,
    windows: Sender<Window<Piece>>,
) -> Result<(), Fault> {
    let target = &request.target;
    let root = Dir::target(target, shared).map_err(|error| {
        let kind = if error.kind() == std::io::ErrorKind::StorageFull { Kind::Full } else { Kind::Internal };
        let words = error.raw_os_error().map(Errno::from_raw_os_error).map(crate::walk::words);
        Fault::new(kind, format!("{}: {}", target.display(), words.unwrap_or_else(|| error.to_string())))
    })?;
    let open = vec![Some(Arc::clone(&root))];
    let (links, window) = (HashMap::new(), Window::default());
    let mut planner = Planner { handle, connection, shared, root, open, links, window, windows };
    if request.meta.file_type != FileType::Dir {
        planner.entry(0, request.name.clone(), request.meta.clone())?;
        return planner.end();
    }
    let mut meta = request.meta.clone();
    planner.fetch_xattrs(&mut meta, b".")?;
    planner.tell_error(b".", &meta);
    if let Content::Ref(set) = meta.content {
        planner.list(&set)?;
    }
    planner.root.set_meta(meta);
    planner.end()
}

impl Planner<'_> {
    fn list(&mut self, set: &ObjectKey) -> Result<(), Fault> {
        let mut listing = self.handle.block_on(self.connection.list_directory(set, true))?;
        while let Some(page) = self.handle.block_on(listing.page())? {
            for (depth, meta) in page {
                let depth = depth as usize;
                if depth >= self.open.len() {
                    return Err(Fault::new(Kind::Unsupported, "the server's listing skips a level"));
                }
                let name = meta.name_bytes().to_vec();
                if name.is_empty() {
                    return Err(Fault::new(Kind::Unsupported, "the server's listing holds an entry without a name"));
                }
                self.open.truncate(depth + 1);
                self.entry(depth, name, meta)?;
            }
            if self.shared.is_over() {
                return Ok(());
            }
            self.shared.report.tick();
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), Fault> {
        self.send();
        Ok(())
    }

    fn send(&mut self) {
        let window = std::mem::take(&mut self.window);
        if !window.is_empty() {
            // Workers go on taking windows to the end; after trouble they drop them.
            drop(self.windows.send(window));
        }
    }

    fn tell_error(&self, path: &[u8], meta: &Meta) {
        if let Some(error) = &meta.error {
            let error = crate::report::escape(error.as_bytes());
            self.shared.report.error(path, &format!("could not be read when it was backed up: {error}"));
        }
    }

    fn entry(&mut self, depth: usize, name: Vec<u8>, mut meta: Meta) -> Result<(), Fault> {
        let Some(dir) = self.open[depth].clone() else {
            // Its directory could not be made, which was told.
            self.open.push(None);
            return Ok(());
        };
        let path = dir.path_of(&name);
        self.tell_error(&path, &meta);
        self.fetch_xattrs(&mut meta, &path)?;
        if meta.file_type == FileType::Dir {
            self.directory(&dir, &name, meta);
            return Ok(());
        }
        let is_lost = meta.error.is_some()
            && match meta.file_type {
                FileType::File => meta.content == Content::None && meta.size > 0,
                FileType::Symlink => meta.target.is_none(),
                _ => false,
            };
        if is_lost {
            return Ok(());
        }
        let link = match meta.link {
            None => None,
            Some(link) => match self.links.get(&link.id) {
                Some(first) => {
                    first.add(self.shared, &dir, &name);
                    return Ok(());
                }
                None => {
                    let first = Link::new(&self.root, &dir, &name);
                    self.links.insert(link.id, Arc::clone(&first));
                    Some(first)
                }
            },
        };
        if meta.file_type == FileType::File {
            return self.file(&dir, &name, meta, link);
        }
        let made = self.special(&dir, &name, &meta);
        if let Err(error) = made {
            self.shared.error(&path, "", error);
        } else {
            self.shared.done(0);
        }
        if let Some(link) = link {
            link.finish(self.shared, made.is_ok());
        }
        Ok(())
    }

    fn directory(&mut self, dir: &Arc<Dir>, name: &[u8], meta: Meta) {
        match dir.child(name) {
            Ok(child) => {
                child.set_meta(meta);
                self.open.push(Some(child));
            }
            Err(error) => {
                self.shared.error(&dir.path_of(name), "", error);
                self.open.push(None);
            }
        }
    }

    fn special(&self, dir: &Dir, name: &[u8], meta: &Meta) -> Result<(), Errno> {
        if self.shared.overwrite == Overwrite::Never && !dir.is_new && Stat::at(dir.fd(), name).is_ok() {
            return Ok(());
        }
        let place = Place::find(dir, name)?;
        let device = meta.rdev.map_or(0, |(major, minor)| makedev(major, minor));
        let node = |kind| mknodat(dir.fd(), &place.name[..], kind, Mode::RUSR | Mode::WUSR, device);
        match meta.file_type {
            FileType::Symlink => symlinkat(meta.target.as_deref().unwrap_or_default(), dir.fd(), &place.name[..])?,
            FileType::Fifo => node(Special::Fifo)?,
            FileType::CharDevice => node(Special::CharacterDevice)?,
            FileType::BlockDevice => node(Special::BlockDevice)?,
            FileType::File | FileType::Dir => return Err(Errno::INVAL),
        }
        apply_name(self.shared, dir.fd(), &place.name, meta, &dir.path_of(name));
        place.keep(dir, name)
    }

    fn file(&mut self, dir: &Arc<Dir>, name: &[u8], meta: Meta, link: Option<Arc<Link>>) -> Result<(), Fault> {
        if !dir.is_new && self.is_left(dir, name, &meta) {
            self.shared.done(meta.size);
            if let Some(link) = link {
                link.finish(self.shared, true);
            }
            return Ok(());
        }
        let (content, size) = (meta.content, meta.size);
        let file = File::new(self.shared, dir, name, meta, matches!(content, Content::Ref(_)), link);
        match content {
            Content::None => {}
            Content::Blob(blob) => {
                self.window.push(blob, size, Piece { file, number: 0, offset: 0, len: size });
                self.send_full();
            }
            Content::Ref(list) => self.listed(&file, &list, size)?,
        }
        Ok(())
    }

    fn listed(&mut self, file: &Arc<File>, list: &ObjectKey, size: u64) -> Result<(), Fault> {
        let (mut offset, mut number) = (0, 0);
        let mut pages = match self.handle.block_on(self.connection.read_list(list)) {
            Err(fault) if matches!(fault.kind, Kind::NotFound | Kind::Damaged | Kind::Missing) => {
                file.fail(&fault.message);
                return Ok(());
            }
            other => other?,
        };
        while let Some(chunks) = self.handle.block_on(pages.page())? {
            for chunk in chunks {
                if let Some(blob) = chunk.blob {
                    let piece = Piece { file: Arc::clone(file), number, offset, len: chunk.len };
                    self.window.push(blob, chunk.len, piece);
                    number += 1;
                    self.send_full();
                }
                offset += chunk.len;
            }
            if self.shared.is_over() {
                return Ok(());
            }
        }
        if offset != size {
            file.fail("its list does not end at its size");
        }
        Ok(())
    }

    fn send_full(&mut self) {
        if self.window.is_full() {
            self.send();
        }
    }

    /// Whether the file that is there stays; its attributes are put right then, unless nothing is to be touched.
    fn is_left(&self, dir: &Dir, name: &[u8], meta: &Meta) -> bool {
        let Ok(stat) = Stat::at(dir.fd(), name) else { return false };
        let is_same = stat.file_type == Some(FileType::File) && (stat.size, stat.mtime) == (meta.size, meta.mtime);
        match self.shared.overwrite {
            Overwrite::Never => stat.file_type != Some(FileType::Dir),
            Overwrite::Always => false,
            Overwrite::IfChanged => {
                if is_same && (stat.mode, stat.uid, stat.gid) != (meta.mode, meta.uid, meta.gid) {
                    apply_name(self.shared, dir.fd(), name, meta, &dir.path_of(name));
                }
                is_same
            }
        }
    }

    /// Long xattr values are rare: each is fetched at once, and stands inline from then on.
    fn fetch_xattrs(&self, meta: &mut Meta, path: &[u8]) -> Result<(), Fault> {
        for xattr in &mut meta.xattrs {
            let XattrValue::Blob(id) = xattr.value else { continue };
            let mut window = Window::default();
            window.push(id, 0, ());
            let mut value = Err(String::new());
            let mut fetching = window.request(&self.connection.downloads());
            fetching.drain(|(), found| value = found.map(|(_, bytes)| bytes.to_vec()))?;
            match value {
                Ok(value) => xattr.value = XattrValue::Inline(value),
                Err(what) => self.shared.report.error(path, &what),
            }
        }
        Ok(())
    }
}
