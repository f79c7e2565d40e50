//! Objects of one kind as a level: always the newest state, complete or not there at all.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures_util::StreamExt;
use kube_rs::runtime::watcher::{self, Event};
use kube_rs::runtime::{WatchStreamExt, watcher as watch_events};
use kube_rs::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::task::JoinSet;

/// All objects of a kind by `namespace/name`, or by name when the kind has no namespaces.
pub type Objects<K> = Arc<BTreeMap<String, Arc<K>>>;

/// Follows the objects of a kind. `None` until the first list is complete.
pub type Level<K> = Receiver<Option<Objects<K>>>;

/// Lists and watches what `api` covers, in a task of `tasks`, until every level is dropped.
///
/// Errors are retried with backoff; meanwhile the level stays what it was.
pub fn watch<K>(api: Api<K>, tasks: &mut JoinSet<()>) -> Level<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    watch_with(api, watcher::Config::default(), tasks)
}

/// [`watch`] with a choice of objects.
pub fn watch_with<K>(api: Api<K>, config: watcher::Config, tasks: &mut JoinSet<()>) -> Level<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (out, level) = channel(None);
    tasks.spawn(follow(api, config, out));
    level
}

async fn follow<K>(api: Api<K>, config: watcher::Config, out: Sender<Option<Objects<K>>>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let events = watch_events(api, config).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut relist = BTreeMap::new();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = out.closed() => return,
        };
        match event {
            None => return,
            Some(Err(error)) => {
                tracing::warn!("watch {}: {error}", K::plural(&()));
            }
            Some(Ok(Event::Init)) => relist.clear(),
            Some(Ok(Event::InitApply(object))) => {
                relist.insert(key(&object), Arc::new(object));
            }
            Some(Ok(Event::InitDone)) => {
                out.send_replace(Some(Arc::new(std::mem::take(&mut relist))));
            }
            Some(Ok(Event::Apply(object))) => change(&out, |objects| {
                objects.insert(key(&object), Arc::new(object));
            }),
            Some(Ok(Event::Delete(object))) => change(&out, |objects| {
                objects.remove(&key(&object));
            }),
        }
    }
}

fn change<K>(out: &Sender<Option<Objects<K>>>, how: impl FnOnce(&mut BTreeMap<String, Arc<K>>)) {
    out.send_modify(|level| how(Arc::make_mut(level.get_or_insert_default())));
}

/// `namespace/name`, or the name alone.
pub fn key<K: Resource>(object: &K) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}
