//! Templates that a StatefulSet or DaemonSet had, kept as ControllerRevisions, so that `kubectl rollout
//! undo` can go back and pods tell which of them they were made from.
//!
//! Source: Kubernetes, `pkg/controller/history`.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};

use super::claim::claim;
use super::numbers::hash_name;
use super::pods::controlled_by;
use super::runtime::{Action, Cluster, Kind, Write};

/// What an object had, and has now.
pub(crate) struct History {
    /// All revisions, the newest last.
    pub all: Vec<Arc<ControllerRevision>>,
    /// The one of the template that the object has now.
    pub newest: Arc<ControllerRevision>,
    /// How often a name was taken already.
    pub collisions: i32,
}

/// An owner's revisions; or what has to be written before its history is complete.
///
/// `label` is the label of a revision that holds its hash.
pub(crate) fn history<O: Kind>(
    cluster: &Cluster,
    owner: &O,
    selector: &LabelSelector,
    template: &PodTemplateSpec,
    (label, collisions): (&str, i32),
) -> Result<History, Vec<Write>> {
    let claim = claim(&cluster.controller_revisions, owner, selector, |_| true);
    if !claim.writes.is_empty() {
        return Err(claim.writes);
    }
    let mut all = claim.own;
    let age = |revision: &Arc<ControllerRevision>| {
        let made = revision.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (revision.revision, made, revision.metadata.name.clone())
    };
    all.sort_by_key(age);
    let content = content(template);
    let next = all.last().map_or(1, |last| last.revision + 1);
    let equal = |revision: &&Arc<ControllerRevision>| {
        revision.data.as_ref().is_some_and(|data| data.0 == content)
    };
    if let Some(newest) = all.iter().rfind(equal).cloned() {
        if newest.revision + 1 == next {
            return Ok(History { all, newest, collisions });
        }
        let again = ControllerRevision { revision: next, ..ControllerRevision::clone(&newest) };
        return Err(vec![Write::new(Action::Replace, again)]);
    }
    let name = owner.meta().name.as_deref().unwrap_or_default();
    let namespace = owner.meta().namespace.as_deref().unwrap_or_default();
    let text = content.to_string();
    let hash =
        (collisions..).map(|collisions| hash_name(text.as_bytes(), collisions)).find(|hash| {
            cluster.controller_revisions.named(namespace, &format!("{name}-{hash}")).is_none()
        });
    let Some(hash) = hash else { return Err(Vec::new()) };
    let mut labels =
        template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    labels.insert(label.to_owned(), hash.clone());
    let revision = ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            annotations: owner.meta().annotations.clone(),
            owner_references: Some(vec![controlled_by(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(content)),
        revision: next,
    };
    Err(vec![Write::new(Action::Create, revision)])
}

impl History {
    /// The revision of that name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<ControllerRevision>> {
        self.all.iter().find(|revision| revision.metadata.name.as_deref() == Some(name))
    }

    /// Removes the oldest revisions beyond `limit` that nothing in `used`, by name, needs.
    pub(crate) fn clean_up(&self, used: &BTreeSet<&str>, limit: Option<i32>) -> Vec<Write> {
        let is_idle = |revision: &&Arc<ControllerRevision>| {
            let meta = &revision.metadata;
            let name = meta.name.as_deref().unwrap_or_default();
            !used.contains(name) && meta.deletion_timestamp.is_none()
        };
        let idle: Vec<_> = self.all.iter().filter(is_idle).collect();
        let Ok(limit) = usize::try_from(limit.unwrap_or(10)) else { return Vec::new() };
        let many = idle.len().saturating_sub(limit);
        let delete = |revision: &&Arc<ControllerRevision>| {
            Write::new(Action::Delete { grace: None }, ControllerRevision::clone(revision))
        };
        idle.iter().take(many).map(delete).collect()
    }
}

/// A strategic merge patch that gives an object the template: what `kubectl rollout undo` applies.
fn content(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_default();
    template["$patch"] = json!("replace");
    json!({ "spec": { "template": template } })
}

/// The template that a revision holds.
pub(crate) fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.get("spec")?.get("template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

/// The name of a revision.
pub(crate) fn name(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or_default()
}
