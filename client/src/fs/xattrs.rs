//! Extended attributes, ACLs and capabilities among them: of open files by descriptor, of everything else by
//! `/proc/self/fd/N/NAME`, which follows no symlink at the end and knows no longest path.

use bytes::Bytes;
use datadb::{
    BlobRef, limits,
    meta::{Xattr, XattrValue},
};
use rustix::{
    fd::{AsFd, AsRawFd},
    fs::{fgetxattr, flistxattr, lgetxattr, llistxattr},
    io::Errno,
};

/// The kernel gives no longer list and no longer value.
const KERNEL_BYTES_MAX: usize = 64 << 10;

/// Reads attributes with one buffer.
#[derive(Debug)]
pub struct Reader {
    buffer: Vec<u8>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { buffer: vec![0; KERNEL_BYTES_MAX] }
    }
}

impl Reader {
    /// Of something open. Long values go to `long` as blobs.
    pub fn of_open<Fd: AsFd>(&mut self, fd: Fd, long: &mut dyn FnMut(BlobRef, Bytes)) -> Result<Vec<Xattr>, Errno> {
        let len = listed(flistxattr(&fd, &mut self.buffer[..]))?;
        self.values(len, long, |name, buffer| fgetxattr(&fd, name, buffer))
    }

    /// Of a name in a directory.
    pub fn of_name<Fd: AsFd>(
        &mut self,
        dir: Fd,
        name: &[u8],
        long: &mut dyn FnMut(BlobRef, Bytes),
    ) -> Result<Vec<Xattr>, Errno> {
        let path = by_descriptor(dir, name);
        let len = listed(llistxattr(&path[..], &mut self.buffer[..]))?;
        self.values(len, long, |name, buffer| lgetxattr(&path[..], name, buffer))
    }

    fn values(
        &mut self,
        len: usize,
        long: &mut dyn FnMut(BlobRef, Bytes),
        get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
    ) -> Result<Vec<Xattr>, Errno> {
        if len == 0 {
            return Ok(Vec::new());
        }
        let mut names: Vec<Vec<u8>> = self.buffer[..len].split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        names.retain(|name| !name.is_empty() && name.len() <= limits::XATTR_NAME_BYTES_MAX);
        names.sort_unstable();
        names.dedup();
        names.truncate(limits::XATTRS_MAX);
        let (mut xattrs, mut inline) = (Vec::with_capacity(names.len()), 0);
        for name in names {
            let value = match get(&name, &mut self.buffer) {
                Ok(len) => &self.buffer[..len],
                Err(Errno::NODATA | Errno::NOTSUP) => continue,
                Err(error) => return Err(error),
            };
            inline += value.len();
            let is_inline = value.len() <= limits::XATTR_INLINE_BYTES_MAX && inline <= limits::XATTRS_INLINE_BYTES_MAX;
            let value = if is_inline {
                XattrValue::Inline(value.to_vec())
            } else {
                inline -= value.len();
                let blob = BlobRef::of(value);
                long(blob, Bytes::copy_from_slice(value));
                XattrValue::Blob(blob.id)
            };
            xattrs.push(Xattr { name, value });
        }
        Ok(xattrs)
    }
}

/// The path of a name in an open directory that all calls without an `at` form can use.
pub fn by_descriptor<Fd: AsFd>(dir: Fd, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// A file system without attributes has none.
fn listed(len: Result<usize, Errno>) -> Result<usize, Errno> {
    match len {
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOENT) => Ok(0),
        other => other,
    }
}
