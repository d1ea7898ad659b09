//! Random commands: few keys, so that types meet, and values around the sizes at which keys are kept otherwise.

use bytes::Bytes;
use datadb::{
    command::{Call, Command, Reply},
    limits,
};

use super::{model::Model, support::chance::Chance};

/// Keys of one writer, all of which begin with its letter.
const KEYS: u64 = 6;

/// What is done as one: all of it is there, or nothing.
#[derive(Clone, Debug)]
pub enum Step {
    One(Command),
    Batch(Vec<Command>),
    Transaction { id: String, commands: Vec<Command>, is_committed: bool },
}

impl Step {
    /// A step of the writer with this letter.
    pub fn random(chance: &mut Chance, letter: char, number: u64) -> Self {
        let some = |chance: &mut Chance| (0..1 + chance.below(6)).map(|_| command(chance, letter)).collect();
        match chance.below(10) {
            0 => Self::Batch(some(chance)),
            1 => Self::Batch(long_list(chance, letter)),
            2 => Self::Transaction {
                id: format!("{letter}{number}"),
                commands: (0..1 + chance.below(6)).map(|_| one_or_several(chance, letter)).collect(),
                is_committed: !chance.one_in(4),
            },
            _ => Self::One(command(chance, letter)),
        }
    }

    /// The calls that it takes.
    pub fn calls(&self) -> Vec<Call> {
        let within = |command: Command, id: &str| Call { transaction: id.to_owned(), ..command.into() };
        match self {
            Self::One(command) => vec![command.clone().into()],
            Self::Batch(commands) => vec![batch(commands).into()],
            Self::Transaction { id, commands, is_committed } => {
                let end = if *is_committed { "txcommit" } else { "txdiscard" };
                let begin = read(&["txinit".into(), id.clone().into()]).into();
                let rest = commands.iter().cloned().chain([read(&[end.into()])]).map(|command| within(command, id));
                std::iter::once(begin).chain(rest).collect()
            }
        }
    }

    /// The replies to its calls, and after each of them what is there.
    pub fn expect(&self, before: &Model) -> Vec<(Reply, Model)> {
        let mut after = before.clone();
        match self {
            Self::One(command) => vec![(after.answer(command), after)],
            Self::Batch(commands) => {
                let replies = Reply::Replies(commands.iter().map(|command| after.answer(command)).collect());
                vec![(replies, after)]
            }
            Self::Transaction { id, commands, is_committed } => {
                let begun = Reply::Value(id.clone().into());
                let mut all = vec![(begun, before.clone())];
                all.extend(commands.iter().map(|command| (after.answer(command), before.clone())));
                all.push((Reply::ok(), if *is_committed { after } else { before.clone() }));
                all
            }
        }
    }
}

fn batch(commands: &[Command]) -> Command {
    Command::Batch(commands.iter().cloned().map(Into::into).collect())
}

/// What may stand in a transaction: a batch, too.
fn one_or_several(chance: &mut Chance, letter: char) -> Command {
    match chance.below(6) {
        0 => batch(&[command(chance, letter), command(chance, letter)]),
        _ => command(chance, letter),
    }
}

fn read(words: &[Bytes]) -> Command {
    Command::parse(words).unwrap_or_else(|refusal| panic!("{words:?}: {refusal}"))
}

/// A value: most are short, some lie at the size at which a key is spilled, or beyond.
fn value(chance: &mut Chance) -> Bytes {
    let around = limits::PACKED_BYTES_MAX - 8 + chance.below(16) as usize;
    let len = *chance.pick(&[0, 1, 3, 3, 3, 9, 100, 700, 1400, around, 9000]);
    let byte = *chance.pick(b"xyz\0\xff");
    vec![byte; len].into()
}

/// A field or a member: text, bytes that are none, nothing.
fn member(chance: &mut Chance) -> Bytes {
    match chance.below(12) {
        0 => Bytes::new(),
        1 => vec![0xff, chance.below(3) as u8].into(),
        2 => vec![0; chance.below(4) as usize].into(),
        _ => format!("m{:02}", chance.below(30)).into(),
    }
}

/// So many that a key of them is packed, just not any more, or by no means.
fn many(chance: &mut Chance) -> std::ops::Range<u64> {
    let from = chance.below(40);
    from..from + *chance.pick(&[2, 30, limits::PACKED_ELEMENTS_MAX as u64 - 1, limits::PACKED_ELEMENTS_MAX as u64 + 2])
}

fn index(chance: &mut Chance) -> Bytes {
    let index = match chance.below(8) {
        0 => u64::MAX - chance.below(3),
        1 => 1 << chance.below(64),
        _ => chance.below(150),
    };
    index.to_string().into()
}

fn long_list(chance: &mut Chance, letter: char) -> Vec<Command> {
    let key = Bytes::from(format!("{letter}{}", chance.below(KEYS)));
    let value = value(chance);
    let short = value.slice(..value.len().min(200));
    many(chance).map(|at| read(&["ladd".into(), key.clone(), at.to_string().into(), short.clone()])).collect()
}

fn command(chance: &mut Chance, letter: char) -> Command {
    const NAMES: [&str; 41] = [
        "exists",
        "type",
        "del",
        "get",
        "set",
        "set",
        "mget",
        "strlen",
        "range",
        "hset",
        "hset",
        "hset",
        "hget",
        "hmget",
        "hgetall",
        "hkeys",
        "hvals",
        "hlen",
        "hexists",
        "hdel",
        "hdel",
        "sadd",
        "sadd",
        "sadd",
        "srem",
        "srem",
        "smembers",
        "scard",
        "sismember",
        "smismember",
        "srange",
        "ladd",
        "ladd",
        "ladd",
        "lrem",
        "lrem",
        "lindex",
        "lrange",
        "lmrange",
        "lprev",
        "ends",
    ];
    let key = |chance: &mut Chance| Bytes::from(format!("{letter}{}", chance.below(KEYS)));
    let name = *chance.pick(&NAMES);
    let mut words = vec![Bytes::from(name), key(chance)];
    match name {
        "exists" | "mget" | "del" => words.extend((0..chance.below(3)).map(|_| key(chance))),
        "set" => {
            words.push(value(chance));
            words.extend(
                [&[][..], &["nx"], &["xx"], &["get"], &["xx", "get"]][chance.below(5) as usize]
                    .iter()
                    .map(|w| Bytes::from(*w)),
            );
        }
        "range" => {
            // From one of its keys to behind all of them.
            let next = char::from(letter as u8 + 1).to_string();
            words.extend([next.into(), chance.below(4).to_string().into()]);
        }
        "hset" if chance.one_in(3) => words.extend(many(chance).flat_map(|n| [format!("n{n:03}").into(), "v".into()])),
        "hset" => words.extend((0..1 + chance.below(3)).flat_map(|_| [member(chance), value(chance)])),
        "sadd" if chance.one_in(3) => words.extend(many(chance).map(|n| Bytes::from(format!("n{n:03}")))),
        "srem" | "hdel" if chance.one_in(3) => words.extend(many(chance).map(|n| Bytes::from(format!("n{n:03}")))),
        "sadd" | "srem" | "hdel" | "hmget" | "smismember" => {
            words.extend((0..1 + chance.below(4)).map(|_| member(chance)));
        }
        "hget" | "hexists" | "sismember" => words.push(member(chance)),
        "srange" => words.extend([member(chance), member(chance), chance.below(9).to_string().into()]),
        "ladd" => words.extend([index(chance), value(chance)]),
        "lrem" | "lindex" | "lprev" => words.push(index(chance)),
        "lrange" | "lmrange" => words.extend([index(chance), index(chance), chance.below(9).to_string().into()]),
        "ends" => words[0] = Bytes::from(*chance.pick(&["lfirst", "llast", "liter", "llen"])),
        _ => {}
    }
    if matches!(&words[0][..], b"lindex" | b"lprev" | b"lrange" | b"lfirst" | b"llast" | b"liter") && chance.one_in(2) {
        words.extend(["with".into(), "index".into()]);
    }
    read(&words)
}
