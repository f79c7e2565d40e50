//! What makes a pod of a StatefulSet the one it is: its number, and what follows from that.

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, Volume};
use serde_json::{Value, json};

use super::REVISION;
use crate::plane::runtime::{Action, Note, Write};
use crate::plane::{history, pods};

const NAME: &str = "statefulset.kubernetes.io/pod-name";
const INDEX: &str = "apps.kubernetes.io/pod-index";

/// The number of `set`'s first pod.
pub(super) fn start(spec: &StatefulSetSpec) -> i64 {
    spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0).into()
}

/// The pod's number, if its name is one of `set`'s.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i64> {
    let (parent, number) = pod.metadata.name.as_deref()?.rsplit_once('-')?;
    let is_ours = set.metadata.name.as_deref() == Some(parent);
    // The API writes 32-bit numbers; a name with a longer one is somebody else's.
    number.parse::<u32>().ok().filter(|_| is_ours).map(i64::from)
}

fn name(set: &StatefulSet, ordinal: i64) -> String {
    format!("{}-{ordinal}", set.metadata.name.as_deref().unwrap_or_default())
}

/// The pod of that number, made from `revision`.
pub(super) fn pod(set: &StatefulSet, revision: &ControllerRevision, ordinal: i64) -> Option<Pod> {
    let spec = set.spec.as_ref()?;
    let mut pod = pods::from_template(&history::template(revision)?, set);
    let name = name(set, ordinal);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(REVISION.to_owned(), history::name(revision).to_owned());
    labels.insert(NAME.to_owned(), name.clone());
    labels.insert(INDEX.to_owned(), ordinal.to_string());
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    let pod_spec = pod.spec.get_or_insert_default();
    pod_spec.hostname = Some(name);
    pod_spec.subdomain = spec.service_name.clone().filter(|name| !name.is_empty());
    let volumes = pod_spec.volumes.get_or_insert_default();
    for claim in spec.volume_claim_templates.iter().flatten() {
        let name = claim.metadata.name.clone().unwrap_or_default();
        volumes.retain(|volume| volume.name != name);
        volumes.push(Volume {
            name,
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        });
    }
    Some(pod)
}

/// Gives a pod that was taken in the labels of its number, if it lacks them.
pub(super) fn completed(pod: &Pod, ordinal: i64) -> Option<Write> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let index = ordinal.to_string();
    if pods::label(pod, NAME) == Some(name) && pods::label(pod, INDEX) == Some(&index) {
        return None;
    }
    let patch: Value = json!({ "metadata": { "labels": { NAME: name, INDEX: index } } });
    Some(Write::new(Action::Patch(patch), pod.clone()))
}

pub(super) fn create(set: &StatefulSet, pod: Pod) -> Write {
    let (done, failed) = notes(set, &pod, "create", ("SuccessfulCreate", "FailedCreate"));
    Write::new(Action::Create, pod).done(done).failed(failed)
}

pub(super) fn delete(set: &StatefulSet, pod: &Pod) -> Write {
    let (done, failed) = notes(set, pod, "delete", ("SuccessfulDelete", "FailedDelete"));
    Write::new(Action::Delete { grace: None }, pod.clone()).done(done).failed(failed)
}

fn notes(
    set: &StatefulSet,
    pod: &Pod,
    verb: &str,
    (done, failed): (&'static str, &'static str),
) -> (Note, Note) {
    let pod = pod.metadata.name.as_deref().unwrap_or_default();
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let what = format!("{verb} Pod {pod} in StatefulSet {name}");
    let success = Note::normal(set, done, format!("{what} successful"));
    (success, Note::warning(set, failed, format!("{what} failed error: {{error}}")))
}
