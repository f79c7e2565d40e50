//! Whose flows were ours before this agent started.
//!
//! Entries of connection tracking carry no owner. But the maps that rules translate by do say what
//! was translated, and they live exactly as long as the entries: in the same network namespace, until
//! somebody removes them. So the agent that starts reads from the maps which frontends were the last
//! one's, before it changes them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use model::Protocol;
use plan::nft::{Data, Key, Row, TableFamily, Value};
use plan::{Flow, FlowKey, Table};

/// Frontends of UDP and SCTP that rules led somewhere.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LeftBehind {
    frontends: BTreeSet<FlowKey>,
    /// Node ports, open at `node_addrs`.
    node_ports: BTreeSet<(Protocol, u16)>,
    node_addrs: BTreeSet<IpAddr>,
    /// hostPorts at every address, each with its container.
    host_ports: BTreeSet<(Protocol, u16, SocketAddr)>,
}

impl LeftBehind {
    /// What the rows of the table inet `seaway` say.
    pub fn of(rules: &Table<Key, Row>) -> Self {
        let mut found = LeftBehind::default();
        for (key, row) in rules {
            let (Key::Element(TableFamily::Inet, set, key), Row::Element(data)) = (key, row) else {
                continue;
            };
            let key = &key.to_vec();
            match &*set.0 {
                "services4" | "services6" | "host_ip_ports4" | "host_ip_ports6" => {
                    found.frontends.extend(frontend(key));
                }
                "node_ports4" | "node_ports6" => found.node_ports.extend(port(key)),
                "node_port_addrs4" | "node_port_addrs6" => {
                    found.node_addrs.extend(key.first().and_then(addr));
                }
                "host_ports4" | "host_ports6" => {
                    let container = data.as_ref().and_then(backend);
                    let row = port(key).zip(container);
                    found.host_ports.extend(row.map(|((protocol, port), to)| (protocol, port, to)));
                }
                _ => {}
            }
        }
        found
    }

    /// Whether rules led `flow` where it goes. Somebody else's may have if they translated the same
    /// address and port, which was never reached, as ours came first.
    pub fn has(&self, flow: &Flow) -> bool {
        let FlowKey { protocol, at } = flow.to;
        flow.is_translated()
            && (self.frontends.contains(&flow.to)
                || self.node_addrs.contains(&at.ip())
                    && self.node_ports.contains(&(protocol, at.port()))
                || self.host_ports.contains(&(protocol, at.port(), flow.backend)))
    }
}

/// `address . protocol . port`.
fn frontend(key: &[Value]) -> Option<FlowKey> {
    let (at, rest) = key.split_first()?;
    let (protocol, port) = port(rest)?;
    Some(FlowKey { protocol, at: SocketAddr::new(addr(at)?, port) })
}

/// `protocol . port`; none of TCP's.
fn port(key: &[Value]) -> Option<(Protocol, u16)> {
    let [Value::Number(number), Value::Port(port)] = key else { return None };
    let known = [Protocol::Udp, Protocol::Sctp];
    Some((known.into_iter().find(|protocol| protocol.number() == *number)?, *port))
}

fn backend(data: &Data) -> Option<SocketAddr> {
    let Data::Values(values) = data else { return None };
    let [at, Value::Port(port)] = &values.to_vec()[..] else { return None };
    Some(SocketAddr::new(addr(at)?, *port))
}

fn addr(value: &Value) -> Option<IpAddr> {
    match value {
        Value::Ipv4(addr) => Some((*addr).into()),
        Value::Ipv6(addr) => Some((*addr).into()),
        Value::Ether(_)
        | Value::Name(_)
        | Value::Prefix(_)
        | Value::Number(_)
        | Value::Port(_)
        | Value::Mark(_)
        | Value::ClassId(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::Ruleset;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn values(at: &str) -> Vec<Value> {
        let at: SocketAddr = at.parse().unwrap();
        vec![at.ip().into(), Value::Port(at.port())]
    }

    /// A Service's address, a node port, a hostPort with and one without a hostIP.
    fn rules() -> Table<Key, Row> {
        let mut table = Table::default();
        let mut rules = Ruleset::new(&mut table, TableFamily::Inet);
        let udp = Value::Number(17);
        let key = |at: &str| {
            let mut key = values(at);
            key.insert(1, udp.clone());
            key
        };
        rules.entry("services4", key("10.96.0.1:53"), Vec::new());
        rules.entry("services6", key("[fd00::1]:53"), Vec::new());
        rules.entry("node_ports4", vec![udp.clone(), Value::Port(30053)], Vec::new());
        rules.element("node_port_addrs4", values("192.0.2.1:0")[..1].to_vec());
        rules.entry("host_ports4", vec![udp.clone(), Value::Port(5353)], values("10.1.0.2:53"));
        rules.entry("host_ip_ports4", key("192.0.2.1:5300"), values("10.1.0.2:53"));
        rules.entry("cluster_slots4", key("10.96.0.9:53"), values("10.1.0.2:53"));
        table
    }

    #[test]
    fn flows_are_ours_by_the_rules_that_translated_them() {
        let cases = "
            a cluster IP                   | udp 10.96.0.1:53 to 10.1.0.9:53     | ours
            of IPv6                        | udp [fd00::1]:53 to [fd01::2]:53    | ours
            that nothing translated        | udp 10.96.0.1:53 to 10.96.0.1:53    | not
            of another protocol            | sctp 10.96.0.1:53 to 10.1.0.9:53    | not
            another port                   | udp 10.96.0.1:54 to 10.1.0.9:53     | not
            a node port                    | udp 192.0.2.1:30053 to 10.1.0.9:53  | ours
            its number, at another address | udp 192.0.2.9:30053 to 10.1.0.9:53  | not
            a hostPort                     | udp 192.0.2.1:5353 to 10.1.0.2:53   | ours
            at any address                 | udp 192.0.2.9:5353 to 10.1.0.2:53   | ours
            to another container           | udp 192.0.2.1:5353 to 172.17.0.2:53 | not
            a hostPort with a hostIP       | udp 192.0.2.1:5300 to 10.1.0.2:53   | ours
            at another address             | udp 192.0.2.9:5300 to 10.1.0.2:53   | not
            only a slot                    | udp 10.96.0.9:53 to 10.1.0.2:53     | not";
        let left = LeftBehind::of(&rules());
        for line in cases.trim().lines() {
            let columns: Vec<&str> = line.split('|').map(str::trim).collect();
            let words: Vec<&str> = columns[1].split_whitespace().collect();
            let to = FlowKey { protocol: words[0].parse().unwrap(), at: at(words[1]) };
            let flow =
                Flow { from: at("192.0.2.7:4000"), to, backend: at(words[3]), is_answered: true };
            assert_eq!(left.has(&flow), columns[2] == "ours", "{}", columns[0]);
        }
    }
}
