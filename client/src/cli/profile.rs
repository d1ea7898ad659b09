//! The settings in `$XDG_CONFIG_HOME/datadb/client.toml`: what stands at its top counts always, a table
//! `[profiles.NAME]` with `-P NAME` on top of that. The environment overrides both, flags override everything; lists
//! (patterns, tags) add up.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use datadb::{Fault, HostName, Kind};
use serde::Deserialize;

use super::{did_you_mean, size};
use crate::connection::{Rate, Token};

/// Where a server listens that was not told otherwise.
const SERVER: &str = "http://127.0.0.1:9735";

/// Settings, all of them optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// As `--server`.
    pub server: Option<String>,
    /// A file whose first line is the token.
    pub token_file: Option<PathBuf>,
    /// As `--limit-upload`.
    #[serde(deserialize_with = "rate")]
    pub limit_upload: Option<Rate>,
    /// As `--limit-download`.
    #[serde(deserialize_with = "rate")]
    pub limit_download: Option<Rate>,
    /// As `snapshot --host`, and the host that other subcommands look for.
    pub host: Option<String>,
    /// As `snapshot --tag`.
    pub tags: BTreeMap<String, String>,
    /// As `snapshot --exclude`, before those of the command line.
    pub exclude: Vec<String>,
    profiles: BTreeMap<String, Settings>,
}

fn rate<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Rate>, D::Error> {
    let text = String::deserialize(value)?;
    size::parse_rate(&text).map(Some).map_err(serde::de::Error::custom)
}

impl Settings {
    /// Reads the file, and the profile if one is named. Without a file everything is unset.
    pub fn read(profile: Option<&str>) -> Result<Self, Fault> {
        let path = path();
        let text = path.as_ref().map(std::fs::read_to_string);
        match (path, text) {
            (Some(path), Some(Ok(text))) => Self::parse(&text, &path, profile),
            (Some(path), Some(Err(error))) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Fault::new(Kind::Invalid, format!("{}: {error}", path.display())))
            }
            (path, _) => match profile {
                None => Ok(Self::default()),
                Some(name) => {
                    let file = path.unwrap_or_else(|| PathBuf::from("client.toml"));
                    let line = format!("there is no profile {name}: {} is not there", file.display());
                    Err(Fault::new(Kind::NotFound, line))
                }
            },
        }
    }

    fn parse(text: &str, path: &Path, profile: Option<&str>) -> Result<Self, Fault> {
        let shown = path.display();
        let mut settings: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            Fault::new(Kind::Invalid, format!("{shown}:{line}: {}", error.message().replace('\n', ", ")))
        })?;
        let mut profiles = std::mem::take(&mut settings.profiles);
        if let Some((name, _)) = profiles.iter().find(|(_, profile)| !profile.profiles.is_empty()) {
            let line = format!("{shown}: a profile (here {name}) holds no profiles of its own");
            return Err(Fault::new(Kind::Invalid, line));
        }
        let base = path.parent().unwrap_or(Path::new("/"));
        settings.anchor(base);
        if let Some(name) = profile {
            let Some(mut chosen) = profiles.remove(name) else {
                let hint = did_you_mean::hint(name, profiles.keys().map(String::as_str));
                let line = format!("there is no profile {name} in {shown}{hint}");
                return Err(Fault::new(Kind::NotFound, line));
            };
            chosen.anchor(base);
            settings = chosen.over(settings);
        }
        Ok(settings)
    }

    /// Relative paths count from the file's directory, `~/` from home.
    fn anchor(&mut self, base: &Path) {
        for path in self.token_file.iter_mut() {
            *path = match (path.strip_prefix("~"), std::env::var_os("HOME")) {
                (Ok(below), Some(home)) => Path::new(&home).join(below),
                _ => base.join(&*path),
            };
        }
    }

    fn over(self, below: Self) -> Self {
        let mut tags = below.tags;
        let exclude = below.exclude.into_iter().chain(self.exclude).collect();
        tags.extend(self.tags);
        Self {
            server: self.server.or(below.server),
            token_file: self.token_file.or(below.token_file),
            limit_upload: self.limit_upload.or(below.limit_upload),
            limit_download: self.limit_download.or(below.limit_download),
            host: self.host.or(below.host),
            tags,
            exclude,
            profiles: BTreeMap::new(),
        }
    }
}

/// Where the settings lie.
fn path() -> Option<PathBuf> {
    let xdg = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(".config"));
    Some(xdg.or_else(home)?.join("datadb").join("client.toml"))
}

/// The server: what a flag says, else `DATADB_SERVER`, else the settings, else where one listens that was not told
/// otherwise. (clap would read the environment, too, and then show --server in every usage line.)
pub fn server(flag: Option<String>, settings: &Settings) -> String {
    let of_environment = || std::env::var("DATADB_SERVER").ok().filter(|url| !url.is_empty());
    flag.or_else(of_environment).or_else(|| settings.server.clone()).unwrap_or_else(|| SERVER.to_owned())
}

/// The host: what a flag says, else the settings, else this machine's name.
pub fn host(flag: Option<String>, settings: &Settings) -> Result<HostName, Fault> {
    let name = flag.or_else(|| settings.host.clone());
    let name = name.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    HostName::new(&name).map_err(|error| Fault::new(Kind::Invalid, format!("{error}: use --host")))
}

/// The token: the environment's, else what the file that the settings name holds.
pub fn token(settings: &Settings) -> Result<Option<Token>, Fault> {
    match Token::of_environment()? {
        None => settings.token_file.as_deref().map(Token::of_file).transpose(),
        token => Ok(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
server = "http://a:1"
tags = { by = "me", why = "daily" }
limit_upload = "2M"

[profiles.away]
server = "http://b:2"
token_file = "secret"
tags = { why = "travel" }
"#;

    fn parse(text: &str, profile: Option<&str>) -> Result<Settings, Fault> {
        Settings::parse(text, Path::new("/etc/xdg/client.toml"), profile)
    }

    #[test]
    fn a_profile_lies_on_top_of_what_counts_always() {
        let plain = parse(FILE, None).unwrap();
        assert_eq!((plain.server.as_deref(), &*plain.tags["why"]), (Some("http://a:1"), "daily"));
        let away = parse(FILE, Some("away")).unwrap();
        assert_eq!(away.server.as_deref(), Some("http://b:2"));
        assert_eq!((&*away.tags["why"], &*away.tags["by"]), ("travel", "me"));
        assert_eq!(away.limit_upload, Rate::new(2 << 20));
        assert_eq!(away.token_file.unwrap(), Path::new("/etc/xdg/secret"), "counts from the file");
    }

    #[test]
    fn what_it_does_not_know_is_named_with_file_line_and_key() {
        let line = |text, profile| parse(text, profile).unwrap_err().message;
        let unknown = line("server = \"x\"\nservr = \"y\"\n", None);
        assert!(unknown.starts_with("/etc/xdg/client.toml:2: unknown field `servr`"), "{unknown}");
        let nested = line("[profiles.a]\nx = 1\n", None);
        assert!(nested.contains(":2: unknown field `x`"), "{nested}");
        let wrong = line("limit_upload = \"fast\"\n", None);
        assert!(wrong.contains(":1:") && wrong.contains("500k"), "{wrong}");
        assert!(line("[profiles.a.profiles.b]\n", None).contains("no profiles of its own"));
    }

    #[test]
    fn a_profile_that_is_not_there_is_told_with_the_one_that_was_meant() {
        let line = parse(FILE, Some("awya")).unwrap_err().message;
        assert_eq!(line, "there is no profile awya in /etc/xdg/client.toml: did you mean away?");
    }
}
