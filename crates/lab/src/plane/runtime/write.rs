//! One write to the API, what is told of it, and what its answer says about the cluster.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube_rs::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, Request};
use kube_rs::core::response::StatusDetails;
use kube_rs::{Client, Error};
use serde_json::{Value, json};

use super::cluster::{Cluster, Kind, Lists, Object};
use super::feed::Delta;
use super::{Changed, Failure, Tried, key};
use crate::events;

/// What is done with an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// It is made.
    Create,
    /// It is replaced, if it has not changed since it was read.
    Replace,
    /// Its status is replaced, if it has not changed since it was read.
    ReplaceStatus,
    /// This merge patch is laid over it.
    Patch(Value),
    /// This strategic merge patch is laid over its status.
    PatchStatus(Value),
    /// It is removed, if it is still the one that was read.
    Delete {
        /// Seconds it gets to end, if not its own.
        grace: Option<u32>,
    },
    /// A pod is given to this node.
    Bind(String),
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Write {
    /// What is done.
    pub action: Action,
    /// With this object, as it was read or, when it is made or replaced, as it is to be.
    pub object: Object,
    /// Told when it is done; `{name}` stands for the object's name.
    pub done: Option<Note>,
    /// Told when it failed; `{error}` stands for the reason.
    pub failed: Option<Note>,
}

/// An event to tell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Note {
    /// The object it is about.
    pub about: ObjectReference,
    /// How much it matters.
    pub kind: events::Kind,
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

impl Note {
    /// As it should be.
    pub(crate) fn normal<K: Kind>(about: &K, reason: &'static str, message: String) -> Self {
        Self { about: about.object_ref(&()), kind: events::Kind::Normal, reason, message }
    }

    /// Somebody may want to look.
    pub(crate) fn warning<K: Kind>(about: &K, reason: &'static str, message: String) -> Self {
        Self { about: about.object_ref(&()), kind: events::Kind::Warning, reason, message }
    }
}

impl Write {
    /// A write that nothing is told of.
    pub(crate) fn new(action: Action, object: impl Kind) -> Self {
        Self { action, object: object.object(), done: None, failed: None }
    }

    /// The same, with this told when it is done.
    pub(crate) fn done(mut self, note: Note) -> Self {
        self.done = Some(note);
        self
    }

    /// The same, with this told when it failed.
    pub(crate) fn failed(mut self, note: Note) -> Self {
        self.failed = Some(note);
        self
    }
}

/// What became of a write.
pub(super) enum Outcome {
    /// It is done, and this is what it says about the cluster.
    Done(Delta, Option<Box<Note>>),
    /// It is not needed any more.
    Needless,
    /// The object is not what was read.
    Overtaken,
    /// It was refused, or nobody answered.
    Failed(Failure, Option<Box<Note>>),
}

impl Write {
    pub(super) async fn perform(self, client: Client, lists: Lists) -> Outcome {
        let tried = match self.action {
            Action::Create => Tried::Create,
            Action::Delete { .. } => Tried::Delete,
            Action::Replace | Action::ReplaceStatus | Action::Patch(_) => Tried::Change,
            Action::PatchStatus(_) | Action::Bind(_) => Tried::Change,
        };
        let called = self.object.called();
        match self.object.send(&client, self.action, lists).await {
            Ok((delta, name)) => {
                let named = |mut note: Note| {
                    note.message = note.message.replace("{name}", &name);
                    Box::new(note)
                };
                Outcome::Done(delta, self.done.map(named))
            }
            Err(error) if is_terminating(&error) => Outcome::Needless,
            Err(error) if tried != Tried::Create && crate::plane::is_overtaken(&error) => {
                Outcome::Overtaken
            }
            Err(error) => {
                tracing::warn!("{} {called}: {error}", verb(tried));
                let message = message(&error);
                let note = self.failed.map(|mut note| {
                    note.message = note.message.replace("{error}", &message);
                    Box::new(note)
                });
                Outcome::Failed(Failure { tried, message }, note)
            }
        }
    }
}

fn verb(tried: Tried) -> &'static str {
    match tried {
        Tried::Create => "create",
        Tried::Delete => "delete",
        Tried::Change => "change",
    }
}

/// Sends one write; returns what follows for the cluster, and the object's name.
///
/// # Errors
/// What the API server says, or that it could not be asked.
pub(super) async fn send<K: Kind>(
    client: &Client,
    action: Action,
    object: K,
    lists: u64,
) -> Result<(Delta, String), Error> {
    let request = request(&action, &object)?;
    let meta = object.meta();
    let (name, uid) = (meta.name.clone().unwrap_or_default(), meta.uid.clone());
    let key = key(&object);
    match action {
        Action::Delete { .. } => {
            client.request_text(request).await?;
            let mark = |object: &mut K| {
                object.meta_mut().deletion_timestamp.get_or_insert(Time(Timestamp::now()));
            };
            let delta =
                follows(move |cluster| K::cache(cluster).follows(&key, uid.as_deref(), mark));
            Ok((delta, name))
        }
        Action::Bind(node) => {
            client.request_text(request).await?;
            let delta = follows(move |cluster| {
                cluster.pods.follows(&key, uid.as_deref(), |pod| {
                    pod.spec.get_or_insert_default().node_name = Some(node);
                })
            });
            Ok((delta, name))
        }
        Action::Create
        | Action::Replace
        | Action::ReplaceStatus
        | Action::Patch(_)
        | Action::PatchStatus(_) => {
            let mut answer: K = client.request(request).await?;
            answer.meta_mut().managed_fields = None;
            let name = answer.meta().name.clone().unwrap_or(name);
            Ok((follows(move |cluster| K::cache(cluster).answered(answer, lists)), name))
        }
    }
}

fn request<K: Kind>(action: &Action, object: &K) -> Result<http::Request<Vec<u8>>, Error> {
    let meta = object.meta();
    let name = meta.name.as_deref().unwrap_or_default();
    let request = Request::new(K::url_path(&(), meta.namespace.as_deref()));
    let (post, patch) = (PostParams::default(), PatchParams::default());
    let body = || serde_json::to_vec(object).map_err(Error::SerdeError);
    let request = match action {
        Action::Create => request.create(&post, body()?),
        Action::Replace => request.replace(name, &post, body()?),
        Action::ReplaceStatus => request.replace_subresource("status", name, &post, body()?),
        Action::Patch(change) => request.patch(name, &patch, &Patch::Merge(change)),
        Action::PatchStatus(change) => {
            request.patch_subresource("status", name, &patch, &Patch::Strategic(change))
        }
        Action::Delete { grace } => {
            let preconditions = Preconditions { uid: meta.uid.clone(), resource_version: None };
            let parameters = DeleteParams {
                grace_period_seconds: *grace,
                preconditions: Some(preconditions),
                ..DeleteParams::background()
            };
            request.delete(name, &parameters)
        }
        Action::Bind(node) => {
            let binding = json!({
                "apiVersion": "v1", "kind": "Binding",
                "metadata": { "name": name, "namespace": meta.namespace, "uid": meta.uid },
                "target": { "apiVersion": "v1", "kind": "Node", "name": node },
            });
            let body = serde_json::to_vec(&binding).map_err(Error::SerdeError)?;
            request.create_subresource("binding", name, &post, body)
        }
    };
    request.map_err(Error::BuildRequest)
}

fn follows<K: Kind>(
    step: impl FnOnce(&mut Cluster) -> Option<Changed<K>> + Send + 'static,
) -> Delta {
    Box::new(move |cluster| step(cluster).into_iter().map(K::change).collect())
}

/// Whether the namespace is going away, and everything that was wanted there with it.
fn is_terminating(error: &Error) -> bool {
    let Error::Api(status) = error else { return false };
    let causes = |details: &StatusDetails| {
        details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
    };
    status.details.as_ref().is_some_and(causes)
}

fn message(error: &Error) -> String {
    if let Error::Api(status) = error { status.message.clone() } else { error.to_string() }
}
