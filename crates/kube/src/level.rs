//! The objects of one kind, as the newest level.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use model::decode::DecodeError;
use model::{Interner, OrdMap, packed};

use crate::kind::Kind;
use crate::object::Unread;

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
    /// Under which key the object of a name is, where the key follows from more than the name.
    keys: BTreeMap<String, K>,
    pub(crate) rejected: BTreeMap<String, DecodeError>,
    interner: Interner,
}

impl<K: Ord, V> Default for Level<K, V> {
    fn default() -> Self {
        Level {
            objects: OrdMap::new(),
            keys: BTreeMap::new(),
            rejected: BTreeMap::new(),
            interner: Interner::default(),
        }
    }
}

impl<K: Ord + Clone + fmt::Debug, V: PartialEq + Clone> Level<K, V> {
    /// Takes the newest version of `object`, and returns whether that changes anything that is kept.
    pub(crate) fn put(&mut self, kind: &Kind<K, V>, object: &Unread) -> bool {
        match (kind.decode)(object.json()) {
            Ok(Some(new)) => self.put_read(kind, object, new),
            Ok(None) => self.remove(kind, object.name()),
            Err(error) => {
                let name = full_name(object.name());
                let is_new = self.rejected.get(&name) != Some(&error);
                if is_new {
                    tracing::warn!("{error}; this version of the object is left out");
                }
                self.take_out(kind, object.name());
                self.rejected.insert(name, error);
                is_new
            }
        }
    }

    fn put_read(&mut self, kind: &Kind<K, V>, object: &Unread, mut new: V) -> bool {
        let was_rejected =
            !self.rejected.is_empty() && self.rejected.remove(&full_name(object.name())).is_some();
        let key = (kind.key)(&new);
        if kind.named.is_none() {
            let name = full_name(object.name());
            if self.keys.get(&name).is_some_and(|old| *old != key) {
                self.take_out(kind, object.name());
            }
            self.keys.insert(name, key.clone());
        }
        if self.objects.get(&key).is_some_and(|known| **known == new) {
            return was_rejected;
        }
        // Neighbors by name are often of one workload.
        let neighbor = self.objects.get_prev(&key).or_else(|| self.objects.get_next(&key));
        let neighbor = neighbor.map(|(_, neighbor)| &**neighbor);
        (kind.share)(&mut new, neighbor, &mut self.interner);
        // What the object has in common with its neighbor, its key has as well.
        self.objects.insert((kind.key)(&new), Arc::new(new));
        true
    }

    /// Takes the object of this namespace and name out, and returns whether that changes anything.
    pub(crate) fn remove(&mut self, kind: &Kind<K, V>, name: (&str, &str)) -> bool {
        let was_rejected = self.rejected.remove(&full_name(name)).is_some();
        self.take_out(kind, name) || was_rejected
    }

    /// Takes everything out that is not in `listed`, and returns whether that was anything.
    pub(crate) fn retain(&mut self, listed: &Found<K>) -> bool {
        let known = self.objects.keys();
        let gone: Vec<K> = known.filter(|key| !listed.keys.contains(key)).cloned().collect();
        for key in &gone {
            self.objects.remove(key);
        }
        self.keys.retain(|_, key| listed.keys.contains(key));
        let rejected = self.rejected.len();
        self.rejected.retain(|name, _| listed.rejected.contains(name));
        !gone.is_empty() || self.rejected.len() < rejected
    }

    /// Has it take no more room than its objects do, of which none is shared with anybody yet.
    pub(crate) fn pack(&mut self) {
        self.objects = packed(std::mem::take(&mut self.objects));
    }

    /// Notes in `listed` where the object of this namespace and name is.
    pub(crate) fn find(&self, kind: &Kind<K, V>, name: (&str, &str), listed: &mut Found<K>) {
        let key = self.key(kind, name);
        match key.and_then(|key| self.objects.get_key_value(&key)) {
            Some((key, _)) => _ = listed.keys.insert(key.clone()),
            None if self.rejected.is_empty() => {}
            None => _ = listed.rejected.insert(full_name(name)),
        }
    }

    /// Whether it has nothing, nor anything that was left out.
    pub(crate) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.rejected.is_empty()
    }

    fn take_out(&mut self, kind: &Kind<K, V>, name: (&str, &str)) -> bool {
        let Some(key) = self.key(kind, name) else { return false };
        if kind.named.is_none() {
            self.keys.remove(&full_name(name));
        }
        self.objects.remove(&key).is_some()
    }

    fn key(&self, kind: &Kind<K, V>, name: (&str, &str)) -> Option<K> {
        match kind.named {
            Some(named) => Some(named(name.0, name.1)),
            None => self.keys.get(&full_name(name)).cloned(),
        }
    }
}

/// The objects of a list.
#[derive(Debug)]
pub(crate) struct Found<K> {
    keys: BTreeSet<K>,
    /// Names of those that were left out.
    rejected: BTreeSet<String>,
}

impl<K> Default for Found<K> {
    fn default() -> Self {
        Found { keys: BTreeSet::new(), rejected: BTreeSet::new() }
    }
}

/// `NAMESPACE/NAME`, or the name alone.
fn full_name((namespace, name): (&str, &str)) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    fn object(json: &str) -> Unread {
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
        let mut remove = || level.remove(&nodes, ("", "b"));
        assert_eq!((remove(), remove()), (true, false));
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
    fn pods_of_two_workloads_have_the_keys_of_labels_and_the_names_of_ports_in_memory_once() {
        let (mut level, pods) = (Level::default(), kind::pods());
        for (name, port) in [("a", 80), ("b", 81), ("c", 82)] {
            let json = format!(
                r#"{{"metadata":{{"namespace":"ns","name":"{name}","labels":{{"app":"{name}"}}}},
                    "spec":{{"containers":[{{"ports":[{{"name":"http","containerPort":{port}}}]}}]}}}}"#
            );
            level.put(&pods, &object(&json));
        }
        let all: Vec<_> = level.objects.values().collect();
        for pair in all.windows(2) {
            let key = |at: usize| pair[at].labels.iter().next().unwrap().0;
            assert!(std::ptr::eq(key(0), key(1)));
            assert!(Arc::ptr_eq(&pair[0].ports[0].name, &pair[1].ports[0].name));
        }
    }

    #[test]
    fn a_relist_takes_out_what_is_gone_and_keeps_the_rest_as_it_is() {
        let (mut level, nodes) = (Level::default(), kind::nodes());
        for name in ["a", "b"] {
            level.put(&nodes, &object(&format!(r#"{{"metadata":{{"name":"{name}"}}}}"#)));
        }
        let before = level.objects.clone();
        let found = |level: &Level<_, model::Node>, names: &[&str]| {
            let mut found = Found::default();
            names.iter().for_each(|name| level.find(&nodes, ("", name), &mut found));
            found
        };
        let both = found(&level, &["a", "b"]);
        assert!(!level.retain(&both));
        assert!(level.objects.ptr_eq(&before));
        let one = found(&level, &["b"]);
        assert!(level.retain(&one));
        assert_eq!(level.objects.len(), 1);
    }
}
