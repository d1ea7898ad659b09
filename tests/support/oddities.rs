//! A tree with every oddity that a file system allows, made with relative calls so that paths may grow beyond 4 KiB.

use std::{
    fs as std_fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{self, AtFlags, CWD, FileType, Gid, Mode, OFlags, RawMode, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};

use super::{compare::below, place::is_root, tree::random_bytes};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Makes the tree below a directory that is made too.
pub fn make(root: &Path) {
    std_fs::create_dir_all(root).expect("the root of the oddities");
    let dir = fs::open(root, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).expect("the root");
    let dir = Folder(dir);
    names(&dir);
    sizes(&dir);
    sparse(&dir);
    links(&dir);
    attributes(&dir);
    modes_and_times(&dir);
    deep(&dir);
    many(&dir);
    if is_root() {
        devices(&dir);
        owners(&dir);
    } else {
        println!("not root: no devices, foreign owners, capabilities and trusted xattrs in this tree");
    }
    socket(root);
    dir.time(b".", -1, 1);
}

/// An open directory, in which everything is made.
struct Folder(OwnedFd);

impl Folder {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn dir(&self, name: &[u8]) -> Self {
        fs::mkdirat(self.fd(), name, Mode::from_raw_mode(0o755)).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Self(fs::openat(self.fd(), name, flags, Mode::empty()).expect("a directory just made"))
    }

    fn create(&self, name: &[u8]) -> OwnedFd {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = fs::openat(self.fd(), name, flags, Mode::from_raw_mode(0o644));
        file.unwrap_or_else(|error| panic!("{}: {error}", name.escape_ascii()))
    }

    fn file(&self, name: &[u8], bytes: &[u8]) {
        self.pieces(name, bytes.len() as u64, &[(0, bytes)]);
    }

    /// A file of a length with these bytes at these offsets, holes elsewhere.
    fn pieces(&self, name: &[u8], len: u64, pieces: &[(u64, &[u8])]) {
        let file = self.create(name);
        fs::ftruncate(&file, len).expect("a length");
        for (offset, bytes) in pieces {
            let mut done = 0;
            while done < bytes.len() {
                done += rustix::io::pwrite(&file, &bytes[done..], offset + done as u64).expect("bytes");
            }
        }
    }

    fn symlink(&self, target: &[u8], name: &[u8]) {
        fs::symlinkat(target, self.fd(), name).expect("a symlink");
    }

    fn link(&self, old: &[u8], other: &Self, name: &[u8]) {
        fs::linkat(self.fd(), old, other.fd(), name, AtFlags::empty()).expect("a hard link");
    }

    fn node(&self, name: &[u8], file_type: FileType, major: u32, minor: u32) {
        let rdev = fs::makedev(major, minor);
        fs::mknodat(self.fd(), name, file_type, Mode::from_raw_mode(0o640), rdev).expect("a special file");
    }

    fn mode(&self, name: &[u8], mode: RawMode) {
        fs::chmodat(self.fd(), name, Mode::from_raw_mode(mode), AtFlags::empty()).expect("a mode");
    }

    fn owner(&self, name: &[u8], uid: u32, gid: u32) {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        fs::chownat(self.fd(), name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).expect("an owner");
    }

    fn time(&self, name: &[u8], seconds: i64, nanos: i64) {
        let mtime = Timespec { tv_sec: seconds, tv_nsec: nanos };
        let times = Timestamps { last_access: mtime, last_modification: mtime };
        fs::utimensat(self.fd(), name, &times, AtFlags::SYMLINK_NOFOLLOW).expect("a time");
    }

    /// Sets an attribute; says whether the file system takes it.
    fn xattr(&self, name: &[u8], key: &[u8], value: &[u8]) -> bool {
        match fs::lsetxattr(&below(self.fd(), name)[..], key, value, XattrFlags::empty()) {
            Ok(()) => true,
            Err(Errno::OPNOTSUPP | Errno::NOSPC | Errno::TOOBIG | Errno::RANGE | Errno::PERM) => {
                println!("no xattr {} of {} bytes here", key.escape_ascii(), value.len());
                false
            }
            Err(error) => panic!("xattr {}: {error}", key.escape_ascii()),
        }
    }
}

/// Names that break programs.
fn names(root: &Folder) {
    let dir = root.dir(b"names");
    let odd: [&[u8]; 17] = [
        b"not utf-8: \xff\xfe\x80",
        b"latin1 caf\xe9",
        "precomposed é".as_bytes(),
        "decomposed e\u{301}".as_bytes(),
        "wide 日本語 🗄".as_bytes(),
        b"two\nlines",
        b"bell\x07 and escape \x1b[31m",
        b" spaces at both ends ",
        b"-rf",
        b"--json",
        b"...",
        b"~",
        b"*?[a]",
        b"back\\slash",
        b"quote\"'`",
        b"a:b",
        b"\x01",
    ];
    for name in odd {
        dir.file(name, name);
    }
    dir.file(&[b'n'; 255], b"as long as a name may be");
    dir.file(&[0xfe; 255], b"as long, and not UTF-8");
    dir.dir(b"sub:/\xff".split(|byte| *byte == b'/').next().unwrap())
        .file(b"below", b"a directory whose name ends in :");
    dir.dir(b"\xc3(").file(b"\xff", b"neither is UTF-8");
    // Byte order is not the order of whole paths: `a` < `a-` < `a/x` by name, `a-` < `a/` by path.
    dir.dir(b"a").file(b"x", b"1");
    dir.file(b"a-", b"2");
    dir.file(b"a0", b"3");
}

/// Sizes around those of the chunker, and contents that share.
fn sizes(root: &Folder) {
    let dir = root.dir(b"sizes");
    for len in [0, 1, 4095, 4096, 4097, 128 * KIB - 1, 128 * KIB, 128 * KIB + 1, MIB, 2 * MIB, 2 * MIB + 1] {
        dir.file(format!("random-{len}").as_bytes(), &random_bytes(len as u64, len));
    }
    dir.file(b"random-5MiB", &random_bytes(5, 5 * MIB));
    dir.file(b"the same again", &random_bytes(5, 5 * MIB));
    dir.file(b"zeros-5MiB", &vec![0; 5 * MIB]);
    dir.file(b"zeros-129KiB", &vec![0; 129 * KIB]);
    dir.file(b"text", "the same line again and again\n".repeat(20_000).as_bytes());
    dir.dir(b"empty directory");
    dir.dir(b"one").dir(b"in").dir(b"another");
}

/// Holes at every place.
fn sparse(root: &Folder) {
    let dir = root.dir(b"sparse");
    let block = random_bytes(77, 64 * KIB);
    let (m, block) = (MIB as u64, &block[..]);
    dir.pieces(b"only a hole", 64 * m, &[]);
    dir.pieces(b"only a hole, odd length", m + 123, &[]);
    dir.pieces(b"hole of one page", 3 * 4096, &[(0, &block[..4096]), (8192, &block[..4096])]);
    dir.pieces(b"leading", 2 * m, &[(2 * m - 4096, &block[..4096])]);
    dir.pieces(b"middle", 9 * m, &[(0, block), (9 * m - block.len() as u64, block)]);
    dir.pieces(b"trailing", 7 * m + 1, &[(0, block)]);
    dir.pieces(b"comb", 16 * m, &(0..16).map(|tooth| (tooth * m + 4096 * tooth, &block[..5000])).collect::<Vec<_>>());
    dir.pieces(b"zeros that are written", m, &[(256 * 1024, &[0; 64 * KIB])]);
    let image: Vec<(u64, &[u8])> = (0..40).map(|i| (i * 75 * m, block)).collect();
    dir.pieces(b"image of 3 GiB", 3 << 30, &image);
    let small: Vec<u8> = random_bytes(78, 600 * KIB);
    let pieces = [(4096, &small[..]), (3 * m, &small[..200 * KIB])];
    dir.pieces(b"chunks around a hole", 4 * m, &pieces);
}

/// Hard links of every kind of file, symlinks that lead nowhere.
fn links(root: &Folder) {
    let (dir, other) = (root.dir(b"links"), root.dir(b"links of others"));
    dir.file(b"file", &random_bytes(9, 300 * KIB));
    dir.link(b"file", &dir, b"file again");
    dir.link(b"file", &other, b"a file of another directory");
    dir.file(b"empty", b"");
    dir.link(b"empty", &other, b"empty");
    dir.pieces(b"sparse", 8 << 20, &[(4 << 20, b"here")]);
    dir.link(b"sparse", &dir, b"sparse too");
    dir.symlink(b"file", b"symlink");
    dir.link(b"symlink", &other, b"the same symlink");
    dir.node(b"fifo", FileType::Fifo, 0, 0);
    dir.link(b"fifo", &other, b"the same fifo");
    dir.node(b"lonely fifo", FileType::Fifo, 0, 0);
    for (name, target) in [
        (&b"dangling"[..], &b"nothing/there"[..]),
        (b"absolute", b"/etc/passwd"),
        (b"itself", b"itself"),
        (b"out", b"../../../../../.."),
        (b"to a directory", b"../names"),
        (b"not utf-8", b"\xff\xfe"),
        (b"long", &[b'l'; 4000]),
    ] {
        dir.symlink(target, name);
        dir.time(name, 1_234_567_890, 987_654_321);
    }
}

/// Extended attributes and ACLs.
fn attributes(root: &Folder) {
    let dir = root.dir(b"attributes");
    dir.file(b"user", b"x");
    dir.xattr(b"user", b"user.comment", b"a comment");
    dir.xattr(b"user", b"user.empty", b"");
    dir.xattr(b"user", b"user.binary\xff", &[0, 255, 10, 0]);
    dir.xattr(b"user", format!("user.{}", "n".repeat(250)).as_bytes(), b"a long name");
    dir.file(b"long", b"x");
    dir.xattr(b"long", b"user.2000", &random_bytes(11, 2000));
    dir.file(b"longer than a page", b"x");
    dir.xattr(b"longer than a page", b"user.5000", &random_bytes(12, 5000));
    dir.xattr(b"longer than a page", b"trusted.5000", &random_bytes(13, 5000));
    dir.file(b"as long as they get", b"x");
    dir.xattr(b"as long as they get", b"trusted.65536", &random_bytes(14, 64 * KIB));
    let directory = dir.dir(b"directory");
    directory.file(b"inside", b"x");
    dir.xattr(b"directory", b"user.on a directory", b"yes");
    dir.file(b"acl", b"x");
    dir.xattr(b"acl", b"system.posix_acl_access", &acl(6));
    dir.dir(b"acl directory").file(b"inside", b"made before the default");
    dir.xattr(b"acl directory", b"system.posix_acl_access", &acl(7));
    dir.xattr(b"acl directory", b"system.posix_acl_default", &acl(5));
    let inheriting = dir.dir(b"acl directory/inheriting");
    inheriting.file(b"file with an inherited ACL", b"x");
    if is_root() {
        dir.symlink(b"user", b"symlink");
        dir.xattr(b"symlink", b"trusted.on a symlink", b"yes");
        dir.node(b"fifo", FileType::Fifo, 0, 0);
        dir.xattr(b"fifo", b"trusted.on a fifo", b"yes");
        dir.file(b"ping", b"#!/bin/true\n");
        dir.owner(b"ping", 12, 34);
        dir.mode(b"ping", 0o755);
        dir.xattr(b"ping", b"security.capability", &capability_net_raw());
        dir.file(b"read-only with attributes", b"x");
        dir.xattr(b"read-only with attributes", b"user.there", b"yes");
        dir.mode(b"read-only with attributes", 0o400);
    }
}

/// A POSIX ACL as the kernel stores it: owner, user 1234, group, group 4321, mask, others.
fn acl(permissions: u16) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries = [
        (0x01, 7, NOBODY),
        (0x02, permissions, 1234),
        (0x04, 5, NOBODY),
        (0x08, permissions, 4321),
        (0x10, 7, NOBODY),
        (0x20, 4, NOBODY),
    ];
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        let (tag, permissions): (u16, u16) = (tag, permissions);
        value.extend(tag.to_le_bytes().into_iter().chain(permissions.to_le_bytes()).chain(u32::to_le_bytes(id)));
    }
    value
}

/// `cap_net_raw+ep` as the kernel stores it (revision 2).
fn capability_net_raw() -> Vec<u8> {
    [0x0200_0001u32, 1 << 13, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Modes that keep programs out, and times at the edges.
fn modes_and_times(root: &Folder) {
    let dir = root.dir(b"modes and times");
    for mode in [0o000, 0o444, 0o200, 0o111, 0o777, 0o4755, 0o2755, 0o6711, 0o1644] {
        let name = format!("file-{mode:04o}");
        dir.file(name.as_bytes(), b"x");
        dir.mode(name.as_bytes(), mode);
    }
    for mode in [0o000, 0o555, 0o1777, 0o2775, 0o700] {
        let name = format!("dir-{mode:04o}");
        let sub = dir.dir(name.as_bytes());
        sub.file(b"inside", b"x");
        dir.mode(name.as_bytes(), if mode == 0 && !is_root() { 0o500 } else { mode });
    }
    for (name, seconds, nanos) in [
        (&b"before 1970"[..], -12_345_678, 0),
        (b"just before 1970", -1, 999_999_999),
        (b"1901", -2_147_483_648, 1),
        (b"the epoch", 0, 0),
        (b"one nanosecond", 0, 1),
        (b"after 2038", 4_102_444_800, 123_456_789),
        (b"2014", 1_399_888_800, 999_999_999),
    ] {
        dir.file(name, b"x");
        dir.time(name, seconds, nanos);
    }
    dir.dir(b"an old directory").file(b"with a young file", b"x");
    dir.time(b"an old directory", -77_777, 777);
    dir.symlink(b"x", b"an old symlink");
    dir.time(b"an old symlink", 1, 2);
}

/// A path of more than 4,096 bytes, and one of a hundred levels.
fn deep(root: &Folder) {
    let mut dir = root.dir(b"deep");
    for level in 0..18 {
        let name = [format!("{level:02}").into_bytes(), vec![b'd'; 253]].concat();
        dir = dir.dir(&name);
    }
    dir.file(b"file at more than 4,096 bytes", &random_bytes(21, 200 * KIB));
    dir.file(&[b'f'; 255], b"x");
    dir.symlink(b"nowhere", b"symlink");
    dir.time(b"symlink", 5, 5);
    dir.xattr(b"file at more than 4,096 bytes", b"user.deep", b"yes");
    let mut dir = root.dir(b"hundred levels");
    for _ in 0..100 {
        dir = dir.dir(b"d");
        dir.file(b"f", b"f");
    }
}

/// A directory that is cut into segments.
fn many(root: &Folder) {
    let dir = root.dir(b"1,500 entries");
    for number in 0..1500 {
        dir.file(format!("entry {number}").as_bytes(), format!("{number}").as_bytes());
    }
}

fn devices(root: &Folder) {
    let dir = root.dir(b"devices");
    dir.node(b"null", FileType::CharacterDevice, 1, 3);
    dir.node(b"large minor", FileType::CharacterDevice, 4000, 1_000_000);
    dir.node(b"block", FileType::BlockDevice, 7, 200);
    dir.link(b"null", &dir, b"null again");
    dir.mode(b"null", 0o666);
    dir.time(b"block", 1_000_000_000, 5);
}

fn owners(root: &Folder) {
    let dir = root.dir(b"owners");
    dir.file(b"nobody's", b"x");
    dir.owner(b"nobody's", 65534, 65534);
    dir.file(b"without a name", b"x");
    dir.owner(b"without a name", 4_000_000_000, 3_999_999_999);
    dir.file(b"setuid of another", b"x");
    dir.owner(b"setuid of another", 1, 2);
    dir.mode(b"setuid of another", 0o4750);
    dir.symlink(b"x", b"symlink");
    dir.owner(b"symlink", 7, 8);
    dir.dir(b"directory").file(b"inside", b"x");
    dir.owner(b"directory", 9, 10);
    dir.node(b"fifo", FileType::Fifo, 0, 0);
    dir.owner(b"fifo", 11, 12);
}

/// A socket, which is skipped. Its path must be short, so it is bound through the directory's descriptor.
fn socket(root: &Path) {
    let dir = fs::openat(CWD, root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("the root");
    let path = below(dir.as_fd(), b"socket");
    let path = std::str::from_utf8(&path).expect("digits and slashes");
    drop(std::os::unix::net::UnixListener::bind(path).expect("a socket"));
}
