//! The objects that policies are about: namespaces, nodes, pods and the policies themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use lab::manifest::{self, Object, Problem};
use model::decode::{self, DecodeError};
use model::{ClusterPolicy, ClusterPolicyKind, Family, Namespace, ObjectName, Pod, World};
use serde_json::Value;

use super::super::{dump, talk};
use super::NAMESPACE;

/// A World of policies, and what is to be said of it.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) world: World,
    /// Pods that wait for an address.
    waiting: BTreeSet<ObjectName>,
    /// How many objects there were that no policy is about, by kind.
    skipped: BTreeMap<String, usize>,
}

/// A kind of object that policies are about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Namespace,
    Node,
    Pod,
    NetworkPolicy,
    Cluster(ClusterPolicyKind),
}

impl Kind {
    /// All of them, with the version of the API in which they are read.
    const ALL: [(&str, &str, Kind); 7] = [
        ("Namespace", "v1", Kind::Namespace),
        ("Node", "v1", Kind::Node),
        ("Pod", "v1", Kind::Pod),
        ("NetworkPolicy", "networking.k8s.io/v1", Kind::NetworkPolicy),
        (
            "ClusterNetworkPolicy",
            "policy.networking.k8s.io/v1alpha2",
            Kind::Cluster(ClusterPolicyKind::ClusterNetworkPolicy),
        ),
        (
            "AdminNetworkPolicy",
            "policy.networking.k8s.io/v1alpha1",
            Kind::Cluster(ClusterPolicyKind::AdminNetworkPolicy),
        ),
        (
            "BaselineAdminNetworkPolicy",
            "policy.networking.k8s.io/v1alpha1",
            Kind::Cluster(ClusterPolicyKind::BaselineAdminNetworkPolicy),
        ),
    ];

    /// The kind of an object; `None` for what policies are not about.
    fn of(api_version: &str, kind: &str) -> Result<Option<Kind>, String> {
        let Some((_, version, known)) = Kind::ALL.into_iter().find(|(name, ..)| *name == kind)
        else {
            return Ok(None);
        };
        let group =
            |version: &str| version.split_once('/').map_or("", |(group, _)| group).to_owned();
        match api_version == version {
            true => Ok(Some(known)),
            false if group(api_version) == group(version) => {
                Err(format!("Unsupported value: {api_version:?}: must be {version:?}"))
            }
            // Another group's object of the same name.
            false => Ok(None),
        }
    }

    fn is_namespaced(self) -> bool {
        match self {
            Kind::Pod | Kind::NetworkPolicy => true,
            Kind::Namespace | Kind::Node | Kind::Cluster(_) => false,
        }
    }
}

impl Objects {
    /// What the agent at `socket` knows.
    pub(super) fn of_agent(socket: &Path) -> anyhow::Result<Self> {
        let list = dump::ask_json(socket, "objects")?;
        let mut objects = Objects::default();
        for item in list["items"].as_array().context("the agent's answer is no list")? {
            let word = |field: &str| item[field].as_str().unwrap_or_default();
            let kind = Kind::of(word("apiVersion"), word("kind")).map_err(anyhow::Error::msg)?;
            match kind {
                Some(kind) => drop(objects.put(kind, item.clone())?),
                None => bail!("the agent's answer has an object of kind {:?}", word("kind")),
            }
        }
        objects.waiting.clear();
        Ok(objects)
    }

    /// What manifests say.
    pub(super) fn of_files(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut objects = Objects::default();
        let problems = objects.put_files(paths, NAMESPACE);
        if !problems.is_empty() {
            problems.iter().for_each(|problem| talk(&problem.to_string()));
            bail!("{} of the objects can't be read", problems.len());
        }
        Ok(objects)
    }

    /// Takes the objects of manifests; those that name no namespace are of `namespace`. Returns what is wrong
    /// with them, closed rules of policies included.
    pub(super) fn put_files(&mut self, paths: &[PathBuf], namespace: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        for path in paths {
            let (read, wrong) = manifest::read(path);
            problems.extend(wrong);
            for object in read {
                problems.extend(self.put_object(&object, namespace));
            }
        }
        self.settle();
        problems
    }

    fn put_object(&mut self, object: &Object, namespace: &str) -> Vec<Problem> {
        let kind = match Kind::of(&object.api_version, &object.kind) {
            Ok(Some(kind)) => kind,
            Ok(None) => {
                *self.skipped.entry(object.kind.clone()).or_default() += 1;
                return Vec::new();
            }
            Err(why) => return vec![object.problem(Some("apiVersion"), &why)],
        };
        let mut value = object.value.clone();
        if kind.is_namespaced() && object.namespace.is_none() {
            value["metadata"]["namespace"] = namespace.into();
        }
        let faults = self.put(kind, value).unwrap_or_else(|error| vec![error]);
        let problem = |error: &DecodeError| {
            object.problem(Some(&*error.field).filter(|field| !field.is_empty()), &error.reason)
        };
        faults.iter().map(problem).collect()
    }

    /// Takes an object; returns why rules of it are closed.
    fn put(&mut self, kind: Kind, value: Value) -> Result<Vec<DecodeError>, DecodeError> {
        let json = value.to_string();
        let json = json.as_bytes();
        let world = &mut self.world;
        let cluster = |read: Result<ClusterPolicy, DecodeError>, world: &mut World| {
            let policy = read?;
            let faults = policy.faults.clone();
            world.cluster_policies.insert(policy.name.clone(), Arc::new(policy));
            Ok(faults)
        };
        match kind {
            Kind::Namespace => {
                let namespace = decode::namespace(json)?;
                world.namespaces.insert(Arc::clone(&namespace.name), Arc::new(namespace));
            }
            Kind::Node => {
                let node = decode::node(json)?;
                world.nodes.insert(node.name.clone(), Arc::new(node));
            }
            Kind::Pod => self.put_pod(decode::pod(json)?, &value),
            Kind::NetworkPolicy => {
                let policy = decode::network_policy(json)?;
                let faults = policy.faults.clone();
                world.policies.insert(policy.name.clone(), Arc::new(policy));
                return Ok(faults);
            }
            Kind::Cluster(ClusterPolicyKind::ClusterNetworkPolicy) => {
                return cluster(decode::cluster_policy(json), world);
            }
            Kind::Cluster(ClusterPolicyKind::AdminNetworkPolicy) => {
                return cluster(decode::admin_policy(json), world);
            }
            Kind::Cluster(ClusterPolicyKind::BaselineAdminNetworkPolicy) => {
                return cluster(decode::baseline_policy(json), world);
            }
        }
        Ok(Vec::new())
    }

    /// Takes a pod. What a manifest does not say, as nobody writes where a pod is, is as it was.
    fn put_pod(&mut self, mut pod: Pod, value: &Value) {
        if let Some(there) = self.world.pods.get(&pod.name)
            && pod.addrs.is_empty()
        {
            pod.addrs.clone_from(&there.addrs);
            pod.node = pod.node.or(there.node.clone());
        }
        let has_ended = matches!(value["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let is_waiting = pod.addrs.is_empty() && !pod.is_host_network && !has_ended;
        match is_waiting {
            true => self.waiting.insert(pod.name.clone()),
            false => self.waiting.remove(&pod.name),
        };
        self.world.pods.insert(pod.name.clone(), Arc::new(pod));
    }

    /// Fills in what manifests leave to the cluster: namespaces that objects are in, and addresses of pods.
    fn settle(&mut self) {
        let World { pods, policies, namespaces, .. } = &mut self.world;
        for name in pods.keys().chain(policies.keys()) {
            if !namespaces.contains_key(&name.namespace) {
                let namespace = Namespace::new(&name.namespace, []);
                namespaces.insert(Arc::clone(&name.namespace), Arc::new(namespace));
            }
        }
        let families = families(&self.world);
        let first = self.world.pods.values().flat_map(|pod| pod.addrs.clone());
        let taken: BTreeSet<IpAddr> = first.collect();
        let mut free = (1..).map(|number| families.iter().map(move |f| stand_in(*f, number)));
        for name in std::mem::take(&mut self.waiting) {
            let Some(pod) = self.world.pods.get(&name) else { continue };
            let mut pod = Pod::clone(pod);
            let addrs = free.by_ref().map(Iterator::collect::<Vec<IpAddr>>);
            pod.addrs = addrs
                .into_iter()
                .find(|addrs| addrs.iter().all(|addr| !taken.contains(addr)))
                .unwrap_or_default();
            self.world.pods.insert(name, Arc::new(pod));
        }
    }

    /// Says what was left out.
    pub(super) fn tell(&self) {
        if !self.skipped.is_empty() {
            let kinds = self.skipped.iter().map(|(kind, count)| format!("{count} {kind}"));
            let kinds = kinds.collect::<Vec<_>>().join(", ");
            talk(&format!("skipped what policies are not about: {kinds}"));
        }
        let waits = |pod: &&Arc<Pod>| pod.addrs.is_empty() && !pod.is_host_network;
        match self.world.pods.values().filter(waits).count() {
            0 => {}
            count => talk(&format!("left out {count} pods that have no address")),
        }
    }
}

/// The families of a World's pods, else of its nodes, else IPv4.
fn families(world: &World) -> Vec<Family> {
    let pods = world.pods.values().flat_map(|pod| pod.addrs.clone());
    let nodes = world.nodes.values().flat_map(|node| node.internal_ips.clone());
    for addrs in [pods.collect::<Vec<_>>(), nodes.collect()] {
        let there: BTreeSet<Family> = addrs.into_iter().map(Family::of).collect();
        if !there.is_empty() {
            return there.into_iter().collect();
        }
    }
    vec![Family::V4]
}

/// An address that stands for the one a pod will get: of ranges that no network uses (RFC 1112, RFC 6666).
fn stand_in(family: Family, number: u32) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(0xf000_0000 | number).into(),
        Family::V6 => Ipv6Addr::from_bits(0x0100 << 112 | u128::from(number)).into(),
    }
}
