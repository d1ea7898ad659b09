//! `mount MOUNTPOINT`

use std::{path::PathBuf, time::Duration};

use datadb::{Fault, Kind};
use datadb_client::{
    cli::{
        profile::{self, Settings},
        size,
    },
    clock,
    connection::{Access, Connection, Streams},
};
use tokio::runtime::Handle;

use super::{
    daemon,
    signals::{self, Signals},
};
use crate::{
    adapter::{Adapter, session},
    cache::{blobs::Blobs, disk::Disk, patient::Patient},
    view::{View, node::Kind as Place},
};

const EXAMPLES: &str = "\
MOUNTPOINT then holds latest/NAME, snapshots/NAME/TIMESTAMP and at/NAME/TIME; README.txt in it says what is what.

Examples:
  datadb-fuse mount /backups
  datadb-fuse mount /backups --server http://backup-host:9735 --all-hosts --allow-other
  cp -a /backups/at/Documents/yesterday/letters ~/Documents/

Ctrl+C, SIGTERM, umount and fusermount3 -u end it.";

/// Arguments of `mount`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// An empty directory
    mountpoint: PathBuf,
    /// The server: http://HOST:PORT or unix:PATH [default: http://127.0.0.1:9735] [env: DATADB_SERVER]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Use a profile of client.toml
    #[arg(short = 'P', long, value_name = "NAME")]
    profile: Option<String>,
    /// Show the backups of this host, instead of this machine's
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Show the backups of all hosts, each in a directory of its own
    #[arg(long, conflicts_with = "host")]
    all_hosts: bool,
    /// Let other users look, too, as modes and ACLs of the backed-up files permit
    #[arg(long)]
    allow_other: bool,
    /// Keep what was read in this directory, too
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Let the cache directory grow to so many bytes; k, M, G and T are powers of 1024
    #[arg(long, value_name = "BYTES", value_parser = size::parse, default_value = "10G", requires = "cache_dir")]
    cache_size: u64,
    /// Wait so long for a server that does not answer, then fail what was asked
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Return when it is mounted, and go on in the background
    #[arg(long)]
    daemon: bool,
    /// Write what there is to say in the background into this file
    #[arg(long, value_name = "FILE", requires = "daemon")]
    log: Option<PathBuf>,
}

impl Args {
    /// Whether it should go on in the background.
    pub const fn is_daemon(&self) -> bool {
        self.daemon
    }
}

/// Mounts, and returns when it is unmounted.
pub async fn run(args: Args) -> Result<(), Fault> {
    let settings = Settings::read(args.profile.as_deref())?;
    let url = profile::server(args.server.clone(), &settings);
    let access = Access {
        url: url.clone(),
        token: profile::token(&settings)?,
        limit_upload: settings.limit_upload,
        limit_download: settings.limit_download,
        streams: Streams::Large,
    };
    let root = match args.all_hosts {
        true => Place::Hosts,
        false => Place::Host(profile::host(args.host.clone(), &settings)?),
    };
    let mountpoint = args.mountpoint.canonicalize();
    let shown = args.mountpoint.display();
    let mountpoint = mountpoint.map_err(|error| Fault::new(Kind::Invalid, format!("{shown}: {error}")))?;
    let connection = Connection::open(&access).await?;
    let view = view(&args, connection)?;
    let signals = Signals::new()?;
    let adapter = Adapter::new(view, root, Handle::current(), args.allow_other);
    let mounting = {
        let (mountpoint, shared) = (mountpoint.clone(), args.allow_other);
        tokio::task::spawn_blocking(move || session::mount(adapter, &mountpoint, &url, shared))
    };
    let failed = |error: String| Fault::new(Kind::Internal, format!("can't mount on {shown}: {error}"));
    let ended = mounting.await.map_err(|error| failed(error.to_string()))?;
    let ended = ended.map_err(|error| failed(error.to_string()))?;
    match args.daemon {
        true => {
            println!("Mounting read-only filesystem on {shown}");
            daemon::close_streams(args.log.as_deref())?;
        }
        false => println!("Mounting read-only filesystem on {shown}\nCtrl+C to unmount."),
    }
    signals::until_unmounted(&mountpoint, signals, ended).await
}

fn view(args: &Args, connection: Connection) -> Result<View, Fault> {
    let disk = args.cache_dir.as_ref().map(|dir| {
        let opened = Disk::open(dir, &connection.capabilities().repository, args.cache_size);
        opened.map_err(|error| Fault::new(Kind::Invalid, format!("the cache directory {}: {error}", dir.display())))
    });
    let server = Patient::new(connection, Duration::from_secs(args.timeout));
    let blobs = Blobs::new(server.clone(), disk.transpose()?);
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Ok(View::new(server, blobs, clock::zone(), owner))
}
