//! In what two entries of one name and type differ.

use datadb::{FileType, Meta};

use crate::field::Field;

/// The differences of two entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unlike {
    /// The bytes of a file.
    pub content: bool,
    /// Everything else.
    pub fields: Vec<Field>,
}

impl Unlike {
    /// Whether there are any.
    pub fn is_any(&self) -> bool {
        self.content || !self.fields.is_empty()
    }
}

/// Compares; what is below a directory does not count.
pub fn compare(before: &Meta, after: &Meta) -> Unlike {
    let content = before.file_type == FileType::File && (before.size, before.content) != (after.size, after.content);
    let owner = |meta: &Meta| (meta.uid, meta.gid, meta.user.clone(), meta.group.clone());
    let links = |meta: &Meta| meta.link.map_or(1, |link| link.nlink);
    let fields = [
        (Field::Mode, before.mode != after.mode),
        (Field::Owner, owner(before) != owner(after)),
        (Field::Mtime, before.mtime != after.mtime),
        (Field::Target, before.target != after.target),
        (Field::Device, before.rdev != after.rdev),
        (Field::Xattrs, before.xattrs != after.xattrs),
        (Field::Links, links(before) != links(after)),
        (Field::Error, before.error != after.error),
    ];
    Unlike { content, fields: fields.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect() }
}

#[cfg(test)]
mod tests {
    use datadb::meta::HardLink;

    use super::*;

    #[test]
    fn each_field_is_told_by_its_name() {
        let plain = Meta::bare(None, FileType::File);
        assert!(!compare(&plain, &plain).is_any());
        type Case = (&'static [&'static str], fn(&mut Meta));
        let cases: [Case; 7] = [
            (&["mode"], |meta| meta.mode = 0o600),
            (&["owner"], |meta| meta.group = "staff".to_owned()),
            (&["mtime"], |meta| meta.mtime.nanos = 1),
            (&["target"], |meta| meta.target = Some(b"x".to_vec())),
            (&["device"], |meta| meta.rdev = Some((1, 2))),
            (&["links"], |meta| meta.link = Some(HardLink { nlink: 2, id: [0; 16] })),
            (&["error"], |meta| meta.error = Some("no permission".to_owned())),
        ];
        for (words, change) in cases {
            let mut other = plain.clone();
            change(&mut other);
            let unlike = compare(&plain, &other);
            assert!(!unlike.content);
            assert_eq!(unlike.fields.iter().map(|field| field.word()).collect::<Vec<_>>(), words);
        }
    }

    #[test]
    fn another_identity_of_a_linked_file_is_no_difference() {
        let linked = |id| Meta { link: Some(HardLink { nlink: 2, id: [id; 16] }), ..Meta::bare(None, FileType::File) };
        assert!(!compare(&linked(1), &linked(2)).is_any());
    }

    #[test]
    fn a_salt_is_no_difference() {
        let plain = Meta::bare(None, FileType::File);
        assert!(!compare(&plain, &Meta { salt: 1, ..plain.clone() }).is_any());
    }
}
