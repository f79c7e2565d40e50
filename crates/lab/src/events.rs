//! What happens to objects, told as `Event` objects, so that `kubectl describe` shows it.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube_rs::api::{Api, Patch, PatchParams, PostParams};
use kube_rs::{Client, Resource};
use tokio::sync::mpsc;

/// Events that wait to be told; more are lost, because a pod matters more than its story.
const WAITING: usize = 256;
/// Repeated events that are counted; when there are more, counting starts again.
const COUNTED: usize = 4096;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As it should be.
    Normal,
    /// Somebody may want to look.
    Warning,
}

/// Tells events, in order, without ever holding up the teller.
#[derive(Clone)]
pub(crate) struct Events {
    source: EventSource,
    queue: mpsc::Sender<Event>,
}

impl Events {
    /// Starts telling events about pods in the name of `component`, on `node` unless it has none;
    /// ends when the last clone is dropped.
    pub(crate) fn start(client: Client, component: &str, node: Option<&str>) -> Self {
        let (queue, events) = mpsc::channel(WAITING);
        tokio::spawn(tell_all(client, events));
        let host = node.map(str::to_owned);
        Self { source: EventSource { component: Some(component.to_owned()), host }, queue }
    }

    /// Tells one event about `pod`, or about its container of that name.
    pub(crate) fn tell(
        &self,
        pod: &Pod,
        container: Option<&str>,
        kind: Kind,
        reason: &str,
        message: String,
    ) {
        let mut about: ObjectReference = pod.object_ref(&());
        about.field_path = container.map(|name| format!("spec.containers{{{name}}}"));
        self.tell_of(about, kind, reason, message);
    }

    /// Tells one event about any object; one without a namespace has its events in `default`.
    pub(crate) fn tell_of(
        &self,
        about: ObjectReference,
        kind: Kind,
        reason: &str,
        message: String,
    ) {
        let now = Time(Timestamp::now());
        let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let event = Event {
            metadata: ObjectMeta { namespace: Some(namespace), ..Default::default() },
            involved_object: about,
            type_: Some(format!("{kind:?}")),
            reason: Some(reason.to_owned()),
            message: Some(message),
            source: Some(self.source.clone()),
            reporting_component: self.source.component.clone(),
            reporting_instance: self.source.host.clone(),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(1),
            ..Default::default()
        };
        if self.queue.try_send(event).is_err() {
            tracing::debug!("an event was lost: too many wait to be told");
        }
    }
}

/// Creates each event, or counts it up if the same was told before.
async fn tell_all(client: Client, mut events: mpsc::Receiver<Event>) {
    let mut told: HashMap<[Option<String>; 3], (String, i32)> = HashMap::new();
    while let Some(mut event) = events.recv().await {
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let about = event.involved_object.uid.clone();
        let key = [about, event.reason.clone(), event.message.clone()];
        if let Some((name, count)) = told.get_mut(&key) {
            *count += 1;
            let more = serde_json::json!({"count": count, "lastTimestamp": event.last_timestamp});
            let params = PatchParams::default();
            if api.patch(name, &params, &Patch::Merge(more)).await.is_ok() {
                continue;
            }
        }
        let subject = event.involved_object.name.clone().unwrap_or_default();
        let name = format!("{subject}.{:x}", Timestamp::now().as_nanosecond());
        event.metadata.name = Some(name.clone());
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {
                if told.len() >= COUNTED {
                    told.clear();
                }
                told.insert(key, (name, 1));
            }
            Err(error) => tracing::debug!("create event {namespace}/{name}: {error}"),
        }
    }
}
