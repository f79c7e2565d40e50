//! Every place takes what `compile` plans, and a second look changes nothing: where the pure side
//! and the edges could disagree about what a row's canonical form is, this says so. Needs root.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says where"
)]

use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use compile::{Scope, compile};
use fixtures::whole::apply;
use kernel::netns::unshare_thread;
use model::{
    Attachment, AttachmentKey, Host, Mac, Node, PodLinkMode, PortMapping, Protocol, Routing,
    Uplink, World,
};
use plan::Plan;

/// A container without a program to speak of: its network namespace lives as long as it does.
struct Container(Child);

impl Container {
    fn start() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "--kill-child", "sleep", "600"]).stdin(Stdio::null());
        command.stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let path = format!("/proc/{}/ns/net", child.id());
        while std::fs::read_link(&path).is_ok_and(|namespace| namespace == own) {
            assert!(child.try_wait().unwrap().is_none(), "unshare failed (needs root)");
            std::thread::yield_now();
        }
        Container(child)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn ip(args: &str) {
    let status = Command::new("ip").args(args.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {args}");
}

/// Node a beside b and across a router from c, dual stack with IPv6 first, with `containers`.
fn world(mode: PodLinkMode, routing: Routing, containers: &[Container]) -> World {
    let mut world = World::default();
    world.config.node = "a".into();
    (world.config.pod_link, world.config.routing) = (mode, routing);
    let addrs = vec!["192.0.2.1/24".parse().unwrap(), "2001:db8::1/64".parse().unwrap()];
    let uplink = Uplink { name: "eth0".parse().unwrap(), mtu: 1500, addrs };
    world.host = Host { uplinks: vec![uplink], ..Host::default() };
    let nodes = [
        ("a", 1, "192.0.2.1", "2001:db8::1"),
        ("b", 2, "192.0.2.2", "2001:db8::2"),
        ("c", 3, "198.51.100.3", "2001:db8:c::3"),
    ];
    for (name, i, v4, v6) in nodes {
        let node = Node {
            internal_ips: vec![v4.parse().unwrap(), v6.parse().unwrap()],
            pod_cidrs: vec![
                format!("fd00:10:244:{i}::/64").parse().unwrap(),
                format!("10.244.{i}.0/24").parse().unwrap(),
            ],
            ..Node::new(name.into())
        };
        world.nodes.insert(node.name.clone(), Arc::new(node));
    }
    for (i, container) in containers.iter().enumerate() {
        let key =
            AttachmentKey { container_id: format!("c{i}").into(), ifname: "eth0".parse().unwrap() };
        let addr = |text: String| text.parse::<IpAddr>().unwrap();
        let host_ip = (i == 0).then(|| addr("192.0.2.1".to_owned()));
        let attachment = Attachment {
            network: "seaway".to_owned(),
            netns: format!("/proc/{}/ns/net", container.0.id()).into(),
            pod: None,
            addrs: vec![
                addr(format!("fd00:10:244:1::{}", i + 2)),
                addr(format!("10.244.1.{}", i + 2)),
            ],
            mac: Mac::derive(&format!("pod/{key}")),
            port_mappings: vec![PortMapping {
                host_port: 8080 + u16::try_from(i).unwrap(),
                container_port: 80,
                protocol: Protocol::Tcp,
                host_ip,
            }],
            search: None,
            key: key.clone(),
        };
        world.attachments.insert(key, Arc::new(attachment));
    }
    world
}

fn plan(world: &World) -> Plan {
    let compiled = compile(world, &Scope::Node(world.config.node.clone()));
    let rejected: Vec<String> = compiled.rejected.iter().map(ToString::to_string).collect();
    assert!(rejected.is_empty(), "{rejected:?}");
    compiled.plan
}

#[test]
fn what_is_planned_is_what_is_read_back_in_every_mode_and_in_between() {
    unshare_thread().expect("a network namespace of its own (needs root)");
    ip("link add eth0 type veth peer name cable");
    ip("link set cable up");
    ip("link set eth0 up");
    ip("addr add 192.0.2.1/24 dev eth0");
    ip("addr add 2001:db8::1/64 dev eth0 nodad");
    ip("route add default via 192.0.2.254");
    let record = std::env::temp_dir().join(format!("seaway-plans-{}", std::process::id()));
    let containers = [Container::start(), Container::start()];
    use PodLinkMode::{Bridge, Routed};
    let steps: [(PodLinkMode, Routing, usize); 6] = [
        (Routed, Routing::Auto, 2),
        (Routed, Routing::Vxlan, 1),
        (Routed, Routing::Vxlan, 0),
        (Bridge, Routing::Vxlan, 2),
        (Bridge, Routing::Auto, 1),
        (Bridge, Routing::Vxlan, 2),
    ];
    for (mode, routing, count) in steps {
        eprintln!("{mode}, {routing}, {count} containers");
        apply(&plan(&world(mode, routing, &containers[..count])), &record);
    }
    assert_eq!(apply(&Plan::default(), &record), 0, "something is left");
    drop(std::fs::remove_file(&record));
}
