//! How many requests went to the store, by kind. Stores charge by the request, and so does a distant link.

use crate::observe::Counter;

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A whole object written.
    Put,
    /// A part of a large object written.
    Part,
    /// A large object begun, completed or given up.
    Multipart,
    /// A range of an object read.
    Get,
    /// A page of a listing.
    List,
    /// An object asked for without its bytes.
    Head,
    /// An object deleted.
    Delete,
    /// The lease read or written.
    Lease,
}

/// Every attempt counts, those that failed too.
#[derive(Debug, Default)]
pub struct Requests {
    put: Counter,
    part: Counter,
    multipart: Counter,
    get: Counter,
    list: Counter,
    head: Counter,
    delete: Counter,
    lease: Counter,
    /// Attempts beyond the first.
    pub retries: Counter,
    /// Answers that asked for fewer requests.
    pub throttled: Counter,
}

impl Requests {
    /// Adds one.
    pub(super) fn count(&self, request: Request) {
        self.of(request).add(1);
    }

    /// How many of a kind.
    pub fn get(&self, request: Request) -> u64 {
        self.of(request).get()
    }

    fn of(&self, request: Request) -> &Counter {
        match request {
            Request::Put => &self.put,
            Request::Part => &self.part,
            Request::Multipart => &self.multipart,
            Request::Get => &self.get,
            Request::List => &self.list,
            Request::Head => &self.head,
            Request::Delete => &self.delete,
            Request::Lease => &self.lease,
        }
    }

    /// Each kind by its name, with its count.
    pub fn by_kind(&self) -> [(&'static str, u64); 8] {
        [
            ("put", self.put.get()),
            ("part", self.part.get()),
            ("multipart", self.multipart.get()),
            ("get", self.get.get()),
            ("list", self.list.get()),
            ("head", self.head.get()),
            ("delete", self.delete.get()),
            ("lease", self.lease.get()),
        ]
    }
}
