//! What an operator can ask a running agent: everything on a unix socket for root alone, and on TCP,
//! for Prometheus and probes, only what is safe to show.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 while the loop turns |
//! | `/readyz` | 200 when ADD can be served, else 503 and why |
//! | `/metrics` | OpenMetrics text |
//! | `/plan`, `/report` | what this node should hold; what the last pass came to (socket only) |
//! | `/dump/<what>` | one table (socket only); `seaway dump` prints these |
//! | `/dump/services/<namespace>/<name>` | one Service, and why its endpoints are chosen or not |
//!
//! Nothing can be changed here.

mod json;
mod server;
mod services;
mod text;

use std::sync::Arc;

use http::{Method, StatusCode};

pub use server::{AdminError, Server};
pub use text::dumps;

use crate::handle::{Handle, Status};
use crate::observe::Metrics;
use crate::shown::Shown;

/// What the answers are made of.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The loop.
    pub handle: Handle,
    /// Its newest view.
    pub shown: Arc<Shown>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visitor {
    /// Root, by the unix socket.
    Root,
    /// Anybody who reaches the TCP address.
    Anybody,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Answer {
    fn new(status: StatusCode, body: impl Into<String>) -> Self {
        Answer { status, content_type: TEXT, body: body.into() }
    }

    fn text(body: impl Into<String>) -> Self {
        Answer::new(StatusCode::OK, body)
    }

    fn json(value: &serde_json::Value) -> Self {
        Answer { content_type: JSON, ..Answer::text(format!("{value:#}\n")) }
    }
}

impl Desk {
    /// Answers one question; `path` may end in `?o=json`.
    pub(crate) async fn answer(&self, method: &Method, path: &str, visitor: Visitor) -> Answer {
        if method != Method::GET && method != Method::HEAD {
            return Answer::new(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let as_json = query == "o=json";
        let path = path.trim_start_matches('/');
        let answer = match (path, visitor) {
            ("healthz", _) => Some(self.healthz().await),
            ("readyz", _) => Some(self.readyz().await),
            ("metrics", _) => {
                Some(Answer { content_type: METRICS, ..Answer::text(self.metrics.text()) })
            }
            (_, Visitor::Anybody) => None,
            (name, Visitor::Root) => {
                self.dump(name.strip_prefix("dump/").unwrap_or(name), as_json).await
            }
        };
        answer.unwrap_or_else(|| Answer::new(StatusCode::NOT_FOUND, "nothing here\n"))
    }

    async fn healthz(&self) -> Answer {
        if self.handle.is_alive().await {
            Answer::text("ok\n")
        } else {
            Answer::new(StatusCode::SERVICE_UNAVAILABLE, "the loop does not answer\n")
        }
    }

    async fn readyz(&self) -> Answer {
        match self.handle.status().await {
            Status::Ready { .. } => Answer::text("ready\n"),
            Status::NotReady(why) | Status::Impaired(why) => {
                Answer::new(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n"))
            }
        }
    }

    /// A table by its name; `None` when there is no such table, or not as JSON.
    async fn dump(&self, name: &str, as_json: bool) -> Option<Answer> {
        let view = self.shown.view();
        if let Some(service) = name.strip_prefix("services/") {
            return Some(services::explained(service, &view, as_json));
        }
        if as_json {
            return json::dump(name, &view).map(|value| Answer::json(&value));
        }
        if let Some(text) = text::dump(name, &view) {
            return Some(Answer::text(text));
        }
        self.handle.dump(name).await.map(Answer::text)
    }
}

#[cfg(test)]
mod tests;
