//! Every place to every other, and what should be seen there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use model::Family;

use super::places::{Place, Role};
use super::probe::{self, Kind, Responder};

/// Kinds of paths, as people think of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Path {
    PodSameNode,
    PodCrossNode,
    PodToOwnNode,
    PodToOtherNode,
    NodeToOwnPod,
    NodeToOtherPod,
    NodeToNode,
    PodToOutside,
}

impl Path {
    pub(super) fn name(self) -> &'static str {
        match self {
            Path::PodSameNode => "pod → pod, same node",
            Path::PodCrossNode => "pod → pod, other node",
            Path::PodToOwnNode => "pod → its node",
            Path::PodToOtherNode => "pod → other node",
            Path::NodeToOwnPod => "node → its pod",
            Path::NodeToOtherPod => "node → other node's pod",
            Path::NodeToNode => "node → node",
            Path::PodToOutside => "pod → outside",
        }
    }

    /// The path between two places; `None` where the cluster's network promises nothing.
    fn between(from: &Place, to: &Place) -> Option<Path> {
        let same = from.node == to.node;
        match (from.role, to.role) {
            (Role::Pod, Role::Pod) if same => Some(Path::PodSameNode),
            (Role::Pod, Role::Pod) => Some(Path::PodCrossNode),
            (Role::Pod, Role::Node) if same => Some(Path::PodToOwnNode),
            (Role::Pod, Role::Node) => Some(Path::PodToOtherNode),
            (Role::Node, Role::Pod) if same => Some(Path::NodeToOwnPod),
            (Role::Node, Role::Pod) => Some(Path::NodeToOtherPod),
            (Role::Node, Role::Node) => (!same).then_some(Path::NodeToNode),
            (Role::Pod, Role::Outside) => Some(Path::PodToOutside),
            (Role::Node | Role::Outside, Role::Outside)
            | (Role::Outside, Role::Pod | Role::Node) => None,
        }
    }
}

/// One probe and what came of it.
pub(super) struct Probed {
    pub(super) path: Path,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) family: Family,
    pub(super) kind: Kind,
    /// How long it took, or what went wrong.
    pub(super) outcome: Result<Duration, String>,
}

/// Runs every probe; each place sends on a thread of its own.
pub(super) fn run(places: &[Place], timeout: Duration) -> anyhow::Result<Vec<Probed>> {
    let responders: anyhow::Result<Vec<Responder>> =
        places.iter().map(|place| Responder::start(&place.netns, &place.addrs)).collect();
    let responders = responders?;
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for from in places {
            let (results, responders) = (&results, &responders);
            scope.spawn(move || {
                let probed = from_one(from, places, responders, timeout);
                results.lock().expect("no prober panics while it holds the lock").extend(probed);
            });
        }
    });
    let mut results = results.into_inner().expect("no prober panics while it holds the lock");
    results.sort_by(|a, b| {
        (a.path, &a.from, &a.to, a.family, a.kind).cmp(&(b.path, &b.from, &b.to, b.family, b.kind))
    });
    Ok(results)
}

/// All probes of one place, sent from inside its namespace.
fn from_one(
    from: &Place,
    places: &[Place],
    responders: &[Responder],
    timeout: Duration,
) -> Vec<Probed> {
    let all = || {
        let mut probed = Vec::new();
        for (to, responder) in places.iter().zip(responders) {
            let Some(path) = Path::between(from, to) else { continue };
            for (source, target) in shared_families(from, to) {
                let target = SocketAddr::new(target, responder.port);
                for kind in Kind::ALL {
                    probed.push(one(path, from, to, (source, target), kind, timeout, places));
                }
            }
        }
        probed
    };
    match from.netns.run(all) {
        Ok(probed) => probed,
        Err(error) => vec![Probed {
            path: Path::PodSameNode,
            from: from.name.clone(),
            to: "—".to_owned(),
            family: Family::V4,
            kind: Kind::Tcp,
            outcome: Err(format!("enter the namespace: {error}")),
        }],
    }
}

/// One address pair per family that both places have; nothing to oneself.
fn shared_families(from: &Place, to: &Place) -> Vec<(IpAddr, IpAddr)> {
    if from.name == to.name {
        return Vec::new();
    }
    let first = |place: &Place, family| {
        place.addrs.iter().copied().find(|addr| Family::of(*addr) == family)
    };
    Family::ALL.into_iter().filter_map(|f| Some((first(from, f)?, first(to, f)?))).collect()
}

fn one(
    path: Path,
    from: &Place,
    to: &Place,
    (source, target): (IpAddr, SocketAddr),
    kind: Kind,
    timeout: Duration,
    places: &[Place],
) -> Probed {
    let start = Instant::now();
    let outcome = probe::send(kind, source, target, from.mtu.min(to.mtu), timeout)
        .map_err(|error| format!("{target}: {error:#}"))
        .and_then(|seen| source_is_right(path, from, seen, places))
        .map(|()| start.elapsed());
    let family = Family::of(source);
    Probed { path, from: from.name.clone(), to: to.name.clone(), family, kind, outcome }
}

/// Inside the cluster the sender's own address is seen; outside, its node's.
fn source_is_right(path: Path, from: &Place, seen: IpAddr, places: &[Place]) -> Result<(), String> {
    let expected: &[IpAddr] = match path {
        Path::PodToOutside => {
            let node = places.iter().find(|p| p.role == Role::Node && p.node == from.node);
            node.map_or(&[], |node| &node.addrs)
        }
        Path::PodSameNode
        | Path::PodCrossNode
        | Path::PodToOwnNode
        | Path::PodToOtherNode
        | Path::NodeToOwnPod
        | Path::NodeToOtherPod
        | Path::NodeToNode => &from.own,
    };
    if expected.contains(&seen) {
        return Ok(());
    }
    let list: Vec<String> = expected.iter().map(ToString::to_string).collect();
    Err(format!("seen from {seen}, expected {}", list.join(" or ")))
}
