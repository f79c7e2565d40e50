//! What Services add to the first packet of a connection, from a pod to a backend across the node.

use std::net::{Ipv4Addr, SocketAddr};

use std::sync::Arc;

use model::{ServiceName, World};

use crate::running::Running;
use crate::turns::{self, Node, PORT};
use crate::world::{POD, name, world};
use crate::{Outcome, peer};

/// Every Service that is connected to, of as many as there are.
const ASKED: u32 = 8;

const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 244, 255, 2);

/// Prints a table: a line for each ruleset.
pub(crate) fn measure() -> Outcome<()> {
    turns::measure(vec![
        Node::start("no rules, straight to the backend", [POD, BACKEND], || {
            Ok(vec![(BACKEND, PORT).into()])
        })?,
        node("10 Services", 10, ours)?,
        node("1,000 Services", 1000, ours)?,
        node("10,000 Services", 10_000, ours)?,
        node("30,000 Services", 30_000, ours)?,
        node("1,000 as kube-proxy lays them out", 1000, |world| peer::program(&world).map(drop))?,
    ])
}

/// A node with so many Services, some of which lead to its backend, programmed by `program`.
fn node(
    what: &'static str,
    services: u32,
    program: impl FnOnce(World) -> Outcome<()> + Send,
) -> Outcome<Node> {
    let mut world = world(services, 2);
    let asked = (0..ASKED).map(|n| name(n * (services / ASKED)));
    let to: Vec<SocketAddr> =
        asked.map(|service| lead_to_backend(&mut world, &service)).collect::<Outcome<_>>()?;
    Node::start(what, [POD, BACKEND], || program(world).map(|()| to))
}

fn ours(world: World) -> Outcome<()> {
    Running::start(world)?.pass().map(drop)
}

/// Has both endpoints of a Service be the backend. Returns where clients find it.
fn lead_to_backend(world: &mut World, service: &ServiceName) -> Outcome<SocketAddr> {
    let found = world.slices.iter().find(|(key, _)| key.service == *service);
    let (key, slice) = found.ok_or("a Service without a slice")?;
    let (key, mut slice) = (key.clone(), (**slice).clone());
    slice.endpoints.truncate(1);
    slice.endpoints[0].addr = BACKEND.into();
    world.slices.insert(key, Arc::new(slice));
    let service = world.services.get(service).ok_or("no such Service")?;
    Ok((service.cluster_ips[0], service.ports[0].port).into())
}
