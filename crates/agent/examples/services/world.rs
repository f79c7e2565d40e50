//! A cluster of 100 nodes with many Services, as the World of one of them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use fixtures::plain;
use model::{
    Attachment, AttachmentKey, EndpointSlice, Family, Mac, Node, Service, ServiceName, World,
};

pub(crate) fn name(number: u32) -> ServiceName {
    ServiceName::new("shop", &format!("service-{number}"))
}

fn addr(net: u32, host: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(net + host))
}

/// The only pod of the node.
pub(crate) const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 2);

/// A node in a cluster of 100 nodes with so many Services.
pub(crate) fn world(services: u32, endpoints: u32) -> World {
    let mut world = World::default();
    world.config.node = "a".into();
    for number in 0..100_u32 {
        let name = if number == 0 { "a".to_owned() } else { format!("node-{number}") };
        let pods = Ipv4Addr::from(0x0af4_0000 + (number << 8));
        let node = Node {
            internal_ips: vec![addr(0xc000_0201, number)],
            pod_cidrs: ipnet::IpNet::new(pods.into(), 24).into_iter().collect(),
            ..Node::new(name.as_str().into())
        };
        world.nodes.insert(node.name.clone(), Arc::new(node));
    }
    let key = AttachmentKey {
        container_id: "pod".into(),
        ifname: "eth0".parse().expect("it is a link's name"),
    };
    let pod = Attachment {
        network: "seaway".to_owned(),
        netns: "/proc/self/ns/net".into(),
        pod: None,
        addrs: vec![POD.into()],
        mac: Mac::derive("pod"),
        port_mappings: Vec::new(),
        search: None,
        key: key.clone(),
    };
    world.attachments.insert(key, Arc::new(pod));
    for number in 0..services {
        let service = service(number);
        let slice = slice(number, endpoints, 0);
        world.services.insert(service.name.clone(), Arc::new(service));
        world.slices.insert(slice.key.clone(), Arc::new(slice));
    }
    world
}

fn service(number: u32) -> Service {
    plain::service(name(number), vec![addr(0x0a60_0001, number)])
}

pub(crate) fn slice(number: u32, endpoints: u32, salt: u32) -> EndpointSlice {
    let endpoint = |at: u32| {
        // The last one is another where the salt is.
        let salt = if at + 1 == endpoints { salt } else { 0 };
        let host = (number * 64 + at * 2 + salt) % (1 << 20);
        let node = Some(format!("node-{}", host % 100).as_str().into());
        plain::endpoint(addr(0x0af4_0000, host), node)
    };
    plain::slice(name(number), Family::V4, (0..endpoints).map(endpoint).collect())
}
