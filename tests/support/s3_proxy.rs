//! What lies between a client and an S3 server: a proxy that cuts, delays, doubles and refuses requests as planned.
//!
//! It understands just enough of HTTP/1.1: one request a connection, lengths declared.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The connection is cut before the store hears of it.
    Cut,
    /// The store does it, but the answer is cut off before its first byte.
    CutAnswer,
    /// The store does it, but the answer is cut off in its middle.
    HalfAnswer,
    /// The store hears of it so much later.
    Late(Duration),
    /// The store hears of it twice; its second answer counts.
    Twice,
    /// It is answered with this status and this code of S3, and the store hears nothing.
    Refused(u16, &'static str),
}

/// A request that came by.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// All header lines, in lower case.
    pub head: String,
}

impl Seen {
    /// Whether it writes a pack, or a part of one.
    pub fn is_pack_written(&self) -> bool {
        self.method == "PUT" && self.target.contains(".pack")
    }

    /// Whether it reads from a pack.
    pub fn is_pack_read(&self) -> bool {
        self.method == "GET" && self.target.contains(".pack")
    }
}

type Matcher = Box<dyn Fn(&Seen) -> bool + Send>;

#[derive(Default)]
struct State {
    plan: Vec<(Matcher, Trouble, u32)>,
    is_down: bool,
    seen: Vec<Seen>,
}

/// The proxy. It works as long as the process lives.
pub struct S3Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl S3Proxy {
    /// In front of a server's endpoint (`http://host:port`).
    pub fn to(endpoint: &str) -> Self {
        let server = endpoint.strip_prefix("http://").expect("a TCP address").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (server, state) = (server.clone(), Arc::clone(&shared));
                thread::spawn(move || {
                    // A side that goes away ends the connection, as it would without a proxy.
                    let _ended: io::Result<()> = carry(&client, &server, &state);
                    let _closed: io::Result<()> = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, state }
    }

    /// Its address, for clients.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next so many requests of this kind meet this trouble.
    pub fn plan(&self, times: u32, trouble: Trouble, matcher: impl Fn(&Seen) -> bool + Send + 'static) {
        lock(&self.state).plan.push((Box::new(matcher), trouble, times));
    }

    /// Cuts every connection from now on, or no more.
    pub fn set_down(&self, is_down: bool) {
        lock(&self.state).is_down = is_down;
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state).seen.clone()
    }

    /// Whether every planned trouble has come.
    pub fn is_plan_done(&self) -> bool {
        lock(&self.state).plan.iter().all(|(.., left)| *left == 0)
    }
}

fn carry(client: &TcpStream, server: &str, state: &Mutex<State>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let lower = head.to_ascii_lowercase();
    let header = |name: &str| lower.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim));
    let len: usize = header("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
    let mut client = client;
    if header("expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body)?;
    let mut words = head.split(' ').map(ToOwned::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let trouble = note(state, Seen { method: method.clone(), target, head: lower.clone() });
    let send = || ask(server, &head, &body);
    let answer = match trouble {
        Some(Trouble::Cut) => return Ok(()),
        Some(Trouble::CutAnswer) => return send().map(drop),
        Some(Trouble::HalfAnswer) => {
            let answer = send()?;
            let start = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
            answer[..start + (answer.len() - start) / 2].to_vec()
        }
        Some(Trouble::Late(delay)) => {
            thread::sleep(delay);
            send()?
        }
        Some(Trouble::Twice) => send().and_then(|_| send())?,
        Some(Trouble::Refused(status, code)) => refusal(status, code, method == "HEAD"),
        None => send()?,
    };
    client.write_all(&answer)
}

fn note(state: &Mutex<State>, seen: Seen) -> Option<Trouble> {
    let mut state = lock(state);
    let planned = state.plan.iter_mut().find(|(matcher, _, left)| *left > 0 && matcher(&seen));
    let trouble = planned.map(|(_, trouble, left)| {
        *left -= 1;
        *trouble
    });
    state.seen.push(seen);
    if state.is_down { Some(Trouble::Cut) } else { trouble }
}

/// Hands a request on, and gives the whole answer.
fn ask(server: &str, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    let is_kept = |line: &&str| {
        let line = line.to_ascii_lowercase();
        !line.starts_with("expect:") && !line.starts_with("connection:")
    };
    let lines: Vec<&str> = head.lines().filter(is_kept).collect();
    stream.write_all(format!("{}\r\nconnection: close\r\n\r\n", lines.join("\r\n")).as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn refusal(status: u16, code: &str, is_head: bool) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>as planned</Message></Error>"
    );
    let len = body.len();
    // Clients set their clocks by this.
    let date = if code == "RequestTimeTooSkewed" { "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} Planned\r\ncontent-type: application/xml\r\ncontent-length: {len}\r\n\
         x-amz-bucket-region: eu-north-7\r\n{date}connection: close\r\n\r\n"
    );
    if is_head { head.into_bytes() } else { (head + &body).into_bytes() }
}
