//! Names in a zip archive. Who extracts it may do so on another system, where a backslash parts directories, `C:` is a drive,
//! and `..` leads up: a tree that others filled must not write beside the place it is extracted to.

use std::borrow::Cow;

/// A path of the tree as a name in an archive: relative, and with a backslash, the colon of a drive, a name of dots alone, and
/// the percent signs of such a name as `%XX`. Everything else stays as it is.
pub fn portable(path: &[u8]) -> Cow<'_, [u8]> {
    let is_plain = |name: &&[u8]| !name.is_empty() && !is_odd(name);
    if let Some(below) = path.strip_prefix(b"/")
        && below.split(|byte| *byte == b'/').all(|name| is_plain(&name))
    {
        return Cow::Borrowed(below);
    }
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    let names: Vec<Cow<'_, [u8]>> = names.map(|name| if is_odd(name) { written(name) } else { name.into() }).collect();
    Cow::Owned(names.join(&b'/'))
}

fn is_drive(name: &[u8]) -> bool {
    matches!(name, [letter, b':', ..] if letter.is_ascii_alphabetic())
}

fn is_odd(name: &[u8]) -> bool {
    name.contains(&b'\\') || is_drive(name) || matches!(name, b"." | b"..")
}

/// A name that can't stay as it is.
fn written(name: &[u8]) -> Cow<'static, [u8]> {
    let (is_drive, is_dots) = (is_drive(name), name.iter().all(|byte| *byte == b'.'));
    let mut out = Vec::with_capacity(name.len() + 8);
    for (i, byte) in name.iter().enumerate() {
        match byte {
            b'\\' => out.extend_from_slice(b"%5C"),
            b'%' => out.extend_from_slice(b"%25"),
            b':' if is_drive && i == 1 => out.extend_from_slice(b"%3A"),
            b'.' if is_dots => out.extend_from_slice(b"%2E"),
            byte => out.push(*byte),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else_on_any_system() {
        let odd: [(&[u8], &[u8]); 9] = [
            (b"/..\\..\\evil.bat", b"..%5C..%5Cevil.bat"),
            (b"/\\\\server\\share", b"%5C%5Cserver%5Cshare"),
            (b"/C:/Windows", b"C%3A/Windows"),
            (b"/a/c:evil", b"a/c%3Aevil"),
            (b"/../up", b"%2E%2E/up"),
            (b"/a/./b", b"a/%2E/b"),
            (b"//etc/passwd", b"etc/passwd"),
            (b"/50%\\x", b"50%25%5Cx"),
            (b"/C:\\a:b", b"C%3A%5Ca:b"),
        ];
        for (path, name) in odd {
            assert_eq!(&*portable(path), name, "{}", path.escape_ascii());
        }
    }

    #[test]
    fn all_other_names_stay_as_they_are() {
        for name in
            [&b"a"[..], b"a/b.c", b"12:30", b"50%", "gr\u{fc}n".as_bytes(), b"a/...", b".hidden", b"..x", b"\xff\n"]
        {
            assert_eq!(&*portable(&[b"/", name].concat()), name, "{}", name.escape_ascii());
        }
    }
}
