//! As `mount` calls its helpers: `mount.fuse.datadb SPEC DIR -o OPTIONS`, for a line of fstab.

use std::ffi::{OsStr, OsString};

/// The name by which it knows that it is one.
const NAME: &str = "mount.fuse.datadb";

/// What a SPEC is that names no server: the environment or the settings do.
const NO_SERVER: [&str; 2] = ["none", "datadb"];

/// Options that are `mount`'s own business, or that hold anyway.
const IGNORED: [&str; 24] = [
    "async",
    "atime",
    "auto",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "group",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "noexec",
    "nofail",
    "nosuid",
    "nouser",
    "owner",
    "relatime",
    "ro",
    "rw",
    "suid",
    "user",
    "users",
    "_netdev",
];

/// Options that are flags of ours, and whether something stands behind them.
const FLAGS: [(&str, &str, bool); 8] = [
    ("all_hosts", "--all-hosts", false),
    ("allow_other", "--allow-other", false),
    ("cache_dir", "--cache-dir", true),
    ("cache_size", "--cache-size", true),
    ("host", "--host", true),
    ("log", "--log", true),
    ("profile", "--profile", true),
    ("timeout", "--timeout", true),
];

/// Whether the program was called by the name of a helper.
pub fn is_called(program: &OsStr) -> bool {
    std::path::Path::new(program).file_name().is_some_and(|name| name == NAME)
}

/// The command line that a helper's stands for; what is wrong with it otherwise.
pub fn command_line(words: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, String> {
    let (mut places, mut options) = (Vec::new(), Vec::new());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("-o") => options.extend(words.next()),
            Some("-t" | "-N") => drop(words.next()),
            // Sloppy, fake, no mtab, verbose.
            Some("-s" | "-f" | "-n" | "-v") => {}
            Some(other) if other.starts_with('-') => return Err(format!("the option {other} is not known")),
            _ => places.push(word),
        }
    }
    let Ok([spec, dir]) = <[OsString; 2]>::try_from(places) else {
        return Err(format!("it is called as `{NAME} SPEC DIR -o OPTIONS`"));
    };
    let mut line: Vec<OsString> = ["datadb-fuse", "mount", "--daemon"].map(OsString::from).to_vec();
    for list in options {
        for option in list.to_string_lossy().split(',').filter(|option| !option.is_empty()) {
            line.extend(flag(option)?);
        }
    }
    if !NO_SERVER.iter().any(|name| spec == *name) {
        line.extend([OsString::from("--server"), spec]);
    }
    line.extend([OsString::from("--"), dir]);
    Ok(line)
}

fn flag(option: &str) -> Result<Vec<OsString>, String> {
    let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
    if IGNORED.contains(&name) || name.starts_with("x-") || name == "comment" {
        return Ok(Vec::new());
    }
    let known = FLAGS.iter().find(|(known, _, has_value)| *known == name && *has_value == value.is_some());
    let Some((_, flag, _)) = known else { return Err(format!("the mount option {option} is not known")) };
    Ok([Some(*flag), value].into_iter().flatten().map(OsString::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> Result<String, String> {
        let line = command_line(words.iter().map(OsString::from))?;
        Ok(line.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_line_of_fstab_becomes_a_command_line() {
        let words = ["http://backup:9735", "/mnt", "-o", "ro,_netdev,x-systemd.automount,host=desk,allow_other"];
        let expected = "datadb-fuse mount --daemon --host desk --allow-other --server http://backup:9735 -- /mnt";
        assert_eq!(line(&words).unwrap(), expected);
        assert_eq!(line(&["none", "/mnt"]).unwrap(), "datadb-fuse mount --daemon -- /mnt");
        let sloppy = ["unix:/run/d", "/mnt", "-s", "-o", "rw", "-t", "fuse.datadb"];
        assert_eq!(line(&sloppy).unwrap(), "datadb-fuse mount --daemon --server unix:/run/d -- /mnt");
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (words, named) in [
            (&["a", "/mnt", "-o", "ro,frobnicate"][..], "frobnicate"),
            (&["a", "/mnt", "-o", "host"], "host"),
            (&["a", "/mnt", "-o", "allow_other=1"], "allow_other=1"),
            (&["a", "/mnt", "-x"], "-x"),
            (&["a"], "SPEC DIR"),
        ] {
            let error = line(words).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn it_is_called_by_the_last_part_of_its_name() {
        assert!(is_called(OsStr::new("/sbin/mount.fuse.datadb")));
        assert!(!is_called(OsStr::new("/usr/bin/datadb-fuse")));
    }
}
