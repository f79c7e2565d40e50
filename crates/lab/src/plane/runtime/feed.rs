//! What the API server tells of one kind, on its way to the cache.

use std::borrow::Cow;
use std::fmt::Debug;

use futures_util::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_rs::runtime::watcher::{Config, Event};
use kube_rs::runtime::{WatchStreamExt, watcher};
use kube_rs::{Api, Client, Resource};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::sync::mpsc;

use super::cluster::{Change, Cluster, Kind};

/// A step of the cache, and what it changes.
pub(super) type Delta = Box<dyn FnOnce(&mut Cluster) -> Vec<Change> + Send>;

/// Lists and watches the objects of a kind until `out` is closed. Errors are retried with back-off;
/// an object that is not what its kind says is told once a change and left out, alone.
pub(super) async fn feed<K: Kind>(client: Client, out: mpsc::Sender<Delta>) {
    let events = watcher(Api::<Read<K>>::all(client), Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut list = Vec::new();
    while let Some(event) = events.next().await {
        let delta: Delta = match event {
            Err(error) => {
                tracing::warn!("watch {}: {error}", K::plural(&()));
                continue;
            }
            Ok(Event::Init) => {
                list.clear();
                continue;
            }
            Ok(Event::InitApply(read)) => {
                list.extend(read.object());
                continue;
            }
            Ok(Event::InitDone) => {
                let list = std::mem::take(&mut list);
                Box::new(move |cluster| {
                    K::cache(cluster).list(list).into_iter().map(K::change).collect()
                })
            }
            Ok(Event::Apply(read)) => {
                let Some(object) = read.object() else { continue };
                Box::new(move |cluster| {
                    K::cache(cluster).shown(object).into_iter().map(K::change).collect()
                })
            }
            Ok(Event::Delete(read)) => {
                let Some(object) = read.object() else { continue };
                Box::new(move |cluster| {
                    K::cache(cluster).gone(&object).into_iter().map(K::change).collect()
                })
            }
        };
        if out.send(delta).await.is_err() {
            return;
        }
    }
}

/// An object as it was read: of its kind, or something else in the place of one.
#[derive(Debug, Clone)]
struct Read<K> {
    meta: ObjectMeta,
    object: Result<Box<K>, String>,
}

impl<K: Kind> Read<K> {
    fn object(self) -> Option<K> {
        match self.object {
            Ok(object) => Some(*object),
            Err(error) => {
                let (namespace, name) = (self.meta.namespace, self.meta.name);
                let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
                tracing::warn!("read {} {namespace}/{name}: {error}", K::plural(&()));
                None
            }
        }
    }
}

impl<'de, K: Kind> Deserialize<'de> for Read<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let meta = ObjectMeta::deserialize(&value["metadata"]).unwrap_or_default();
        let object = K::deserialize(&value).map_err(|error| error.to_string()).map(|mut object| {
            object.meta_mut().managed_fields = None; // Nobody here reads them, and they are large.
            Box::new(object)
        });
        Ok(Self { meta, object })
    }
}

impl<K: Kind> Resource for Read<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}
