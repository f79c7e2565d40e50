//! What can be asked of a running agent: everything on a unix socket for root alone, and on TCP only
//! what is safe to show to who can reach the address.
//!
//! | where | path | answer |
//! |---|---|---|
//! | socket, metrics | `/healthz` | 200 while the loop turns |
//! | | `/readyz` | 200 when ADD can be served, else 503 and why |
//! | | `/metrics` | for Prometheus, in the form that is asked for |
//! | | `/proxyMode`, `/statusz` | as kube-proxy's |
//! | socket | `/plan`, `/report` | what this node should hold; what the last pass came to |
//! | | `/dump/<what>` | one table; `seaway dump` prints these |
//! | | `/dump/services/<namespace>/<name>` | one Service, and why its endpoints are chosen or not |
//! | | `/dump/policy/<namespace>/<name>` | one pod's policies, whom their rules mean, and what those have counted |
//! | | `/dump/names` | what names stand for now that policies ask for |
//! | | `/dump/drops` | what policies have lately dropped |
//! | | `/dump/objects?o=json` | what policies follow from, as manifests |
//! | | `/dump/dns/<name>` | what is answered to one name or address |
//! | health | `/healthz`, `/livez` | whether the node serves Services, as kube-proxy's |
//! | health check node ports | anything | how many endpoints of one Service are here, as kube-proxy's |
//!
//! Nothing can be changed here.

mod json;
mod policy;
mod rejected;
mod server;
mod services;
mod text;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};
use kube::Leadership;
use model::{Family, ServiceName};
use tokio::sync::watch;

pub use policy::document as policy_document;
pub use server::{AdminError, Seats, Server};
pub use text::dumps;

use crate::drops::{Drops, Line};
use crate::found;
use crate::handle::{Handle, Status};
use crate::health::{Due, Health, service_health};
use crate::install;
use crate::observe::{Metrics, Probed, classic};
use crate::run::Settings;
use crate::shown::{Shown, View};
use crate::sources::Watched;

/// What the answers are made of.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The loop.
    pub(crate) handle: Handle,
    /// Its newest view.
    pub(crate) shown: Arc<Shown>,
    /// Counters.
    pub(crate) metrics: Arc<Metrics>,
    /// What the API server shows.
    pub(crate) watched: Watched,
    /// What is not in the kernel yet.
    pub(crate) due: Due,
    /// What policies have lately dropped.
    pub(crate) drops: Drops,
    /// Who leads.
    pub(crate) leadership: watch::Receiver<Leadership>,
    /// When this agent started.
    pub(crate) started: Instant,
    /// What it was told.
    pub(crate) settings: Arc<Settings>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visitor {
    /// Root, by the unix socket.
    Root,
    /// Anybody who reaches the metrics address.
    Anybody,
    /// Anybody who reaches the health address.
    Probe,
    /// Anybody who reaches the health check node port of this Service at an address of this family.
    Balancer(ServiceName, Family),
}

/// The header that tells load balancers how many endpoints a node has.
///
/// Source: KEP-3836.
const WEIGHT: &str = "x-load-balancing-endpoint-weight";

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    status: StatusCode,
    content_type: &'static str,
    weight: Option<usize>,
    body: String,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Answer {
    fn new(status: StatusCode, body: impl Into<String>) -> Self {
        Answer { status, content_type: TEXT, weight: None, body: body.into() }
    }

    /// The same for who does not ask for OpenMetrics.
    fn classic(self) -> Self {
        match self.content_type {
            METRICS => Answer { content_type: CLASSIC, body: classic(&self.body), ..self },
            _ => self,
        }
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
    pub(crate) async fn answer(&self, method: &Method, path: &str, visitor: &Visitor) -> Answer {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = path.trim_start_matches('/');
        let answer = match visitor {
            Visitor::Balancer(service, family) => return self.service_health(service, *family),
            Visitor::Probe => self.probed(path),
            Visitor::Root | Visitor::Anybody if !is_question(method) => {
                return Answer::new(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
            }
            Visitor::Root | Visitor::Anybody => match path {
                "healthz" => Some(self.healthz().await),
                "readyz" => Some(self.readyz().await),
                "metrics" => {
                    Some(Answer { content_type: METRICS, ..Answer::text(self.metrics.text()) })
                }
                "proxyMode" => Some(Answer::text("nftables")),
                "statusz" => Some(Answer::text(self.statusz())),
                _ if *visitor == Visitor::Anybody => None,
                name => {
                    let name = name.strip_prefix("dump/").unwrap_or(name);
                    self.dump(name, query == "o=json").await
                }
            },
        };
        answer.unwrap_or_else(|| Answer::new(StatusCode::NOT_FOUND, "nothing here\n"))
    }

    fn health(&self) -> Health {
        Health::of(&self.shown.view(), self.due.since())
    }

    /// The health address; `None` for what it does not know.
    fn probed(&self, path: &str) -> Option<Answer> {
        let health = self.health();
        let (asked, is_ok, body) = match path {
            "healthz" => (Probed::Healthz, health.is_healthy(), health.healthz()),
            "livez" => (Probed::Livez, health.is_current, health.livez()),
            _ => return None,
        };
        let status = status(is_ok);
        self.metrics.proxy.probed(asked, status.as_u16());
        Some(Answer { content_type: JSON, ..Answer::new(status, body) })
    }

    fn service_health(&self, service: &ServiceName, family: Family) -> Answer {
        let answer = service_health(&self.shown.view(), service, family, self.health());
        let status = status(answer.serves && answer.local_endpoints > 0);
        let weight = Some(answer.local_endpoints);
        Answer { content_type: JSON, weight, ..Answer::new(status, answer.body) }
    }

    /// What kube-proxy says of itself there, in its form.
    fn statusz(&self) -> String {
        let up = self.started.elapsed().as_secs();
        let (hours, minutes, seconds) = (up / 3600, up / 60 % 60, up % 60);
        let preferred = install::preferred_to_ours(&self.settings.cni_conf_dir);
        let preferred = preferred.map(|why| format!("CNI: {why}\n")).unwrap_or_default();
        format!(
            "\nseaway statusz\nWarning: This endpoint is not meant to be machine parseable, has no formatting \
             compatibility guarantees and is for debugging purposes only.\n\n\
             Up: {hours} hr {minutes:02} min {seconds:02} sec\nBinary version: {}\nAPI server: {}\n{preferred}\n\
             Paths: /healthz /readyz /metrics /proxyMode\n",
            env!("CARGO_PKG_VERSION"),
            found::api_server(&self.settings.access)
        )
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

    /// Who leads, as the last line of the report.
    fn led(&self) -> String {
        let leader = &self.leadership.borrow().leader;
        leader.as_ref().map(|node| format!("led by {node}\n")).unwrap_or_default()
    }

    /// A table by its name; `None` when there is no such table.
    async fn dump(&self, name: &str, as_json: bool) -> Option<Answer> {
        let view = self.shown.view();
        if let Some(service) = name.strip_prefix("services/") {
            return Some(services::explained(service, &view, as_json));
        }
        if name == "policy" || name.starts_with("policy/") {
            let pod = name.strip_prefix("policy/").map(str::to_owned);
            return policies(pod, view, as_json).await;
        }
        if name == "drops" {
            return Some(lines(&self.drops.lines(), Line::json, as_json));
        }
        if name == "rejected" {
            let rows = rejected::rows(&view, self.watched.unreadable());
            return Some(lines(&rows, rejected::Row::json, as_json));
        }
        if let Some(value) = json::dump(name, &view).filter(|_| as_json) {
            return Some(Answer::json(&value));
        }
        let answer = match name.strip_prefix("dns/") {
            Some(name) => text::asked(name, &view),
            None => Answer::text(self.text(name, &view).await?),
        };
        let is_lines = as_json && answer.status == StatusCode::OK;
        Some(if is_lines { Answer::json(&json::lines(&answer.body)) } else { answer })
    }

    /// What there is as text under this name.
    async fn text(&self, name: &str, view: &View) -> Option<String> {
        if name == "found" {
            return Some(found::text(&self.settings, view));
        }
        let Some(text) = text::dump(name, view) else { return self.handle.dump(name).await };
        let led = if name == "report" { self.led() } else { String::new() };
        Some(text + &led)
    }
}

/// What is asked of a pod, or of all. The kernel's rules are read for that, which takes as long as there are many.
async fn policies(pod: Option<String>, view: Arc<View>, as_json: bool) -> Option<Answer> {
    let answer = move || match pod {
        Some(pod) => policy::explained(&pod, &view, as_json),
        None => policy::table(&view, as_json),
    };
    tokio::task::spawn_blocking(answer).await.ok()
}

/// A line for each row, or all as JSON.
fn lines<T: Display>(rows: &[T], json: fn(&T) -> serde_json::Value, as_json: bool) -> Answer {
    match as_json {
        true => Answer::json(&rows.iter().map(json).collect()),
        false => Answer::text(rows.iter().map(|row| format!("{row}\n")).collect::<String>()),
    }
}

fn is_question(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

fn status(is_ok: bool) -> StatusCode {
    if is_ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[cfg(test)]
mod tests;
