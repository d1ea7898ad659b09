//! What every call goes through: an id by which it is found again in logs, a span that carries it, and its count.
//!
//! A call takes until its last reply, so that streams are counted with what they end with.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use datadb::{Fault, Kind, wire::metadata};
use http_body::{Frame, SizeHint};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{
        BoxFuture, Service,
        http::{HeaderMap, HeaderName, HeaderValue, Request, Response},
    },
};
use tower::Layer;
use tracing::{Instrument as _, Span};

use crate::observe::{Observed, calls::Method};

/// Puts what every call goes through around a service.
#[derive(Clone, Debug)]
pub struct Requests(pub Arc<Observed>);

impl<S> Layer<S> for Requests {
    type Service = Observing<S>;

    fn layer(&self, inner: S) -> Observing<S> {
        Observing { inner, observed: self.0.clone() }
    }
}

/// A service whose calls have ids and are counted.
#[derive(Clone, Debug)]
pub struct Observing<S> {
    inner: S,
    observed: Arc<Observed>,
}

/// The id that came with a call, or a new one.
fn request_id(observed: &Observed, headers: &HeaderMap) -> HeaderValue {
    let came = headers.get(metadata::REQUEST_ID);
    let is_good = |id: &&HeaderValue| id.to_str().is_ok_and(|id| metadata::request_id(id).is_some());
    came.filter(is_good).cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&observed.request_id()).expect("letters, digits and hyphens are visible ASCII")
    })
}

impl<S> Service<Request<Body>> for Observing<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Counted>;
    type Error = S::Error;
    type Future = BoxFuture<Self::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let id = request_id(&self.observed, request.headers());
        let method = Method::of(request.uri().path());
        // Of the highest level, so that it is there whatever is logged.
        let span = tracing::error_span!("call", rpc = method.name(), request = id.to_str().unwrap_or_default());
        let call =
            Call { observed: self.observed.clone(), method, began: Instant::now(), span: span.clone(), end: None };
        let answer = span.in_scope(|| self.inner.call(request));
        let counted = async move {
            let mut call = call;
            let mut response = answer.await?;
            call.look(response.headers());
            response.headers_mut().insert(HeaderName::from_static(metadata::REQUEST_ID), id);
            Ok(response.map(|body| Counted { body, call }))
        };
        Box::pin(counted.instrument(span))
    }
}

/// A call under way; it is counted when it is dropped.
#[derive(Debug)]
struct Call {
    observed: Arc<Observed>,
    method: Method,
    began: Instant,
    span: Span,
    /// What the service said at the end; a call that its client gave up has none.
    end: Option<Status>,
}

impl Call {
    /// Takes the end from headers or trailers, where they hold one.
    fn look(&mut self, headers: &HeaderMap) {
        self.end = Status::from_header_map(headers).or(self.end.take());
    }
}

/// What a status means, if it is an error: that a client went away is none.
fn error(status: &Status) -> Option<Fault> {
    match status.code() {
        Code::Ok | Code::Cancelled => None,
        Code::Unimplemented => Some(Fault::new(Kind::Unsupported, status.message())),
        _ => Some(status.clone().into()),
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.observed.calls.count(self.method, took);
        let fault = self.end.as_ref().and_then(error);
        let Some(Fault { kind, message }) = fault else {
            let is_whole = self.end.is_some();
            return self.span.in_scope(|| tracing::debug!(seconds = took.as_secs_f64(), is_whole, "answered"));
        };
        self.span.in_scope(|| self.observed.errors.report(kind, &message));
    }
}

/// The body of a response, which looks for the end of its call.
#[derive(Debug)]
pub struct Counted {
    body: Body,
    call: Call,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.look(trailers);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
