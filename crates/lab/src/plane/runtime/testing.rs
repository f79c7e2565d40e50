//! A cluster for tests of controllers: objects in as JSON, plans carried out on the spot.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::cluster::{Cluster, Kind};
use super::{Action, Changed, Controller, Failure, Keys, Plan, Turn, Write, key};

/// A cluster that obeys writes as the API server does, as far as controllers can tell.
pub(crate) struct World {
    pub cluster: Cluster,
    pub now: Timestamp,
    version: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut world = Self { cluster: Cluster::default(), now, version: 0 };
        // Every cache is complete, and empty.
        world.cluster.pods.list(Vec::new());
        world
    }

    /// Puts an object, whose uid is its name unless it says otherwise.
    pub(crate) fn put<K: Kind>(&mut self, object: &Value) -> &mut Self {
        let mut object = object.clone();
        let meta = &mut object["metadata"];
        for (field, value) in [("namespace", json!("ns")), ("uid", meta["name"].clone())] {
            if meta[field].is_null() {
                meta[field] = value;
            }
        }
        if meta["namespace"] == "" {
            meta["namespace"] = Value::Null; // Its kind has no namespaces.
        }
        if meta["creationTimestamp"].is_null() {
            meta["creationTimestamp"] = json!(self.now.to_string());
        }
        let object: K = serde_json::from_value(object).unwrap();
        self.store(object);
        self
    }

    fn store<K: Kind>(&mut self, mut object: K) {
        self.version += 1;
        object.meta_mut().resource_version = Some(self.version.to_string());
        K::cache(&mut self.cluster).shown(object);
    }

    /// Takes an object away.
    pub(crate) fn remove<K: Kind>(&mut self, key: &str) -> Changed<K> {
        let object = K::cache(&mut self.cluster).get(key).map(|object| K::clone(object));
        let gone = K::cache(&mut self.cluster).gone(&object.expect("there is such an object"));
        gone.expect("it was there")
    }

    /// The change that brought an object.
    pub(crate) fn made<K: Kind>(&mut self, key: &str) -> Changed<K> {
        let new = K::cache(&mut self.cluster).get(key).cloned();
        Changed { key: key.into(), old: None, new }
    }

    /// What `controller` says is to be looked at after a change.
    pub(crate) fn told<K: Kind>(
        &self,
        controller: &mut impl Controller,
        changed: Changed<K>,
    ) -> Vec<String> {
        let mut keys = Keys::new(self.now);
        controller.concerns(&self.cluster, &K::change(changed), &mut keys);
        keys.names()
    }

    /// What `controller` decides about `key` now.
    pub(crate) fn decide(&self, controller: &mut impl Controller, key: &str) -> Plan {
        controller.decide(&self.cluster, key, &Turn { now: self.now, failure: None })
    }

    /// The same after its last plan failed.
    pub(crate) fn decide_after(
        &self,
        controller: &mut impl Controller,
        key: &str,
        failure: &Failure,
    ) -> Plan {
        controller.decide(&self.cluster, key, &Turn { now: self.now, failure: Some(failure) })
    }

    /// Carries out what `controller` decides about `key` until it has nothing more to do; what it did.
    ///
    /// # Panics
    /// When there is no end to it.
    pub(crate) fn settle(&mut self, controller: &mut impl Controller, key: &str) -> Vec<String> {
        let mut done = Vec::new();
        for _ in 0..1000 {
            let plan = self.decide(controller, key);
            if plan.writes.is_empty() {
                return done;
            }
            for write in plan.writes {
                done.push(told(&write));
                self.obey(write);
            }
        }
        panic!("{key} does not come to rest: {:?}", &done[done.len() - 6..]);
    }

    /// Carries out one write.
    pub(crate) fn obey(&mut self, write: Write) {
        write.object.obey(write.action, self);
    }

    pub(super) fn carry_out<K: Kind>(&mut self, action: Action, object: K) {
        let now = self.now;
        let stored = K::cache(&mut self.cluster).get(&key(&object)).map(|stored| K::clone(stored));
        let mut object = match &action {
            Action::Create | Action::Replace | Action::ReplaceStatus => object,
            Action::Patch(_) | Action::PatchStatus(_) | Action::Delete { .. } | Action::Bind(_) => {
                let Some(stored) = stored else { return };
                stored
            }
        };
        let meta = object.meta_mut();
        match action {
            Action::Create => {
                let made = self.version;
                meta.name.get_or_insert_with(|| {
                    format!("{}{made:05}", meta.generate_name.clone().unwrap_or_default())
                });
                meta.uid = meta.name.clone();
                meta.creation_timestamp =
                    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
                meta.generation = Some(1);
                self.store(object);
            }
            Action::Replace | Action::ReplaceStatus => self.store(object),
            Action::Patch(patch) | Action::PatchStatus(patch) => {
                let mut value = serde_json::to_value(&object).unwrap();
                merge(&mut value, &patch);
                self.store::<K>(serde_json::from_value(value).unwrap());
            }
            Action::Delete { .. } => {
                let finalizers = meta.finalizers.as_ref().is_some_and(|list| !list.is_empty());
                if finalizers {
                    meta.deletion_timestamp =
                        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
                    self.store(object);
                } else {
                    K::cache(&mut self.cluster).gone(&object);
                }
            }
            Action::Bind(node) => {
                let mut value = serde_json::to_value(&object).unwrap();
                value["spec"]["nodeName"] = json!(node);
                self.store::<K>(serde_json::from_value(value).unwrap());
            }
        }
    }

    /// The pod of that name, changed by `how`, as its node would.
    pub(crate) fn change_pod(&mut self, name: &str, how: impl FnOnce(&mut Value)) {
        let pod = self.cluster.pods.named("ns", name).expect("there is such a pod");
        let mut value = serde_json::to_value(&**pod).unwrap();
        how(&mut value);
        self.store::<Pod>(serde_json::from_value(value).unwrap());
    }

    /// Every pod that is not yet runs and is ready since now.
    pub(crate) fn run_pods(&mut self) {
        let names: Vec<String> =
            self.cluster.pods.iter().filter_map(|(_, pod)| pod.metadata.name.clone()).collect();
        let now = self.now.to_string();
        for name in names {
            self.change_pod(&name, |pod| {
                if pod["status"]["phase"].is_null() {
                    pod["status"] = json!({ "phase": "Running", "conditions": [
                        { "type": "Ready", "status": "True", "lastTransitionTime": now },
                    ] });
                }
            });
        }
    }

    /// Names of all pods.
    pub(crate) fn pods(&self) -> Vec<String> {
        self.cluster.pods.iter().filter_map(|(_, pod)| pod.metadata.name.clone()).collect()
    }
}

/// `create Pod`, `status Deployment web`, …
pub(crate) fn told(write: &Write) -> String {
    let verb = match &write.action {
        Action::Create => "create",
        Action::Replace => "replace",
        Action::ReplaceStatus | Action::PatchStatus(_) => "status",
        Action::Patch(_) => "patch",
        Action::Delete { .. } => "delete",
        Action::Bind(_) => "bind",
    };
    let called = write.object.called();
    format!("{verb} {}", called.replace("ns/", "").trim_end())
}

fn merge(into: &mut Value, patch: &Value) {
    let (Some(fields), Some(_)) = (patch.as_object(), into.as_object()) else {
        *into = patch.clone();
        return;
    };
    for (field, value) in fields {
        match value.is_null() {
            true => drop(into.as_object_mut().and_then(|into| into.remove(field))),
            false => merge(&mut into[field], value),
        }
    }
}
