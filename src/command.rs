//! The commands of the database: one table from which the enum, parsing, arity checks, `COMMAND` and statistics follow.
//!
//! A line of the table is a command: its variant, its name, how many arguments it takes (counted with the name, as Redis
//! does; negative: at least so many), its group, whether it writes, the shape of its arguments, how they are written, and
//! what it does. Commands of the same shape share how they are parsed and how they travel.

pub mod pattern;
pub mod reply;
pub mod seen;
pub mod shape;

use bytes::Bytes;

pub use self::{
    reply::{Refusal, Reply},
    seen::Seen,
    shape::{Key, Shape},
};

/// Hands the table to another macro.
macro_rules! with_commands {
    ($then:ident) => {
        $then! {
            Info "info" -1 Server Read NoArgs "[section ...]" "Tells what the server is and how full the database is";
            Dbsize "dbsize" 1 Server Read NoArgs "" "Counts the keys of the database";
            Time "time" 1 Server Read NoArgs "" "Tells unix seconds and microseconds";
            Now "now" 1 Server Read NoArgs "" "Tells unix seconds";
            Init "init" 1 Server Read NoArgs "" "Applies what the log holds beyond the index";
            Done "done" 1 Server Read NoArgs "" "Makes everything durable that the stores accepted";
            Exists "exists" -2 Keys Read KeysArgs "key [key ...]" "Counts how many of the keys are there";
            Type "type" 2 Keys Read KeyArgs "key" "Tells what a key holds";
            Del "del" -2 Keys Write KeysArgs "key [key ...]" "Removes keys";
            Scan "scan" -2 Keys Read ScanArgs "cursor [MATCH pattern] [COUNT count] [TYPE type]" "Lists keys page by page";
            Keys "keys" 2 Keys Read PatternArgs "pattern" "Lists the keys that match";
            Get "get" 2 Strings Read KeyArgs "key" "Reads a string";
            Set "set" -3 Strings Write SetArgs "key value [NX | XX] [GET] [KEEPTTL]" "Sets a string, whatever the key held";
            Mget "mget" -2 Strings Read KeysArgs "key [key ...]" "Reads several strings";
            Strlen "strlen" 2 Strings Read KeyArgs "key" "Tells the length of a string in bytes";
            Range "range" 4 Strings Read RangeArgs "start end limit" "Reads the strings from one key to another, in order";
            Hset "hset" -4 Hashes Write PairsArgs "key field value [field value ...]" "Sets fields of a hash";
            Hmset "hmset" -4 Hashes Write PairsArgs "key field value [field value ...]" "Sets fields of a hash, answers OK";
            Hget "hget" 3 Hashes Read MemberArgs "key field" "Reads a field of a hash";
            Hmget "hmget" -3 Hashes Read MembersArgs "key field [field ...]" "Reads several fields of a hash";
            Hgetall "hgetall" 2 Hashes Read KeyArgs "key" "Reads a whole hash";
            Hkeys "hkeys" 2 Hashes Read KeyArgs "key" "Lists the fields of a hash";
            Hvals "hvals" 2 Hashes Read KeyArgs "key" "Lists the values of a hash";
            Hlen "hlen" 2 Hashes Read KeyArgs "key" "Counts the fields of a hash";
            Hexists "hexists" 3 Hashes Read MemberArgs "key field" "Tells whether a hash has a field";
            Hdel "hdel" -3 Hashes Write MembersArgs "key field [field ...]" "Removes fields of a hash";
            Hscan "hscan" -3 Hashes Read KeyScanArgs "key cursor [MATCH pattern] [COUNT count]" "Lists a hash page by page";
            Sadd "sadd" -3 Sets Write MembersArgs "key member [member ...]" "Adds members to a set";
            Srem "srem" -3 Sets Write MembersArgs "key member [member ...]" "Removes members from a set";
            Smembers "smembers" 2 Sets Read KeyArgs "key" "Lists a set in lexicographic order";
            Scard "scard" 2 Sets Read KeyArgs "key" "Counts the members of a set";
            Sismember "sismember" 3 Sets Read MemberArgs "key member" "Tells whether a set has a member";
            Smismember "smismember" -3 Sets Read MembersArgs "key member [member ...]" "Tells which members a set has";
            Sscan "sscan" -3 Sets Read KeyScanArgs "key cursor [MATCH pattern] [COUNT count]" "Lists a set page by page";
            Srange "srange" 5 Sets Read KeyRangeArgs "key start end limit" "Lists the members from one to another, in order";
            Ladd "ladd" 4 Lists Write LaddArgs "key index value" "Puts a value at an index of a list";
            Lrem "lrem" 3 Lists Write IndexArgs "key index" "Removes the entry at an index of a list";
            Lindex "lindex" -3 Lists Read IndexArgs "key index [WITH INDEX]" "Reads the entry at an index";
            Lrange "lrange" -4 Lists Read SliceArgs "key from to [limit] [WITH INDEX]" "Reads the entries between two indexes";
            Liter "liter" -2 Lists Read EntryArgs "key [WITH INDEX]" "Reads a whole list";
            Lmrange "lmrange" -5 Lists Read SliceArgs "key from to limit [WITH INDEX]" "Reads indexes and entries between two indexes, else the nearest earlier one";
            Lfirst "lfirst" -2 Lists Read EntryArgs "key [WITH INDEX]" "Reads the entry with the lowest index";
            Llast "llast" -2 Lists Read EntryArgs "key [WITH INDEX]" "Reads the entry with the highest index";
            Lprev "lprev" -3 Lists Read IndexArgs "key index [WITH INDEX]" "Reads the nearest entry at or before an index";
            Llen "llen" 2 Lists Read KeyArgs "key" "Counts the entries of a list";
            Bput "bput" 2 Blobs Write DataArgs "data" "Stores a blob and answers its SHA-1";
            Bget "bget" 2 Blobs Read BlobArgs "blob" "Reads a blob";
            Bexists "bexists" 2 Blobs Read BlobArgs "blob" "Tells whether a blob is there";
            Bmexists "bmexists" -2 Blobs Read BlobsArgs "blob [blob ...]" "Tells which blobs are there";
            Blen "blen" 2 Blobs Read BlobArgs "blob" "Tells the length of a blob in bytes";
            Bcnt "bcnt" 1 Blobs Read NoArgs "" "Counts the blobs";
            Bsize "bsize" 1 Blobs Read NoArgs "" "Tells the plain bytes of all blobs";
            Hash "hash" 2 Blobs Read DataArgs "data" "Answers the SHA-1 of data without storing it";
            Txinit "txinit" -1 Transactions Write TxinitArgs "[id]" "Begins a transaction, or joins one";
            Txcommit "txcommit" 1 Transactions Write NoArgs "" "Applies the transaction";
            Txdiscard "txdiscard" 1 Transactions Write NoArgs "" "Forgets the transaction";
        }
    };
}
pub(crate) use with_commands;

/// What a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Of a connection; the sidecar answers them.
    Connection,
    /// Of the server.
    Server,
    /// Of keys of any type.
    Keys,
    /// Of strings.
    Strings,
    /// Of hashes.
    Hashes,
    /// Of sets.
    Sets,
    /// Of lists.
    Lists,
    /// Of blobs.
    Blobs,
    /// Of transactions.
    Transactions,
}

/// Whether a command changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// It only reads.
    Read,
    /// It may write.
    Write,
}

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// In lower case.
    pub name: &'static str,
    /// Arguments with the name; negative: at least so many.
    pub arity: i32,
    /// What it is about.
    pub group: Group,
    /// Whether it writes.
    pub access: Access,
    /// How its arguments are written.
    pub arguments: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
}

impl Spec {
    /// Refuses a number of arguments (with the name) that the command doesn't take.
    pub fn check_arity(&self, arguments: usize) -> Result<(), Refusal> {
        let wanted = self.arity.unsigned_abs() as usize;
        if arguments == wanted || (self.arity < 0 && arguments > wanted) { Ok(()) } else { Err(self.wrong_arity()) }
    }

    /// Whether it may stand in a batch, between `MULTI` and `EXEC`: it needs nothing but the index, or nothing at all.
    pub fn may_be_queued(&self) -> bool {
        match self.group {
            Group::Blobs | Group::Transactions => false,
            Group::Server => !["info", "init", "done"].contains(&self.name),
            Group::Connection => !["monitor", "shutdown", "watch"].contains(&self.name),
            Group::Keys | Group::Strings | Group::Hashes | Group::Sets | Group::Lists => true,
        }
    }

    /// What Redis says about it.
    pub fn wrong_arity(&self) -> Refusal {
        Refusal::err(format!("wrong number of arguments for '{}' command", self.name))
    }
}

const fn of_connection(name: &'static str, arity: i32, arguments: &'static str, summary: &'static str) -> Spec {
    Spec { name, arity, group: Group::Connection, access: Access::Read, arguments, summary }
}

/// Commands that an edge answers by itself.
pub const CONNECTION: &[Spec] = &[
    of_connection("ping", -1, "[message]", "Answers PONG, or the message"),
    of_connection("echo", 2, "message", "Answers the message"),
    of_connection("hello", -1, "[protover [AUTH user password] [SETNAME name]]", "Chooses the version of the protocol"),
    of_connection("auth", -2, "[user] password", "Names a password"),
    of_connection(
        "client",
        -2,
        "SETNAME name | GETNAME | ID | INFO | LIST | SETINFO key value | NO-EVICT ON|OFF",
        "Tells about connections",
    ),
    of_connection("select", 2, "database", "Chooses the database"),
    of_connection("quit", -1, "", "Closes the connection"),
    of_connection("reset", 1, "", "Makes the connection as new"),
    of_connection("command", -1, "[COUNT | LIST | INFO name ... | DOCS name ...]", "Tells which commands there are"),
    of_connection("config", -2, "GET parameter ...", "Shows settings"),
    of_connection("monitor", 1, "", "Shows every command as it comes"),
    of_connection("shutdown", -1, "", "Stops the sidecar, where that is allowed"),
    of_connection("multi", 1, "", "Begins to queue commands"),
    of_connection("exec", 1, "", "Runs the queued commands as one transaction"),
    of_connection("discard", 1, "", "Forgets the queued commands"),
    of_connection("watch", -2, "key [key ...]", "Is refused"),
    of_connection("unwatch", 1, "", "Does nothing"),
];

/// A command and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Empty is `default`.
    pub database: String,
    /// Id of the transaction; empty: it is one of its own.
    pub transaction: String,
    /// What to do.
    pub command: Command,
}

impl From<Command> for Call {
    fn from(command: Command) -> Self {
        Self { database: String::new(), transaction: String::new(), command }
    }
}

macro_rules! define {
    ($($variant:ident $name:literal $arity:literal $group:ident $access:ident $shape:ident $arguments:literal $summary:literal;)*) => {
        /// A command with its arguments.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Command {
            $(#[doc = $summary] $variant(shape::$shape),)*
            /// Several commands as one transaction.
            Batch(Vec<Call>),
        }

        /// The table, of all commands that the server answers.
        pub const TABLE: &[Spec] = &[$(Spec {
            name: $name, arity: $arity, group: Group::$group, access: Access::$access, arguments: $arguments, summary: $summary,
        }),*];

        impl Command {
            fn read(name: &str, arguments: &[Bytes]) -> Option<Result<Self, Refusal>> {
                Some(match name {
                    $($name => shape::$shape::parse(arguments).map(Self::$variant),)*
                    _ => return None,
                })
            }

            /// In lower case.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                    Self::Batch(_) => "exec",
                }
            }

            /// Its line in the table, from 0; a batch comes behind the last.
            pub const fn line(&self) -> usize {
                enum Line { $($variant,)* Batch }
                match self {
                    $(Self::$variant(_) => Line::$variant as usize,)*
                    Self::Batch(_) => Line::Batch as usize,
                }
            }

            /// Its arguments as words, which with its name parse to the same command. A batch shows none.
            pub fn arguments(&self) -> Vec<Bytes> {
                match self {
                    $(Self::$variant(shape) => shape.words(),)*
                    Self::Batch(_) => Vec::new(),
                }
            }

            /// Keys that it names.
            pub fn keys(&self) -> Vec<&Key> {
                match self {
                    $(Self::$variant(shape) => shape.keys(),)*
                    Self::Batch(calls) => calls.iter().flat_map(|call| call.command.keys()).collect(),
                }
            }

            /// Roughly how many bytes it takes in memory.
            pub fn size_hint(&self) -> usize {
                64 + match self {
                    $(Self::$variant(shape) => shape.size_hint(),)*
                    Self::Batch(calls) => calls.iter().map(|call| call.command.size_hint()).sum(),
                }
            }

            /// What group it is of, and whether it writes.
            pub const fn class(&self) -> (Group, Access) {
                match self {
                    $(Self::$variant(_) => (Group::$group, Access::$access),)*
                    Self::Batch(_) => (Group::Transactions, Access::Write),
                }
            }
        }
    };
}
with_commands!(define);

/// A line of either table, by its name in any case.
pub fn spec(name: &[u8]) -> Option<&'static Spec> {
    TABLE.iter().chain(CONNECTION).find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(name))
}

impl Command {
    /// Reads a command from its name and arguments. The refusals are those of Redis.
    pub fn parse(argv: &[Bytes]) -> Result<Self, Refusal> {
        let (name, arguments) = argv.split_first().ok_or_else(|| Refusal::err("empty command"))?;
        let unknown = || unknown(name, arguments);
        let spec = spec(name).filter(|spec| spec.group != Group::Connection).ok_or_else(unknown)?;
        spec.check_arity(argv.len())?;
        let read = Self::read(spec.name, arguments).ok_or_else(unknown)?;
        read.map_err(|refusal| if refusal.is_arity() { spec.wrong_arity() } else { refusal })
    }
}

/// What Redis says about a command that it doesn't know.
pub fn unknown(name: &[u8], arguments: &[Bytes]) -> Refusal {
    let shown =
        |bytes: &[u8], max: usize| String::from_utf8_lossy(&bytes[..bytes.len().min(max)]).replace(['\r', '\n'], " ");
    let mut rest = String::new();
    for argument in arguments {
        if rest.len() >= 128 {
            break;
        }
        rest += &format!("'{}' ", shown(argument, 128 - rest.len()));
    }
    Refusal::err(format!("unknown command '{}', with args beginning with: {rest}", shown(name, 128)))
}

#[cfg(test)]
mod tests;
