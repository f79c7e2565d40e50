//! Nodes, listed and watched for as long as the agent lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Node as NodeKind;
use kube_rs::api::{ApiResource, DynamicObject};
use kube_rs::runtime::utils::Backoff;
use kube_rs::runtime::watcher::{self, Event};
use kube_rs::runtime::{WatchStreamExt, watcher as watch};
use kube_rs::{Api, Client};
use model::decode::{self, DecodeError};
use model::{Node, NodeName, OrdMap};
use tokio::sync::Notify;
use tokio::sync::watch::Sender;

use crate::client::{Access, connect};

/// The newest level of all nodes.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Nodes {
    /// Every node that could be read; `None` until a first list was complete.
    pub listed: Option<OrdMap<NodeName, Arc<Node>>>,
    /// Objects left out because a field of theirs is wrong, by name.
    pub rejected: BTreeMap<String, DecodeError>,
    /// Why the last exchange with the API server failed; `None` while the watch works.
    pub trouble: Option<String>,
}

/// Lists and watches nodes and puts every new level into `out`, until nobody reads it any more.
/// What does not change a field Seaway reads (a heartbeat) changes nothing in `out`.
///
/// Errors are retried with backoff, forever; a relist replaces the level at once, when it is
/// complete, so an object is never missing in between. `moved` tells that this machine's own
/// addresses are others now: connections from an address that is gone are dead without a word, so
/// nodes are listed again over a new one, by `access`, at once.
pub async fn watch_nodes(
    mut client: Client,
    access: Access,
    out: Sender<Nodes>,
    moved: Arc<Notify>,
) {
    let mut level = None;
    loop {
        tokio::select! {
            () = follow(client.clone(), &out, &mut level) => return,
            () = moved.notified() => {}
        }
        tracing::info!("this machine's addresses changed: a new connection to the API server");
        match connect(&access).await {
            Ok(fresh) => client = fresh,
            Err(error) => tracing::warn!("{}", model::chain(&error)),
        }
    }
}

/// Keeps `level`, which is `None` until a first list was complete, and `out` with it.
async fn follow(client: Client, out: &Sender<Nodes>, level: &mut Option<Level>) {
    let api: Api<DynamicObject> = Api::all_with(client, &ApiResource::erase::<NodeKind>(&()));
    let events = watch(api, watcher::Config::default()).backoff(Retry::default());
    let mut events = std::pin::pin!(events);
    let mut relist = Level::default();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = out.closed() => return,
        };
        let Some(event) = event else { return };
        let trouble = match event {
            Ok(Event::Init) => {
                relist = Level::default();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                relist.put(&object);
                continue;
            }
            Ok(Event::InitDone) => {
                *level = Some(std::mem::take(&mut relist));
                None
            }
            Ok(Event::Apply(object)) => {
                level.get_or_insert_default().put(&object);
                None
            }
            Ok(Event::Delete(object)) => {
                level.get_or_insert_default().remove(&object);
                None
            }
            Err(error) => Some(model::chain(&error)),
        };
        show(out, level.as_ref(), trouble);
    }
}

/// Writes what is new, and logs when the API server goes away or comes back.
fn show(out: &Sender<Nodes>, level: Option<&Level>, trouble: Option<String>) {
    out.send_if_modified(|shown| {
        match (&shown.trouble, &trouble) {
            (None, Some(why)) => tracing::warn!("watch nodes: {why}; trying again"),
            (Some(_), None) => tracing::info!("watch nodes: the API server answers again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        let same = shown.trouble == trouble;
        shown.trouble = trouble;
        let Some(level) = level else { return !same };
        if shown.listed.as_ref() == Some(&level.nodes) && shown.rejected == level.rejected {
            return !same;
        }
        shown.listed = Some(level.nodes.clone());
        shown.rejected.clone_from(&level.rejected);
        true
    });
}

/// Objects by name, decoded.
#[derive(Debug, Default)]
struct Level {
    nodes: OrdMap<NodeName, Arc<Node>>,
    rejected: BTreeMap<String, DecodeError>,
}

impl Level {
    fn put(&mut self, object: &DynamicObject) {
        let name = object.metadata.name.clone().unwrap_or_default();
        match decoded(object) {
            Ok(node) => {
                self.rejected.remove(&name);
                let known = self.nodes.get(&node.name);
                if known.is_none_or(|known| **known != node) {
                    self.nodes.insert(node.name.clone(), Arc::new(node));
                }
            }
            Err(error) => {
                if self.rejected.get(&name) != Some(&error) {
                    tracing::warn!("{error}; the object is left out");
                }
                self.nodes.remove(&NodeName(name.clone()));
                self.rejected.insert(name, error);
            }
        }
    }

    fn remove(&mut self, object: &DynamicObject) {
        let name = object.metadata.name.clone().unwrap_or_default();
        self.rejected.remove(&name);
        self.nodes.remove(&NodeName(name));
    }
}

fn decoded(object: &DynamicObject) -> Result<Node, DecodeError> {
    let json = serde_json::to_vec(object).map_err(|error| DecodeError {
        object: "Node".to_owned(),
        field: String::new(),
        reason: error.to_string(),
    })?;
    decode::node(&json)
}

/// Doubles from 100 ms to 10 s. The watcher resets it whenever an exchange works.
#[derive(Debug, Default)]
struct Retry {
    failures: u32,
}

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = Duration::from_millis(100) * 2_u32.pow(self.failures.min(7));
        self.failures += 1;
        Some(wait.min(Duration::from_secs(10)))
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: &str) -> DynamicObject {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_bad_object_is_left_out_alone_and_comes_back_when_it_is_mended() {
        let mut level = Level::default();
        level.put(&object(r#"{"metadata":{"name":"a"},"spec":{"podCIDR":"10.244.1.0/24"}}"#));
        level.put(&object(r#"{"metadata":{"name":"b"},"spec":{"podCIDR":"nonsense"}}"#));
        assert_eq!(level.nodes.len(), 1);
        assert_eq!(level.rejected["b"].field, "spec.podCIDRs[0]");
        level.put(&object(r#"{"metadata":{"name":"b"},"spec":{"podCIDR":"10.244.2.0/24"}}"#));
        assert_eq!((level.nodes.len(), level.rejected.len()), (2, 0));
        level.remove(&object(r#"{"metadata":{"name":"b"}}"#));
        assert_eq!(level.nodes.len(), 1);
    }

    #[test]
    fn a_heartbeat_is_no_news() {
        let (out, seen) = tokio::sync::watch::channel(Nodes::default());
        let mut level = Level::default();
        let mut seen = seen;
        for (stamp, news) in [("1", true), ("2", false)] {
            let json = format!(
                r#"{{"metadata":{{"name":"a","resourceVersion":"{stamp}"}},"spec":{{"podCIDR":"10.244.1.0/24"}}}}"#
            );
            level.put(&object(&json));
            show(&out, Some(&level), None);
            assert_eq!(seen.has_changed().unwrap(), news);
            seen.mark_unchanged();
        }
    }

    #[test]
    fn retries_grow_to_ten_seconds_and_start_over() {
        let mut retry = Retry::default();
        let waits: Vec<u128> = retry.by_ref().take(9).map(|wait| wait.as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        retry.reset();
        assert_eq!(retry.next(), Some(Duration::from_millis(100)));
    }
}
