//! How much is worked on at once, and for how long an answer may wait for its client: what clients
//! can make the server hold is bounded, whatever they do.
//!
//! Source: k8s.io/apiserver `server/filters` (`WithMaxInFlightLimit`, request timeout).
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::request::{Target, pairs};
use super::respond::Body;
use super::stream::Stream;
use crate::access::{MASTERS, User};
use crate::refusal::Refusal;
use crate::resource::Registry;
use crate::server::{Stopped, signalled};

/// Requests that read, at once: `--max-requests-inflight`.
const READERS: usize = 400;
/// Requests that write, at once: `--max-mutating-requests-inflight`.
const WRITERS: usize = 200;
/// Watches at once.
const WATCHES: usize = 10_000;
/// How long a request may take until its client has the whole answer: `--request-timeout`.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often answers are looked for that nobody takes.
const SWEEP: Duration = Duration::from_secs(5);

/// What is in the air.
#[derive(Debug)]
pub(crate) struct Flights {
    readers: Arc<Semaphore>,
    writers: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    /// Answers that are being sent, by when they must be; the earliest first.
    answers: Mutex<VecDeque<(Instant, Weak<Left>)>>,
    /// Streams between clients and nodes.
    streams: Mutex<JoinSet<()>>,
}

/// The place a request takes.
#[derive(Debug)]
pub(super) enum Flight {
    /// One that lasts as long as its client likes: it is bounded elsewhere.
    Long,
    Short(OwnedSemaphorePermit),
}

impl Flights {
    pub(super) fn new() -> Self {
        Self {
            readers: Arc::new(Semaphore::new(READERS)),
            writers: Arc::new(Semaphore::new(WRITERS)),
            watches: Arc::new(Semaphore::new(WATCHES)),
            answers: Mutex::default(),
            streams: Mutex::default(),
        }
    }

    /// A place for a request of `user`. Administrators wait for one, so that they get an answer
    /// whatever the others do.
    ///
    /// # Errors
    /// The refusal of anybody else while there is none.
    pub(super) async fn board(
        &self,
        registry: &Registry,
        parts: &Parts,
        user: &User,
    ) -> Result<Flight, Refusal> {
        let reads = parts.method == Method::GET || parts.method == Method::HEAD;
        if is_long(registry, parts, reads) {
            return Ok(Flight::Long);
        }
        let places = if reads { &self.readers } else { &self.writers };
        let place = match places.clone().try_acquire_owned() {
            Ok(place) => Ok(place),
            Err(_) if user.groups.iter().any(|group| group == MASTERS) => {
                places.clone().acquire_owned().await
            }
            Err(_) => return Err(Refusal::busy()),
        };
        place.map(Flight::Short).map_err(|_| Refusal::busy())
    }

    /// A place for a watch.
    ///
    /// # Errors
    /// The refusal while there is none.
    pub(super) fn watch(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.watches.clone().try_acquire_owned().map_err(|_| Refusal::busy())
    }

    /// Keeps the place of a request until its answer is sent, or was not taken in time.
    pub(super) fn carry(&self, flight: Flight, answer: Response<Body>) -> Response<Body> {
        let Flight::Short(place) = flight else { return answer };
        answer.map(|body| {
            if body.is_end_stream() {
                return body;
            }
            let content = Arc::new(Mutex::new(Some(Content { body, _place: place })));
            let due = Instant::now() + PATIENCE;
            let mut answers = lock(&self.answers);
            while answers.front().is_some_and(|(_, answer)| answer.strong_count() == 0) {
                answers.pop_front();
            }
            answers.push_back((due, Arc::downgrade(&content)));
            Carried(content).boxed_unsync()
        })
    }

    /// Lets go of what clients should have taken by `now`.
    fn sweep(&self, now: Instant) {
        let mut answers = lock(&self.answers);
        answers.retain(|(due, answer)| match answer.upgrade() {
            Some(content) if *due <= now => {
                drop(lock(&content).take());
                false
            }
            Some(_) => true,
            None => false,
        });
    }

    /// Runs a stream between a client and a node, until it ends or the server does.
    pub(super) fn run(&self, stream: impl Future<Output = ()> + Send + 'static) {
        let mut streams = lock(&self.streams);
        while streams.try_join_next().is_some() {}
        streams.spawn(stream);
    }

    /// Sweeps until `stopped`, then sees the streams out.
    pub(crate) async fn watch_over(&self, mut stopped: Stopped) {
        let mut clock = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                now = clock.tick() => self.sweep(now),
                () = signalled(&mut stopped) => break,
            }
        }
        let streams = std::mem::take(&mut *lock(&self.streams));
        // Those that wait for the server's end end by themselves; the others belong to them.
        let mut streams = streams;
        streams.abort_all();
        while streams.join_next().await.is_some() {}
    }
}

/// Whether a request lasts as long as its client likes: a watch, or a stream of a pod's node.
fn is_long(registry: &Registry, parts: &Parts, reads: bool) -> bool {
    let Ok(target) = Target::parse(registry, parts.uri.path()) else { return false };
    if target.subresource.and_then(Stream::of).is_some() {
        return true;
    }
    let watch = |(key, value): &(String, String)| {
        key == "watch" && matches!(value.as_str(), "true" | "1" | "")
    };
    let asked = || parts.uri.query().is_some_and(|query| pairs(query).iter().any(watch));
    reads && (target.watched || (target.name.is_none() && asked()))
}

/// What is left of an answer; nothing once it was taken away.
type Left = Mutex<Option<Content>>;

/// What is still to be sent, with the place of its request.
#[derive(Debug)]
struct Content {
    body: Body,
    _place: OwnedSemaphorePermit,
}

/// An answer that may be taken away from a client that does not take it.
#[derive(Debug)]
struct Carried(Arc<Left>);

impl hyper::body::Body for Carried {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut content = lock(&self.0);
        // Nothing more comes of what was taken away: the client must not think it was all.
        let Some(left) = content.as_mut() else { return Poll::Pending };
        Pin::new(&mut left.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).as_ref().is_some_and(|content| content.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).as_ref().map_or_else(SizeHint::default, |content| content.body.size_hint())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks panics half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::Full;

    use super::*;

    /// A request's place, or the code of its refusal.
    async fn board(flights: &Flights, line: &str, group: &str) -> Result<Flight, u16> {
        let (method, path) = line.split_once(' ').unwrap();
        let request = http::Request::builder().method(method).uri(path).body(()).unwrap();
        let user = User::new("someone", &[group]);
        let (parts, ()) = request.into_parts();
        flights.board(&Registry::builtin(), &parts, &user).await.map_err(|refusal| refusal.code)
    }

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_is_refused_and_administrators_wait() {
        let flights = Flights::new();
        let mut taken = Vec::new();
        for _ in 0..WRITERS {
            taken.push(board(&flights, "POST /api/v1/namespaces/a/pods", "dev").await.unwrap());
        }
        let cases = "
            POST   /api/v1/namespaces/a/pods        | 429
            DELETE /api/v1/namespaces/a/pods/b      | 429
            GET    /api/v1/pods                     | short
            GET    /api/v1/pods?watch=true          | long
            GET    /api/v1/pods?watch=false         | short
            GET    /api/v1/watch/pods               | long
            GET    /api/v1/namespaces/a/pods/b?watch=1   | short
            POST   /api/v1/namespaces/a/pods?watch=1     | 429
            POST   /api/v1/namespaces/a/pods/b/exec | long
            GET    /api/v1/namespaces/a/pods/b/log  | long";
        for case in cases.trim().lines() {
            let (line, expected) = case.split_once('|').unwrap();
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            let found = match board(&flights, &line, "dev").await {
                Ok(Flight::Long) => "long".to_owned(),
                Ok(Flight::Short(_)) => "short".to_owned(),
                Err(code) => code.to_string(),
            };
            assert_eq!(found, expected.trim(), "{line}");
        }
        let waiting = board(&flights, "POST /api/v1/namespaces/a/pods", MASTERS);
        let mut waiting = std::pin::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(taken.pop());
        assert!(waiting.await.is_ok());
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_its_answer_is_sent_or_not_taken_in_time() {
        let flights = Flights::new();
        let free = || flights.readers.available_permits();
        let start = |text: &'static str| {
            let place = flights.readers.clone().try_acquire_owned().unwrap();
            let body = Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync();
            flights.carry(Flight::Short(place), Response::new(body))
        };
        drop(start(""));
        assert_eq!(free(), READERS);
        let (taken, left) = (start("taken"), start("left"));
        assert_eq!(free(), READERS - 2);
        assert_eq!(taken.into_body().collect().await.unwrap().to_bytes(), "taken");
        assert_eq!(free(), READERS - 1);
        flights.sweep(Instant::now() + PATIENCE / 2);
        assert_eq!(free(), READERS - 1);
        flights.sweep(Instant::now() + PATIENCE);
        assert_eq!(free(), READERS);
        let rest = left.into_body().collect().now_or_never();
        assert!(rest.is_none(), "what was taken away must not look complete");
        assert!(lock(&flights.answers).is_empty());
    }
}
