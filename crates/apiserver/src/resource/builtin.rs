//! The table of built-in kinds.
//!
//! Source: Kubernetes API reference v1.36; short names and categories as its discovery lists them.
use super::{Resource, Rules, ScalePaths, Scope, Subresource};

/// Every built-in kind.
pub(super) fn resources() -> Vec<Resource> {
    [core(), workloads(), network(), cluster(), access()].concat()
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
            .sub(Subresource::EphemeralContainers)
            .sub(Subresource::Eviction)
            .sub(Subresource::Log)
            .sub(Subresource::Exec)
            .sub(Subresource::Attach)
            .sub(Subresource::PortForward),
        kind("", "PodTemplate", "podtemplates").namespaced().rules(Rules::PodTemplate),
        kind("", "ReplicationController", "replicationcontrollers")
            .namespaced()
            .short("rc")
            .all()
            .rules(Rules::ReplicationController)
            .status()
            .scaled(),
        kind("", "ServiceAccount", "serviceaccounts")
            .namespaced()
            .short("sa")
            .rules(Rules::ServiceAccount)
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
        kind("", "Endpoints", "endpoints").namespaced().short("ep").rules(Rules::Endpoints),
        kind("", "LimitRange", "limitranges").namespaced().short("limits").rules(Rules::LimitRange),
        kind("", "ResourceQuota", "resourcequotas")
            .namespaced()
            .short("quota")
            .rules(Rules::ResourceQuota)
            .status(),
        kind("", "PersistentVolume", "persistentvolumes")
            .short("pv")
            .rules(Rules::PersistentVolume)
            .status(),
        kind("", "PersistentVolumeClaim", "persistentvolumeclaims")
            .namespaced()
            .short("pvc")
            .rules(Rules::PersistentVolumeClaim)
            .status(),
    ]
}

fn workloads() -> Vec<Resource> {
    vec![
        kind("apps", "Deployment", "deployments")
            .namespaced()
            .short("deploy")
            .all()
            .rules(Rules::Deployment)
            .status()
            .scaled(),
        kind("apps", "ReplicaSet", "replicasets")
            .namespaced()
            .short("rs")
            .all()
            .rules(Rules::ReplicaSet)
            .status()
            .scaled(),
        kind("apps", "StatefulSet", "statefulsets")
            .namespaced()
            .short("sts")
            .all()
            .rules(Rules::StatefulSet)
            .status()
            .scaled(),
        kind("apps", "DaemonSet", "daemonsets")
            .namespaced()
            .short("ds")
            .all()
            .rules(Rules::DaemonSet)
            .status(),
        kind("apps", "ControllerRevision", "controllerrevisions")
            .namespaced()
            .rules(Rules::ControllerRevision),
        kind("batch", "Job", "jobs").namespaced().all().rules(Rules::Job).status(),
        kind("batch", "CronJob", "cronjobs")
            .namespaced()
            .short("cj")
            .all()
            .rules(Rules::CronJob)
            .status(),
        kind("policy", "PodDisruptionBudget", "poddisruptionbudgets")
            .namespaced()
            .short("pdb")
            .rules(Rules::PodDisruptionBudget)
            .status(),
        kind("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
            .version("v2")
            .namespaced()
            .short("hpa")
            .all()
            .rules(Rules::HorizontalPodAutoscaler)
            .status(),
    ]
}

fn network() -> Vec<Resource> {
    vec![
        kind("discovery.k8s.io", "EndpointSlice", "endpointslices")
            .namespaced()
            .rules(Rules::EndpointSlice),
        kind("networking.k8s.io", "NetworkPolicy", "networkpolicies")
            .namespaced()
            .short("netpol")
            .rules(Rules::NetworkPolicy),
        kind("networking.k8s.io", "Ingress", "ingresses")
            .namespaced()
            .short("ing")
            .rules(Rules::Ingress)
            .status(),
        kind("networking.k8s.io", "IngressClass", "ingressclasses").rules(Rules::IngressClass),
        kind("networking.k8s.io", "ServiceCIDR", "servicecidrs").rules(Rules::ServiceCidr).status(),
        kind("networking.k8s.io", "IPAddress", "ipaddresses").short("ip").rules(Rules::IpAddress),
    ]
}

fn cluster() -> Vec<Resource> {
    let extension = |of: &str, plural: &str| {
        kind("admissionregistration.k8s.io", of, plural).category("api-extensions")
    };
    vec![
        kind("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions")
            .short("crd")
            .short("crds")
            .category("api-extensions")
            .rules(Rules::Definition)
            .status(),
        kind("coordination.k8s.io", "Lease", "leases").namespaced().rules(Rules::Lease),
        kind("events.k8s.io", "Event", "events")
            .namespaced()
            .short("ev")
            .rules(Rules::Event)
            .stored_as("events", EVENT_FIELDS),
        kind("scheduling.k8s.io", "PriorityClass", "priorityclasses")
            .short("pc")
            .rules(Rules::PriorityClass),
        kind("storage.k8s.io", "StorageClass", "storageclasses")
            .short("sc")
            .rules(Rules::StorageClass),
        kind("node.k8s.io", "RuntimeClass", "runtimeclasses").rules(Rules::RuntimeClass),
        extension("ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
            .rules(Rules::WebhookConfiguration),
        extension("MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
            .rules(Rules::WebhookConfiguration),
        extension("ValidatingAdmissionPolicy", "validatingadmissionpolicies")
            .rules(Rules::AdmissionPolicy)
            .status(),
        extension("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
            .rules(Rules::AdmissionPolicyBinding),
    ]
}

fn access() -> Vec<Resource> {
    let rbac = |of: &str, plural: &str| kind("rbac.authorization.k8s.io", of, plural);
    let review = |group: &str, of: &str, plural: &str| kind(group, of, plural).rules(Rules::Review);
    vec![
        rbac("Role", "roles").namespaced().rules(Rules::Role),
        rbac("ClusterRole", "clusterroles").rules(Rules::Role),
        rbac("RoleBinding", "rolebindings").namespaced().rules(Rules::RoleBinding),
        rbac("ClusterRoleBinding", "clusterrolebindings").rules(Rules::RoleBinding),
        review("authentication.k8s.io", "TokenReview", "tokenreviews"),
        review("authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews"),
        review("authorization.k8s.io", "SubjectAccessReview", "subjectaccessreviews"),
        review("authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews"),
        review("authorization.k8s.io", "SelfSubjectRulesReview", "selfsubjectrulesreviews"),
        review("authorization.k8s.io", "LocalSubjectAccessReview", "localsubjectaccessreviews")
            .namespaced(),
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
        scale: None,
        rules: Rules::Plain,
        renamed: &[],
        shelf: shelf.into(),
        custom: None,
    }
}

impl Resource {
    /// What the `scale` subresource of any kind takes and gives.
    pub(crate) fn scale() -> Self {
        kind("autoscaling", "Scale", "scales").namespaced().rules(Rules::Scale)
    }

    fn namespaced(mut self) -> Self {
        self.scope = Scope::Namespaced;
        self
    }

    fn short(mut self, name: &str) -> Self {
        self.short_names.push(name.to_owned());
        self
    }

    fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Listed by `kubectl get all`.
    fn all(self) -> Self {
        self.category("all")
    }

    fn category(mut self, name: &str) -> Self {
        self.categories.push(name.to_owned());
        self
    }

    fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    fn status(self) -> Self {
        self.sub(Subresource::Status)
    }

    fn scaled(mut self) -> Self {
        self.scale = Some(ScalePaths {
            wanted: "spec.replicas".to_owned(),
            running: "status.replicas".to_owned(),
            selector: Some("spec.selector".to_owned()),
        });
        self.sub(Subresource::Scale)
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
