//! Refusals in the words of Redis, and the table.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use super::*;

fn parse(line: &str) -> Result<Command, Refusal> {
    let words: Vec<Bytes> = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
    Command::parse(&words)
}

fn refused(line: &str) -> String {
    parse(line).unwrap_err().to_string()
}

#[test]
fn refusals_are_worded_as_redis_words_them() {
    assert_eq!(refused("get"), "ERR wrong number of arguments for 'get' command");
    assert_eq!(refused("HSET k f"), "ERR wrong number of arguments for 'hset' command");
    assert_eq!(refused("hset k f v g"), "ERR wrong number of arguments for 'hset' command");
    assert_eq!(refused("foo a b"), "ERR unknown command 'foo', with args beginning with: 'a' 'b' ");
    assert_eq!(refused("scan x"), "ERR invalid cursor");
    assert_eq!(refused("scan 0 count 0"), "ERR syntax error");
    assert_eq!(refused("scan 0 count"), "ERR syntax error");
    assert_eq!(refused("set k v nx xx"), "ERR syntax error");
    assert_eq!(refused("ladd k x v"), "ERR value is not an integer or out of range");
    assert_eq!(refused("ladd k 18446744073709551616 v"), "ERR value is not an integer or out of range");
}

#[test]
fn set_keeps_what_nothing_has_and_refuses_to_let_a_key_expire() {
    let Ok(Command::Set(args)) = parse("set k v KEEPTTL xx") else { panic!("not a set") };
    assert!(args.if_there && !args.if_missing && !args.get);
    for option in ["EX 10", "px 10", "exat 10", "PXAT 10"] {
        assert!(refused(&format!("set k v {option}")).contains("keys don't expire"), "{option}");
    }
    assert_eq!(refused("set k v ex"), "ERR syntax error");
}

#[test]
fn a_key_that_is_not_utf8_is_refused_in_words() {
    let words = [Bytes::from("get"), Bytes::from(&b"\xff"[..])];
    assert!(Command::parse(&words).unwrap_err().message.contains("UTF-8"));
}

#[test]
fn with_index_stands_at_the_end() {
    let Ok(Command::Lrange(args)) = parse("lrange k 1 9 3 with INDEX") else { panic!("not a slice") };
    assert_eq!((args.from, args.to, args.limit, args.with_index), (1, 9, 3, true));
    let Ok(Command::Liter(args)) = parse("LITER k") else { panic!("not a list") };
    assert!(!args.with_index);
    assert_eq!(refused("lindex k 1 with"), "ERR syntax error");
}

#[test]
fn no_name_stands_twice_in_the_tables() {
    let mut names: Vec<&str> = TABLE.iter().chain(CONNECTION).map(|spec| spec.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

/// A line with values of their own for every command of the table, as short and as long as it takes them.
fn lines(spec: &Spec) -> Vec<Vec<String>> {
    let value = |word: &str| match word.trim_matches(['[', ']']) {
        "index" | "from" | "to" | "limit" | "cursor" | "count" => "17".to_owned(),
        "blob" => "0123456789abcdef0123456789abcdef01234567".to_owned(),
        name if name.chars().all(char::is_uppercase) => name.to_owned(),
        name => format!("{name} of {}", spec.name),
    };
    let all: Vec<&str> = spec.arguments.split_whitespace().filter(|word| !["...]", "|"].contains(word)).collect();
    let needed = all.iter().take_while(|word| !word.starts_with('['));
    let line = |words: Vec<&str>| {
        std::iter::once(spec.name.to_owned()).chain(words.into_iter().map(value)).collect::<Vec<_>>()
    };
    // NX and XX exclude each other; the short line stands for the one, this for the other.
    let all_but = |out: &str| line(all.iter().copied().filter(|word| word.trim_matches(['[', ']']) != out).collect());
    vec![line(needed.copied().collect()), all_but("NX"), all_but("XX")]
}

#[test]
fn arguments_as_words_parse_to_the_same_command() {
    for spec in TABLE {
        for line in lines(spec) {
            let words: Vec<Bytes> = line.iter().cloned().map(Bytes::from).collect();
            let command = Command::parse(&words).unwrap_or_else(|refusal| panic!("{line:?}: {refusal}"));
            let name = Bytes::from(command.name());
            let again: Vec<Bytes> = std::iter::once(name).chain(command.arguments()).collect();
            assert_eq!(Command::parse(&again), Ok(command.clone()), "{line:?}");
            assert_eq!(TABLE[command.line()].name, spec.name);
        }
    }
}
