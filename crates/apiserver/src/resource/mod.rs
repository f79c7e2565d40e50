//! The kinds the server knows: how each is named, addressed and stored.
mod builtin;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

/// One served version of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) scope: Scope,
    pub(crate) subresources: Vec<Subresource>,
    /// What is special about the kind.
    pub(crate) rules: Rules,
    /// Fields named otherwise in storage: (served, stored). Two groups may serve one store.
    pub(crate) renamed: &'static [(&'static str, &'static str)],
    /// Where its objects are kept; equal for versions of one kind.
    pub(crate) shelf: Shelf,
}

/// The name of a kind's place in the store, `<plural>.<group>`.
pub(crate) type Shelf = Arc<str>;

/// Whether objects of a kind live in namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Cluster,
    Namespaced,
}

/// What a path may name below an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subresource {
    Status,
    /// Binds a pod to a node.
    Binding,
    /// Deletes a pod by way of the eviction API.
    Eviction,
    /// Writes a namespace's `spec.finalizers`.
    Finalize,
    /// Issues a token for a service account.
    Token,
}

impl Subresource {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Binding => "binding",
            Self::Eviction => "eviction",
            Self::Finalize => "finalize",
            Self::Token => "token",
        }
    }

    /// The operations it offers.
    pub(crate) fn verbs(self) -> &'static [&'static str] {
        match self {
            Self::Status => &["get", "patch", "update"],
            Self::Binding | Self::Eviction | Self::Token => &["create"],
            Self::Finalize => &["update"],
        }
    }

    /// The kind of object it takes.
    pub(crate) fn kind(self, parent: &Resource) -> &str {
        match self {
            Self::Status | Self::Finalize => &parent.kind,
            Self::Binding => "Binding",
            Self::Eviction => "Eviction",
            Self::Token => "TokenRequest",
        }
    }

    /// The group and version of that kind, if they are not the parent's.
    pub(crate) fn foreign_version(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Status | Self::Finalize | Self::Binding => None,
            Self::Eviction => Some(("policy", "v1")),
            Self::Token => Some(("authentication.k8s.io", "v1")),
        }
    }
}

/// The defaulting, validation and update rules a kind follows beyond those of all objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Those of its schema only.
    Plain,
    AdmissionPolicy,
    AdmissionPolicyBinding,
    ConfigMap,
    ControllerRevision,
    CronJob,
    DaemonSet,
    Deployment,
    EndpointSlice,
    Endpoints,
    Event,
    HorizontalPodAutoscaler,
    Ingress,
    IngressClass,
    IpAddress,
    Job,
    Lease,
    LimitRange,
    Namespace,
    NetworkPolicy,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    PodDisruptionBudget,
    PodTemplate,
    PriorityClass,
    ReplicaSet,
    ReplicationController,
    ResourceQuota,
    /// Of a namespace or of the cluster.
    Role,
    /// Of a namespace or of the cluster.
    RoleBinding,
    RuntimeClass,
    Secret,
    Service,
    ServiceAccount,
    ServiceCidr,
    StatefulSet,
    StorageClass,
    /// Of validating or mutating webhooks.
    WebhookConfiguration,
    /// Answered, never stored: access and token reviews.
    Review,
}

impl Resource {
    /// `group/version`, or `version` alone in the core group.
    pub(crate) fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// `plural.group`, as error messages write it.
    pub(crate) fn qualified(&self) -> String {
        dotted(&self.plural, &self.group)
    }

    /// `Kind.group`, as error messages write it.
    pub(crate) fn kind_and_group(&self) -> String {
        dotted(&self.kind, &self.group)
    }

    pub(crate) fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    pub(crate) fn has(&self, subresource: Subresource) -> bool {
        self.subresources.contains(&subresource)
    }

    /// A stored object under the names of this version.
    pub(crate) fn served(&self, value: Value) -> Value {
        self.rename(value, |(served, stored)| (*stored, *served))
    }

    /// An object of this version under its stored names.
    pub(crate) fn stored(&self, value: Value) -> Value {
        self.rename(value, |(served, stored)| (*served, *stored))
    }

    fn rename<'n>(
        &self,
        mut value: Value,
        pair: impl Fn(&(&'n str, &'n str)) -> (&'n str, &'n str),
    ) -> Value {
        let Some(fields) = value.as_object_mut().filter(|_| !self.renamed.is_empty()) else {
            return value;
        };
        for (from, to) in self.renamed.iter().map(pair) {
            if let Some(field) = fields.remove(from) {
                fields.insert(to.to_owned(), field);
            }
        }
        fields.insert("apiVersion".to_owned(), self.api_version().into());
        value
    }

    /// The operations it offers, in the order discovery lists them.
    pub(crate) fn verbs(&self) -> &'static [&'static str] {
        if self.rules == Rules::Review {
            return &["create"];
        }
        &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    }
}

fn dotted(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// All kinds, by group, version and plural, in the order discovery lists them.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    resources: BTreeMap<(String, String, String), Arc<Resource>>,
}

impl Registry {
    /// The kinds every cluster has.
    pub(crate) fn builtin() -> Self {
        let resources = builtin::resources()
            .into_iter()
            .map(|r| ((r.group.clone(), r.version.clone(), r.plural.clone()), Arc::new(r)))
            .collect();
        Self { resources }
    }

    pub(crate) fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// One version of each kind that is stored.
    pub(crate) fn stored(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let stored = |r: &&Arc<Resource>| r.rules != Rules::Review && r.renamed.is_empty();
        self.resources.values().filter(stored)
    }

    /// Every group with its versions, sorted; the core group is the empty name.
    pub(crate) fn groups(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (group, version, _) in self.resources.keys() {
            let versions = groups.entry(group).or_default();
            if versions.last() != Some(&version.as_str()) {
                versions.push(version);
            }
        }
        groups
    }
}
