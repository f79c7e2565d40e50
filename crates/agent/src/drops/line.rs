//! A line about packets that were dropped, as people and programs read it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use compile::policy::{By, Connection, Ending, Judge, Learned, Party, RuleName, Way, both_parties};
use kernel::nflog::Header;
use model::{Direction, DropReason, Protocol, Rfc3339};
use serde_json::{Value, json};

use crate::shown::View;

/// Packets of one kind that were dropped within a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// They count up.
    pub(crate) number: u64,
    /// When the first packet came: a time since 1970.
    pub(crate) first: Duration,
    /// When the last one did.
    pub(crate) last: Duration,
    /// How many the kernel showed.
    pub(crate) packets: u64,
    /// Whose they are, and why they were dropped.
    pub(crate) dropped: Dropped,
}

/// A packet that was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Why, as the kernel says it.
    pub(crate) ending: Ending,
    /// Who began its connection.
    pub(crate) client: Side,
    /// Who was to answer.
    pub(crate) server: Side,
    /// Number of its protocol.
    pub(crate) protocol: u8,
    /// Who decided; `None` where nobody is asked, or policies have become others since.
    pub(crate) by: Option<By>,
}

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) who: Party,
    pub(crate) addr: IpAddr,
    /// 0 where the protocol has none.
    pub(crate) port: u16,
}

impl Dropped {
    /// Explains a packet that went this `way` by what the loop shows.
    ///
    /// At the hooks where policies are asked, destinations are rewritten already and sources not yet; and of what
    /// goes back, the other way around. So the header's ends are those of the connection that rules go by.
    pub(crate) fn explained(ending: Ending, header: &Header, way: Way, view: &View) -> Self {
        let [from, to] = both_parties(&view.world, [header.src, header.dst]);
        let has_ports = with_ports(header.protocol).is_some();
        let ports = if has_ports { [header.sport, header.dport] } else { [0, 0] };
        let ends = [
            Side { who: from, addr: header.src, port: ports[0] },
            Side { who: to, addr: header.dst, port: ports[1] },
        ];
        let [client, server] = match (way, ends) {
            (Way::There, ends) => ends,
            (Way::Back, [from, to]) => [to, from],
        };
        let protocol = header.protocol;
        let mut dropped = Dropped { ending, client, server, protocol, by: None };
        dropped.by = dropped.judged(view);
        dropped
    }

    fn judged(&self, view: &View) -> Option<By> {
        let direction = self.ending.direction?;
        // Whom a name stood for was not dropped by what comes after.
        let learned = Learned::new();
        let table = &view.compiled.policies;
        let judge = Judge { world: &view.world, table, learned: &learned };
        let connection = Connection {
            client: self.client.who.clone(),
            from: self.client.addr,
            server: self.server.who.clone(),
            to: self.server.addr,
            protocol: self.protocol,
            port: self.server.port,
            // What goes back to its own pod was led there, else nobody had seen it.
            is_led: true,
        };
        let verdict = match (direction, self.ending.is_audit) {
            (_, true) => judge.audit(&connection, direction)?,
            (Direction::Egress, false) => judge.egress(&connection),
            (Direction::Ingress, false) => judge.ingress(&connection),
        };
        let is_that = verdict.dropped() == Some(self.ending.reason);
        is_that.then_some(verdict.by)
    }

    /// Who decided, in words.
    fn why(&self) -> String {
        match &self.by {
            Some(by) => by.to_string(),
            None if self.ending.reason == DropReason::NoConnection => {
                self.ending.reason.to_string()
            }
            None => format!("{}, by policies that have changed since", self.ending.reason),
        }
    }
}

impl Line {
    /// As programs want it.
    pub(crate) fn json(&self) -> Value {
        let Dropped { ending, client, server, protocol, by } = &self.dropped;
        let (tier, policies, rule) = match by {
            Some(By::Deny(RuleName::Cluster(tier, policy, rule))) => {
                (Some(format!("{tier:?}")), vec![policy.to_string()], Some(*rule))
            }
            Some(By::NotAllowed(policies)) => {
                let policies = policies.iter().map(|name| format!("NetworkPolicy {name}"));
                (Some("NetworkPolicy".to_owned()), policies.collect(), None)
            }
            Some(_) | None => (None, Vec::new(), None),
        };
        json!({
            "number": self.number,
            "time": Rfc3339(self.first).to_string(),
            "lastTime": Rfc3339(self.last).to_string(),
            "packets": self.packets,
            "verdict": if ending.is_audit { "audit" } else { "dropped" },
            "reason": ending.reason_name(),
            "direction": ending.direction.map(|direction| direction.to_string()),
            "protocol": protocol_name(*protocol),
            "client": client.json(),
            "server": server.json(),
            "tier": tier,
            "policies": policies,
            "rule": rule,
            "text": self.to_string(),
        })
    }
}

impl Side {
    fn json(&self) -> Value {
        let (pod, node) = match &self.who {
            Party::Pod(name) => (Some(name.to_string()), None),
            Party::Node(name) => (None, Some(name.to_string())),
            Party::Elsewhere => (None, None),
        };
        let port = Some(self.port).filter(|port| *port != 0);
        json!({ "pod": pod, "node": node, "address": self.addr, "port": port })
    }
}

fn with_ports(protocol: u8) -> Option<Protocol> {
    let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    all.into_iter().find(|one| one.number() == protocol)
}

fn protocol_name(protocol: u8) -> String {
    match (with_ports(protocol), protocol) {
        (Some(protocol), _) => protocol.to_string(),
        (None, 1) => "icmp".to_owned(),
        (None, 58) => "icmpv6".to_owned(),
        (None, other) => format!("protocol {other}"),
    }
}

/// `2026-05-01T00:00:00Z dropped egress tcp CLIENT > SERVER not-allowed: why`.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Rfc3339(self.first), self.dropped)?;
        match self.packets {
            1 => Ok(()),
            packets => write!(f, "; {packets} packets until {}", Rfc3339(self.last)),
        }
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.ending.is_audit { "audit " } else { "dropped " })?;
        if let Some(direction) = self.ending.direction {
            write!(f, "{direction} ")?;
        }
        let (protocol, reason) = (protocol_name(self.protocol), self.ending.reason_name());
        write!(f, "{protocol} {} > {} {reason}: {}", self.client, self.server, self.why())
    }
}

/// `NAMESPACE/NAME (ADDRESS:PORT)`, or where and whose else it is.
impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = match self.port {
            0 => self.addr.to_string(),
            port => SocketAddr::new(self.addr, port).to_string(),
        };
        match &self.who {
            Party::Pod(name) => write!(f, "{name} ({at})"),
            Party::Node(name) => write!(f, "node {name} ({at})"),
            Party::Elsewhere => f.write_str(&at),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use compile::Compiled;
    use compile::policy::resolve;
    use fixtures::policies::write::{egress, ingress};
    use fixtures::policies::{Play, Stage, Step};
    use model::{Family, ObjectName, World};
    use serde_json::json;

    use super::*;

    fn view(world: World) -> View {
        let policies = resolve(&world, &"node-1".into());
        let compiled = Arc::new(Compiled { policies, ..Compiled::default() });
        View { world, compiled, ..View::default() }
    }

    /// What is said of a packet of TCP between two pods of the stage.
    fn said(view: &View, (from, to): (&str, &str), prefix: &str, ports: [u16; 2]) -> Line {
        let addr = |name: &str| match name.split_once('/') {
            Some((space, name)) => view.world.pods[&ObjectName::new(space, name)].addrs[0],
            None => name.parse().unwrap(),
        };
        let (src, dst) = (addr(from), addr(to));
        let header = Header { src, dst, protocol: 6, sport: ports[0], dport: ports[1] };
        let (ending, way) = Ending::of(prefix).unwrap();
        let dropped = Dropped::explained(ending, &header, way, view);
        let now = Duration::from_secs(1_777_593_600);
        Line { number: 7, first: now, last: now, packets: 1, dropped }
    }

    #[test]
    fn npx4_a_line_names_both_ends_and_who_decided_whichever_way_the_packet_goes() {
        let mut play = Play::new(Stage::NINE, Family::V4);
        play.happen(&Step::Put(ingress("shut", "pod=a", json!([]))));
        play.happen(&Step::Put(egress("stay", "pod=a", json!([]))));
        let view = view(play.world);
        let shut = "no NetworkPolicy allows it; isolated by x/shut";
        let there = said(&view, ("y/a", "x/a"), "not-allowed ingress original", [40_000, 80]);
        let ends = "y/a (10.244.1.3:40000) > x/a (10.244.1.2:80)";
        assert!(there.to_string().starts_with("2026-05-01T00:00:00"), "{there}");
        let want = format!(" dropped ingress tcp {ends} not-allowed: {shut}");
        assert!(there.to_string().ends_with(&want), "{there}\n{want}");
        let back = said(&view, ("x/a", "y/a"), "not-allowed ingress reply", [80, 40_000]);
        assert_eq!(back.to_string(), there.to_string());
        let outside = said(&view, ("x/a", "203.0.113.9"), "not-allowed egress original", [4, 53]);
        assert!(outside.to_string().contains("> 203.0.113.9:53 not-allowed"), "{outside}");
        assert!(outside.to_string().ends_with("isolated by x/stay"), "{outside}");
        let json = back.json();
        assert_eq!(json["client"]["pod"], "y/a");
        assert_eq!(json["server"]["port"], 80);
        assert_eq!(json["tier"], "NetworkPolicy");
        assert_eq!(json["policies"], json!(["NetworkPolicy x/shut"]));
    }

    #[test]
    fn npx4_what_is_allowed_now_was_dropped_by_other_policies() {
        let view = view(Play::new(Stage::NINE, Family::V4).world);
        let line = said(&view, ("y/a", "x/a"), "denied ingress original", [40_000, 80]);
        assert!(line.to_string().ends_with("by policies that have changed since"), "{line}");
        let stray = said(&view, ("y/a", "x/a"), "no-connection", [40_000, 80]).to_string();
        assert!(
            stray.ends_with("no-connection: of no connection, at a pod with policies"),
            "{stray}"
        );
    }
}
