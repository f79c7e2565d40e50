//! Which nodes a pod may be on by what it says: node selector, node affinity, tolerations.
//!
//! Source: Pod API; Kubernetes, `component-helpers/scheduling/corev1`.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

use super::node_lifecycle::is_ready;

/// Key of the taint of nodes that say they are not ready.
pub(crate) const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// Key of the taint of nodes that say nothing.
pub(crate) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Key of the taint of cordoned nodes.
pub(crate) const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Whether `node` has what the pod's selector and required affinity ask for.
pub(crate) fn wants(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let has = |(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value);
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    spec.node_selector.iter().flatten().all(has)
        && required.is_none_or(|required| selects(required, node))
}

/// Whether one of the terms holds.
pub(crate) fn selects(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| holds(term, node))
}

/// Whether every requirement of a term holds; a term without any selects nothing.
pub(crate) fn holds(term: &NodeSelectorTerm, node: &Node) -> bool {
    let label = |key: &str| node.metadata.labels.as_ref()?.get(key).map(String::as_str);
    let field =
        |key: &str| (key == "metadata.name").then_some(node.metadata.name.as_deref()).flatten();
    let expressions = || term.match_expressions.iter().flatten();
    let fields = || term.match_fields.iter().flatten();
    (expressions().next().is_some() || fields().next().is_some())
        && expressions().all(|requirement| meets(requirement, label(&requirement.key)))
        && fields().all(|requirement| meets(requirement, field(&requirement.key)))
}

fn meets(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|other| other == value));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let pair = || number(value).zip(number(values.first().map(String::as_str)));
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => pair().is_some_and(|(own, bound)| own > bound),
        "Lt" => pair().is_some_and(|(own, bound)| own < bound),
        _ => false,
    }
}

/// The node's taints, with those that follow from its state, whether somebody has written them yet or not.
pub(crate) fn taints(node: &Node) -> Vec<Cow<'_, Taint>> {
    let spec = node.spec.as_ref();
    let mut taints: Vec<_> = spec
        .and_then(|spec| spec.taints.as_ref())
        .into_iter()
        .flatten()
        .map(Cow::Borrowed)
        .collect();
    let mut follows = |key: &str| {
        if !taints.iter().any(|taint| taint.key == key) {
            taints.push(Cow::Owned(taint(key, "NoSchedule")));
        }
    };
    if spec.and_then(|spec| spec.unschedulable) == Some(true) {
        follows(UNSCHEDULABLE);
    }
    let silent = spec.and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    if !is_ready(node) && !silent.clone().any(|taint| taint.key == UNREACHABLE) {
        follows(NOT_READY);
    }
    taints
}

/// A taint without a value.
pub(crate) fn taint(key: &str, effect: &str) -> Taint {
    Taint { key: key.to_owned(), effect: effect.to_owned(), time_added: None, value: None }
}

/// The first of `taints` with one of `effects` that the pod does not tolerate.
pub(crate) fn untolerated<'a>(
    spec: &PodSpec,
    taints: &'a [Cow<'_, Taint>],
    effects: &[&str],
) -> Option<&'a Taint> {
    let counts = |taint: &&Cow<'_, Taint>| effects.contains(&taint.effect.as_str());
    let tolerated = |taint: &Taint| spec.tolerations.iter().flatten().any(|t| tolerates(t, taint));
    taints.iter().filter(counts).map(|taint| &**taint).find(|taint| !tolerated(taint))
}

/// Whether `toleration` is about `taint`: an empty key with Exists is about all, an empty effect about
/// every effect.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    let value = toleration.value.as_deref().unwrap_or_default();
    (effect.is_empty() || effect == taint.effect)
        && (if key.is_empty() { exists } else { key == taint.key })
        && (exists || value == taint.value.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(more: &Value) -> Node {
        let mut node = json!({
            "metadata": { "name": "a", "labels": { "disk": "ssd", "cores": "8" } },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        node["spec"] = more.clone();
        serde_json::from_value(node).unwrap()
    }

    fn spec(spec: &Value) -> PodSpec {
        let mut spec = spec.clone();
        spec["containers"] = json!([]);
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn selector_and_required_affinity_must_hold() {
        let affinity = |terms: Value| {
            json!({ "affinity": { "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } } })
        };
        let label = |key: &str, operator: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
        let name = json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["a"] }] });
        let cases = [
            (json!({}), true),
            (json!({ "nodeSelector": { "disk": "ssd" } }), true),
            (json!({ "nodeSelector": { "disk": "ssd", "zone": "x" } }), false),
            (affinity(json!([name])), true),
            (affinity(json!([])), false),
            (affinity(json!([{}])), false),
            (affinity(json!([label("disk", "In", &["hdd"]), name])), true),
            (affinity(json!([label("disk", "NotIn", &["ssd"])])), false),
            (affinity(json!([label("zone", "DoesNotExist", &[])])), true),
            (affinity(json!([label("cores", "Gt", &["7"])])), true),
            (affinity(json!([label("cores", "Lt", &["8"])])), false),
            (affinity(json!([label("disk", "Gt", &["7"])])), false),
        ];
        for (pod, expect) in cases {
            assert_eq!(wants(&spec(&pod), &node(&json!({}))), expect, "{pod}");
        }
    }

    #[test]
    fn a_taint_needs_a_toleration_of_its_key_value_and_effect() {
        let tainted =
            node(&json!({ "taints": [{ "key": "k", "value": "v", "effect": "NoSchedule" }] }));
        let cases = [
            (json!([]), false),
            (json!([{ "key": "k", "value": "v" }]), true),
            (json!([{ "key": "k", "value": "w" }]), false),
            (json!([{ "key": "k", "operator": "Exists", "effect": "NoSchedule" }]), true),
            (json!([{ "key": "k", "operator": "Exists", "effect": "NoExecute" }]), false),
            (json!([{ "operator": "Exists" }]), true),
            (json!([{ "operator": "Equal" }]), false),
        ];
        for (tolerations, expect) in cases {
            let pod = spec(&json!({ "tolerations": tolerations }));
            let taints = taints(&tainted);
            assert_eq!(
                untolerated(&pod, &taints, &["NoSchedule"]).is_none(),
                expect,
                "{tolerations}"
            );
        }
    }

    #[test]
    fn cordoned_and_unready_nodes_are_tainted_before_anybody_says_so() {
        let keys =
            |node: &Node| taints(node).iter().map(|taint| taint.key.clone()).collect::<Vec<_>>();
        assert_eq!(keys(&node(&json!({ "unschedulable": true }))), [UNSCHEDULABLE]);
        let silent: Node = serde_json::from_value(json!({ "metadata": {} })).unwrap();
        assert_eq!(keys(&silent), [NOT_READY]);
    }
}
