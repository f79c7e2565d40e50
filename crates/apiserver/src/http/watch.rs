//! Watches: the events of a kind as a stream of JSON lines.
//!
//! The connection pulls: a batch is read from the store's ring when the client has taken the one
//! before. A slow client costs no memory, and is told 410 once the ring has moved on without it.
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::pieces::PIECE;
use super::read::{check_watch_options, expired, version_of};
use super::request::Call;
use super::respond::{self, Form};
use super::{Answer, Api};
use crate::refusal::Refusal;
use crate::resource::{Registry, Resource};
use crate::selector::Selector;
use crate::server::signalled;
use crate::store::{Change, Cursor, Event, Object};

/// How many events are looked at at once.
const BATCH: usize = 128;
/// How long a client that was just told something is not told more: where much happens, it learns
/// of it in fewer, larger lots. The first event after a quiet spell is told at once.
const PACE: Duration = Duration::from_millis(5);
/// How long a watch lasts if the client does not say.
const LIFE: Duration = Duration::from_secs(45 * 60);
/// How often a client is told the version it has reached.
const BOOKMARK: Duration = Duration::from_secs(60);

/// One watch.
struct Watch {
    api: Arc<Api>,
    resource: Arc<Resource>,
    namespace: String,
    selector: Selector,
    form: Form,
    /// The objects there were at the start, still to be sent.
    initial: VecDeque<Arc<Object>>,
    /// Whether a bookmark must say where the initial objects end.
    mark_initial_end: bool,
    cursor: Cursor,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    /// When the client may be told of events again.
    due: Instant,
    /// Nothing was sent yet; a table names its columns once.
    first: bool,
    stopped: tokio::sync::watch::Receiver<bool>,
    /// The kinds served; the watch ends with its kind.
    kinds: tokio::sync::watch::Receiver<Arc<Registry>>,
    over: bool,
    /// Among all watches.
    _place: OwnedSemaphorePermit,
}

/// Where a watch begins.
struct Start {
    version: u64,
    initial: VecDeque<Arc<Object>>,
    mark_initial_end: bool,
}

impl Api {
    /// Starts a watch.
    pub(super) fn watch(self: &Arc<Self>, call: &Call) -> Answer {
        let target = &call.target;
        let mut selector = call.selector()?;
        // `/watch/…/NAME` is a watch of the collection for one name.
        if let Some(name) = &target.name {
            selector.fields = selector.fields.with_name(name);
        }
        let start = self.watch_start(call, &selector)?;
        let life = call.number("timeoutSeconds")?.filter(|seconds| *seconds > 0);
        let life = life.map_or(LIFE, Duration::from_secs);
        let now = Instant::now();
        let watch = Watch {
            api: self.clone(),
            resource: target.resource.clone(),
            namespace: target.namespace.clone(),
            selector,
            form: call.form,
            cursor: self.store.cursor(&target.resource.shelf, start.version),
            initial: start.initial,
            mark_initial_end: start.mark_initial_end,
            bookmarks: call.flag("allowWatchBookmarks"),
            next_bookmark: now + BOOKMARK,
            end: now.checked_add(life).unwrap_or(now + LIFE),
            due: now,
            first: true,
            stopped: self.stopped.subscribe(),
            kinds: self.registry.subscribe(),
            over: false,
            _place: self.flights.watch()?,
        };
        let frames = stream::unfold(watch, |mut watch| async move {
            let chunk = watch.next().await?;
            Some((Ok::<_, Infallible>(Frame::data(chunk)), watch))
        });
        let mut response = respond::bytes(StatusCode::OK, "application/json", Bytes::new());
        *response.body_mut() = BodyExt::boxed_unsync(StreamBody::new(frames));
        Ok(response)
    }

    /// The version a watch starts after, and what it sends first.
    ///
    /// Source: Kubernetes API concepts, "Resource versions", "Semantics for watch" and
    /// "Streaming lists".
    fn watch_start(&self, call: &Call, selector: &Selector) -> Result<Start, Refusal> {
        check_watch_options(call)?;
        let asked = version_of(call)?.filter(|asked| *asked > 0);
        let initial = call.query("sendInitialEvents").filter(|value| !value.is_empty());
        let list = initial.map_or(asked.is_none(), |value| matches!(value, "true" | "1"));
        if !list {
            let version = asked.unwrap_or_else(|| self.store.version());
            return Ok(Start { version, initial: VecDeque::new(), mark_initial_end: false });
        }
        self.reached(asked)?;
        let namespace = Some(call.target.namespace.as_str()).filter(|name| !name.is_empty());
        let snapshot = self.store.snapshot(&call.target.resource.shelf, namespace, None);
        let snapshot = snapshot.map_err(expired)?;
        let objects = snapshot.objects.into_iter().map(|(_, object)| object);
        let objects = objects.filter(|object| selector.matches(&object.value)).collect();
        // The mark is a bookmark, and those are sent to clients that know them.
        let mark_initial_end = initial.is_some() && call.flag("allowWatchBookmarks");
        Ok(Start { version: snapshot.version, initial: objects, mark_initial_end })
    }
}

impl Watch {
    /// The next lines to write, or none at the watch's end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.over || *self.stopped.borrow() {
                return None;
            }
            tokio::time::sleep_until(self.due).await;
            let lines = self.ready();
            if !lines.is_empty() {
                return Some(lines.into());
            }
            // All is told that happened while there was such a kind.
            if !self.kinds.borrow_and_update().serves(&self.resource) {
                return None;
            }
            tokio::select! {
                () = self.cursor.moved() => {}
                () = tokio::time::sleep_until(self.next_bookmark.min(self.end)) => {
                    self.over = Instant::now() >= self.end;
                    self.next_bookmark = Instant::now() + BOOKMARK;
                    let line = self.bookmark_if_wanted();
                    if !line.is_empty() {
                        return Some(line.into());
                    }
                }
                () = signalled(&mut self.stopped) => return None,
                changed = self.kinds.changed() => if changed.is_err() { return None },
            }
        }
    }

    /// What can be written without waiting: initial objects, their end, then events.
    fn ready(&mut self) -> Vec<u8> {
        let mut lines = Vec::new();
        if !self.initial.is_empty() {
            while lines.len() < PIECE
                && let Some(object) = self.initial.pop_front()
            {
                self.line(&mut lines, "ADDED", &object);
            }
            return lines;
        }
        if self.mark_initial_end {
            self.mark_initial_end = false;
            return self.bookmark(true);
        }
        while lines.is_empty() {
            let before = self.cursor.version();
            match self.api.store.read(&mut self.cursor, BATCH, PIECE) {
                Ok(events) => {
                    for event in events {
                        self.event(&mut lines, &event);
                    }
                }
                Err(compacted) => {
                    self.over = true;
                    let status = expired(compacted).status();
                    lines.extend(
                        format!("{}\n", json!({"type": "ERROR", "object": status})).bytes(),
                    );
                }
            }
            if self.over || self.cursor.version() == before {
                break;
            }
        }
        self.due = Instant::now() + PACE;
        lines
    }

    /// An event as this watch sees it: an object may enter or leave what its selector matches.
    fn event(&mut self, lines: &mut Vec<u8>, event: &Event) {
        if !self.namespace.is_empty() && event.key.namespace != self.namespace {
            return;
        }
        let was = event.before.as_ref().is_some_and(|old| self.selector.matches(&old.value));
        let is = event.change != Change::Deleted && self.selector.matches(&event.object.value);
        let kind = match (was, is) {
            (false, false) => return,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        self.line(lines, kind, &event.object);
    }

    fn line(&mut self, lines: &mut Vec<u8>, kind: &str, object: &Object) {
        let shown = self.form.event(&self.resource, object, self.first);
        lines.reserve(shown.len() + 40);
        lines.extend_from_slice(b"{\"type\":\"");
        lines.extend_from_slice(kind.as_bytes());
        lines.extend_from_slice(b"\",\"object\":");
        lines.extend_from_slice(&shown);
        lines.extend_from_slice(b"}\n");
        self.first = false;
    }

    fn bookmark_if_wanted(&self) -> Vec<u8> {
        // Before the initial objects are out, their version has not been reached.
        if self.bookmarks && self.initial.is_empty() { self.bookmark(false) } else { Vec::new() }
    }

    /// A line that says which version has been reached.
    fn bookmark(&self, initial_end: bool) -> Vec<u8> {
        let mut metadata = json!({"resourceVersion": self.cursor.version().to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form {
            Form::Whole => json!({
                "kind": self.resource.kind, "apiVersion": self.resource.api_version(),
                "metadata": metadata,
            }),
            Form::Metadata => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
            }),
            Form::Table(_) => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                "columnDefinitions": [], "rows": [{"cells": [], "object": {
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                    "metadata": metadata,
                }}],
            }),
        };
        format!("{}\n", json!({"type": "BOOKMARK", "object": object})).into_bytes()
    }
}
