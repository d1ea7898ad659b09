//! Extended attributes and the targets of links.

use std::sync::Arc;

use bytes::Bytes;
use datadb::meta::XattrValue;

use super::{View, node::Node, trouble::Trouble};
use crate::cache::blobs::Loss;
use crate::entry::Entry;

/// What a long value is taken to be long: `XATTR_SIZE_MAX` of Linux.
const LONG_BYTES: u64 = 64 << 10;

/// The names of all attributes, each with a NUL behind it.
pub fn names(entry: &Entry) -> Vec<u8> {
    entry.xattrs().iter().flat_map(|xattr| [&xattr.name[..], &[0]].concat()).collect()
}

/// Where a symlink points.
pub fn target(entry: &Entry) -> Result<&[u8], Trouble> {
    if let Some(error) = entry.error() {
        return Err(Trouble::Unread(error.to_owned()));
    }
    entry.rare.as_ref().and_then(|rare| rare.target.as_deref()).ok_or(Trouble::OtherType)
}

impl View {
    /// The value of an attribute; `node` is who has it.
    pub async fn xattr(&self, node: &Arc<Node>, entry: &Entry, name: &[u8]) -> Result<Bytes, Trouble> {
        let xattr = entry.xattrs().iter().find(|xattr| xattr.name == name).ok_or(Trouble::NoAttribute)?;
        match &xattr.value {
            XattrValue::Inline(value) => Ok(Bytes::copy_from_slice(value)),
            XattrValue::Blob(id) => self.blobs.get(*id, LONG_BYTES).await.map_err(|loss| match loss {
                Loss::Gone(what) => {
                    self.losses.tell(node, id, &what);
                    Trouble::Lost { id: *id, what }
                }
                Loss::Server(fault) => Trouble::Server(fault),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datadb::{FileType, Meta, meta::Xattr};

    #[test]
    fn names_end_with_a_nul_each() {
        let xattr = |name: &str| Xattr { name: name.into(), value: XattrValue::Inline(Vec::new()) };
        let xattrs = vec![xattr("security.capability"), xattr("user.a")];
        let entry = Entry::new(Meta { xattrs, ..Meta::bare(None, FileType::File) }, 0);
        assert_eq!(names(&entry), b"security.capability\0user.a\0");
        assert!(names(&Entry::new(Meta::bare(None, FileType::File), 0)).is_empty());
    }

    #[test]
    fn only_a_symlink_has_a_target() {
        let target_of = |meta| target(&Entry::new(meta, 0)).map(<[u8]>::to_vec);
        let link = Meta { target: Some(b"x".to_vec()), ..Meta::bare(None, FileType::Symlink) };
        assert_eq!(target_of(link).unwrap(), b"x");
        assert!(matches!(target_of(Meta::bare(None, FileType::File)), Err(Trouble::OtherType)));
        let unread = Meta { error: Some("denied".into()), ..Meta::bare(None, FileType::Symlink) };
        assert!(matches!(target_of(unread), Err(Trouble::Unread(_))));
    }
}
