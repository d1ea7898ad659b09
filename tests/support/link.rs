//! A slow, distant link: a TCP proxy with a round trip and a rate of its own, for tests and measurements.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Bytes that are taken at once.
const STEP_BYTES: usize = 64 << 10;

/// Steps that one direction holds, so that a fast sender does not fill the memory: 64 MiB.
const STEPS_MAX: usize = 1024;

/// How the link behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quality {
    /// There and back; half of it each way.
    pub round_trip: Duration,
    /// From client to server; `None` is as fast as it goes.
    pub up_bytes_per_second: Option<u64>,
    /// From server to client.
    pub down_bytes_per_second: Option<u64>,
}

impl Quality {
    /// Any rate, this round trip.
    pub fn distant(round_trip: Duration) -> Self {
        Self { round_trip, ..Self::default() }
    }

    /// The same rate both ways.
    pub fn limited(self, bytes_per_second: u64) -> Self {
        Self { up_bytes_per_second: Some(bytes_per_second), down_bytes_per_second: Some(bytes_per_second), ..self }
    }
}

/// The link. It carries connections as long as the process lives.
pub struct Link {
    address: SocketAddr,
    down_bytes: Arc<AtomicU64>,
}

impl Link {
    /// Between whoever connects to it and a server's address (`http://host:port`).
    pub fn to(server: &str, quality: Quality) -> Self {
        let server = server.strip_prefix("http://").expect("a TCP address").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let down_bytes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&down_bytes);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A server that is not there ends the connection, as it would without a link.
                let Ok(server) = TcpStream::connect(&server) else { continue };
                carry(&client, &server, quality, &counted);
            }
        });
        Self { address, down_bytes }
    }

    /// Its address, for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Bytes that came from the server so far.
    pub fn down_bytes(&self) -> u64 {
        self.down_bytes.load(Ordering::Relaxed)
    }
}

fn carry(client: &TcpStream, server: &TcpStream, quality: Quality, down_bytes: &Arc<AtomicU64>) {
    let end = |stream: &TcpStream| {
        stream.set_nodelay(true).expect("a TCP stream");
        stream.try_clone().expect("a descriptor")
    };
    let one_way = quality.round_trip / 2;
    let up = Direction { delay: one_way, rate: quality.up_bytes_per_second, bytes: Arc::default() };
    let down = Direction { delay: one_way, rate: quality.down_bytes_per_second, bytes: Arc::clone(down_bytes) };
    up.start(end(client), end(server));
    down.start(end(server), end(client));
}

struct Direction {
    delay: Duration,
    rate: Option<u64>,
    bytes: Arc<AtomicU64>,
}

/// What is on its way, each with the moment when it arrives; `None` is the end.
type Flight = Arc<(Mutex<VecDeque<(Instant, Option<Vec<u8>>)>>, Condvar)>;

impl Direction {
    fn start(self, from: TcpStream, to: TcpStream) {
        let flight = Flight::default();
        let landing = Arc::clone(&flight);
        thread::spawn(move || self.take_off(from, &flight));
        thread::spawn(move || land(to, &landing));
    }

    /// A step takes the time that its bytes need at this rate, and then the way.
    fn take_off(self, mut from: TcpStream, flight: &Flight) {
        let mut buffer = vec![0; STEP_BYTES];
        let mut free = Instant::now();
        loop {
            let bytes = match from.read(&mut buffer) {
                Ok(len @ 1..) => Some(buffer[..len].to_vec()),
                Ok(0) | Err(_) => None,
            };
            let len = bytes.as_ref().map_or(0, Vec::len) as u64;
            self.bytes.fetch_add(len, Ordering::Relaxed);
            let takes = self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(len as f64 / rate as f64));
            free = free.max(Instant::now()) + takes;
            thread::sleep(free.saturating_duration_since(Instant::now()));
            let is_end = bytes.is_none();
            let (queue, moved) = &**flight;
            let mut queue =
                moved.wait_while(queue.lock().expect("no panic"), |queue| queue.len() >= STEPS_MAX).expect("no panic");
            queue.push_back((free + self.delay, bytes));
            moved.notify_all();
            if is_end {
                return;
            }
        }
    }
}

fn land(mut to: TcpStream, flight: &Flight) {
    let (queue, moved) = &**flight;
    loop {
        let (arrives, bytes) = {
            let empty = |queue: &mut VecDeque<_>| queue.is_empty();
            let mut queue = moved.wait_while(queue.lock().expect("no panic"), empty).expect("no panic");
            let next = queue.pop_front().expect("it is not empty");
            moved.notify_all();
            next
        };
        thread::sleep(arrives.saturating_duration_since(Instant::now()));
        match bytes {
            // Whoever does not read any more gets nothing more; what is on its way is taken and forgotten.
            Some(bytes) => drop(to.write_all(&bytes)),
            None => {
                // It may be closed already.
                drop(to.shutdown(Shutdown::Write));
                return;
            }
        }
    }
}
