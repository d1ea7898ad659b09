//! Requests in pieces, requests that lie about their sizes, and lines.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use proptest::prelude::*;

use super::*;

fn all(input: &[u8]) -> Result<Vec<Vec<Bytes>>, ProtocolError> {
    in_pieces(input, input.len().max(1))
}

fn in_pieces(input: &[u8], piece_bytes: usize) -> Result<Vec<Vec<Bytes>>, ProtocolError> {
    let (mut requests, mut buffer, mut found) = (Requests::default(), BytesMut::new(), Vec::new());
    for piece in input.chunks(piece_bytes) {
        buffer.extend_from_slice(piece);
        while let Some(words) = requests.next(&mut buffer)? {
            found.push(words);
        }
    }
    Ok(found)
}

fn refused(input: &[u8]) -> String {
    all(input).unwrap_err().to_string()
}

#[test]
fn an_array_of_strings_is_a_request() {
    assert_eq!(all(b"*2\r\n$3\r\nget\r\n$1\r\na\r\n*1\r\n$4\r\nping\r\n").unwrap(), [vec!["get", "a"], vec!["ping"]]);
    assert_eq!(all(b"*2\r\n$3\r\nget\r\n$0\r\n\r\n").unwrap(), [vec!["get", ""]]);
    assert_eq!(all(b"*0\r\n*-1\r\n\r\n*1\r\n$4\r\nping\r\n").unwrap(), [vec!["ping"]]);
}

#[test]
fn what_a_request_claims_is_refused_before_anything_is_allocated() {
    assert_eq!(refused(b"*2147483647\r\n"), "Protocol error: invalid multibulk length");
    assert_eq!(refused(b"*x\r\n"), "Protocol error: invalid multibulk length");
    assert_eq!(refused(b"*1\r\n$2147483647\r\n"), "Protocol error: invalid bulk length");
    assert_eq!(refused(b"*1\r\n$-1\r\n"), "Protocol error: invalid bulk length");
    assert_eq!(refused(b"*1\r\n:1\r\n"), "Protocol error: expected '$', got ':'");
    assert_eq!(refused(&[&b"*"[..], &[b'1'; 40]].concat()), "Protocol error: invalid multibulk length");
    assert_eq!(refused(&[b'a'; INLINE_BYTES_MAX]), "Protocol error: too big inline request");
}

#[test]
fn nested_arrays_are_refused_without_going_deep() {
    assert_eq!(refused(&b"*1\r\n".repeat(1 << 20)), "Protocol error: expected '$', got '*'");
}

#[test]
fn many_strings_do_not_exceed_a_request_together() {
    let part = [format!("${}\r\n", 1 << 20).into_bytes(), vec![b'x'; 1 << 20], b"\r\n".to_vec()].concat();
    let request = [&b"*7\r\n"[..], &part.repeat(7)].concat();
    assert_eq!(refused(&request), format!("Protocol error: a request has at most {REQUEST_BYTES_MAX} bytes"));
}

#[test]
fn a_line_is_a_request_with_quotes_as_in_redis() {
    assert_eq!(all(b"  set  a 'b \\' c' \"\\x41\\n\\\"\"\r\n").unwrap(), [vec!["set", "a", "b ' c", "A\n\""]]);
    assert_eq!(all(b"ping\nping\r\n").unwrap(), [vec!["ping"], vec!["ping"]]);
    assert_eq!(refused(b"get \"a\r\n"), "Protocol error: unbalanced quotes in request");
    assert_eq!(refused(b"get \"a\"b\r\n"), "Protocol error: unbalanced quotes in request");
}

fn written(requests: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut out = Vec::new();
    for words in requests {
        out.extend(format!("*{}\r\n", words.len()).bytes());
        for word in words {
            out.extend(format!("${}\r\n", word.len()).bytes());
            out.extend(word);
            out.extend(b"\r\n");
        }
    }
    out
}

proptest! {
    #[test]
    fn requests_in_pieces_are_the_requests(
        requests in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6), 0..6),
        piece_bytes in 1_usize..50,
    ) {
        prop_assert_eq!(in_pieces(&written(&requests), piece_bytes).unwrap(), requests);
    }

    #[test]
    fn no_bytes_make_the_parser_panic_and_pieces_change_nothing(
        input in prop::collection::vec(prop_oneof![
            Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'"'), Just(b'\\'), b'0'..=b'9', any::<u8>()
        ], 0..200),
        piece_bytes in 1_usize..20,
    ) {
        let (whole, pieces) = (all(&input), in_pieces(&input, piece_bytes));
        prop_assert_eq!(whole, pieces);
    }
}
