//! What is known of the cluster, on disk, for an agent that starts while the API server is away.
//!
//! `<state dir>/snapshot` is a text file: a header with version, node and time, a line for each object
//! (its kind and its JSON, as the API has it and `model::encode` writes it), and an end with the number of objects and
//! a CRC-32 of everything before. It is replaced as a whole, so whoever reads it finds an old one or a
//! new one; one that does not read from beginning to end is not used at all. See docs/decisions/0030.

mod read;
mod recall;
mod write;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{
    ClusterPolicy, ClusterPolicyName, EndpointSlice, Namespace, NetworkPolicy, Node, NodeName,
    ObjectName, OrdMap, Pod, Service, ServiceCidr, ServiceName, SliceKey, World,
};

pub(crate) use read::Recalled;
pub(crate) use recall::Recall;
pub(crate) use writing::Writing;

/// The file, in the state directory.
pub(crate) const FILE: &str = "snapshot";

/// What is written before it takes the place of [`FILE`].
pub(crate) const NEW_FILE: &str = "snapshot.new";

/// First word of every snapshot.
const MAGIC: &str = "seaway-snapshot";

/// Version of the format this code writes, and the only one it reads. A kind of objects more is another
/// one: what a snapshot cannot have must not look as if it were not there.
const VERSION: u32 = 2;

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// The objects of a World that come from the API server. A copy shares them with the World.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Objects {
    pub(crate) nodes: OrdMap<NodeName, Arc<Node>>,
    pub(crate) services: OrdMap<ServiceName, Arc<Service>>,
    pub(crate) slices: OrdMap<SliceKey, Arc<EndpointSlice>>,
    pub(crate) service_cidrs: OrdMap<Arc<str>, Arc<ServiceCidr>>,
    pub(crate) namespaces: OrdMap<Arc<str>, Arc<Namespace>>,
    pub(crate) pods: OrdMap<ObjectName, Arc<Pod>>,
    pub(crate) policies: OrdMap<ObjectName, Arc<NetworkPolicy>>,
    pub(crate) cluster_policies: OrdMap<ClusterPolicyName, Arc<ClusterPolicy>>,
}

impl Objects {
    fn of(world: &World) -> Self {
        let World { nodes, services, slices, service_cidrs, namespaces, .. } = world;
        let World { pods, policies, cluster_policies, .. } = world;
        Objects {
            nodes: nodes.clone(),
            services: services.clone(),
            slices: slices.clone(),
            service_cidrs: service_cidrs.clone(),
            namespaces: namespaces.clone(),
            pods: pods.clone(),
            policies: policies.clone(),
            cluster_policies: cluster_policies.clone(),
        }
    }

    /// Whether these are the very objects of `world`, without looking at one of them.
    fn are_those_of(&self, world: &World) -> bool {
        self.nodes.ptr_eq(&world.nodes)
            && self.services.ptr_eq(&world.services)
            && self.slices.ptr_eq(&world.slices)
            && self.service_cidrs.ptr_eq(&world.service_cidrs)
            && self.namespaces.ptr_eq(&world.namespaces)
            && self.pods.ptr_eq(&world.pods)
            && self.policies.ptr_eq(&world.policies)
            && self.cluster_policies.ptr_eq(&world.cluster_policies)
    }
}

/// Writes what `world` knows of the cluster, as its agent does.
#[cfg(test)]
pub(crate) fn write_now(state_dir: &Path, world: &World) {
    let now = crate::reconcile::since_1970();
    write::write(state_dir, &world.config.node, &Objects::of(world), now).unwrap();
}

#[cfg(test)]
mod tests;
