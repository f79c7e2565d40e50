//! The newest objects of one kind, found by name, namespace, owner, label and node.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube_rs::Resource;

use super::{controller_of, key};

/// Where an object is filed beside its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Index {
    /// Under the uid of the owner that controls it.
    Owner(String),
    /// Under its namespace, since nobody controls it.
    Orphan(String),
    /// Under its namespace and one of its labels.
    Label(String, String, String),
    /// Under the node it is bound to.
    Node(String),
}

/// Objects of one kind.
///
/// It holds what the watch has shown and, until the watch has got that far, what writes were answered
/// with. Versions of a kind grow, so an answer that the watch has passed is known to be old.
#[derive(Debug)]
pub(crate) struct Cache<K> {
    objects: BTreeMap<Arc<str>, Arc<K>>,
    indexes: HashMap<Index, BTreeSet<Arc<str>>>,
    /// The newest version that the watch has shown.
    seen: u64,
    /// How many complete lists there were.
    lists: u64,
}

/// How one object changed.
#[derive(Debug)]
pub(crate) struct Changed<K> {
    /// `namespace/name`, or the name of what has no namespace.
    pub key: Arc<str>,
    /// As it was; `None` if it is new.
    pub old: Option<Arc<K>>,
    /// As it is; `None` if it is gone.
    pub new: Option<Arc<K>>,
}

impl<K> Changed<K> {
    /// Both states, the old one first.
    pub(crate) fn states(&self) -> impl Iterator<Item = &Arc<K>> {
        self.old.iter().chain(&self.new)
    }

    /// The newest state there is.
    pub(crate) fn last(&self) -> Option<&Arc<K>> {
        self.new.as_ref().or(self.old.as_ref())
    }
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), indexes: HashMap::new(), seen: 0, lists: 0 }
    }
}

impl<K: Resource + Clone + 'static> Cache<K> {
    /// The object of that key.
    pub(crate) fn get(&self, key: &str) -> Option<&Arc<K>> {
        self.objects.get(key)
    }

    /// The object of that name.
    pub(crate) fn named(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.objects.get(format!("{namespace}/{name}").as_str())
    }

    /// All objects, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<K>)> {
        self.objects.iter()
    }

    /// How many objects there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Objects of a namespace, by name.
    pub(crate) fn in_namespace<'a>(
        &'a self,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Arc<K>> + use<'a, K> {
        let (first, end) = (format!("{namespace}/"), format!("{namespace}0"));
        let range = (Bound::Included(first.as_str()), Bound::Excluded(end.as_str()));
        self.objects.range::<str, _>(range).map(|(_, object)| object)
    }

    /// Objects that the owner with this uid controls, by name.
    pub(crate) fn owned_by(&self, uid: &str) -> impl Iterator<Item = &Arc<K>> {
        self.filed(&Index::Owner(uid.to_owned()))
    }

    /// Objects of a namespace that nobody controls, by name.
    pub(crate) fn orphans(&self, namespace: &str) -> impl Iterator<Item = &Arc<K>> {
        self.filed(&Index::Orphan(namespace.to_owned()))
    }

    /// Objects of a namespace that have all of `labels`, by name.
    pub(crate) fn labeled<'a>(
        &'a self,
        namespace: &str,
        labels: &'a BTreeMap<String, String>,
    ) -> Box<dyn Iterator<Item = &'a Arc<K>> + 'a> {
        let index = |(label, value): (&String, &String)| {
            Index::Label(namespace.to_owned(), label.clone(), value.clone())
        };
        let size = |index: &Index| self.indexes.get(index).map_or(0, BTreeSet::len);
        let Some(rarest) = labels.iter().map(index).min_by_key(size) else {
            return Box::new(self.in_namespace(namespace));
        };
        let has_all = |object: &&Arc<K>| {
            let own = object.meta().labels.as_ref();
            labels.iter().all(|(label, value)| own.and_then(|own| own.get(label)) == Some(value))
        };
        Box::new(self.filed(&rarest).filter(has_all))
    }

    /// Objects bound to a node, by key.
    pub(crate) fn on_node(&self, node: &str) -> impl Iterator<Item = &Arc<K>> {
        self.filed(&Index::Node(node.to_owned()))
    }

    fn filed(&self, index: &Index) -> impl Iterator<Item = &Arc<K>> + use<'_, K> {
        let keys = self.indexes.get(index).into_iter().flatten();
        keys.filter_map(|key| self.objects.get(key))
    }

    /// Whether there was a complete list.
    pub(super) fn is_complete(&self) -> bool {
        self.lists > 0
    }

    /// How many complete lists there were: what was written before the last of them began may have been
    /// undone without the watch ever telling.
    pub(super) fn lists(&self) -> u64 {
        self.lists
    }

    /// Replaces everything by a complete list.
    pub(super) fn list(&mut self, objects: Vec<K>) -> Vec<Changed<K>> {
        let mut gone: BTreeSet<Arc<str>> = self.objects.keys().cloned().collect();
        let mut changes = Vec::new();
        for object in objects {
            self.seen = self.seen.max(version(&object));
            let key = key(&object);
            gone.remove(key.as_str());
            let known = self.objects.get(key.as_str()).is_some_and(|old| {
                old.meta().resource_version == object.meta().resource_version
                    && old.meta().deletion_timestamp == object.meta().deletion_timestamp
            });
            if !known {
                changes.push(self.put(object));
            }
        }
        changes.extend(gone.iter().filter_map(|key| self.take(key)));
        self.lists += 1;
        changes
    }

    /// What the watch says: `object` is as it is now.
    pub(super) fn shown(&mut self, object: K) -> Option<Changed<K>> {
        self.seen = self.seen.max(version(&object));
        let newer = |old: &Arc<K>| same(&**old, &object) && version(&**old) > version(&object);
        if self.objects.get(key(&object).as_str()).is_some_and(newer) {
            return None; // The answer to a write was faster.
        }
        Some(self.put(object))
    }

    /// What the watch says: `object` is gone.
    pub(super) fn gone(&mut self, object: &K) -> Option<Changed<K>> {
        self.seen = self.seen.max(version(object));
        let key = key(object);
        match self.objects.get(key.as_str()) {
            Some(old) if same(&**old, object) => self.take(key.as_str()),
            Some(_) | None => None,
        }
    }

    /// What a write was answered with, if `lists` had been read when it was sent.
    pub(super) fn answered(&mut self, object: K, lists: u64) -> Option<Changed<K>> {
        let is_news = lists == self.lists && version(&object) > self.seen;
        let key = key(&object);
        let newer = |old: &Arc<K>| version(&**old) >= version(&object);
        if !is_news || self.objects.get(key.as_str()).is_some_and(newer) {
            return None;
        }
        Some(self.put(object))
    }

    /// What follows from a write that was not answered with the object: `effect`, which no later write
    /// undoes, on the object that has this uid.
    pub(super) fn follows(
        &mut self,
        key: &str,
        uid: Option<&str>,
        effect: impl FnOnce(&mut K),
    ) -> Option<Changed<K>> {
        let old = self.objects.get(key).filter(|old| old.meta().uid.as_deref() == uid)?;
        let mut object = K::clone(old);
        effect(&mut object);
        Some(self.put(object))
    }

    fn put(&mut self, object: K) -> Changed<K> {
        let key: Arc<str> = key(&object).into();
        let old = self.take(&key).and_then(|changed| changed.old);
        for index in indexes(&object) {
            self.indexes.entry(index).or_default().insert(key.clone());
        }
        let new = Arc::new(object);
        self.objects.insert(key.clone(), new.clone());
        Changed { key, old, new: Some(new) }
    }

    fn take(&mut self, key: &str) -> Option<Changed<K>> {
        let (key, old) = self.objects.remove_entry(key)?;
        for index in indexes(&*old) {
            if let Some(keys) = self.indexes.get_mut(&index) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.indexes.remove(&index);
                }
            }
        }
        Some(Changed { key, old: Some(old), new: None })
    }
}

fn indexes<K: Resource + 'static>(object: &K) -> Vec<Index> {
    let meta = object.meta();
    let namespace = meta.namespace.clone().unwrap_or_default();
    let mut indexes = vec![match controller_of(object) {
        Some(owner) => Index::Owner(owner.uid.clone()),
        None => Index::Orphan(namespace.clone()),
    }];
    for (label, value) in meta.labels.iter().flatten() {
        indexes.push(Index::Label(namespace.clone(), label.clone(), value.clone()));
    }
    let pod = (object as &dyn Any).downcast_ref::<Pod>().and_then(|pod| pod.spec.as_ref());
    if let Some(node) = pod.and_then(|spec| spec.node_name.clone()).filter(|node| !node.is_empty())
    {
        indexes.push(Index::Node(node));
    }
    indexes
}

/// Versions are numbers that grow, for all objects of a kind.
///
/// Source: KEP-5504, comparable resource versions.
fn version<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn same<K: Resource>(a: &K, b: &K) -> bool {
    a.meta().uid == b.meta().uid
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, version: u64, more: &Value) -> Pod {
        let mut pod = json!({
            "metadata": { "name": name, "namespace": "ns", "uid": name, "resourceVersion": version.to_string() },
            "spec": { "containers": [] },
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            let (part, field) = key.split_once('.').unwrap();
            pod[part][field] = value.clone();
        }
        serde_json::from_value(pod).unwrap()
    }

    fn names<'a>(pods: impl Iterator<Item = &'a Arc<Pod>>) -> String {
        let names: Vec<_> = pods.map(|pod| pod.metadata.name.clone().unwrap()).collect();
        names.join(" ")
    }

    #[test]
    fn objects_are_found_by_what_they_have_now() {
        let mut cache = Cache::default();
        let owner = |kind: &str| json!([{ "kind": kind, "apiVersion": "apps/v1", "name": "o", "uid": "u", "controller": true }]);
        cache.list(vec![
            pod("a", 1, &json!({ "metadata.labels": { "app": "x", "tier": "1" } })),
            pod("b", 2, &json!({ "metadata.labels": { "app": "x" }, "metadata.ownerReferences": owner("R") })),
            pod("c", 3, &json!({ "spec.nodeName": "n" })),
        ]);
        let label = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert_eq!(names(cache.labeled("ns", &label("app", "x"))), "a b");
        assert_eq!(names(cache.labeled("other", &label("app", "x"))), "");
        assert_eq!(names(cache.owned_by("u")), "b");
        assert_eq!(names(cache.orphans("ns")), "a c");
        assert_eq!(names(cache.on_node("n")), "c");
        assert_eq!(names(cache.in_namespace("ns")), "a b c");
        cache.shown(pod("b", 4, &json!({ "metadata.labels": { "app": "y" } })));
        assert_eq!(names(cache.labeled("ns", &label("app", "x"))), "a");
        assert_eq!(names(cache.orphans("ns")), "a b c");
    }

    /// An object that was made and removed again must not come back because the answer to its making
    /// was read after the watch told of its end.
    #[test]
    fn an_answer_counts_until_the_watch_has_passed_it() {
        let mut cache = Cache::default();
        cache.list(vec![pod("a", 5, &json!({}))]);
        assert!(cache.answered(pod("late", 4, &json!({})), 1).is_none(), "the watch was there");
        assert!(cache.answered(pod("early", 9, &json!({})), 1).is_some());
        assert!(cache.answered(pod("other", 10, &json!({})), 0).is_none(), "listed meanwhile");
        assert!(cache.shown(pod("early", 8, &json!({}))).is_none(), "older than the answer");
        assert!(cache.gone(&pod("early", 11, &json!({}))).is_some());
        assert!(cache.answered(pod("early", 9, &json!({})), 1).is_none());
        assert_eq!(names(cache.in_namespace("ns")), "a");
        let gone = cache.list(vec![]);
        assert_eq!(gone.len(), 1);
        assert!(cache.indexes.is_empty());
    }
}
