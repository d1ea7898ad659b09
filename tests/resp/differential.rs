//! Random commands of the groups keys, strings, hashes and sets, to the sidecar and to a real redis-server: what they
//! answer is compared byte for byte. `DATADB_DIFFERENTIAL=N` asks for so many commands of each protocol,
//! `DATADB_SEED=N` for other ones.

use std::collections::BTreeSet;

use crate::{
    House,
    support::{
        chance::{Chance, number_from},
        resp::{Redis, Resp, Wrote},
    },
};

type Words = Vec<Vec<u8>>;

/// Keys of all types; few, so that commands meet.
const KEYS: [&str; 8] = ["a", "b", "ключ", "with blank", "{tag}", "s:1", "s:2", "h:1"];

/// Fields, members and values: empty ones, numbers, what is no text.
const VALUES: [&[u8]; 10] =
    [b"", b"0", b"-1", b"x", b"y", b"a longer value with blanks", b"\xff\x00\r\n", b"*", b"3.14", "é".as_bytes()];

const PATTERNS: [&str; 8] = ["*", "s:*", "?", "[a-b]", "[^a]*", "\\*", "h:?", "nothing"];

/// What makes commands.
struct Maker {
    chance: Chance,
}

impl Maker {
    fn key(&mut self) -> Vec<u8> {
        self.chance.pick(&KEYS).as_bytes().to_vec()
    }

    fn value(&mut self) -> Vec<u8> {
        if self.chance.one_in(40) {
            // Above what is kept packed.
            return vec![b'v'; 3000 + self.chance.below(3000) as usize];
        }
        self.chance.pick(&VALUES).to_vec()
    }

    /// A name that hashes and sets grow by.
    fn member(&mut self) -> Vec<u8> {
        if self.chance.one_in(2) {
            return format!("m{}", self.chance.below(300)).into_bytes();
        }
        self.value()
    }

    fn some(&mut self, most: u64, mut one: impl FnMut(&mut Self) -> Vec<u8>) -> Words {
        (0..=self.chance.below(most)).map(|_| one(self)).collect()
    }

    fn command(&mut self) -> Words {
        const NAMES: [&str; 30] = [
            "exists",
            "type",
            "del",
            "keys",
            "get",
            "set",
            "set",
            "mget",
            "strlen",
            "hset",
            "hset",
            "hmset",
            "hget",
            "hmget",
            "hgetall",
            "hkeys",
            "hvals",
            "hlen",
            "hexists",
            "hdel",
            "sadd",
            "sadd",
            "srem",
            "smembers",
            "scard",
            "sismember",
            "smismember",
            "dbsize",
            "echo",
            "ping",
        ];
        let name = *self.chance.pick(&NAMES);
        let mut words = vec![name.as_bytes().to_vec()];
        match name {
            "exists" | "del" | "mget" => words.extend(self.some(3, Self::key)),
            "keys" => words.push(self.chance.pick(&PATTERNS).as_bytes().to_vec()),
            "set" => {
                words.extend([self.key(), self.value()]);
                if self.chance.one_in(4) {
                    words.push(self.chance.pick(&["nx", "XX", "get", "nonsense"]).as_bytes().to_vec());
                }
            }
            "hset" | "hmset" => {
                words.push(self.key());
                for _ in 0..=self.chance.below(20) {
                    words.extend([self.member(), self.value()]);
                }
            }
            "hget" | "hexists" | "sismember" => words.extend([self.key(), self.member()]),
            "hmget" | "hdel" | "srem" | "smismember" | "sadd" => {
                words.push(self.key());
                words.extend(self.some(20, Self::member));
            }
            "echo" => words.push(self.value()),
            "dbsize" | "ping" => {}
            _ => words.push(self.key()),
        }
        if self.chance.one_in(30) {
            // One word too few or too many.
            if self.chance.one_in(2) { words.truncate(words.len() - 1) } else { words.push(self.value()) }
        }
        if words.is_empty() || self.chance.one_in(100) {
            words = vec![b"nonsense".to_vec(), self.key()];
        }
        words
    }

    /// `HSCAN`, `SSCAN` or `SCAN` with options, right or wrong; the cursor is put in place of the word `CURSOR`.
    fn scan(&mut self) -> Words {
        let mut words = match self.chance.below(3) {
            0 => vec![b"scan".to_vec(), b"CURSOR".to_vec()],
            1 => vec![b"hscan".to_vec(), self.key(), b"CURSOR".to_vec()],
            _ => vec![b"sscan".to_vec(), self.key(), b"CURSOR".to_vec()],
        };
        if self.chance.one_in(3) {
            words.extend([b"match".to_vec(), self.chance.pick(&PATTERNS).as_bytes().to_vec()]);
        }
        if self.chance.one_in(3) {
            words.extend([b"COUNT".to_vec(), self.chance.pick(&["1", "7", "1000", "0", "x"]).as_bytes().to_vec()]);
        }
        if self.chance.one_in(if words[0] == b"scan" { 3 } else { 20 }) {
            words.extend([b"type".to_vec(), self.chance.pick(&["hash", "set", "string", "zset"]).as_bytes().to_vec()]);
        }
        if self.chance.one_in(20) {
            words.push(b"MATCH".to_vec());
        }
        words
    }
}

/// What has no order of its own is sorted first.
fn sorted(name: &[u8], wrote: Wrote) -> Wrote {
    let Wrote::Many(kind, mut parts) = wrote else { return wrote };
    match name {
        b"keys" | b"hkeys" | b"hvals" | b"smembers" => parts.sort(),
        b"hgetall" => {
            let (pairs, _) = parts.as_chunks_mut::<2>();
            pairs.sort();
        }
        _ => {}
    }
    Wrote::Many(kind, parts)
}

/// The union of all pages, or the first page that is an error.
fn all_pages<S: std::io::Read + std::io::Write>(
    client: &mut Resp<S>,
    words: &Words,
) -> Result<BTreeSet<Vec<Wrote>>, Wrote> {
    let (mut cursor, mut found) = ("0".to_owned(), BTreeSet::new());
    let width = if words[0] == b"hscan" { 2 } else { 1 };
    loop {
        let page: Words = words
            .iter()
            .map(|word| if word == b"CURSOR" { cursor.clone().into_bytes() } else { word.clone() })
            .collect();
        let wrote = client.ask(&page);
        if wrote.is_error() {
            return Err(wrote);
        }
        let [next, values] = wrote.parts() else { panic!("{wrote:?} is no page") };
        found.extend(values.parts().chunks(width).map(<[Wrote]>::to_vec));
        cursor = next.text();
        if cursor == "0" {
            return Ok(found);
        }
    }
}

fn shown(words: &Words) -> String {
    words.iter().map(|word| String::from_utf8_lossy(word).escape_debug().to_string()).collect::<Vec<_>>().join(" ")
}

fn compare(protocol: &str) {
    let seed = number_from("DATADB_SEED", 20_140_511);
    let commands = number_from("DATADB_DIFFERENTIAL", 6000);
    println!("DATADB_SEED={seed}, {commands} commands, protocol {protocol}");
    let (house, redis) = (House::new(), Redis::start());
    let (mut ours, mut theirs) = (house.sidecar.connect(), redis.connect());
    ours.ask(&["hello", protocol]);
    theirs.ask(&["hello", protocol]);
    let mut maker = Maker { chance: Chance::new(seed) };
    let mut queued = Vec::new();
    let mut is_queueing = false;
    for number in 0..commands {
        if !is_queueing && maker.chance.one_in(20) {
            let words = maker.scan();
            let (mine, right) = (all_pages(&mut ours, &words), all_pages(&mut theirs, &words));
            assert_eq!(mine, right, "command {number}: {}", shown(&words));
            continue;
        }
        let words = match maker.chance.below(60) {
            0 => vec![b"multi".to_vec()],
            1 | 2 => vec![b"exec".to_vec()],
            3 => vec![b"discard".to_vec()],
            _ => maker.command(),
        };
        let (mine, right) = (ours.ask(&words), theirs.ask(&words));
        let name = words[0].as_slice();
        let (mine, right) = if name == b"exec" {
            let each = |wrote: Wrote| match wrote {
                Wrote::Many(kind, parts) => Wrote::Many(
                    kind,
                    parts.into_iter().zip(&queued).map(|(part, name): (_, &Vec<u8>)| sorted(name, part)).collect(),
                ),
                other => other,
            };
            (each(mine), each(right))
        } else {
            (sorted(name, mine), sorted(name, right))
        };
        assert_eq!(mine, right, "command {number}: {}", shown(&words));
        match name {
            b"multi" => is_queueing = true,
            b"exec" | b"discard" => is_queueing = false,
            name if is_queueing && mine == Wrote::Line("+QUEUED".into()) => queued.push(name.to_vec()),
            _ => {}
        }
        if !is_queueing {
            queued.clear();
        }
    }
}

#[test]
fn random_commands_are_answered_as_redis_answers_them_in_resp2() {
    compare("2");
}

#[test]
fn random_commands_are_answered_as_redis_answers_them_in_resp3() {
    compare("3");
}
