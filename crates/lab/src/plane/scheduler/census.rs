//! How many pods of a description are on each node, kept up to date change by change: a pod that cares where
//! others are costs a look at every node, and not at every pod.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::plane::{pods, selector};

/// Descriptions that are kept. When there are more, all are forgotten, and counted again when they are asked
/// for.
const MOST: usize = 4096;

/// Pods that fit one description.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// All of them.
    pub all: i64,
    /// Those that are not about to end.
    pub staying: i64,
}

/// Pods that fit one description, by node.
#[derive(Debug)]
struct Census {
    selector: LabelSelector,
    nodes: BTreeMap<String, Count>,
}

/// Every description that was asked for, by namespace and text.
#[derive(Debug, Default)]
pub(super) struct Censuses {
    namespaces: HashMap<String, HashMap<String, Census>>,
    many: usize,
}

impl Censuses {
    /// How many pods of `namespace` that fit `selector` are on each node. `placed` is where pods are, each with
    /// its node; it is looked through the first time only.
    pub(super) fn of<'a>(
        &mut self,
        namespace: &str,
        selector: &LabelSelector,
        placed: impl Iterator<Item = &'a (String, Arc<Pod>)>,
    ) -> &BTreeMap<String, Count> {
        let text = serde_json::to_string(selector).unwrap_or_default();
        let is_known =
            self.namespaces.get(namespace).is_some_and(|known| known.contains_key(&text));
        if !is_known && self.many == MOST {
            *self = Self::default();
        }
        self.many += usize::from(!is_known);
        let known = self.namespaces.entry(namespace.to_owned()).or_default();
        let census = known.entry(text).or_insert_with(|| {
            let mut census = Census { selector: selector.clone(), nodes: BTreeMap::new() };
            let here =
                placed.filter(|(_, pod)| pod.metadata.namespace.as_deref() == Some(namespace));
            here.for_each(|(node, pod)| census.step(node, pod, 1));
            census
        });
        &census.nodes
    }

    /// A pod came to `node` (1) or went from there (-1).
    pub(super) fn step(&mut self, node: &str, pod: &Pod, by: i64) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        for census in self.namespaces.get_mut(namespace).into_iter().flat_map(HashMap::values_mut) {
            census.step(node, pod, by);
        }
    }
}

impl Census {
    fn step(&mut self, node: &str, pod: &Pod, by: i64) {
        if !selector::matches(&self.selector, pod.metadata.labels.as_ref()) {
            return;
        }
        let count = self.nodes.entry(node.to_owned()).or_default();
        count.all += by;
        if !pods::is_leaving(pod) {
            count.staying += by;
        }
        if *count == Count::default() {
            self.nodes.remove(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pod(app: u8, is_leaving: bool) -> Arc<Pod> {
        let mut pod = json!({ "metadata": {
            "namespace": format!("ns{}", app % 2), "labels": { "app": app.to_string() } } });
        if is_leaving {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    proptest! {
        /// Whatever came and went, what was counted step by step is what counting anew finds.
        #[test]
        fn counting_on_is_counting_anew(
            steps in prop::collection::vec((0u8..4, any::<bool>(), 0u8..3, any::<bool>()), 0..60),
        ) {
            let selector: LabelSelector = serde_json::from_value(json!({ "matchExpressions": [
                { "key": "app", "operator": "In", "values": ["1", "3"] }] })).unwrap();
            let mut counted = Censuses::default();
            counted.of("ns1", &selector, std::iter::empty());
            let mut placed: Vec<(String, Arc<Pod>)> = Vec::new();
            for (app, is_leaving, node, comes) in steps {
                if comes {
                    placed.push((format!("n{node}"), pod(app, is_leaving)));
                    let (node, pod) = placed.last().unwrap();
                    counted.step(node, pod, 1);
                } else if let Some((node, pod)) = placed.pop() {
                    counted.step(&node, &pod, -1);
                }
            }
            let on = counted.of("ns1", &selector, std::iter::empty()).clone();
            let mut anew = Censuses::default();
            prop_assert_eq!(&on, anew.of("ns1", &selector, placed.iter()));
        }
    }

    #[test]
    fn descriptions_are_forgotten_before_they_are_too_many() {
        let mut censuses = Censuses::default();
        let placed = [("n".to_owned(), pod(1, false))];
        for number in 0..MOST + 7 {
            let selector: LabelSelector =
                serde_json::from_value(json!({ "matchLabels": { "x": number.to_string() } }))
                    .unwrap();
            censuses.of("ns1", &selector, placed.iter());
        }
        assert_eq!(censuses.many, 7);
        let all = censuses.of("ns1", &LabelSelector::default(), placed.iter());
        assert_eq!(all["n"], Count { all: 1, staying: 1 });
    }
}
