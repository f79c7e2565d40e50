//! The kinds the server knows: how each is named, addressed and stored.
mod builtin;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::crd::{Custom, Origin};

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
    /// Of kinds with the subresource `scale`.
    pub(crate) scale: Option<ScalePaths>,
    /// What is special about the kind.
    pub(crate) rules: Rules,
    /// Fields named otherwise in storage: (served, stored). Two groups may serve one store.
    pub(crate) renamed: &'static [(&'static str, &'static str)],
    /// Where its objects are kept; equal for versions of one kind.
    pub(crate) shelf: Shelf,
    /// What a kind has that is not built in.
    pub(crate) custom: Option<Arc<Custom>>,
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
    /// How many pods there are and shall be.
    Scale,
    /// Adds containers to a running pod.
    EphemeralContainers,
    /// Binds a pod to a node.
    Binding,
    /// Deletes a pod by way of the eviction API.
    Eviction,
    /// Writes a namespace's `spec.finalizers`.
    Finalize,
    /// Issues a token for a service account.
    Token,
    /// Gives what a container has written.
    Log,
    /// Runs a command in a container.
    Exec,
    /// Joins what a container reads and writes.
    Attach,
    /// Connects to ports inside a pod.
    PortForward,
}

/// Where the parts of a scale stand in an object: paths with dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScalePaths {
    pub(crate) wanted: String,
    pub(crate) running: String,
    /// Of the pods: a selector, a map of labels, or a selector's string form.
    pub(crate) selector: Option<String>,
}

impl Subresource {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Scale => "scale",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Binding => "binding",
            Self::Eviction => "eviction",
            Self::Finalize => "finalize",
            Self::Token => "token",
            Self::Log => "log",
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "portforward",
        }
    }

    /// The operations it offers.
    pub(crate) fn verbs(self) -> &'static [&'static str] {
        match self {
            Self::Status | Self::Scale | Self::EphemeralContainers => &["get", "patch", "update"],
            Self::Binding | Self::Eviction | Self::Token => &["create"],
            Self::Finalize => &["update"],
            Self::Log => &["get"],
            Self::Exec | Self::Attach | Self::PortForward => &["create", "get"],
        }
    }

    /// The kind of object it takes.
    pub(crate) fn kind(self, parent: &Resource) -> &str {
        match self {
            Self::Status | Self::Finalize | Self::EphemeralContainers | Self::Log => &parent.kind,
            Self::Scale => "Scale",
            Self::Binding => "Binding",
            Self::Eviction => "Eviction",
            Self::Token => "TokenRequest",
            Self::Exec => "PodExecOptions",
            Self::Attach => "PodAttachOptions",
            Self::PortForward => "PodPortForwardOptions",
        }
    }

    /// The group and version of that kind, if they are not the parent's.
    pub(crate) fn foreign_version(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Status
            | Self::Finalize
            | Self::Binding
            | Self::EphemeralContainers
            | Self::Log
            | Self::Exec
            | Self::Attach
            | Self::PortForward => None,
            Self::Scale => Some(("autoscaling", "v1")),
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
    /// Those of its definition.
    Custom,
    DaemonSet,
    /// A CustomResourceDefinition.
    Definition,
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
    /// A view of another object; see [`Resource::scale`].
    Scale,
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
    pub(crate) fn served(&self, mut value: Value) -> Value {
        if self.custom.is_some() {
            value["apiVersion"] = self.api_version().into();
        }
        self.rename(value, |(served, stored)| (*stored, *served))
    }

    /// An object of this version under its stored names.
    pub(crate) fn stored(&self, mut value: Value) -> Value {
        if let Some(custom) = &self.custom {
            value["apiVersion"] = custom.stored_as.as_str().into();
        }
        self.rename(value, |(served, stored)| (*served, *stored))
    }

    /// Whether a stored object is served as it is.
    pub(crate) fn serves_as_stored(&self, value: &Value) -> bool {
        self.renamed.is_empty()
            && (self.custom.is_none() || value["apiVersion"] == self.api_version())
    }

    /// The kind of a list of such objects.
    pub(crate) fn list_kind(&self) -> String {
        match &self.custom {
            Some(custom) => custom.list_kind.clone(),
            None => format!("{}List", self.kind),
        }
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
    /// The kinds of each definition, in all its versions.
    custom: BTreeMap<Origin, Vec<Arc<Resource>>>,
}

impl Registry {
    /// The kinds every cluster has.
    pub(crate) fn builtin() -> Self {
        let mut registry = Self { resources: BTreeMap::new(), custom: BTreeMap::new() };
        builtin::resources().into_iter().for_each(|resource| registry.serve(Arc::new(resource)));
        registry
    }

    /// Adds a kind that has no place yet.
    fn serve(&mut self, resource: Arc<Resource>) {
        let Resource { group, version, plural, .. } = resource.as_ref();
        let place = (group.clone(), version.clone(), plural.clone());
        self.resources.entry(place).or_insert(resource);
    }

    /// Adds the kinds that a definition defines.
    pub(crate) fn define(&mut self, origin: Origin, kinds: Vec<Arc<Resource>>) {
        for kind in &kinds {
            if kind.custom.as_ref().is_some_and(|custom| custom.served) {
                self.serve(kind.clone());
            }
        }
        self.custom.insert(origin, kinds);
    }

    /// The kinds of a definition, if it is known in this state.
    pub(crate) fn defined_by(&self, origin: &Origin) -> Option<&Vec<Arc<Resource>>> {
        self.custom.get(origin)
    }

    /// Whether both serve the same definitions.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.custom.keys().eq(other.custom.keys())
    }

    /// Whether this very kind is still served.
    pub(crate) fn serves(&self, resource: &Arc<Resource>) -> bool {
        let Resource { group, version, plural, .. } = resource.as_ref();
        self.get(group, version, plural).is_some_and(|now| {
            resource.custom.is_none() == now.custom.is_none()
                && (now.custom.is_none() || Arc::ptr_eq(now, resource))
        })
    }

    pub(crate) fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// One version of each kind that is stored.
    pub(crate) fn stored(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let stored = |r: &&Arc<Resource>| {
            r.rules != Rules::Review && r.renamed.is_empty() && r.custom.is_none()
        };
        let as_stored = |r: &&Arc<Resource>| {
            r.custom.as_ref().is_some_and(|custom| custom.stored_as == r.api_version())
        };
        let custom = self.custom.values().flatten().filter(as_stored);
        self.resources.values().filter(stored).chain(custom)
    }

    /// Every group with its versions, those first that clients prefer; the core group is the
    /// empty name.
    pub(crate) fn groups(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (group, version, _) in self.resources.keys() {
            let versions = groups.entry(group).or_default();
            if versions.last() != Some(&version.as_str()) {
                versions.push(version);
            }
        }
        groups.values_mut().for_each(|versions| versions.sort_by_key(|version| priority(version)));
        groups
    }
}

/// A version's place among those of its group: stable before beta before alpha, newer before
/// older, other names last.
///
/// Source: Kubernetes "Versions in CustomResourceDefinitions", "Version priority".
fn priority(version: &str) -> (u8, Reverse<u32>, Reverse<u32>, &str) {
    let last = (3, Reverse(0), Reverse(0), version);
    let Some(rest) = version.strip_prefix('v') else { return last };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = rest.split_at(digits);
    let Ok(major) = major.parse() else { return last };
    let (rank, minor) = match rest {
        "" => (0, ""),
        _ if rest.starts_with("beta") => (1, &rest[4..]),
        _ if rest.starts_with("alpha") => (2, &rest[5..]),
        _ => return last,
    };
    match minor.parse() {
        Ok(minor) => (rank, Reverse(major), Reverse(minor), ""),
        Err(_) if rest.is_empty() => (0, Reverse(major), Reverse(0), ""),
        Err(_) => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_of_a_group_are_listed_as_clients_prefer_them() {
        let mut given = [
            "foo1",
            "v1",
            "v2alpha1",
            "v10",
            "v11beta2",
            "v2",
            "v1alpha",
            "v12alpha1",
            "v3beta1",
            "v11alpha2",
        ];
        given.sort_by_key(|version| priority(version));
        let expected = [
            "v10",
            "v2",
            "v1",
            "v11beta2",
            "v3beta1",
            "v12alpha1",
            "v11alpha2",
            "v2alpha1",
            "foo1",
            "v1alpha",
        ];
        assert_eq!(given, expected);
    }
}
