//! Commands and replies. Values of replies travel as text where they are UTF-8, unless a program asked for a group of them.

use bytes::Bytes;

use crate::{
    api,
    command::{
        Call, Command, Refusal, Reply,
        shape::{self, Key, checked_member, checked_value},
        with_commands,
    },
};

/// How values travel.
#[derive(Clone, Copy)]
enum Form {
    /// As text where they are UTF-8: for people.
    Text,
    /// As they are, which costs neither a look at them nor a copy: for programs.
    Data,
}

impl Form {
    fn value(self, bytes: &Bytes) -> api::Value {
        let text = match self {
            Self::Text => std::str::from_utf8(bytes).ok(),
            Self::Data => None,
        };
        let value = match text {
            Some(text) => api::value::Value::Text(text.to_owned()),
            None => api::value::Value::Data(bytes.clone()),
        };
        api::Value { value: Some(value) }
    }

    fn values<'a>(self, bytes: impl IntoIterator<Item = &'a Bytes>) -> Vec<api::Value> {
        bytes.into_iter().map(|bytes| self.value(bytes)).collect()
    }

    fn pairs(self, pairs: &[(Bytes, Bytes)]) -> Vec<api::Pair> {
        let pair = |(field, value): &(Bytes, Bytes)| api::Pair {
            field: Some(self.value(field)),
            value: Some(self.value(value)),
        };
        pairs.iter().map(pair).collect()
    }

    fn reply(self, reply: &Reply) -> api::Reply {
        use api::reply::Reply as Wire;
        let reply = match reply {
            Reply::Status(status) => Wire::Status(status.clone()),
            Reply::Value(value) => Wire::Value(self.value(value)),
            Reply::Integer(integer) => Wire::Integer(*integer),
            Reply::Nil => Wire::Nil(api::NoArgs {}),
            Reply::Values(values) => {
                let value = |value: &Option<Bytes>| value.as_ref().map(|value| self.value(value)).unwrap_or_default();
                Wire::Values(api::Values { values: values.iter().map(value).collect() })
            }
            Reply::Set(members) => Wire::Set(api::Values { values: self.values(members) }),
            Reply::Map(pairs) => Wire::Map(api::Map { pairs: self.pairs(pairs) }),
            Reply::Integers(integers) => Wire::Integers(api::Integers { integers: integers.clone() }),
            Reply::Page(cursor, values) => Wire::Page(api::Page { cursor: *cursor, values: self.values(values) }),
            Reply::Replies(replies) => {
                Wire::Replies(api::Replies { replies: replies.iter().map(|reply| self.reply(reply)).collect() })
            }
            Reply::Error(refusal) => {
                Wire::Error(api::Error { code: refusal.code.clone(), message: refusal.message.clone() })
            }
        };
        api::Reply { reply: Some(reply) }
    }
}

/// What programs send: nobody reads it on its way.
fn to_value(bytes: &Bytes) -> api::Value {
    Form::Data.value(bytes)
}

fn to_values<'a>(bytes: impl IntoIterator<Item = &'a Bytes>) -> Vec<api::Value> {
    Form::Data.values(bytes)
}

/// Values that people read.
pub(super) fn to_words<'a>(bytes: impl IntoIterator<Item = &'a Bytes>) -> Vec<api::Value> {
    Form::Text.values(bytes)
}

fn optional(value: Option<api::Value>) -> Option<Bytes> {
    Some(match value?.value? {
        api::value::Value::Text(text) => Bytes::from(text),
        api::value::Value::Data(data) => data,
    })
}

fn bytes(value: Option<api::Value>) -> Bytes {
    optional(value).unwrap_or_default()
}

pub(super) fn all(values: Vec<api::Value>) -> Vec<Bytes> {
    values.into_iter().map(|value| bytes(Some(value))).collect()
}

fn members(values: Vec<api::Value>) -> Result<Vec<Bytes>, Refusal> {
    if values.is_empty() {
        return Err(Refusal::err("at least one member or field must be named"));
    }
    all(values).into_iter().map(checked_member).collect()
}

/// Both directions of one shape.
macro_rules! both {
    ($name:ident, |$to:ident| $to_api:expr, |$from:ident| $from_api:expr) => {
        impl From<&shape::$name> for api::$name {
            fn from($to: &shape::$name) -> Self {
                $to_api
            }
        }

        impl TryFrom<api::$name> for shape::$name {
            type Error = Refusal;
            fn try_from($from: api::$name) -> Result<Self, Refusal> {
                Ok($from_api)
            }
        }
    };
}

fn key(key: &Key) -> String {
    key.as_str().to_owned()
}

both!(NoArgs, |_args| Self {}, |_args| Self {});
both!(KeyArgs, |args| Self { key: key(&args.key) }, |args| Self { key: Key::new(args.key)? });
both!(KeysArgs, |args| Self { keys: args.keys.iter().map(key).collect() }, |args| {
    if args.keys.is_empty() {
        return Err(Refusal::err("at least one key must be named"));
    }
    Self { keys: args.keys.into_iter().map(Key::new).collect::<Result<_, _>>()? }
});
both!(PatternArgs, |args| Self { pattern: Some(to_value(&args.pattern)) }, |args| Self {
    pattern: bytes(args.pattern)
});
both!(
    SetArgs,
    |args| Self {
        key: key(&args.key),
        value: Some(to_value(&args.value)),
        if_missing: args.if_missing,
        if_there: args.if_there,
        get: args.get,
    },
    |args| {
        if args.if_missing && args.if_there {
            return Err(Refusal::syntax());
        }
        Self {
            key: Key::new(args.key)?,
            value: checked_value(bytes(args.value))?,
            if_missing: args.if_missing,
            if_there: args.if_there,
            get: args.get,
        }
    }
);
both!(
    RangeArgs,
    |args| Self { start: Some(to_value(&args.start)), end: Some(to_value(&args.end)), limit: args.limit },
    |args| Self { start: bytes(args.start), end: bytes(args.end), limit: args.limit }
);
both!(PairsArgs, |args| Self { key: key(&args.key), pairs: to_pairs(&args.pairs) }, |args| {
    let pairs = from_pairs(args.pairs).into_iter();
    let pairs: Vec<_> = pairs
        .map(|(field, value)| Ok((checked_member(field)?, checked_value(value)?)))
        .collect::<Result<_, Refusal>>()?;
    if pairs.is_empty() {
        return Err(Refusal::err("at least one field must be named"));
    }
    Self { key: Key::new(args.key)?, pairs }
});
both!(MemberArgs, |args| Self { key: key(&args.key), member: Some(to_value(&args.member)) }, |args| Self {
    key: Key::new(args.key)?,
    member: bytes(args.member)
});
both!(MembersArgs, |args| Self { key: key(&args.key), members: to_values(&args.members) }, |args| Self {
    key: Key::new(args.key)?,
    members: members(args.members)?
});
both!(
    ScanArgs,
    |args| Self {
        cursor: args.cursor,
        pattern: args.pattern.as_ref().map(to_value),
        count: args.count,
        r#type: args.kind.clone()
    },
    |args| Self {
        cursor: args.cursor,
        pattern: optional(args.pattern),
        count: if args.count == 0 { 10 } else { args.count },
        kind: args.r#type,
    }
);
both!(
    KeyScanArgs,
    |args| Self {
        key: key(&args.key),
        cursor: args.cursor,
        pattern: args.pattern.as_ref().map(to_value),
        count: args.count,
        unread: to_values(&args.unread),
    },
    |args| Self {
        key: Key::new(args.key)?,
        cursor: args.cursor,
        pattern: optional(args.pattern),
        count: if args.count == 0 { 10 } else { args.count },
        unread: args.unread.into_iter().map(|word| bytes(Some(word))).collect(),
    }
);
both!(
    KeyRangeArgs,
    |args| Self {
        key: key(&args.key),
        start: Some(to_value(&args.start)),
        end: Some(to_value(&args.end)),
        limit: args.limit
    },
    |args| Self { key: Key::new(args.key)?, start: bytes(args.start), end: bytes(args.end), limit: args.limit }
);
both!(LaddArgs, |args| Self { key: key(&args.key), index: args.index, value: Some(to_value(&args.value)) }, |args| {
    Self { key: Key::new(args.key)?, index: args.index, value: checked_value(bytes(args.value))? }
});
both!(IndexArgs, |args| Self { key: key(&args.key), index: args.index, with_index: args.with_index }, |args| Self {
    key: Key::new(args.key)?,
    index: args.index,
    with_index: args.with_index
});
both!(EntryArgs, |args| Self { key: key(&args.key), with_index: args.with_index }, |args| Self {
    key: Key::new(args.key)?,
    with_index: args.with_index
});
both!(
    SliceArgs,
    |args| Self { key: key(&args.key), from: args.from, to: args.to, limit: args.limit, with_index: args.with_index },
    |args| Self {
        key: Key::new(args.key)?,
        from: args.from,
        to: args.to,
        limit: args.limit,
        with_index: args.with_index
    }
);
both!(DataArgs, |args| Self { data: args.data.clone() }, |args| Self { data: args.data });
both!(BlobArgs, |args| Self { blob: args.blob.to_string() }, |args| Self {
    blob: shape::blob_id(args.blob.as_bytes())?
});
both!(BlobsArgs, |args| Self { blobs: args.blobs.iter().map(ToString::to_string).collect() }, |args| Self {
    blobs: args.blobs.iter().map(|blob| shape::blob_id(blob.as_bytes())).collect::<Result<_, _>>()?
});
both!(TxinitArgs, |args| Self { id: args.id.clone() }, |args| Self { id: args.id });

macro_rules! commands {
    ($($variant:ident $name:literal $arity:literal $group:ident $access:ident $shape:ident $arguments:literal $summary:literal;)*) => {
        fn to_command(command: &Command) -> api::command::Command {
            use api::command::Command as Wire;
            match command {
                $(Command::$variant(args) => Wire::$variant(args.into()),)*
                Command::Batch(calls) => Wire::Batch(api::Batch { commands: calls.iter().map(Into::into).collect() }),
            }
        }

        fn from_command(command: api::command::Command) -> Result<Command, Refusal> {
            use api::command::Command as Wire;
            Ok(match command {
                $(Wire::$variant(args) => Command::$variant(args.try_into()?),)*
                Wire::Batch(batch) => {
                    let calls = batch.commands.into_iter().map(single);
                    Command::Batch(calls.collect::<Result<_, _>>()?)
                }
                Wire::Group(_) => return Err(Refusal::err("a group stands only in a stream, and in no other command")),
            })
        }
    };
}
with_commands!(commands);

/// A command within a batch. Batches don't nest, so that no message makes the stack deep.
fn single(command: api::Command) -> Result<Call, Refusal> {
    if matches!(command.command, Some(api::command::Command::Batch(_))) {
        return Err(Refusal::err("MULTI calls can not be nested"));
    }
    Call::try_from(command)
}

impl api::Command {
    /// Several commands in one message of a stream.
    pub fn group(calls: &[Call]) -> Self {
        let group = api::Batch { commands: calls.iter().map(Into::into).collect() };
        Self { command: Some(api::command::Command::Group(group)), ..Self::default() }
    }

    /// The commands of a message, and whether they came as a group.
    pub fn ungroup(self) -> (Vec<Self>, bool) {
        match self.command {
            Some(api::command::Command::Group(group)) => (group.commands, true),
            _ => (vec![self], false),
        }
    }
}

impl From<&Call> for api::Command {
    fn from(call: &Call) -> Self {
        Self {
            database: call.database.clone(),
            transaction: call.transaction.clone(),
            command: Some(to_command(&call.command)),
        }
    }
}

impl TryFrom<api::Command> for Call {
    type Error = Refusal;
    fn try_from(message: api::Command) -> Result<Self, Refusal> {
        let command = message.command.ok_or_else(|| Refusal::err("empty command"))?;
        Ok(Self { database: message.database, transaction: message.transaction, command: from_command(command)? })
    }
}

fn to_pairs(pairs: &[(Bytes, Bytes)]) -> Vec<api::Pair> {
    Form::Data.pairs(pairs)
}

fn from_pairs(pairs: Vec<api::Pair>) -> Vec<(Bytes, Bytes)> {
    pairs.into_iter().map(|pair| (bytes(pair.field), bytes(pair.value))).collect()
}

impl From<&Reply> for api::Reply {
    fn from(reply: &Reply) -> Self {
        Form::Text.reply(reply)
    }
}

impl api::Reply {
    /// As one of the replies to a group.
    pub fn of_group(reply: &Reply) -> Self {
        Form::Data.reply(reply)
    }
}

impl From<api::Reply> for Reply {
    fn from(reply: api::Reply) -> Self {
        use api::reply::Reply as Wire;
        match reply.reply {
            None => Self::Error(Refusal::err("the server's reply is empty: are both of the same version?")),
            Some(Wire::Status(status)) => Self::Status(status),
            Some(Wire::Value(value)) => Self::value(optional(Some(value))),
            Some(Wire::Integer(integer)) => Self::Integer(integer),
            Some(Wire::Nil(_)) => Self::Nil,
            Some(Wire::Values(values)) => {
                Self::Values(values.values.into_iter().map(|value| optional(Some(value))).collect())
            }
            Some(Wire::Set(values)) => Self::Set(all(values.values)),
            Some(Wire::Map(map)) => Self::Map(from_pairs(map.pairs)),
            Some(Wire::Integers(integers)) => Self::Integers(integers.integers),
            Some(Wire::Page(page)) => Self::Page(page.cursor, all(page.values)),
            Some(Wire::Replies(replies)) => Self::Replies(replies.replies.into_iter().map(Into::into).collect()),
            Some(Wire::Error(error)) => Self::Error(Refusal { code: error.code, message: error.message }),
        }
    }
}
