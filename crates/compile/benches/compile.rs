//! How long a full compile takes: `cargo bench -p seaway-compile`. Numbers, not a test.
#![expect(clippy::disallowed_types, clippy::print_stdout, reason = "a benchmark reads the clock")]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use model::{Attachment, AttachmentKey, Host, IfName, Mac, Node, NodeName, Uplink, World};
use seaway_compile::{Scope, cni, compile};

/// Node 0 of `nodes`, every other one across a router, with `pods` containers of two families each.
fn world(nodes: u16, pods: u16) -> World {
    let mut world = World::default();
    world.config.node = "node-0".into();
    for i in 0..nodes {
        let [high, low] = i.to_be_bytes();
        let node = Node {
            internal_ips: vec![IpAddr::from([172, 16 + low % 2, high, low.wrapping_add(1)])],
            pod_cidrs: vec![
                format!("10.{}.{low}.0/24", 100 + high).parse().expect("a prefix"),
                format!("fd00:{i:x}::/64").parse().expect("a prefix"),
            ],
            ..Node::new(NodeName::from(format!("node-{i}")))
        };
        world.nodes.insert(node.name.clone(), Arc::new(node));
    }
    for pod in 0..pods {
        let [_, low] = (pod + 2).to_be_bytes();
        let key = AttachmentKey {
            container_id: format!("{pod:064x}").into(),
            ifname: IfName::new("eth0").expect("a plain name"),
        };
        let attachment = Attachment {
            network: "seaway".to_owned(),
            netns: format!("/run/netns/{pod}").into(),
            pod: None,
            addrs: vec![
                IpAddr::from([10, 100, 0, low]),
                format!("fd00:0::{:x}", pod + 2).parse().expect("an address"),
            ],
            mac: Mac::derive(&key.to_string()),
            port_mappings: Vec::new(),
            search: None,
            key: key.clone(),
        };
        world.attachments.insert(key, Arc::new(attachment));
    }
    let addrs = vec!["172.16.0.1/16".parse().expect("a prefix")];
    let name = IfName::new("eth0").expect("a plain name");
    world.host = Host { uplinks: vec![Uplink { name, mtu: 1500, addrs }], ..Host::default() };
    world
}

fn main() {
    for (nodes, pods) in [(12, 250), (1000, 250)] {
        let world = world(nodes, pods);
        let scope = Scope::Node(world.config.node.clone());
        let key = world.attachments.keys().next().expect("there are pods");
        let compiled = compile(&world, &scope);
        let rows = compiled.plan.nft.len();
        let times = |mut run: Box<dyn FnMut() + '_>| {
            let mut took: Vec<_> = (0..20)
                .map(|_| {
                    let start = Instant::now();
                    run();
                    start.elapsed()
                })
                .collect();
            took.sort();
            took[10]
        };
        let full = times(Box::new(|| drop(std::hint::black_box(compile(&world, &scope)))));
        let one = times(Box::new(|| drop(std::hint::black_box(cni::rows(&world, &compiled, key)))));
        println!(
            "{nodes} nodes, {pods} local pods: compile {full:?} ({rows} nft rows), one pod {one:?}"
        );
    }
}
