//! Where git's rules come from, apart from `.gitignore` files: the top of a repository, what it excludes for itself, what
//! its user excludes everywhere.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use datadb::FileType;
use rustix::fs::CWD;

use super::rules::Rules;
use crate::{
    fs::{Dir, Stat},
    report::Report,
    select::pattern_file::{self, Links},
};

/// If a directory is the top of a repository: the patterns of its `info/exclude`.
pub fn at(dir: &Dir, report: &Report) -> Option<Rules> {
    let git_dir = git_dir(dir, report)?;
    let common = read(dir, &below(&git_dir, b"commondir"), report);
    let common = common.map_or_else(|| git_dir.clone(), |text| below(&git_dir, text.trim_ascii_end()));
    let exclude = read(dir, &below(&common, b"info/exclude"), report);
    Some(Rules::parse(&exclude.unwrap_or_default()))
}

/// The directory that git keeps its things in, relative to the top: `.git`, or what a file of that name says. A `.git`
/// without a `HEAD` makes no repository.
fn git_dir(dir: &Dir, report: &Report) -> Option<Vec<u8>> {
    let has_head = |git_dir: &[u8]| Stat::at(dir.fd(), &below(git_dir, b"HEAD")).is_ok();
    if has_head(b".git") {
        return Some(b".git".to_vec());
    }
    if Stat::at(dir.fd(), b".git").ok()?.file_type != Some(FileType::File) {
        return None;
    }
    let link = read(dir, b".git", report)?;
    let target = link.strip_prefix(b"gitdir: ")?.trim_ascii_end().to_vec();
    has_head(&target).then_some(target)
}

fn read(dir: &Dir, path: &[u8], report: &Report) -> Option<Vec<u8>> {
    pattern_file::read(dir.fd(), path, Links::Followed, &dir.path_of(path), report)
}

/// A path in a directory; an absolute one stays what it is.
fn below(dir: &[u8], path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") { path.to_vec() } else { [dir, b"/", path].concat() }
}

/// What the user who runs this excludes in every repository: `core.excludesFile`, by default `git/ignore` in the
/// configuration directory. Git itself is asked for it, as only git knows all the places that may say so.
pub fn of_user(report: &Report) -> Rules {
    let Some(path) = excludes_file(report) else { return Rules::default() };
    let path = path.into_os_string().into_vec();
    let text = pattern_file::read(CWD, &path, Links::Followed, &path, report);
    Rules::parse(&text.unwrap_or_default())
}

fn excludes_file(report: &Report) -> Option<PathBuf> {
    let mut git = Command::new("git");
    git.args(["config", "--type=path", "-z", "--get", "core.excludesFile"]);
    // No repository is asked: what one says is for that one alone.
    git.env("GIT_DIR", "/dev/null").stdin(Stdio::null()).stderr(Stdio::null());
    match git.output() {
        Ok(output) if output.status.success() => {
            let path = output.stdout.strip_suffix(b"\0").unwrap_or(&output.stdout).to_vec();
            return Some(PathBuf::from(OsString::from_vec(path))).filter(|path| path.is_absolute());
        }
        Ok(output) if output.status.code() == Some(1) => {}
        Ok(output) => report.line(&format!("git config ended with {}: is core.excludesFile set?", output.status)),
        // Without git, nobody has set anything.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => report.line(&format!("git can't be asked for core.excludesFile: {error}")),
    }
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    Some(config.or_else(home)?.join("git/ignore"))
}
