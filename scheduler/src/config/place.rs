//! Where the configuration lies, and where in it something is wrong.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use datadb::{Fault, Kind};

/// Where an administrator puts it.
const SYSTEM: &str = "/etc/datadb/scheduler.toml";

/// The file that a flag names, else the user's, else the administrator's.
pub fn find(flag: Option<&Path>) -> Result<PathBuf, Fault> {
    if let Some(file) = flag {
        // A reload finds it wherever the program has gone to.
        return std::path::absolute(file)
            .map_err(|error| Fault::new(Kind::Invalid, format!("{}: {error}", file.display())));
    }
    let users = users();
    let candidates: Vec<PathBuf> = users.into_iter().chain([PathBuf::from(SYSTEM)]).collect();
    candidates.iter().find(|file| file.exists()).cloned().ok_or_else(|| {
        let places: Vec<String> = candidates.iter().map(|file| file.display().to_string()).collect();
        let line = format!("there is no configuration: write {}, or name one with --config", places.join(" or "));
        Fault::new(Kind::NotFound, line)
    })
}

fn users() -> Option<PathBuf> {
    Some(xdg("XDG_CONFIG_HOME", ".config")?.join("datadb/scheduler.toml"))
}

fn xdg(variable: &str, below_home: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let home =
        || std::env::var_os("HOME").filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(below_home));
    named.or_else(home)
}

/// The directory of what the scheduler keeps: what the service manager gives it, else the user's.
pub fn state() -> Result<PathBuf, Fault> {
    if let Some(first) = std::env::var("STATE_DIRECTORY").ok().filter(|dirs| !dirs.is_empty()) {
        // Of several, separated by colons, the first.
        return Ok(PathBuf::from(first.split(':').next().unwrap_or_default()));
    }
    let none = || Fault::new(Kind::Invalid, "neither XDG_STATE_HOME nor HOME says where to keep the history");
    Ok(xdg("XDG_STATE_HOME", ".local/state").ok_or_else(none)?.join("datadb/scheduler"))
}

/// The token that the service manager was given for this service; the word `none` in it stands for none.
pub fn credential() -> Option<PathBuf> {
    let file = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join("token");
    let text = std::fs::read_to_string(&file).ok()?;
    (text.trim() != "none").then_some(file)
}

/// What is wrong, as `FILE:LINE: KEY: what`.
pub fn fault(file: &Path, text: &str, span: &Range<usize>, key: Option<&str>, what: &str) -> Fault {
    let start = span.start.min(text.len());
    let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
    let found = key.map(ToOwned::to_owned).or_else(|| key_at(text, start));
    let key = found.map(|key| format!("{key}: ")).unwrap_or_default();
    Fault::new(Kind::Invalid, format!("{}:{line}: {key}{}", file.display(), what.trim().replace('\n', ", ")))
}

/// The key that stands at a place, or to whose value the place belongs; the table, where it is a whole one.
fn key_at(text: &str, at: usize) -> Option<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-.\"".contains(c);
    let (before, behind) = (text.get(..at)?, text.get(at..)?);
    let word: String = behind.chars().take_while(|c| is_word(*c)).collect();
    if !word.is_empty() && behind[word.len()..].trim_start_matches([' ', '\t']).starts_with('=') {
        return Some(word);
    }
    if let Some(table) = behind.strip_prefix("[[").or_else(|| behind.strip_prefix('[')) {
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        if before[line_start..].trim().is_empty() {
            return Some(table.chars().take_while(|c| is_word(*c)).collect());
        }
    }
    let before_equals = before.trim_end_matches(|c| c != '=').strip_suffix('=')?.trim_end();
    let start = before_equals.rfind(|c| !is_word(c)).map_or(0, |end| end + 1);
    Some(before_equals[start..].to_owned()).filter(|key| !key.is_empty())
}
