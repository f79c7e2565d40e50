//! The kinds of objects that Seaway reads.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use kube_rs::api::{ApiResource, GroupVersionKind};
use model::decode::{self, DecodeError};
use model::{
    ClusterPolicy, ClusterPolicyKind, ClusterPolicyName, EndpointSlice, Interner, MadeService,
    Namespace, NetworkPolicy, Node, NodeName, NodeState, NodeTold, ObjectName, Pod, PolicyState,
    Service, ServiceCidr, ServiceName, SliceKey,
};

use crate::dns_service::MADE;
use crate::node_lease::{LABEL, NAMESPACE};

/// A kind of objects: where they are, which of them, and what is kept of each.
pub struct Kind<K, V> {
    /// Its name, in the plural.
    pub(crate) plural: &'static str,
    pub(crate) resource: ApiResource,
    /// Of one namespace only, and of those objects that a selector of labels means.
    pub(crate) only: Option<(&'static str, &'static str)>,
    /// An API server that does not know the kind has none of it, until it does.
    pub(crate) may_be_unknown: bool,
    /// Reads an object; `None` when it is none of ours.
    pub(crate) decode: fn(&[u8]) -> Result<Option<V>, DecodeError>,
    pub(crate) key: fn(&V) -> K,
    /// The key of the object of a namespace and name; none where it follows from more than that.
    pub(crate) named: Option<fn(&str, &str) -> K>,
    /// Has what an object has in common with its neighbor by name, and with others, in memory once.
    pub(crate) share: fn(&mut V, Option<&V>, &mut Interner),
}

impl<K, V> fmt::Debug for Kind<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind").field("plural", &self.plural).finish_non_exhaustive()
    }
}

impl<K, V> Kind<K, V> {
    fn new<R: kube_rs::Resource<DynamicType = ()>>(
        plural: &'static str,
        decode: fn(&[u8]) -> Result<Option<V>, DecodeError>,
        key: fn(&V) -> K,
    ) -> Self {
        Kind::of(plural, ApiResource::erase::<R>(&()), decode, key)
    }

    fn of(
        plural: &'static str,
        resource: ApiResource,
        decode: fn(&[u8]) -> Result<Option<V>, DecodeError>,
        key: fn(&V) -> K,
    ) -> Self {
        let (only, named) = (None, None);
        let share = |_: &mut V, _: Option<&V>, _: &mut Interner| {};
        Kind { plural, resource, only, may_be_unknown: false, decode, key, named, share }
    }
}

/// Nodes.
pub fn nodes() -> Kind<NodeName, Node> {
    let decode = |json: &[u8]| decode::node(json).map(Some);
    let nodes = Kind::new::<core::Node>("nodes", decode, |node: &Node| node.name.clone());
    Kind { named: Some(|_, name| name.into()), ..nodes }
}

/// Nodes as whoever leads sees them.
pub fn node_states() -> Kind<NodeName, NodeState> {
    let decode = |json: &[u8]| decode::node_state(json).map(Some);
    Kind::new::<core::Node>("nodes", decode, |node: &NodeState| node.name.clone())
}

/// Services that Seaway has made.
pub fn made_services() -> Kind<ServiceName, MadeService> {
    let decode = |json: &[u8]| decode::made_service(json).map(Some);
    let key = |service: &MadeService| service.name.clone();
    let services = Kind::new::<core::Service>("services", decode, key);
    Kind { only: Some((NAMESPACE, MADE)), ..services }
}

/// Services.
pub fn services() -> Kind<ServiceName, Service> {
    let decode = |json: &[u8]| decode::service(json).map(Some);
    let services =
        Kind::new::<core::Service>("services", decode, |service: &Service| service.name.clone());
    Kind { named: Some(ServiceName::new), share: Service::share, ..services }
}

/// EndpointSlices, those of headless Services included: no packet meets them, but names do.
pub fn endpoint_slices() -> Kind<SliceKey, EndpointSlice> {
    let slices = Kind::new::<discovery::EndpointSlice>(
        "endpointslices",
        decode::endpoint_slice,
        |slice: &EndpointSlice| slice.key.clone(),
    );
    Kind { share: EndpointSlice::share, ..slices }
}

/// Namespaces.
pub fn namespaces() -> Kind<Arc<str>, Namespace> {
    let decode = |json: &[u8]| decode::namespace(json).map(Some);
    let key = |namespace: &Namespace| Arc::clone(&namespace.name);
    let namespaces = Kind::new::<core::Namespace>("namespaces", decode, key);
    Kind { named: Some(|_, name| name.into()), ..namespaces }
}

/// ServiceCIDRs, which Kubernetes has since 1.33.
pub fn service_cidrs() -> Kind<Arc<str>, ServiceCidr> {
    let decode = |json: &[u8]| decode::service_cidr(json).map(Some);
    let key = |cidr: &ServiceCidr| Arc::clone(&cidr.name);
    let cidrs = Kind::new::<networking::ServiceCIDR>("servicecidrs", decode, key);
    Kind { named: Some(|_, name| name.into()), may_be_unknown: true, ..cidrs }
}

/// Pods of all nodes.
pub fn pods() -> Kind<ObjectName, Pod> {
    let decode = |json: &[u8]| decode::pod(json).map(Some);
    let key = |pod: &Pod| pod.name.clone();
    let pods = Kind::new::<core::Pod>("pods", decode, key);
    Kind { named: Some(ObjectName::new), share: Pod::share, ..pods }
}

/// NetworkPolicies.
pub fn policies() -> Kind<ObjectName, NetworkPolicy> {
    let decode = |json: &[u8]| decode::network_policy(json).map(Some);
    let key = |policy: &NetworkPolicy| policy.name.clone();
    let policies = Kind::new::<networking::NetworkPolicy>("networkpolicies", decode, key);
    Kind { named: Some(ObjectName::new), ..policies }
}

/// Policies of the cluster of one kind, which an API server knows by a definition that somebody may
/// bring at any time.
pub fn cluster_policies(kind: ClusterPolicyKind) -> Kind<ClusterPolicyName, ClusterPolicy> {
    type Decode = fn(&[u8]) -> Result<Option<ClusterPolicy>, DecodeError>;
    let decode: Decode = match kind {
        ClusterPolicyKind::ClusterNetworkPolicy => |json| decode::cluster_policy(json).map(Some),
        ClusterPolicyKind::AdminNetworkPolicy => |json| decode::admin_policy(json).map(Some),
        ClusterPolicyKind::BaselineAdminNetworkPolicy => {
            |json| decode::baseline_policy(json).map(Some)
        }
    };
    of_cluster(kind, decode, |policy| policy.name.clone())
}

/// The same with their status, and with those that can't be read.
pub fn policy_states(kind: ClusterPolicyKind) -> Kind<ClusterPolicyName, PolicyState> {
    type Decode = fn(&[u8]) -> Result<Option<PolicyState>, DecodeError>;
    use ClusterPolicyKind::{AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy};
    let decode: Decode = match kind {
        ClusterNetworkPolicy => |json| decode::policy_state(ClusterNetworkPolicy, json).map(Some),
        AdminNetworkPolicy => |json| decode::policy_state(AdminNetworkPolicy, json).map(Some),
        BaselineAdminNetworkPolicy => {
            |json| decode::policy_state(BaselineAdminNetworkPolicy, json).map(Some)
        }
    };
    of_cluster(kind, decode, |policy| policy.name.clone())
}

fn of_cluster<V>(
    kind: ClusterPolicyKind,
    decode: fn(&[u8]) -> Result<Option<V>, DecodeError>,
    key: fn(&V) -> ClusterPolicyName,
) -> Kind<ClusterPolicyName, V> {
    let (version, plural) = match kind {
        ClusterPolicyKind::ClusterNetworkPolicy => ("v1alpha2", "clusternetworkpolicies"),
        ClusterPolicyKind::AdminNetworkPolicy => ("v1alpha1", "adminnetworkpolicies"),
        ClusterPolicyKind::BaselineAdminNetworkPolicy => {
            ("v1alpha1", "baselineadminnetworkpolicies")
        }
    };
    let kind = GroupVersionKind::gvk("policy.networking.k8s.io", version, kind.as_str());
    let resource = ApiResource::from_gvk_with_plural(&kind, plural);
    Kind { may_be_unknown: true, ..Kind::of(plural, resource, decode, key) }
}

/// Leases in which nodes tell what they do by now.
pub fn node_leases() -> Kind<NodeName, NodeTold> {
    let leases =
        Kind::new::<Lease>("leases", decode::node_told, |told: &NodeTold| told.node.clone());
    Kind { only: Some((NAMESPACE, LABEL)), ..leases }
}
