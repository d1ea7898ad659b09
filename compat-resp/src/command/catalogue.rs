//! `COMMAND`: the table of commands, as clients and redis-cli's help ask for it.

use bytes::Bytes;
use datadb::command::{Access, CONNECTION, Group, Reply, Spec, TABLE, spec};

use super::{is, unknown_subcommand, wrong_arity};
use crate::frame::Answer;

/// The answer to `[COUNT | INFO name ... | DOCS name ... | LIST]`.
pub fn answer(arguments: &[Bytes]) -> Answer {
    match arguments {
        [] => Answer::List(all().map(info).collect()),
        [count] if is(count, "count") => Answer::integer(all().count() as i64),
        [count, ..] if is(count, "count") => wrong_arity("command", "count"),
        [list] if is(list, "list") => {
            Reply::Values(all().map(|spec| Some(Bytes::from_static(spec.name.as_bytes()))).collect()).into()
        }
        [word] if is(word, "info") => Answer::List(all().map(info).collect()),
        [word, names @ ..] if is(word, "info") => {
            Answer::List(names.iter().map(|name| spec(name).map_or(Answer::Reply(Reply::Nil), info)).collect())
        }
        [word] if is(word, "docs") => Answer::Map(all().map(|spec| (spec.name, docs(spec))).collect()),
        [word, names @ ..] if is(word, "docs") => {
            Answer::Map(names.iter().filter_map(|name| spec(name)).map(|spec| (spec.name, docs(spec))).collect())
        }
        [other, ..] => unknown_subcommand("COMMAND", other),
    }
}

fn all() -> impl Iterator<Item = &'static Spec> {
    TABLE.iter().chain(CONNECTION)
}

fn group(spec: &Spec) -> &'static str {
    match spec.group {
        Group::Connection => "connection",
        Group::Server => "server",
        Group::Keys => "generic",
        Group::Strings => "string",
        Group::Hashes => "hash",
        Group::Sets => "set",
        Group::Lists => "list",
        Group::Blobs => "blob",
        Group::Transactions => "transactions",
    }
}

/// Positions of the first key, the last one, and the step between them, as clients of clusters want to know.
fn keys(spec: &Spec) -> [i64; 3] {
    match spec.arguments {
        "key [key ...]" => [1, -1, 1],
        arguments if arguments.starts_with("key") => [1, 1, 1],
        _ => [0, 0, 0],
    }
}

/// Name, arity, flags, keys; categories, tips, key specifications and subcommands are not told.
fn info(spec: &Spec) -> Answer {
    let mut flags = match (spec.group, spec.access) {
        (Group::Connection, _) => vec!["loading", "stale"],
        (_, Access::Read) => vec!["readonly"],
        (_, Access::Write) => vec!["write"],
    };
    if !spec.may_be_queued() {
        flags.push("no_multi");
    }
    let nothing = || Answer::List(Vec::new());
    let mut fields = vec![
        Answer::value(spec.name),
        Answer::integer(i64::from(spec.arity)),
        Answer::List(flags.into_iter().map(Answer::status).collect()),
    ];
    fields.extend(keys(spec).map(Answer::integer));
    fields.extend([nothing(), nothing(), nothing(), nothing()]);
    Answer::List(fields)
}

fn docs(spec: &Spec) -> Answer {
    let summary = match spec.group {
        Group::Lists => format!("{} (lists are DataDB's own: sorted by an unsigned 64-bit index)", spec.summary),
        _ => spec.summary.to_owned(),
    };
    let mut fields = vec![
        ("summary", Answer::value(summary)),
        ("since", Answer::value("0.1.0")),
        ("group", Answer::value(group(spec))),
        ("complexity", Answer::value("")),
    ];
    if !spec.arguments.is_empty() {
        fields.push(("arguments", Answer::List(arguments(spec.arguments).map(argument).collect())));
    }
    Answer::Map(fields)
}

/// The parts of how arguments are written: words, and brackets with what is in them.
fn arguments(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |c: char| {
        depth = match c {
            '[' => depth + 1,
            ']' => depth.saturating_sub(1),
            _ => depth,
        };
        depth == 0 && c == ' '
    })
}

fn argument(text: &str) -> Answer {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let name = Answer::value(Bytes::copy_from_slice(inner.unwrap_or(text).as_bytes()));
    let mut fields = vec![("name", name), ("type", Answer::value("string"))];
    if inner.is_some() {
        fields.push(("flags", Answer::List(vec![Answer::status("optional")])));
    }
    Answer::Map(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_stay_together_in_the_arguments_of_docs() {
        let parts: Vec<&str> = arguments("key value [NX | XX] [GET]").collect();
        assert_eq!(parts, ["key", "value", "[NX | XX]", "[GET]"]);
        assert_eq!(arguments("[protover [AUTH user password] [SETNAME name]]").count(), 1);
    }
}
