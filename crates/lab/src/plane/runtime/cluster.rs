//! The kinds that controllers read, each with its cache.

use std::fmt::Debug;

use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet,
};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Endpoints, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube_rs::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::cache::{Cache, Changed};
use super::feed::{Delta, feed};
use super::key;
use super::write::{Action, send};

/// A kind of object that has a cache.
pub(crate) trait Kind:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Where its objects are.
    fn cache(cluster: &mut Cluster) -> &mut Cache<Self>;
    /// One of its changes among those of all kinds.
    fn change(changed: Changed<Self>) -> Change;
    /// One of its objects among those of all kinds.
    fn object(self) -> Object;
}

macro_rules! kinds {
    ($($cache:ident: $kind:ident,)*) => {
        /// Everything the control plane knows of the cluster.
        #[derive(Debug, Default)]
        pub(crate) struct Cluster { $(pub $cache: Cache<$kind>,)* }

        /// A change of one object.
        #[derive(Debug)]
        #[expect(dead_code, reason = "of some kinds it matters only that they changed")]
        pub(crate) enum Change { $($kind(Changed<$kind>),)* }

        /// An object of any of the kinds.
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) enum Object { $($kind(Box<$kind>),)* }

        $(impl Kind for $kind {
            fn cache(cluster: &mut Cluster) -> &mut Cache<Self> {
                &mut cluster.$cache
            }
            fn change(changed: Changed<Self>) -> Change {
                Change::$kind(changed)
            }
            fn object(self) -> Object {
                Object::$kind(Box::new(self))
            }
        })*

        impl Cluster {
            /// Follows every kind, telling `out`, until that is closed.
            pub(super) fn follow(client: &Client, out: &mpsc::Sender<Delta>, tasks: &mut JoinSet<()>) {
                $(tasks.spawn(feed::<$kind>(client.clone(), out.clone()));)*
            }

            /// Whether every kind was listed.
            pub(super) fn is_complete(&self) -> bool {
                $(self.$cache.is_complete())&&*
            }
        }

        impl Object {
            /// Carries out `action` on the object; the answer goes to the cache that had read `lists`
            /// complete lists.
            pub(super) async fn send(
                self,
                client: &Client,
                action: Action,
                cluster: Lists,
            ) -> Result<(Delta, String), kube_rs::Error> {
                match self { $(Self::$kind(object) => send(client, action, *object, cluster.$cache).await,)* }
            }

            #[cfg(test)]
            pub(super) fn obey(self, action: Action, world: &mut super::testing::World) {
                match self { $(Self::$kind(object) => world.carry_out(action, *object),)* }
            }

            /// `kind namespace/name`, for logs.
            pub(super) fn called(&self) -> String {
                match self { $(Self::$kind(object) => format!("{} {}", stringify!($kind), key(&**object)),)* }
            }
        }

        /// How many complete lists each cache has read.
        #[derive(Debug, Clone, Copy)]
        pub(super) struct Lists { $($cache: u64,)* }

        impl Cluster {
            pub(super) fn lists(&self) -> Lists {
                Lists { $($cache: self.$cache.lists(),)* }
            }
        }
    };
}

kinds! {
    namespaces: Namespace,
    nodes: Node,
    leases: Lease,
    pods: Pod,
    replica_sets: ReplicaSet,
    deployments: Deployment,
    controller_revisions: ControllerRevision,
    stateful_sets: StatefulSet,
    daemon_sets: DaemonSet,
    jobs: Job,
    cron_jobs: CronJob,
    autoscalers: HorizontalPodAutoscaler,
    budgets: PodDisruptionBudget,
    services: Service,
    endpoints: Endpoints,
    endpoint_slices: EndpointSlice,
    ip_addresses: IPAddress,
    service_cidrs: ServiceCIDR,
}
