//! HTTP as simple as it gets: a request, and what comes back until the server closes the connection.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Debug)]
pub struct Page {
    /// The status code.
    pub status: u16,
    /// The head as it came.
    pub head: String,
    /// The body.
    pub body: String,
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    stream
}

/// A request without a body, with more header fields, each ended by CR LF.
pub fn ask(address: &str, method: &str, path: &str, fields: &str) -> Page {
    say(address, method, path, &format!("Host: {address}\r\n{fields}"))
}

/// The same without a `Host`, unless it is among the fields.
pub fn say(address: &str, method: &str, path: &str, fields: &str) -> Page {
    let mut stream = connect(address);
    let request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{fields}\r\n");
    // A server that has heard enough replies and closes, before the last of it is sent.
    if let Err(error) = stream.write_all(request.as_bytes()) {
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    }
    let mut all = Vec::new();
    // A server that does not read to the end ends the connection with a reset, behind its reply.
    if let Err(error) = stream.read_to_end(&mut all) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    let all = String::from_utf8(all).expect("a reply in UTF-8");
    let (head, body) = all.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Page { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// The body of a page that must be there.
#[track_caller]
pub fn page(address: &str, path: &str) -> String {
    let page = ask(address, "GET", path, "");
    assert_eq!(page.status, 200, "{path}: {page:?}");
    page.body
}

/// Server-Sent Events, from the moment at which the server had taken the reader.
pub struct Events(BufReader<TcpStream>);

impl Events {
    /// Begins to read.
    pub fn of(address: &str, path: &str) -> Self {
        let mut stream = connect(address);
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").expect("sent");
        let mut events = Self(BufReader::new(stream));
        let head: Vec<String> = std::iter::from_fn(|| Some(events.line()).filter(|line| !line.is_empty())).collect();
        assert!(head[0].contains(" 200 "), "{head:?}");
        let is_stream = |line: &String| line.eq_ignore_ascii_case("content-type: text/event-stream");
        assert!(head.iter().any(is_stream), "{head:?}");
        events
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line in time");
        line.trim_end().to_owned()
    }

    /// The next line of data.
    #[track_caller]
    pub fn next(&mut self) -> String {
        loop {
            let line = self.line();
            if let Some(data) = line.strip_prefix("data: ") {
                return data.to_owned();
            }
            assert!(line.is_empty() || line.starts_with(':'), "{line:?} is no event");
        }
    }
}
