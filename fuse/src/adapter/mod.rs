//! Kernel calls and errno, and nothing else: what the kernel asks is translated, `view` is asked, and its answer is
//! translated back. What needs nobody else is answered at once, everything else from a task.

mod attr;
mod dir;
mod errno;
mod handles;
pub mod session;

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, sync::Arc};

use bytes::Bytes;
use fuser::{
    Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyXattr, Request,
};
use tokio::runtime::Handle;

use crate::entry::Entry;
use crate::view::{
    View,
    file::File,
    ino::Ino,
    node::{Kind, Node},
    nodes::Nodes,
    trouble::Trouble,
    xattr,
};
use attr::{A_SECOND, FOREVER};
use dir::OpenDir;
use handles::Handles;

/// Questions that the kernel asks ahead of programs at the same time.
const BACKGROUND_MAX: u16 = 64;

/// A name is used for one thing for the life of a mount.
const GENERATION: Generation = Generation(0);

/// What `lseek` is asked for.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// What the space is counted in.
const BLOCK_BYTES: u64 = 4096;

/// A file that is open.
#[derive(Debug)]
enum OpenFile {
    Text(&'static str),
    File(File),
}

#[derive(Debug)]
struct Inner {
    view: View,
    nodes: Nodes,
    files: Handles<OpenFile>,
    dirs: Handles<OpenDir>,
    is_shared: bool,
}

/// The file system.
#[derive(Clone, Debug)]
pub struct Adapter {
    inner: Arc<Inner>,
    runtime: Handle,
}

impl Adapter {
    /// Shows a view from this root on. What needs to wait does so in this runtime. If other users may look, the kernel
    /// heeds modes and ACLs; otherwise whoever mounted it may read everything, as they may from the server.
    pub fn new(view: View, root: Kind, runtime: Handle, is_shared: bool) -> Self {
        let nodes = Nodes::new(Node::root(root));
        let (files, dirs) = (Handles::default(), Handles::default());
        Self { inner: Arc::new(Inner { view, nodes, files, dirs, is_shared }), runtime }
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, work: impl FnOnce(Arc<Inner>) -> F) {
        drop(self.runtime.spawn(work(self.inner.clone())));
    }
}

impl Inner {
    fn node(&self, ino: INodeNo) -> Result<Arc<Node>, Errno> {
        self.nodes.get(Ino(ino.0)).ok_or(Errno::ESTALE)
    }

    /// Tells of an entry that was found, or of its absence.
    async fn found(&self, dir: &Arc<Node>, name: &[u8], found: Result<Kind, Trouble>, reply: ReplyEntry) {
        let node = match found {
            Ok(kind) => self.nodes.child(dir, name, kind),
            Err(Trouble::Absent) => {
                // That a name is missing where nothing changes is worth knowing, too.
                let is_lasting = matches!(dir.kind, Kind::Top(_) | Kind::Entry(_));
                let ttl = if is_lasting { FOREVER } else { A_SECOND };
                return reply.entry_with_ttls(&ttl, &ttl, &attr::nothing(), GENERATION);
            }
            Err(trouble) => return reply.error(Errno::from(&trouble)),
        };
        match self.view.entry(&node).await {
            Ok(entry) => self.tell(&node, &entry, reply),
            Err(trouble) => reply.error(Errno::from(&trouble)),
        }
    }

    fn tell(&self, node: &Arc<Node>, entry: &Entry, reply: ReplyEntry) {
        self.nodes.told(node);
        let ttl = if node.kind.is_lasting() { FOREVER } else { A_SECOND };
        reply.entry_with_ttls(&FOREVER, &ttl, &attr::attr(node.ino, entry), GENERATION);
    }

    async fn attr(&self, ino: INodeNo) -> Result<fuser::FileAttr, Errno> {
        let node = self.node(ino)?;
        let entry = self.view.entry(&node).await.map_err(|trouble| Errno::from(&trouble))?;
        Ok(attr::attr(node.ino, &entry))
    }

    async fn read(&self, file: &OpenFile, offset: u64, len: u32) -> Result<Bytes, Errno> {
        match file {
            OpenFile::Text(text) => Ok(part(text.as_bytes(), offset, len)),
            OpenFile::File(file) => file.read(&self.view, offset, len).await.map_err(|trouble| Errno::from(&trouble)),
        }
    }

    fn opened(&self, file: OpenFile, reply: ReplyOpen) {
        reply.opened(self.files.open(file), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH);
    }

    async fn open(&self, ino: INodeNo) -> Result<OpenFile, Errno> {
        let node = self.node(ino)?;
        if let Kind::Text(text) = node.kind {
            return Ok(OpenFile::Text(text));
        }
        let file = self.view.open(node).await.map_err(|trouble| Errno::from(&trouble))?;
        Ok(OpenFile::File(file))
    }
}

fn part(text: &'static [u8], offset: u64, len: u32) -> Bytes {
    let from = text.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
    let to = text.len().min(from + len as usize);
    Bytes::from_static(&text[from..to])
}

/// A value, or how long it is, as asked for.
fn answer(reply: ReplyXattr, value: Result<Bytes, Errno>, room: u32) {
    match value {
        Err(errno) => reply.error(errno),
        Ok(value) if room == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() > room as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let mut wanted =
            InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_PARALLEL_DIROPS | InitFlags::FUSE_CACHE_SYMLINKS;
        if self.inner.is_shared {
            wanted |= InitFlags::FUSE_POSIX_ACL;
        }
        // What a kernel can't do costs speed only.
        let wanted = wanted & config.capabilities();
        config.add_capabilities(wanted).map_err(|_| std::io::ErrorKind::Unsupported)?;
        config.set_max_background(BACKGROUND_MAX).map_err(|_| std::io::ErrorKind::InvalidInput)?;
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let dir = match self.inner.node(parent) {
            Ok(dir) => dir,
            Err(errno) => return reply.error(errno),
        };
        if let Some(Ok(Kind::Entry(entry))) = self.inner.view.lookup_now(&dir, name.as_bytes()) {
            let node = self.inner.nodes.child(&dir, name.as_bytes(), Kind::Entry(entry.clone()));
            return self.inner.tell(&node, &entry, reply);
        }
        let name = name.as_bytes().to_vec();
        self.spawn(|inner| async move {
            let found = match inner.view.lookup_now(&dir, &name) {
                Some(found) => found,
                None => inner.view.lookup(&dir, &name).await,
            };
            inner.found(&dir, &name, found, reply).await;
        });
    }

    fn forget(&self, _: &Request, ino: INodeNo, times: u64) {
        self.inner.nodes.forget(Ino(ino.0), times);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let known = self.inner.node(ino).map(|node| self.inner.view.entry_now(&node).map(|entry| (node, entry)));
        match known {
            Ok(Some((node, entry))) => reply.attr(&FOREVER, &attr::attr(node.ino, &entry)),
            Err(errno) => reply.error(errno),
            Ok(None) => self.spawn(|inner| async move {
                match inner.attr(ino).await {
                    Ok(attr) => reply.attr(&FOREVER, &attr),
                    Err(errno) => reply.error(errno),
                }
            }),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        self.spawn(|inner| async move {
            let target = async {
                let entry = inner.view.entry(&*inner.node(ino)?).await.map_err(|trouble| Errno::from(&trouble))?;
                xattr::target(&entry).map(<[u8]>::to_vec).map_err(|trouble| Errno::from(&trouble))
            };
            match target.await {
                Ok(target) => reply.data(&target),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if let Some(file) = self.inner.node(ino).ok().and_then(|node| self.inner.view.open_now(node)) {
            return self.inner.opened(OpenFile::File(file), reply);
        }
        self.spawn(|inner| async move {
            match inner.open(ino).await {
                Ok(file) => inner.opened(file, reply),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(file) = self.inner.files.get(handle) else { return reply.error(Errno::EBADF) };
        if let OpenFile::File(file) = &*file
            && let Some(data) = file.read_now(&self.inner.view, offset, size)
        {
            return reply.data(&data);
        }
        self.spawn(|inner| async move {
            match inner.read(&file, offset, size).await {
                Ok(data) => reply.data(&data),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.inner.files.close(handle);
        reply.ok();
    }

    fn lseek(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let Some(file) = self.inner.files.get(handle) else { return reply.error(Errno::EBADF) };
        let (Ok(from), SEEK_DATA | SEEK_HOLE) = (u64::try_from(offset), whence) else {
            return reply.error(Errno::EINVAL);
        };
        self.spawn(|inner| async move {
            let place = match &*file {
                OpenFile::Text(text) if from >= text.len() as u64 => Err(Trouble::BehindEnd),
                OpenFile::Text(text) => Ok(if whence == SEEK_HOLE { text.len() as u64 } else { from }),
                OpenFile::File(file) => file.seek(&inner.view, from, whence == SEEK_HOLE).await,
            };
            match place {
                Ok(place) => reply.offset(i64::try_from(place).unwrap_or(i64::MAX)),
                Err(trouble) => reply.error(Errno::from(&trouble)),
            }
        });
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.inner.node(ino) {
            Ok(node) => {
                let is_lasting = matches!(node.kind, Kind::Top(_) | Kind::Entry(_));
                let kept = FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE;
                let flags = if is_lasting { kept } else { FopenFlags::empty() };
                reply.opened(self.inner.dirs.open(OpenDir::new(node)), flags);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectory) {
        let Some(dir) = self.inner.dirs.get(handle) else { return reply.error(Errno::EBADF) };
        self.spawn(|inner| async move { dir.read(&inner, offset, reply).await });
    }

    fn readdirplus(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        let Some(dir) = self.inner.dirs.get(handle) else { return reply.error(Errno::EBADF) };
        self.spawn(|inner| async move { dir.read_plus(&inner, offset, reply).await });
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.inner.dirs.close(handle);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.spawn(|inner| async move {
            match inner.view.room().await {
                // As large as everything that was backed up, as full as the repository, and nothing to be had.
                Ok(room) => {
                    let blocks = room.logical_bytes.max(room.stored_bytes).div_ceil(BLOCK_BYTES);
                    let free = blocks - room.stored_bytes.div_ceil(BLOCK_BYTES).min(blocks);
                    let names = datadb::limits::NAME_BYTES_MAX as u32;
                    reply.statfs(blocks, free, 0, room.backups, 0, BLOCK_BYTES as u32, names, BLOCK_BYTES as u32);
                }
                Err(trouble) => reply.error(Errno::from(&trouble)),
            }
        });
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let known = self.inner.node(ino).ok().and_then(|node| self.inner.view.entry_now(&node));
        if known.is_some_and(|entry| entry.xattrs().is_empty()) {
            return reply.error(Errno::ENODATA);
        }
        let name = name.as_bytes().to_vec();
        self.spawn(|inner| async move {
            let value = async {
                let node = inner.node(ino)?;
                let entry = inner.view.entry(&node).await.map_err(|trouble| Errno::from(&trouble))?;
                inner.view.xattr(&node, &entry, &name).await.map_err(|trouble| Errno::from(&trouble))
            };
            answer(reply, value.await, size);
        });
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.spawn(|inner| async move {
            let names = async {
                let entry = inner.view.entry(&*inner.node(ino)?).await.map_err(|trouble| Errno::from(&trouble))?;
                Ok(Bytes::from(xattr::names(&entry)))
            };
            answer(reply, names.await, size);
        });
    }
}
