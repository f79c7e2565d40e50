//! The kinds the server knows: how each is named, addressed and stored.
mod builtin;
mod registry;

use std::sync::Arc;

use serde_json::Value;

use crate::crd::Custom;

pub(crate) use registry::Registry;

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
