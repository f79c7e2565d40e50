//! What the watches of the API server show, kind by kind.

use std::sync::Arc;

use kube::{Access, Client, Listed, kind};
use model::decode::DecodeError;
use model::{
    ClusterPolicy, ClusterPolicyKind, ClusterPolicyName, EndpointSlice, Namespace, NetworkPolicy,
    Node, NodeName, ObjectName, Pod, Service, ServiceCidr, ServiceName, SliceKey,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::observe::Metrics;

/// Both ends of what the watches show, from the only list of what is watched: a field, its name in the
/// API, what it holds and the kind it is watched by.
macro_rules! watched {
    ($($field:ident $plural:literal: $key:ty => $object:ty = $kind:expr;)*) => {
        /// What the watches of the API server show, as whoever reads it sees it.
        #[derive(Debug, Clone)]
        pub(crate) struct Watched {
            $(pub(crate) $field: watch::Receiver<Listed<$key, $object>>,)*
        }

        /// The other ends of [`Watched`].
        #[derive(Debug)]
        pub(crate) struct Watching {
            $(pub(crate) $field: watch::Sender<Listed<$key, $object>>,)*
        }

        impl Watched {
            /// Both ends, with nothing listed.
            pub(crate) fn new() -> (Watching, Watched) {
                $(let $field = watch::channel(Listed::default());)*
                (Watching { $($field: $field.0,)* }, Watched { $($field: $field.1,)* })
            }

            /// Waits until one of them has a new level; `false` when there will be none.
            pub(crate) async fn changed(&mut self) -> bool {
                let changed = tokio::select! {
                    $(changed = self.$field.changed() => changed,)*
                };
                changed.is_ok()
            }

            /// What has not been listed yet, with the reason if one is known; `None` when all has.
            pub(super) fn missing(&self) -> Option<String> {
                $(if let Some(trouble) = missing(&self.$field) {
                    let why = trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
                    return Some(format!("the {} have not been listed yet{why}", $plural));
                })*
                None
            }

            /// The newest revision that was heard of the kind of this name; `None` for what is not watched.
            pub(crate) fn revision(&self, plural: &str) -> Option<u64> {
                match plural {
                    $($plural => Some(self.$field.borrow().revision),)*
                    _ => None,
                }
            }

            /// What is wrong with objects of which the newest version can't be read.
            pub(crate) fn unreadable(&self) -> Vec<DecodeError> {
                let mut all = Vec::new();
                $(all.extend(self.$field.borrow().rejected.values().cloned());)*
                all
            }

            /// Counts what is known of each kind.
            pub(crate) fn count(&self, metrics: &Metrics) {
                $(metrics.watched($plural, &self.$field.borrow());)*
            }
        }

        impl Watching {
            /// Follows the cluster's objects from now on.
            pub(crate) fn start(
                self,
                tasks: &mut JoinSet<()>,
                (client, access): (&Client, &Access),
                moves: &watch::Receiver<()>,
            ) {
                $(tasks.spawn(kube::watch(
                    $kind,
                    client.clone(),
                    access.clone(),
                    self.$field,
                    moves.clone(),
                ));)*
            }

            /// Shows lists of which nothing is in any.
            #[cfg(test)]
            pub(crate) fn list_nothing(&self) {
                $(self.$field.send_modify(|shown| shown.listed = Some(model::OrdMap::new()));)*
            }
        }
    };
}

watched! {
    nodes "nodes": NodeName => Node = kind::nodes();
    services "services": ServiceName => Service = kind::services();
    slices "endpointslices": SliceKey => EndpointSlice = kind::endpoint_slices();
    service_cidrs "servicecidrs": Arc<str> => ServiceCidr = kind::service_cidrs();
    namespaces "namespaces": Arc<str> => Namespace = kind::namespaces();
    pods "pods": ObjectName => Pod = kind::pods();
    policies "networkpolicies": ObjectName => NetworkPolicy = kind::policies();
    cluster_policies "clusternetworkpolicies": ClusterPolicyName => ClusterPolicy =
        kind::cluster_policies(ClusterPolicyKind::ClusterNetworkPolicy);
    admin_policies "adminnetworkpolicies": ClusterPolicyName => ClusterPolicy =
        kind::cluster_policies(ClusterPolicyKind::AdminNetworkPolicy);
    baseline_policies "baselineadminnetworkpolicies": ClusterPolicyName => ClusterPolicy =
        kind::cluster_policies(ClusterPolicyKind::BaselineAdminNetworkPolicy);
}

impl Watched {
    /// Waits until everything has been listed once.
    pub(crate) async fn listed(&mut self) {
        while self.missing().is_some() {
            let changed = self.changed().await;
            if !changed {
                // Nobody watches any more.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// `None` when the kind has been listed, else why not, if that is known.
fn missing<K: Ord, V>(seen: &watch::Receiver<Listed<K, V>>) -> Option<Option<String>> {
    let seen = seen.borrow();
    seen.listed.is_none().then(|| seen.trouble.clone())
}
