//! The table of built-in kinds.
//!
//! Source: Kubernetes API reference v1.33; short names and categories as its discovery lists them.
use super::{Resource, Rules, Scope, Subresource};

/// Every built-in kind.
pub(super) fn resources() -> Vec<Resource> {
    let mut all = core();
    all.extend([
        kind("events.k8s.io", "Event", "events")
            .namespaced()
            .short("ev")
            .rules(Rules::Event)
            .stored_as("events", EVENT_FIELDS),
        kind("discovery.k8s.io", "EndpointSlice", "endpointslices")
            .namespaced()
            .rules(Rules::EndpointSlice),
        kind("coordination.k8s.io", "Lease", "leases").namespaced(),
        kind("networking.k8s.io", "NetworkPolicy", "networkpolicies").namespaced().short("netpol"),
        kind("networking.k8s.io", "Ingress", "ingresses").namespaced().short("ing").status(),
        kind("networking.k8s.io", "IngressClass", "ingressclasses"),
        kind("authentication.k8s.io", "TokenReview", "tokenreviews").rules(Rules::Review),
        kind("authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews")
            .rules(Rules::Review),
        kind("authorization.k8s.io", "SubjectAccessReview", "subjectaccessreviews")
            .rules(Rules::Review),
        kind("authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews")
            .rules(Rules::Review),
    ]);
    all
}

fn core() -> Vec<Resource> {
    vec![
        kind("", "Namespace", "namespaces")
            .short("ns")
            .rules(Rules::Namespace)
            .status()
            .sub(Subresource::Finalize),
        kind("", "Node", "nodes").short("no").rules(Rules::Node).status(),
        kind("", "Pod", "pods")
            .namespaced()
            .short("po")
            .all()
            .rules(Rules::Pod)
            .status()
            .sub(Subresource::Binding)
            .sub(Subresource::Eviction),
        kind("", "ServiceAccount", "serviceaccounts")
            .namespaced()
            .short("sa")
            .sub(Subresource::Token),
        kind("", "ConfigMap", "configmaps").namespaced().short("cm").rules(Rules::ConfigMap),
        kind("", "Secret", "secrets").namespaced().rules(Rules::Secret),
        kind("", "Event", "events").namespaced().short("ev").rules(Rules::Event),
        kind("", "Service", "services")
            .namespaced()
            .short("svc")
            .all()
            .rules(Rules::Service)
            .status(),
        kind("", "Endpoints", "endpoints").namespaced().short("ep"),
    ]
}

/// What `events.k8s.io/v1` calls the fields of a core event. The store keeps the core form.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("deprecatedCount", "count"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedSource", "source"),
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
];

/// A cluster-scoped kind at `v1` with no extras.
fn kind(group: &str, kind: &str, plural: &str) -> Resource {
    let shelf = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    Resource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        singular: kind.to_lowercase(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope: Scope::Cluster,
        subresources: Vec::new(),
        rules: Rules::Plain,
        renamed: &[],
        shelf: shelf.into(),
    }
}

impl Resource {
    fn namespaced(mut self) -> Self {
        self.scope = Scope::Namespaced;
        self
    }

    fn short(mut self, name: &str) -> Self {
        self.short_names.push(name.to_owned());
        self
    }

    /// Listed by `kubectl get all`.
    fn all(mut self) -> Self {
        self.categories.push("all".to_owned());
        self
    }

    fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    fn status(self) -> Self {
        self.sub(Subresource::Status)
    }

    fn sub(mut self, subresource: Subresource) -> Self {
        self.subresources.push(subresource);
        self
    }

    fn stored_as(mut self, shelf: &str, renamed: &'static [(&'static str, &'static str)]) -> Self {
        self.shelf = shelf.into();
        self.renamed = renamed;
        self
    }
}
