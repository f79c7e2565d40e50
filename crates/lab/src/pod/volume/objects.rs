//! Which ConfigMaps and Secrets change: one watch for each that a pod of the node shows, however
//! many show it.
//!
//! Source: kubelet, `configMapAndSecretChangeDetectionStrategy: Watch`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube_rs::Client;
use kube_rs::api::Api;
use kube_rs::runtime::watcher::watch_object;
use tokio::sync::watch::{self, Receiver, Sender};

use super::payload::Kind;

/// Kind, namespace and name of an object.
pub(crate) type Key = (Kind, String, String);

/// The watches of one node.
pub(crate) struct Objects {
    client: Client,
    known: Mutex<HashMap<Key, Weak<Sender<()>>>>,
}

impl Objects {
    /// No watch yet.
    pub(crate) fn new(client: Client) -> Arc<Self> {
        Arc::new(Self { client, known: Mutex::default() })
    }

    /// Tells of changes of the object, and once when it has first been looked at. The watch ends
    /// with the last who listens.
    pub(crate) fn follow(self: &Arc<Self>, key: Key) -> Receiver<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = known.get(&key).and_then(Weak::upgrade) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(());
        let sender = Arc::new(sender);
        known.insert(key.clone(), Arc::downgrade(&sender));
        let (kind, namespace, name) = &key;
        let client = self.client.clone();
        match kind {
            Kind::ConfigMap => {
                let changes = watch_object(Api::<ConfigMap>::namespaced(client, namespace), name);
                tokio::spawn(self.clone().tell(key, changes, sender));
            }
            Kind::Secret => {
                let changes = watch_object(Api::<Secret>::namespaced(client, namespace), name);
                tokio::spawn(self.clone().tell(key, changes, sender));
            }
        }
        receiver
    }

    async fn tell<T, E: std::fmt::Display>(
        self: Arc<Self>,
        key: Key,
        changes: impl Stream<Item = Result<T, E>> + Send,
        sender: Arc<Sender<()>>,
    ) {
        let mut changes = std::pin::pin!(changes);
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    Some(Ok(_)) => sender.send_replace(()),
                    // The watch is made again by itself, with a wait in between.
                    Some(Err(error)) => {
                        tracing::debug!("watch {} {}/{}: {error}", key.0.name(), key.1, key.2);
                        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    }
                    None => return,
                },
                () = sender.closed() => {
                    let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                    // Somebody may have come while the lock was being taken.
                    if sender.receiver_count() == 0 {
                        known.remove(&key);
                        return;
                    }
                }
            }
        }
    }
}
