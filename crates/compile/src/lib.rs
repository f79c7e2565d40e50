//! World → Plan: everything one node should hold, as a pure function of what the cluster asks for.
//!
//! [`compile()`] is the only list of subsystems, in order. Each is a folder that *resolves* objects
//! into its own printable table and *lowers* that table into rows of the [`Plan`]. Subsystems don't
//! call each other: what a later one needs is a table that an earlier one returned.
//!
//! Bad input is data: every object, or part of one, that could not be honored is a [`Rejected`] row,
//! and the plan holds everything else.

mod changed;
pub mod cni;
mod counted;
pub mod device;
pub mod dns;
mod egress;
pub mod flows;
pub mod ipam;
pub mod policy;
pub mod routes;
mod ruleset;
pub mod services;

use std::fmt;

use model::{Generation, NodeName, OrdMap, World};
use plan::nft::{Key, Row};
use plan::{LocalPods, NamedSets, Plan, Table};

pub use cni::Attachments;
pub use counted::Counted;
pub use dns::Zones;
pub use ipam::Pools;
pub use policy::PolicyTable;
pub use routes::Peers;
pub use services::ServiceTable;

/// Whose plan is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// What this node should hold.
    Node(NodeName),
}

/// What a [`World`] means for one scope.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// What the node should hold.
    pub plan: Plan,
    /// What could not be honored, and why.
    pub rejected: Vec<Rejected>,
    /// The pod CIDRs of every node, as far as they are usable.
    pub pools: Pools,
    /// How every other node's pods are reached.
    pub peers: Peers,
    /// The containers of this node that are joined to the network.
    pub attachments: Attachments,
    /// What this node does with packets to Services.
    pub services: ServiceTable,
    /// What policies ask of this node's pods.
    pub policies: PolicyTable,
    /// Where rules look for what names stand for, of any zone.
    pub named: NamedSets,
    /// What the cluster's names stand for.
    pub zones: Zones,
    /// The pods of this node by their addresses.
    pub local_pods: LocalPods,
}

/// An object, or a part of one, that the plan does not honor. It blocks nothing else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejected {
    /// Kind and name, like `Node worker-1`.
    pub object: String,
    /// Path of the field that is in the way, like `spec.podCIDRs`.
    pub field: String,
    /// What is wrong with it, and what follows.
    pub why: String,
    /// The same, as far as programs tell faults apart.
    pub fault: Fault,
}

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It cannot be honored as it is written.
    Invalid,
    /// An address is of a family that the object has nothing else of.
    WrongFamily,
    /// Another object has it.
    Taken,
    /// It is somebody else's, or the settings do not allow it.
    Refused,
    /// It is honored and lets more in than it seems to.
    Open,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.object, self.field, self.why)
    }
}

/// Everything `scope` should hold in `world`, and what of `world` could not be honored.
///
/// A world that neither knows the node nor holds an attachment has an empty plan. While the Node
/// object is missing, attachments that exist keep their links and routes, and Services what they
/// open; nothing else is planned.
pub fn compile(world: &World, scope: &Scope) -> Compiled {
    Compiler::default().compile(world, scope)
}

/// Compiles one World after another, each in the time of what is new in it where that is worth it.
/// What comes out is what [`compile()`] makes of the same World.
#[derive(Debug, Default, Clone)]
pub struct Compiler {
    /// The last World without its Services, and what it means.
    base: Option<(World, Compiled)>,
    services: services::Memo,
    rules: services::Lowered,
    policies: policy::Memo,
    patterns: policy::Patterns,
    flows: flows::Flows,
    names: dns::Memo,
}

impl Compiler {
    /// Goes on from the rows of nftables that an agent before has left in the kernel: connections that
    /// policies have allowed stay allowed.
    pub fn after(found: Table<Key, Row>) -> Self {
        Compiler { policies: policy::Memo::after(found), ..Compiler::default() }
    }

    /// As [`compile()`]; every World is for the same scope as the one before.
    pub fn compile(&mut self, world: &World, scope: &Scope) -> Compiled {
        let Scope::Node(node) = scope;
        if !world.nodes.contains_key(node) && world.attachments.is_empty() {
            return Compiled::default();
        }
        let mut compiled = self.base(world, node);
        let Compiled { plan, rejected, services, policies, named, zones, .. } = &mut compiled;
        (*policies, plan.nft) = self.policies.update(world, node, &plan.nft);
        *named = self.patterns.sets(world, &plan.nft);
        *services = self.services.resolve(world, node, rejected);
        plan.nft = self.rules.update(services, &plan.nft);
        plan.flows = self.flows.update(services, &plan.flows);
        *zones = self.names.zones(world, rejected);
        dns::everywhere(world, node, plan);
        rejected.sort();
        compiled
    }

    /// Everything that does not follow from Services, pods and policies, which come and go a hundred times
    /// as often as the rest.
    fn base(&mut self, world: &World, node: &NodeName) -> Compiled {
        let seen = World {
            generation: Generation::default(),
            services: OrdMap::new(),
            slices: OrdMap::new(),
            service_cidrs: OrdMap::new(),
            namespaces: OrdMap::new(),
            pods: OrdMap::new(),
            policies: OrdMap::new(),
            cluster_policies: OrdMap::new(),
            ..world.clone()
        };
        if let Some((last, compiled)) = &self.base
            && *last == seen
        {
            return compiled.clone();
        }
        let mut compiled = Compiled::default();
        let Compiled { plan, rejected, pools, peers, attachments, local_pods, .. } = &mut compiled;
        *pools = ipam::compile(world, node, plan, rejected);
        *peers = routes::compile(world, node, pools, plan, rejected);
        *attachments = cni::compile(world, node, pools, peers.mtu, plan, rejected);
        egress::compile(world, node, pools, plan);
        flows::compile(world, attachments, plan);
        dns::node(world, node, plan);
        *local_pods = dns::pods(world);
        self.base = Some((seen, compiled.clone()));
        compiled
    }
}
