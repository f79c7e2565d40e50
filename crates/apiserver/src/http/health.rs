//! Whether the server is well: `/healthz`, `/livez`, `/readyz`, and each of their checks by itself.
//!
//! Source: k8s.io/apiserver `server/healthz/healthz.go`.
use http::{Response, StatusCode};

use super::request::pairs;
use super::{Answer, Api, Body, respond};
use crate::refusal::Refusal;

/// A question about health: by its name, and the one check that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Health<'p> {
    name: &'p str,
    check: Option<&'p str>,
}

impl<'p> Health<'p> {
    /// The question that `path` is, if it is one.
    pub(super) fn of(path: &'p str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let (name, check) = match path.split_once('/') {
            Some((name, check)) => (name, Some(check).filter(|check| !check.is_empty())),
            None => (path, None),
        };
        matches!(name, "healthz" | "livez" | "readyz").then_some(Self { name, check })
    }

    /// Whether it is about the server as a whole.
    pub(super) fn is_open(self) -> bool {
        self.check.is_none()
    }

    /// Its checks: who answers at all is there; who is told to stop takes no more work.
    fn checks(self) -> &'static [&'static str] {
        if self.name == "readyz" { &["ping", "shutdown"] } else { &["ping"] }
    }
}

impl Api {
    /// Answers a question about health.
    pub(super) fn health(&self, asked: Health<'_>, query: &str) -> Answer {
        let stopped = *self.stopped.borrow();
        let passes = |check: &str| check != "shutdown" || !stopped;
        if let Some(check) = asked.check {
            return match asked.checks().contains(&check) {
                true if passes(check) => Ok(well("ok")),
                true => Ok(unwell("internal server error: the server stops")),
                false => Err(Refusal::no_such_path()),
            };
        }
        let query = pairs(query);
        let mut unknown: Vec<&str> =
            query.iter().filter(|(key, _)| key == "exclude").map(|(_, v)| v.as_str()).collect();
        let (mut lines, mut fails) = (String::new(), false);
        for check in asked.checks() {
            let before = unknown.len();
            unknown.retain(|excluded| excluded != check);
            let line = if unknown.len() < before {
                format!("[+]{check} excluded: ok\n")
            } else if passes(check) {
                format!("[+]{check} ok\n")
            } else {
                fails = true;
                format!("[-]{check} failed: reason withheld\n")
            };
            lines.push_str(&line);
        }
        if !unknown.is_empty() {
            let quoted: Vec<String> = unknown.iter().map(|name| format!("{name:?}")).collect();
            let list = quoted.join(",");
            let warning = "warn: some health checks cannot be excluded: no matches for";
            lines.push_str(&format!("{warning} {list}\n"));
        }
        if fails {
            return Ok(unwell(&format!("{lines}{} check failed", asked.name)));
        }
        let verbose = query.iter().any(|(key, _)| key == "verbose");
        lines.push_str(&format!("{} check passed\n", asked.name));
        Ok(well(if verbose { &lines } else { "ok" }))
    }
}

fn well(text: &str) -> Response<Body> {
    respond::text(StatusCode::OK, text)
}

fn unwell(text: &str) -> Response<Body> {
    respond::text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{text}\n"))
}
