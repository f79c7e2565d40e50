//! The objects that policies are about: namespaces, nodes, pods and the policies themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use compile::policy::Learned;
use lab::manifest::{self, Object, Problem};
use model::decode::{self, DecodeError};
use model::{
    ClusterPolicy, ClusterPolicyKind, Dns, Family, Namespace, ObjectName, Pod, ServiceName, World,
};
use serde_json::Value;

use super::super::{dump, talk};
use super::NAMESPACE;

/// A World of policies, and what is to be said of it.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) world: World,
    /// What names stand for on the node, as far as its rules ask for them.
    pub(super) learned: Learned,
    /// Pods that wait for an address.
    waiting: BTreeSet<ObjectName>,
    /// How many objects there were that no policy is about, by kind.
    skipped: BTreeMap<String, usize>,
}

/// What is wrong with manifests.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    /// Objects that can't be read.
    pub(super) unread: Vec<Problem>,
    /// Rules that can't be, of policies that can.
    pub(super) closed: Vec<Problem>,
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

/// Where the cluster's DNS is asked, as an agent says it; `None` where it does not.
fn asked(said: &Value) -> Option<Dns> {
    let dns = Dns::default();
    if said.is_null() {
        return Some(Dns { is_served: false, ..dns });
    }
    Some(Dns {
        service: ServiceName::new(said["namespace"].as_str()?, &dns.service.name),
        local_addrs: serde_json::from_value(said["addresses"].clone()).ok()?,
        node_port: said["nodePort"].as_u64()?.try_into().ok()?,
        ..dns
    })
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
        objects.world.config.dns = asked(&list["dns"])
            .context("the agent's answer does not say where the cluster's DNS is asked")?;
        let names = dump::ask_json(socket, "names")?;
        objects.learned = serde_json::from_value::<BTreeMap<String, BTreeSet<IpAddr>>>(names)
            .context("the agent's answer is no map of names")?
            .into_iter()
            .filter_map(|(name, addrs)| Some((name.parse().ok()?, addrs)))
            .collect();
        Ok(objects)
    }

    /// What manifests say. A rule that can't be read is closed, as it is in a cluster.
    pub(super) fn of_files(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut objects = Objects::default();
        let Wrong { unread, .. } = objects.put_files(paths, NAMESPACE);
        if !unread.is_empty() {
            unread.iter().for_each(|problem| talk(&problem.to_string()));
            bail!("{} of the objects can't be read", unread.len());
        }
        Ok(objects)
    }

    /// Takes the objects of manifests; those that name no namespace are of `namespace`. Returns what is wrong
    /// with them.
    pub(super) fn put_files(&mut self, paths: &[PathBuf], namespace: &str) -> Wrong {
        let mut wrong = Wrong::default();
        for path in paths {
            let (read, problems) = manifest::read(path);
            wrong.unread.extend(problems);
            read.iter().for_each(|object| self.put_object(object, namespace, &mut wrong));
        }
        self.settle();
        wrong
    }

    fn put_object(&mut self, object: &Object, namespace: &str, wrong: &mut Wrong) {
        let kind = match Kind::of(&object.api_version, &object.kind) {
            Ok(Some(kind)) => kind,
            Ok(None) => {
                *self.skipped.entry(object.kind.clone()).or_default() += 1;
                return;
            }
            Err(why) => return wrong.unread.push(object.problem(Some("apiVersion"), &why)),
        };
        let mut value = object.value.clone();
        if kind.is_namespaced() && object.namespace.is_none() {
            value["metadata"]["namespace"] = namespace.into();
        }
        let problem = |error: &DecodeError| {
            object.problem(Some(&*error.field).filter(|field| !field.is_empty()), &error.reason)
        };
        match self.put(kind, value) {
            Ok(faults) => wrong.closed.extend(faults.iter().map(problem)),
            Err(error) => wrong.unread.push(problem(&error)),
        }
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
        let has_ended = matches!(value["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        if let Some(there) = self.world.pods.get(&pod.name)
            && pod.addrs.is_empty()
            && !has_ended
        {
            pod.addrs.clone_from(&there.addrs);
            pod.node = pod.node.or(there.node.clone());
        }
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
        let taken: BTreeSet<IpAddr> =
            self.world.pods.values().flat_map(|pod| pod.addrs.clone()).collect();
        let of = |number| families.iter().map(|of| stand_in(*of, number)).collect::<Vec<IpAddr>>();
        let is_free = |addrs: &Vec<IpAddr>| addrs.iter().all(|addr| !taken.contains(addr));
        let mut free = (1..).map(of).filter(is_free);
        for name in std::mem::take(&mut self.waiting) {
            let Some(pod) = self.world.pods.get(&name) else { continue };
            let addrs = free.next().unwrap_or_default();
            let pod = Pod { addrs, ..Pod::clone(pod) };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of these manifests: the objects, and what is said to be wrong.
    fn read(texts: &[&str]) -> (Objects, Vec<String>) {
        let mut objects = Objects::default();
        let mut said = Vec::new();
        for text in texts {
            let (read, problems) = manifest::parse("m.yaml", text);
            assert_eq!(problems, []);
            let mut wrong = Wrong::default();
            read.iter().for_each(|object| objects.put_object(object, "shop", &mut wrong));
            objects.settle();
            let all = wrong.unread.iter().map(|problem| format!("unread {problem}"));
            said.extend(all.chain(wrong.closed.iter().map(|problem| format!("closed {problem}"))));
        }
        (objects, said)
    }

    fn pod(name: &str, more: &str) -> String {
        format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n{more}\n")
    }

    #[test]
    fn what_manifests_leave_to_the_cluster_is_filled_in() {
        let ended = pod("ended", "status: {phase: Succeeded}");
        let there = pod("there", "status: {podIPs: [{ip: 240.0.0.1}, {ip: 'fd00::1'}]}");
        let host = pod("host", "spec: {hostNetwork: true}");
        let all = [pod("new", ""), ended, there, host].concat();
        let (objects, said) = read(&[&all]);
        assert_eq!(said, [""; 0]);
        let addrs = |objects: &Objects, name: &str| {
            let pod = &objects.world.pods[&ObjectName::new("shop", name)];
            pod.addrs.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        // Of both families, since the others are, and of nobody else.
        assert_eq!(addrs(&objects, "new"), ["240.0.0.2", "100::2"]);
        assert_eq!(addrs(&objects, "ended"), [""; 0]);
        assert_eq!(addrs(&objects, "host"), [""; 0]);
        let spaces: Vec<&str> = objects.world.namespaces.keys().map(|name| &**name).collect();
        assert_eq!(spaces, ["shop"]);
        // A pod with other labels is where it was.
        let (objects, _) = read(&[&all, &pod("there", "spec: {nodeName: a}")]);
        assert_eq!(addrs(&objects, "there"), ["240.0.0.1", "fd00::1"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_other_kinds_are_skipped() {
        let policy = |version: &str, spec: &str| {
            format!(
                "apiVersion: {version}\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
            )
        };
        let v1 = "networking.k8s.io/v1";
        let cases = [
            (
                policy("networking.k8s.io/v1beta1", "{}"),
                "unread m.yaml:1: document 1: NetworkPolicy p: apiVersion: Unsupported value: \
                 \"networking.k8s.io/v1beta1\": must be \"networking.k8s.io/v1\"",
            ),
            (
                policy(v1, "{podSelector: {matchLabels: {a: 1}}}"),
                "unread m.yaml:4: document 1: NetworkPolicy p: spec.podSelector",
            ),
            (
                policy(v1, "\n  ingress:\n  - ports: [{port: 0}]"),
                "closed m.yaml:6: document 1: NetworkPolicy p: spec.ingress[0].ports[0].port: 0 is not",
            ),
        ];
        for (text, want) in cases {
            let (_, said) = read(&[&text]);
            assert!(said.len() == 1 && said[0].starts_with(want), "{said:?}\n{want}");
        }
        let other = policy("crd.projectcalico.org/v1", "{selector: all()}");
        let (objects, said) = read(&[&other]);
        assert_eq!((said.len(), objects.skipped["NetworkPolicy"]), (0, 1));
    }
}
