//! What `snapshot` leaves out and what it takes: the options.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
    sync::Arc,
};

use clap::{
    Arg, ArgAction, ArgMatches, Command, FromArgMatches,
    builder::{OsStringValueParser, PathBufValueParser, TypedValueParser as _, ValueParser},
};
use datadb::{Fault, Kind, Name};

use crate::{
    glob::{Case, Globs},
    select::{ListFile, Options, Pattern, Selection},
};

/// Options that select.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Selection")]
pub struct Args {
    #[command(flatten)]
    patterns: Patterns,
    /// Leave out the content of directories that hold something of this name; the directory itself stays
    #[arg(long, value_name = "NAME", value_parser = OsStringValueParser::new().try_map(name))]
    exclude_if_present: Vec<Name>,
    /// Leave out the content of directories with a valid CACHEDIR.TAG; the directory and its tag stay
    #[arg(long)]
    exclude_caches: bool,
    /// Leave out regular files larger than this many bytes; k, M, G and T are powers of 1024
    #[arg(long, value_name = "SIZE", value_parser = super::size::parse)]
    exclude_larger_than: Option<u64>,
    /// Leave out what git would ignore (.gitignore, .git/info/exclude, core.excludesFile) in its repositories; .git stays
    #[arg(long)]
    gitignore: bool,
    /// Leave out the content of directories where another file system is mounted
    #[arg(long)]
    one_file_system: bool,
    /// Of the one PATH take only what this file (- is stdin) lists, a path a line, relative to PATH or absolute
    #[arg(long, value_name = "FILE", conflicts_with_all = ["stdin", "stdin_from_command"])]
    files_from: Option<PathBuf>,
    /// In --files-from paths end with NUL; without this they do if the file holds a NUL, else each is a line
    #[arg(short = '0', long, requires = "files_from")]
    null: bool,
}

impl Args {
    /// Understands the options for these PATHs; `excludes` are patterns that stand before those of the command line.
    pub fn selection(self, excludes: &[String], paths: &[PathBuf]) -> Result<Arc<Selection>, Fault> {
        let list = self.files_from.map(|path| list_file(path, self.null, paths)).transpose()?;
        let options = Options {
            patterns: excludes.iter().cloned().map(Pattern::Exclude).chain(self.patterns.0).collect(),
            if_present: self.exclude_if_present,
            caches: self.exclude_caches,
            bytes_max: self.exclude_larger_than,
            gitignore: self.gitignore,
            one_file_system: self.one_file_system,
            list,
        };
        Selection::new(&options).map(Arc::new)
    }
}

fn list_file(path: PathBuf, null: bool, paths: &[PathBuf]) -> Result<ListFile, Fault> {
    let [root] = paths else {
        return Err(Fault::new(Kind::Invalid, "--files-from takes exactly one PATH: what it lists lies below that"));
    };
    if root.is_file() {
        let root = root.display();
        return Err(Fault::new(Kind::Invalid, format!("--files-from needs a directory as PATH, and {root} is a file")));
    }
    // As it is written, and as it is; what is wrong with a PATH that isn't there is told where it is opened.
    let roots = [std::path::absolute(root).ok(), root.canonicalize().ok()];
    let roots = roots.into_iter().flatten().map(|path| path.into_os_string().into_vec()).collect();
    Ok(ListFile { path, null, roots })
}

fn name(text: OsString) -> Result<Name, String> {
    Name::new(text.as_bytes()).map_err(|error| error.to_string())
}

/// `--exclude`, `--iexclude` and `--exclude-file` in the order in which they stand on the command line: it counts.
#[derive(Clone, Debug)]
struct Patterns(Vec<Pattern>);

impl clap::Args for Patterns {
    fn augment_args(command: Command) -> Command {
        let option = |name: &'static str, value: &'static str, parser: ValueParser| {
            Arg::new(name).long(name).value_name(value).action(ArgAction::Append).value_parser(parser)
        };
        let exclude = option("exclude", "GLOB", ValueParser::from(|text: &str| pattern(text, Case::Sensitive)));
        let iexclude = option("iexclude", "GLOB", ValueParser::from(|text: &str| pattern(text, Case::Ignored)));
        let file = option("exclude-file", "FILE", ValueParser::from(PathBufValueParser::new().map(Pattern::File)));
        command
            .arg(exclude.help(
                "Leave out what matches, with all that is in it: *.o is a name anywhere, /var/tmp a path, build/ a \
                 directory; !keep.o takes back what an earlier pattern left out",
            ))
            .arg(iexclude.help("The same, whether letters are large or small"))
            .arg(file.help("The same with each line of this file; # begins a comment"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Patterns {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut placed: Vec<(usize, Pattern)> = Vec::new();
        for name in ["exclude", "iexclude", "exclude-file"] {
            let places = matches.indices_of(name).into_iter().flatten();
            placed.extend(places.zip(matches.get_many(name).into_iter().flatten().cloned()));
        }
        placed.sort_by_key(|(place, _)| *place);
        Ok(Self(placed.into_iter().map(|(_, pattern)| pattern).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn pattern(text: &str, case: Case) -> Result<Pattern, String> {
    Globs::new([(text, case)]).map_err(|fault| fault.message)?;
    let text = text.to_owned();
    Ok(if case == Case::Sensitive { Pattern::Exclude(text) } else { Pattern::ExcludeAnyCase(text) })
}
