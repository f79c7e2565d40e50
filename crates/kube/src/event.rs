//! Events: what people should know about an object, told where `kubectl describe` and `kubectl get
//! events` show it.
//!
//! An event is a courtesy. Whoever tells one never waits; those that wait are few, and so are those
//! written per second; while the API server is away they are tried for a while and then let go.
//!
//! Source: `events.k8s.io/v1`; client-go's `tools/events` for names, series and limits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::events::v1::Event as Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube_rs::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube_rs::{Api, Client, Error};
use model::{NodeName, ServiceName};
use serde_json::json;
use tokio::sync::mpsc;

use crate::client::{Access, connect};

/// Who reports.
const CONTROLLER: &str = "seaway";

/// Most events that wait to be written.
const WAITING: usize = 256;

/// Least time between two writes.
const BETWEEN: Duration = Duration::from_millis(100);

/// How often an event is tried, and the pause after a try.
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_secs(10);

/// An event that is told again within this time counts up the one before.
const SERIES: Duration = Duration::from_secs(360);

/// Most characters of a note.
const NOTE: usize = 1024;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// The object it is about.
    pub regarding: Regarding,
    /// Whether somebody should look.
    pub is_warning: bool,
    /// Why, in one word, for programs.
    pub reason: &'static str,
    /// What was attempted, in one word.
    pub action: &'static str,
    /// What happened, for people.
    pub note: String,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Regarding {
    /// A Service.
    Service(ServiceName),
    /// A Node. Its events are in the namespace `default`.
    Node(NodeName),
}

/// Takes events from whoever has some to tell.
#[derive(Debug, Clone)]
pub struct Events(mpsc::Sender<Event>);

/// Events that wait to be written.
#[derive(Debug)]
pub struct EventsWaiting(mpsc::Receiver<Event>);

impl Events {
    /// Both ends.
    pub fn new() -> (Events, EventsWaiting) {
        let (tell, waiting) = mpsc::channel(WAITING);
        (Events(tell), EventsWaiting(waiting))
    }

    /// Has `event` written, some time soon. Returns whether it was taken: too many may wait.
    pub fn tell(&self, event: Event) -> bool {
        self.0.try_send(event).is_ok()
    }
}

/// Writes what `waiting` has, in its order, as reported by the agent of `node`, until nobody can tell
/// more.
pub async fn write_events(waiting: EventsWaiting, access: Access, node: NodeName) {
    let mut written = Written { instance: format!("{CONTROLLER}-{node}"), series: BTreeMap::new() };
    let EventsWaiting(mut waiting) = waiting;
    while let Some(event) = waiting.recv().await {
        for _ in 0..TRIES {
            // A connection of its own: this is rare, and addresses may have changed since.
            let result = match connect(&access).await {
                Ok(client) => written
                    .write(&client, &event)
                    .await
                    .map_err(|error| (crate::chain(&error), is_passing(&error))),
                Err(error) => Err((crate::chain(&error), true)),
            };
            let Err((why, is_passing)) = result else { break };
            tracing::debug!("write the event {}: {why}", event.reason);
            if !is_passing {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// Whether a later try may succeed: the API server was not reached, or has too much to do.
fn is_passing(error: &Error) -> bool {
    let Error::Api(status) = error else { return true };
    status.code == 429 || status.code >= 500
}

/// What was written lately, to be counted up when it is told again.
struct Written {
    instance: String,
    series: BTreeMap<Event, Series>,
}

struct Series {
    name: String,
    count: i32,
    last: Instant,
}

impl Written {
    async fn write(&mut self, client: &Client, event: &Event) -> Result<(), Error> {
        self.series.retain(|_, series| series.last.elapsed() < SERIES);
        let now = Timestamp::now();
        let api: Api<Object> = Api::namespaced(client.clone(), namespace(&event.regarding));
        if let Some(series) = self.series.get_mut(event) {
            let count = series.count + 1;
            let patch = json!({ "series": { "count": count, "lastObservedTime": MicroTime(now) } });
            let patch = Patch::Merge(patch);
            match api.patch(&series.name, &PatchParams::default(), &patch).await {
                Ok(_) => {
                    (series.count, series.last) = (count, Instant::now());
                    return Ok(());
                }
                Err(Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let Some(regarding) = reference(client, &event.regarding).await? else { return Ok(()) };
        let object = self.object(event, regarding, now);
        api.create(&PostParams::default(), &object).await?;
        let name = object.metadata.name.unwrap_or_default();
        if self.series.len() == WAITING {
            self.series.pop_first();
        }
        self.series.insert(event.clone(), Series { name, count: 1, last: Instant::now() });
        Ok(())
    }

    fn object(&self, event: &Event, regarding: core::ObjectReference, now: Timestamp) -> Object {
        let mut object = Object {
            action: Some(event.action.to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(event.note.chars().take(NOTE).collect()),
            reason: Some(event.reason.to_owned()),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if event.is_warning { "Warning" } else { "Normal" }.to_owned()),
            ..Object::default()
        };
        let name = regarding.name.as_deref().unwrap_or_default();
        object.metadata.name = Some(format!("{name}.{:x}", now.as_nanosecond()));
        object.metadata.namespace = Some(namespace(&event.regarding).to_owned());
        object.regarding = Some(regarding);
        object
    }
}

fn namespace(regarding: &Regarding) -> &str {
    match regarding {
        Regarding::Service(name) => &name.namespace,
        Regarding::Node(_) => "default",
    }
}

/// The object with its uid, by which `kubectl describe` finds the events of the one that is there
/// now; `None` when there is none.
async fn reference(
    client: &Client,
    regarding: &Regarding,
) -> Result<Option<core::ObjectReference>, Error> {
    let (resource, name) = match regarding {
        Regarding::Service(name) => (ApiResource::erase::<core::Service>(&()), &*name.name),
        Regarding::Node(name) => (ApiResource::erase::<core::Node>(&()), name.as_str()),
    };
    let api: Api<DynamicObject> = match regarding {
        Regarding::Service(name) => {
            Api::namespaced_with(client.clone(), &name.namespace, &resource)
        }
        Regarding::Node(_) => Api::all_with(client.clone(), &resource),
    };
    let Some(object) = api.get_metadata_opt(name).await? else { return Ok(None) };
    Ok(Some(core::ObjectReference {
        api_version: Some(resource.api_version.clone()),
        kind: Some(resource.kind.clone()),
        namespace: object.metadata.namespace,
        name: object.metadata.name,
        uid: object.metadata.uid,
        ..core::ObjectReference::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_tells_too_much_is_told_so_and_never_waits() {
        let (events, waiting) = Events::new();
        let event = Event {
            regarding: Regarding::Node(NodeName::from("a")),
            is_warning: true,
            reason: "Full",
            action: "Program",
            note: String::new(),
        };
        let taken = (0..1000).filter(|_| events.tell(event.clone())).count();
        assert_eq!(taken, WAITING);
        drop(waiting);
        assert!(!events.tell(event), "nor when nobody writes");
    }
}
