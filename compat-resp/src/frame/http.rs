//! HTTP that came to the wrong door. A page in a browser can make it send `POST / HTTP/1.1` to any port of this machine, with
//! a body whose lines are commands: the first line that looks like HTTP must be the last one that is read.

/// Methods, none of which is a command, but for `GET`. Others a browser sends only after it has asked with `OPTIONS`.
const METHODS: [&[u8]; 10] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT", b"PRI"];

/// Whether a line is the first one of a request over HTTP (`GET /key HTTP/1.1`; `GET /key` asks for a key), or one that
/// Redis takes for a part of one: `POST …`, `Host: …`. Upper and lower case are the same.
pub fn begins(line: &[u8]) -> bool {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let Some(first) = words.next() else { return false };
    if first.eq_ignore_ascii_case(b"POST") || first.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"Host:")) {
        return true;
    }
    let is_version = |word: &[u8]| word.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"HTTP/"));
    // Between the method and the version stands what is asked for.
    METHODS.iter().any(|method| first.eq_ignore_ascii_case(method)) && words.skip(1).last().is_some_and(is_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_http_are_told_from_commands() {
        for line in [
            "POST / HTTP/1.1",
            "post /",
            "POST",
            "Host: 127.0.0.1:9736",
            "hOsT:evil.example",
            "GET / HTTP/1.1",
            "get /key http/1.0",
            "OPTIONS * HTTP/1.1",
            "PRI * HTTP/2.0",
            "\tPUT /x?SET HTTP/1.1 ",
        ] {
            assert!(begins(line.as_bytes()), "{line}");
        }
        for line in [
            "",
            " ",
            "GET key",
            "GET /",
            "GET /foo",
            "GET HTTP/1.1",
            "get HTTP/1.1x y",
            "SET key HTTP/1.1",
            "SET POST Host:",
            "ECHO HTTP/1.1",
            "hostile 1",
        ] {
            assert!(!begins(line.as_bytes()), "{line}");
        }
    }
}
