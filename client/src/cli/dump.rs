//! `dump BACKUP[:PATH]`

use std::{
    ffi::OsString,
    fs::{self, File, Permissions},
    io::{self, BufWriter, ErrorKind, IsTerminal as _, Write},
    os::{
        fd::AsFd as _,
        unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    },
    path::{Path, PathBuf},
    time::Instant,
};

use datadb::{Fault, Kind};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{
    Context,
    choose::{Among, choose},
    output, restore,
};
use crate::{
    dump::{Format, Request, Summary, dump},
    exit::{self, Outcome},
    report::{Report, Show, bytes, escape, get},
    restore::Options,
};

const EXAMPLES: &str = "\
A tar archive is in the pax format and holds all that a backup does. GNU tar, as root, brings everything back with
  tar --xattrs --xattrs-include='*' --acls --numeric-owner -xpf FILE
A zip archive holds files, directories and symlinks with their modes and times; what it lacks is said in the end. What
lies in the backed-up directory lies at the top of the archive; a PATH that is a file gives an archive of that file alone.

Every byte is verified before it is written. A file that is damaged is named, and the exit code is 3: up to 8 MiB it is
left out, as its other names are; in a larger one of a tar archive zeros take the place of what is missing, a zip archive
does not list it.

GLOBs are those of `restore`.

Examples:
  datadb-client dump latest | tar -tv
  datadb-client dump home@yesterday:/me/letters -o letters.tar
  datadb-client dump latest:/photos -o photos.zip --exclude '*.raw'
  datadb-client dump latest | zstd | ssh elsewhere 'cat > home.tar.zst'";

/// Arguments of `dump`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which backup, and which path in it: BACKUP[:PATH]
    #[arg(value_name = "BACKUP[:PATH]")]
    what: OsString,
    /// Which archive [default: by the end of FILE's name, else tar]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// Write into this file instead of to stdout; it gets its name when it is whole
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Dump only what this matches, and all below it; may be given several times
    #[arg(long, value_name = "GLOB", value_parser = restore::glob)]
    include: Vec<String>,
    /// Leave out what this matches, and all below it; may be given several times
    #[arg(long, value_name = "GLOB", value_parser = restore::glob)]
    exclude: Vec<String>,
    #[command(flatten)]
    among: Among,
}

/// Bytes that are written at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Ends of names that promise something compressed.
const COMPRESSED: [&str; 10] = [".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".tzst", ".lz", ".lz4"];

impl Args {
    fn format(&self) -> Result<Format, Fault> {
        let name = self.output.as_deref().and_then(Path::file_name).unwrap_or_default();
        let name = name.to_string_lossy().to_lowercase();
        match (self.format, COMPRESSED.iter().find(|end| name.ends_with(*end))) {
            (Some(format), _) => Ok(format),
            (None, Some(end)) => {
                let line = format!(
                    "{end} promises something compressed, which a dump is not: pipe it through a compressor, or say --format"
                );
                Err(Fault::new(Kind::Invalid, line))
            }
            (None, None) if name.ends_with(".zip") => Ok(Format::Zip),
            (None, None) => Ok(Format::Tar),
        }
    }
}

/// Writes the archive.
pub fn run(context: &Context, args: &Args) -> Result<Outcome, Fault> {
    let started = Instant::now();
    let format = args.format()?;
    let output = args.output.as_deref().filter(|path| *path != Path::new("-"));
    if output.is_none() && io::stdout().is_terminal() {
        let line = "an archive is nothing for a terminal: name a file with --output, or pipe it into a program";
        return Err(Fault::new(Kind::Invalid, line));
    }
    let connection = context.connect()?;
    let chosen = choose(context, &connection, &args.what, &args.among)?;
    let name = chosen.path.components().last().unwrap_or(chosen.backup.path.shown_name()).to_vec();
    let options = Options { include: args.include.clone(), exclude: args.exclude.clone(), ..Options::default() };
    let request = Request { meta: chosen.meta, name, format, options };
    let report = Report::new("dumped", show(context, output.is_some()));
    if chosen.path.components().next().is_none() && args.include.is_empty() && args.exclude.is_empty() {
        report.expect_bytes(chosen.backup.counts.bytes);
    }
    let mut place = Place::open(output)?;
    let mut written = 0;
    let summary = dump((context.handle(), &connection), &request, &report, &mut |bytes| {
        written += bytes.len() as u64;
        place.write(bytes)
    })?;
    place.keep()?;
    report.finish();
    let done = Done {
        format,
        summary,
        written,
        errors: get(&report.counters.errors),
        seconds: started.elapsed().as_secs_f64(),
    };
    let say = |line: &str| {
        if output.is_some() {
            return output::line(line);
        }
        eprintln!("{line}");
        Ok(())
    };
    if context.json {
        say(&output::json_text(&done.as_json(&chosen.backup.key().to_string())))?;
    } else {
        if !done.summary.lacks.is_empty() {
            eprintln!("{} can't hold everything: {}", format.word(), done.summary.lacks.join(", "));
        }
        if !context.quiet {
            say(&done.line())?;
        }
    }
    Ok(Outcome::of(done.errors))
}

/// Whom to show how far it is: where stdout carries the archive, a program reads stderr.
fn show(context: &Context, is_stdout_free: bool) -> Show {
    match context.show() {
        Show::Program(_) if !is_stdout_free => {
            Show::Program(Box::new(|status| eprintln!("{}", output::json_text(&output::status_json(status)))))
        }
        show => show,
    }
}

/// Where the archive goes.
enum Place<'a> {
    Stdout(BufWriter<File>),
    /// A device or a pipe.
    There(&'a Path, BufWriter<File>),
    /// A file beside the one that it will replace.
    Beside(&'a Path, PathBuf, BufWriter<NamedTempFile>),
}

impl<'a> Place<'a> {
    fn open(output: Option<&'a Path>) -> Result<Self, Fault> {
        let Some(path) = output else {
            let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(|error| output::fault(&error))?;
            return Ok(Self::Stdout(BufWriter::with_capacity(BUFFER_BYTES, stdout.into())));
        };
        let fault = |error| trouble(path, &error);
        // A link stays, and what it leads to is replaced.
        let real = match fs::canonicalize(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
            real => real.map_err(fault)?,
        };
        match fs::metadata(&real) {
            Ok(meta) if meta.is_dir() => Err(Fault::new(Kind::Invalid, format!("{} is a directory", path.display()))),
            Ok(meta) if !meta.is_file() => {
                let file = File::options().write(true).open(&real).map_err(fault)?;
                Ok(Self::There(path, BufWriter::with_capacity(BUFFER_BYTES, file)))
            }
            _ => {
                let dir = real.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let mut beside = tempfile::Builder::new();
                beside.prefix(".datadb-").permissions(Permissions::from_mode(0o666));
                let file = beside.tempfile_in(dir).map_err(fault)?;
                Ok(Self::Beside(path, real, BufWriter::with_capacity(BUFFER_BYTES, file)))
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Stdout(out) => out.write_all(bytes).map_err(|error| output::fault(&error)),
            Self::There(path, out) => out.write_all(bytes).map_err(|error| trouble(path, &error)),
            Self::Beside(path, _, out) => out.write_all(bytes).map_err(|error| trouble(path, &error)),
        }
    }

    /// Everything is written: a file is made durable, and gets its name.
    fn keep(self) -> Result<(), Fault> {
        match self {
            Self::Stdout(mut out) => out.flush().map_err(|error| output::fault(&error)),
            Self::There(path, mut out) => out.flush().map_err(|error| trouble(path, &error)),
            Self::Beside(path, real, out) => {
                let fault = |error| trouble(path, &error);
                let file = out.into_inner().map_err(|error| fault(error.into_error()))?;
                file.as_file().sync_all().map_err(fault)?;
                if exit::is_interrupted() {
                    return Err(exit::interrupted());
                }
                file.persist(real).map(drop).map_err(|error| fault(error.error))
            }
        }
    }
}

fn trouble(path: &Path, error: &io::Error) -> Fault {
    let kind = if error.kind() == ErrorKind::StorageFull { Kind::Full } else { Kind::Internal };
    // What follows the system's words is its number, and the name of a temporary file that nobody asked for.
    let what = error.to_string().split(" (os error").next().unwrap_or_default().to_lowercase();
    Fault::new(kind, format!("can't write {}: {what}", escape(path.as_os_str().as_bytes())))
}

/// What is said in the end.
struct Done {
    format: Format,
    summary: Summary,
    written: u64,
    errors: u64,
    seconds: f64,
}

impl Done {
    fn as_json(&self, id: &str) -> Value {
        let Summary { files, dirs, bytes, lacks } = &self.summary;
        json!({
            "type": "summary",
            "id": id,
            "format": self.format.word(),
            "files": files,
            "dirs": dirs,
            "bytes": bytes,
            "bytes_written": self.written,
            "lacks": lacks,
            "errors": self.errors,
            "seconds": self.seconds,
        })
    }

    fn line(&self) -> String {
        let (files, all, written) = (self.summary.files, bytes(self.summary.bytes), bytes(self.written));
        let (format, errors, seconds) = (self.format.word(), self.errors, self.seconds);
        let rate = bytes((self.summary.bytes as f64 / seconds.max(0.001)) as u64);
        format!("{files} files, {all} dumped as {written} of {format}, {errors} errors; {seconds:.2} s, {rate}/s")
    }
}
