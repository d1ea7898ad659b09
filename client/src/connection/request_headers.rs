//! What goes with every request: who asks, and an id by which it is found again in the server's log.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use datadb::{Fault, Kind, wire::metadata};
use rustix::rand::{GetRandomFlags, getrandom};
use tonic::{Request, Status, service::Interceptor};

use super::Token;

/// Adds them to each request.
#[derive(Clone, Debug)]
pub(super) struct RequestHeaders {
    token: Option<Token>,
    /// Tells this connection's ids from those of others.
    run: u32,
    requests: Arc<AtomicU64>,
}

impl RequestHeaders {
    /// Of a new connection.
    pub fn new(token: Option<Token>) -> Result<Self, Fault> {
        let mut run = [0; 4];
        // The system gives so few bytes at once or not at all.
        getrandom(&mut run, GetRandomFlags::empty())
            .map_err(|error| Fault::new(Kind::Internal, format!("the system gives no random bytes: {error}")))?;
        Ok(Self { token, run: u32::from_be_bytes(run), requests: Arc::default() })
    }
}

impl Interceptor for RequestHeaders {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(Token(token)) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        if request.metadata().contains_key(metadata::REQUEST_ID) {
            return Ok(request);
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("client-{:08x}-{number}", self.run).parse();
        request.metadata_mut().insert(metadata::REQUEST_ID, id.expect("letters, digits and hyphens are ASCII"));
        Ok(request)
    }
}
