//! Answers in version 3 of the protocol.

use bytes::{Bytes, BytesMut};
use datadb::command::Reply;
use redis_protocol::resp3::{
    encode::complete::extend_encode,
    types::{BytesFrame, VerbatimStringFormat},
};

use super::answer::{Answer, error_line};

/// Writes an answer behind what is there.
pub fn encode(answer: &Answer, out: &mut BytesMut) {
    extend_encode(out, &frame(answer), false).expect("the buffer is as long as the frame says");
}

fn frame(answer: &Answer) -> BytesFrame {
    match answer {
        Answer::Reply(reply) => of_reply(reply),
        Answer::Text(text) => {
            BytesFrame::VerbatimString { data: text.clone(), format: VerbatimStringFormat::Text, attributes: None }
        }
        Answer::List(answers) => array(answers, frame),
        Answer::Map(pairs) => {
            let pair =
                |(name, answer): &(&'static str, Answer)| (string(&Bytes::from_static(name.as_bytes())), frame(answer));
            BytesFrame::Map { data: pairs.iter().map(pair).collect(), attributes: None }
        }
    }
}

fn of_reply(reply: &Reply) -> BytesFrame {
    match reply {
        Reply::Status(status) => BytesFrame::SimpleString { data: status.clone().into(), attributes: None },
        Reply::Value(value) => string(value),
        Reply::Integer(integer) => number(integer),
        Reply::Nil => BytesFrame::Null,
        Reply::Values(values) => array(values, |value| value.as_ref().map_or(BytesFrame::Null, string)),
        Reply::Set(members) => BytesFrame::Set { data: members.iter().map(string).collect(), attributes: None },
        Reply::Map(pairs) => {
            let data = pairs.iter().map(|(field, value)| (string(field), string(value))).collect();
            BytesFrame::Map { data, attributes: None }
        }
        Reply::Integers(integers) => array(integers, number),
        Reply::Page(cursor, values) => {
            let data = vec![string(&cursor.to_string().into()), array(values, string)];
            BytesFrame::Array { data, attributes: None }
        }
        Reply::Replies(replies) => array(replies, of_reply),
        Reply::Error(refusal) => BytesFrame::SimpleError { data: error_line(refusal).into(), attributes: None },
    }
}

fn string(value: &Bytes) -> BytesFrame {
    BytesFrame::BlobString { data: value.clone(), attributes: None }
}

const fn number(integer: &i64) -> BytesFrame {
    BytesFrame::Number { data: *integer, attributes: None }
}

fn array<T>(items: &[T], frame: impl Fn(&T) -> BytesFrame) -> BytesFrame {
    BytesFrame::Array { data: items.iter().map(frame).collect(), attributes: None }
}
