//! One file of git's patterns, line by line.

use super::wild::Wild;

#[derive(Clone, Debug)]
struct Rule {
    is_negated: bool,
    dirs_only: bool,
    /// Without a slash it means the name, wherever it lies; with one the path from the file's directory.
    of_name: bool,
    wild: Wild,
}

impl Rule {
    /// Of a line without its end; `None` where there is nothing to match.
    fn parse(line: &[u8]) -> Option<Self> {
        if line.starts_with(b"#") {
            return None;
        }
        let line = trim_end_spaces(line);
        let (is_negated, line) = line.strip_prefix(b"!").map_or((false, line), |rest| (true, rest));
        let (dirs_only, line) = line.strip_suffix(b"/").map_or((false, line), |rest| (true, rest));
        let of_name = !line.contains(&b'/');
        let line = line.strip_prefix(b"/").unwrap_or(line);
        if line.is_empty() {
            return None;
        }
        Some(Self { is_negated, dirs_only, of_name, wild: Wild::new(line)? })
    }
}

/// The patterns of a file, in their order.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Reads a file: a byte order mark and carriage returns are passed over, a line ends at its first NUL.
    pub fn parse(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let lines = lines.map(|line| line.split(|byte| *byte == 0).next().unwrap_or_default());
        Self(lines.filter_map(Rule::parse).collect())
    }

    /// What the last pattern that matches says: `true` ignores, `false` takes that back. The path is below the directory
    /// that the patterns are for.
    pub fn verdict(&self, path: &[u8], is_dir: bool) -> Option<bool> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let matching =
            |rule: &&Rule| (is_dir || !rule.dirs_only) && rule.wild.matches(if rule.of_name { name } else { path });
        self.0.iter().rev().find(matching).map(|rule| !rule.is_negated)
    }
}

/// Without the spaces at its end that no backslash protects.
pub fn trim_end_spaces(line: &[u8]) -> &[u8] {
    let (mut end, mut at) = (0, 0);
    while let Some(byte) = line.get(at) {
        at += if *byte == b'\\' { 2 } else { 1 };
        if *byte != b' ' {
            end = at.min(line.len());
        }
    }
    &line[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str, path: &str, is_dir: bool) -> Option<bool> {
        Rules::parse(text.as_bytes()).verdict(path.as_bytes(), is_dir)
    }

    #[test]
    fn the_last_line_that_matches_counts() {
        assert_eq!(verdict("*.o\n!keep.o\n", "a/keep.o", false), Some(false));
        assert_eq!(verdict("!keep.o\n*.o\n", "a/keep.o", false), Some(true));
        assert_eq!(verdict("*.o\n", "a/b.c", false), None);
    }

    #[test]
    fn a_slash_ties_a_pattern_to_the_directory_of_its_file() {
        assert_eq!(verdict("out", "a/out", false), Some(true));
        assert_eq!(verdict("/out", "a/out", false), None);
        assert_eq!(verdict("/out", "out", false), Some(true));
        assert_eq!(verdict("a/out", "b/a/out", false), None);
        assert_eq!(verdict("out/", "a/out", true), Some(true));
        assert_eq!(verdict("out/", "a/out", false), None);
    }

    #[test]
    fn lines_are_read_as_git_reads_them() {
        let text = "\u{feff}a\r\n#b\n\\#c\n\\!d\ne  \nf\\ \ng\0h\n \n/\n!\nlast";
        for name in ["a", "#c", "!d", "e", "f ", "g", "last"] {
            assert_eq!(verdict(text, name, false), Some(true), "{name}");
        }
        for name in ["#b", "b", "e  ", "f", "g\0h", " ", "h"] {
            assert_eq!(verdict(text, name, false), None, "{name}");
        }
    }
}
