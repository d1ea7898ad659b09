//! ACLs as text. Linux keeps them in attributes: a version (2, little endian, 32 bits), then entries of tag, permissions
//! (16 bits each) and id (32 bits). GNU tar and others write them to archives as text, one entry a line.

/// Version of the attribute.
const VERSION: u32 = 2;

/// The ACL as text with numeric ids; `None` if it is of a kind not known here.
pub fn text(value: &[u8]) -> Option<String> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != VERSION || !rest.is_empty() {
        return None;
    }
    let mut text = String::new();
    for &[tag, tag_high, rights, _, a, b, c, d] in entries {
        let id = u32::from_le_bytes([a, b, c, d]);
        text += &match u16::from_le_bytes([tag, tag_high]) {
            0x01 => "user::".to_owned(),
            0x02 => format!("user:{id}:"),
            0x04 => "group::".to_owned(),
            0x08 => format!("group:{id}:"),
            0x10 => "mask::".to_owned(),
            0x20 => "other::".to_owned(),
            _ => return None,
        };
        for (bit, letter) in [(4, 'r'), (2, 'w'), (1, 'x')] {
            text.push(if rights & bit == 0 { '-' } else { letter });
        }
        text.push('\n');
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acl_reads_as_getfacl_shows_it() {
        let entry = |tag: u16, rights: u16, id: u32| {
            [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let none = u32::MAX;
        let entries = [(1, 6, none), (2, 4, 1000), (4, 4, none), (8, 5, 7), (16, 7, none), (32, 0, none)];
        let value = [2u32.to_le_bytes().to_vec(), entries.map(|(tag, rights, id)| entry(tag, rights, id)).concat()];
        let expected = "user::rw-\nuser:1000:r--\ngroup::r--\ngroup:7:r-x\nmask::rwx\nother::---\n";
        assert_eq!(text(&value.concat()).as_deref(), Some(expected));
        assert_eq!(text(b"\x03\0\0\0"), None);
        assert_eq!(text(b""), None);
    }
}
