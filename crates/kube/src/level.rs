//! The objects of one kind, as the newest level.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use kube_rs::api::DynamicObject;
use model::OrdMap;
use model::decode::DecodeError;

use crate::kind::Kind;

/// The newest level of all objects of a kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed<K: Ord, V> {
    /// Every object that could be read; `None` until a first list was complete.
    pub listed: Option<OrdMap<K, Arc<V>>>,
    /// Objects left out because a field of theirs is wrong, by name.
    pub rejected: BTreeMap<String, DecodeError>,
    /// Why the last exchange with the API server failed; `None` while the watch works.
    pub trouble: Option<String>,
    /// The newest `resourceVersion` that was heard of: nothing in `listed` is older than what the API
    /// server had then. Nobody is told of a new one alone. 0 until the first.
    ///
    /// Source: KEP-5504, resource versions are numbers that can be compared.
    pub revision: u64,
}

impl<K: Ord, V> Default for Listed<K, V> {
    fn default() -> Self {
        Listed { listed: None, rejected: BTreeMap::new(), trouble: None, revision: 0 }
    }
}

/// Objects by key, decoded.
#[derive(Debug, Clone)]
pub(crate) struct Level<K: Ord, V> {
    pub(crate) objects: OrdMap<K, Arc<V>>,
    /// Under which key the object of a name is: the key may follow from more than the name.
    keys: BTreeMap<String, K>,
    pub(crate) rejected: BTreeMap<String, DecodeError>,
}

impl<K: Ord, V> Default for Level<K, V> {
    fn default() -> Self {
        Level { objects: OrdMap::new(), keys: BTreeMap::new(), rejected: BTreeMap::new() }
    }
}

impl<K: Ord + Clone + fmt::Debug, V: PartialEq + Clone> Level<K, V> {
    /// Takes the newest version of `object`, and returns whether that changes anything that is kept.
    pub(crate) fn put(&mut self, kind: &Kind<K, V>, object: &DynamicObject) -> bool {
        let name = full_name(object);
        match decoded(kind, object) {
            Ok(Some(mut new)) => {
                let was_rejected = self.rejected.remove(&name).is_some();
                let key = (kind.key)(&new);
                let moved = self.keys.get(&name).is_some_and(|old| *old != key);
                if moved {
                    self.take_out(&name);
                }
                if self.objects.get(&key).is_some_and(|known| **known == new) {
                    return was_rejected;
                }
                // Neighbors by name are often of one workload.
                let neighbor = self.objects.get_prev(&key).or_else(|| self.objects.get_next(&key));
                if let Some((_, neighbor)) = neighbor {
                    (kind.share)(&mut new, neighbor);
                }
                self.keys.insert(name, key.clone());
                self.objects.insert(key, Arc::new(new));
                true
            }
            Ok(None) => self.remove(&name),
            Err(error) => {
                let is_new = self.rejected.get(&name) != Some(&error);
                if is_new {
                    tracing::warn!("{error}; this version of the object is left out");
                }
                self.take_out(&name);
                self.rejected.insert(name, error);
                is_new
            }
        }
    }

    /// Takes the object called `name` out, and returns whether that changes anything.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let was_rejected = self.rejected.remove(name).is_some();
        self.take_out(name) || was_rejected
    }

    /// Takes everything out that is not called one of `names`, and returns whether that was anything.
    pub(crate) fn retain(&mut self, names: &BTreeSet<String>) -> bool {
        let known = self.keys.keys().chain(self.rejected.keys());
        let gone: Vec<String> = known.filter(|name| !names.contains(*name)).cloned().collect();
        for name in &gone {
            self.remove(name);
        }
        !gone.is_empty()
    }

    /// Whether it has nothing, nor anything that was left out.
    pub(crate) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.rejected.is_empty()
    }

    fn take_out(&mut self, name: &str) -> bool {
        let Some(key) = self.keys.remove(name) else { return false };
        self.objects.remove(&key).is_some()
    }
}

/// `NAMESPACE/NAME`, or the name alone.
pub(crate) fn full_name(object: &DynamicObject) -> String {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    match &object.metadata.namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

/// Its `resourceVersion`; 0 where that is no number.
pub(crate) fn revision(object: &DynamicObject) -> u64 {
    object.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn decoded<K, V>(kind: &Kind<K, V>, object: &DynamicObject) -> Result<Option<V>, DecodeError> {
    let json = serde_json::to_vec(object).map_err(|error| DecodeError {
        object: format!("{} {}", kind.resource.kind, full_name(object)),
        field: String::new(),
        reason: error.to_string(),
    })?;
    (kind.decode)(&json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    fn object(json: &str) -> DynamicObject {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_bad_object_is_left_out_alone_and_comes_back_when_it_is_mended() {
        let (mut level, nodes) = (Level::default(), kind::nodes());
        let mut put = |json| level.put(&nodes, &object(json));
        assert!(put(r#"{"metadata":{"name":"a"},"spec":{"podCIDR":"10.244.1.0/24"}}"#));
        let bad = r#"{"metadata":{"name":"b"},"spec":{"podCIDR":"nonsense"}}"#;
        assert_eq!((put(bad), put(bad)), (true, false));
        assert_eq!(level.objects.len(), 1);
        assert_eq!(level.rejected["b"].field, "spec.podCIDRs[0]");
        let good = r#"{"metadata":{"name":"b"},"spec":{"podCIDR":"10.244.2.0/24"}}"#;
        assert!(level.put(&nodes, &object(good)));
        assert_eq!((level.objects.len(), level.rejected.len()), (2, 0));
        assert_eq!((level.remove("b"), level.remove("b")), (true, false));
        assert_eq!(level.objects.len(), 1);
    }

    #[test]
    fn a_heartbeat_is_no_news() {
        let (mut level, nodes) = (Level::default(), kind::nodes());
        for (stamp, is_news) in [("1", true), ("2", false)] {
            let json = format!(
                r#"{{"metadata":{{"name":"a","resourceVersion":"{stamp}"}},"spec":{{"podCIDR":"10.244.1.0/24"}}}}"#
            );
            assert_eq!(level.put(&nodes, &object(&json)), is_news);
        }
    }

    #[test]
    fn a_slice_that_changes_its_service_or_stops_being_one_of_ours_leaves_nothing() {
        let (mut level, slices) = (Level::default(), kind::endpoint_slices());
        let slice = |labels: &str| {
            object(&format!(
                r#"{{"metadata":{{"namespace":"ns","name":"x","labels":{{{labels}}}}},"addressType":"IPv4"}}"#
            ))
        };
        let keys = |level: &Level<_, model::EndpointSlice>| -> Vec<String> {
            level.objects.keys().map(|key: &model::SliceKey| key.service.to_string()).collect()
        };
        level.put(&slices, &slice(r#""kubernetes.io/service-name":"a""#));
        assert_eq!(keys(&level), ["ns/a"]);
        level.put(&slices, &slice(r#""kubernetes.io/service-name":"b""#));
        assert_eq!(keys(&level), ["ns/b"]);
        assert!(level.put(&slices, &slice("")));
        assert!(keys(&level).is_empty());
    }

    #[test]
    fn pods_of_a_workload_have_in_memory_once_what_they_have_in_common() {
        let (mut level, pods) = (Level::default(), kind::pods());
        for name in ["web-b", "web-a", "web-c"] {
            let json = format!(
                r#"{{"metadata":{{"namespace":"ns","name":"{name}","labels":{{"app":"web"}}}},
                    "spec":{{"containers":[{{"ports":[{{"name":"http","containerPort":80}}]}}]}}}}"#
            );
            level.put(&pods, &object(&json));
        }
        let all: Vec<_> = level.objects.values().collect();
        for pair in all.windows(2) {
            assert!(Arc::ptr_eq(&pair[0].ports, &pair[1].ports));
            assert!(Arc::ptr_eq(&pair[0].name.namespace, &pair[1].name.namespace));
            let key = |at: usize| pair[at].labels.iter().next().unwrap().0;
            assert!(std::ptr::eq(key(0), key(1)));
        }
    }

    #[test]
    fn a_relist_takes_out_what_is_gone_and_keeps_the_rest_as_it_is() {
        let (mut level, nodes) = (Level::default(), kind::nodes());
        for name in ["a", "b"] {
            level.put(&nodes, &object(&format!(r#"{{"metadata":{{"name":"{name}"}}}}"#)));
        }
        let before = level.objects.clone();
        assert!(!level.retain(&["a", "b"].map(str::to_owned).into()));
        assert!(level.objects.ptr_eq(&before));
        assert!(level.retain(&["b"].map(str::to_owned).into()));
        assert_eq!(level.objects.len(), 1);
    }
}
