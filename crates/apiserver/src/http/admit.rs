//! Admission of new objects by what else the cluster holds: a pod's priority and
//! runtime class, and the default classes of ingresses and claims.
//!
//! Source: Kubernetes' admission plugins `Priority`, `RuntimeClass`,
//! `DefaultTolerationSeconds`, `DefaultIngressClass` and `DefaultStorageClass`.
use std::sync::Arc;

use serde_json::{Value, json};

use super::Api;
use crate::refusal::Refusal;
use crate::resource::{Resource, Rules};
use crate::store::{Key, Object};

/// How many seconds a pod stays on a node that fails.
const EVICTION_SECONDS: u64 = 300;

/// Classes that every cluster has, with their values.
pub(crate) const PRIORITIES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

impl Api {
    /// Completes a new object from what else there is.
    ///
    /// # Errors
    /// The refusal of an object that refers to what is not there.
    pub(super) fn complete(&self, resource: &Resource, value: &mut Value) -> Result<(), Refusal> {
        if resource.rules == Rules::Pod {
            let name = value["metadata"]["name"].as_str().unwrap_or("").to_owned();
            let namespace = value["metadata"]["namespace"].as_str().unwrap_or("").to_owned();
            let spec = &mut value["spec"];
            tolerate(spec, "node.kubernetes.io/not-ready");
            tolerate(spec, "node.kubernetes.io/unreachable");
            let done = self
                .give_account(&namespace, spec)
                .and_then(|()| self.prioritize(spec))
                .and_then(|()| self.choose_runtime(spec));
            drop_nulls(spec);
            return done.map_err(|why| Refusal::forbidden(resource, &name, &why));
        }
        if resource.rules == Rules::Ingress {
            let old_way = &value["metadata"]["annotations"]["kubernetes.io/ingress.class"];
            let named = old_way.is_string() || value["spec"]["ingressClassName"].is_string();
            let class = self.default_class("networking.k8s.io", "ingressclasses");
            if let Some(class) = class.filter(|_| !named) {
                value["spec"]["ingressClassName"] = json!(class);
            }
        } else if resource.rules == Rules::PersistentVolumeClaim {
            let class = self.default_class("storage.k8s.io", "storageclasses");
            if let Some(class) = class.filter(|_| value["spec"]["storageClassName"].is_null()) {
                value["spec"]["storageClassName"] = json!(class);
            }
            drop_nulls(&mut value["spec"]);
        }
        Ok(())
    }

    /// Turns a pod's priority class into a number.
    fn prioritize(&self, spec: &mut Value) -> Result<(), String> {
        let classes = self.objects("scheduling.k8s.io", "priorityclasses");
        let given = spec["priorityClassName"].as_str().unwrap_or("");
        let class = if given.is_empty() {
            let defaults = classes.iter().filter(|class| class.value["globalDefault"] == true);
            // Of several defaults, the least urgent counts.
            defaults.min_by_key(|class| class.value["value"].as_i64())
        } else {
            let found = classes.iter().find(|class| *class.metadata("name") == given);
            let missing = || format!("no PriorityClass with name {given} was found");
            Some(found.ok_or_else(missing)?)
        };
        let priority = class.map_or(0, |class| class.value["value"].as_i64().unwrap_or(0));
        if let Some(wish) = spec["priority"].as_i64().filter(|wish| *wish != priority) {
            return Err(format!(
                "the integer value of priority ({wish}) must not be provided in pod spec; \
                 priority admission controller computed {priority} from the given PriorityClass name"
            ));
        }
        spec["priority"] = json!(priority);
        let preemption = class.map(|class| class.value["preemptionPolicy"].clone());
        if let Some(class) = class {
            spec["priorityClassName"] = class.metadata("name").clone();
        }
        if spec["preemptionPolicy"].is_null() {
            let otherwise = || json!("PreemptLowerPriority");
            spec["preemptionPolicy"] =
                preemption.filter(Value::is_string).unwrap_or_else(otherwise);
        }
        Ok(())
    }

    /// Takes a pod's overhead and place from its runtime class.
    fn choose_runtime(&self, spec: &mut Value) -> Result<(), String> {
        let Some(name) = spec["runtimeClassName"].as_str() else { return Ok(()) };
        let classes = self.builtin("node.k8s.io", "runtimeclasses");
        let class = self.store.get(&classes.shelf, &Key::new("", name));
        let missing = || format!("pod rejected: RuntimeClass \"{name}\" not found");
        let class = class.ok_or_else(missing)?;
        if class.value["overhead"]["podFixed"].is_object() {
            spec["overhead"] = class.value["overhead"]["podFixed"].clone();
        }
        let wanted = class.value["scheduling"]["nodeSelector"].clone();
        for (key, value) in wanted.as_object().into_iter().flatten() {
            spec["nodeSelector"][key] = value.clone();
        }
        let tolerated = class.value["scheduling"]["tolerations"].as_array().cloned();
        if let Some(tolerated) = tolerated {
            let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
            tolerations.extend(tolerated);
            spec["tolerations"] = json!(tolerations);
        }
        Ok(())
    }

    /// The name of the class that is marked as default; of several the newest.
    fn default_class(&self, group: &str, plural: &str) -> Option<String> {
        let mark = format!("{}.kubernetes.io/is-default-class", plural.trim_end_matches("es"));
        let marked = self
            .objects(group, plural)
            .into_iter()
            .filter(|class| class.metadata("annotations")[&mark] == "true");
        let age = |class: &Arc<Object>| {
            let text = |field: &str| class.metadata(field).as_str().unwrap_or("").to_owned();
            (std::cmp::Reverse(text("creationTimestamp")), text("name"))
        };
        let newest = marked.min_by_key(age)?;
        newest.metadata("name").as_str().map(str::to_owned)
    }

    fn objects(&self, group: &str, plural: &str) -> Vec<Arc<Object>> {
        let resource = self.builtin(group, plural);
        // Only an old version can be forgotten; this asks for the current one.
        let snapshot = self.store.snapshot(&resource.shelf, None, None);
        let objects = snapshot.map_or_else(|_| Vec::new(), |snapshot| snapshot.objects);
        objects.into_iter().map(|(_, object)| object).collect()
    }
}

/// Adds the toleration of a failing node that every pod gets.
fn tolerate(spec: &mut Value, key: &str) {
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    let covers = |toleration: &Value| {
        let effect = toleration["effect"].as_str().unwrap_or("");
        let all = toleration["key"].as_str().unwrap_or("").is_empty();
        (all || toleration["key"] == key) && (effect.is_empty() || effect == "NoExecute")
    };
    if !tolerations.iter().any(covers) {
        tolerations.push(json!({
            "key": key, "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": EVICTION_SECONDS,
        }));
    }
    spec["tolerations"] = json!(tolerations);
}

fn drop_nulls(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}
