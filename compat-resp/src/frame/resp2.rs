//! Answers in version 2 of the protocol, which knows neither maps nor sets.

use bytes::{Bytes, BytesMut};
use datadb::command::Reply;
use redis_protocol::resp2::{encode::extend_encode, types::BytesFrame};

use super::answer::{Answer, error_line};

/// Writes an answer behind what is there.
pub fn encode(answer: &Answer, out: &mut BytesMut) {
    extend_encode(out, &frame(answer), false).expect("the buffer is as long as the frame says");
}

fn frame(answer: &Answer) -> BytesFrame {
    match answer {
        Answer::Reply(reply) => of_reply(reply),
        Answer::Text(text) => BytesFrame::BulkString(text.clone()),
        Answer::List(answers) => BytesFrame::Array(answers.iter().map(frame).collect()),
        Answer::Map(pairs) => {
            let pair =
                |(name, answer): &(&'static str, Answer)| [string(&Bytes::from_static(name.as_bytes())), frame(answer)];
            BytesFrame::Array(pairs.iter().flat_map(pair).collect())
        }
    }
}

fn of_reply(reply: &Reply) -> BytesFrame {
    match reply {
        Reply::Status(status) => BytesFrame::SimpleString(status.clone().into()),
        Reply::Value(value) => string(value),
        Reply::Integer(integer) => BytesFrame::Integer(*integer),
        Reply::Nil => BytesFrame::Null,
        Reply::Values(values) => array(values, |value| value.as_ref().map_or(BytesFrame::Null, string)),
        Reply::Set(members) => array(members, string),
        Reply::Map(pairs) => {
            BytesFrame::Array(pairs.iter().flat_map(|(field, value)| [string(field), string(value)]).collect())
        }
        Reply::Integers(integers) => array(integers, |integer| BytesFrame::Integer(*integer)),
        Reply::Page(cursor, values) => {
            BytesFrame::Array(vec![string(&cursor.to_string().into()), array(values, string)])
        }
        Reply::Replies(replies) => array(replies, of_reply),
        Reply::Error(refusal) => BytesFrame::Error(error_line(refusal).into()),
    }
}

fn string(value: &Bytes) -> BytesFrame {
    BytesFrame::BulkString(value.clone())
}

fn array<T>(items: &[T], frame: impl Fn(&T) -> BytesFrame) -> BytesFrame {
    BytesFrame::Array(items.iter().map(frame).collect())
}
