//! Tables of clients, frontends, answers and sources, held against packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use model::{Family, Protocol};
use serde_json::Value;

use super::ask::Notice;
use super::stage::{ANSWER, NODES, SILENCE, Stage};
use crate::lab::eventually;

/// How often one frontend is asked before an endpoint that did not answer counts as missing: one of
/// two is missed by chance once in 2^39 tables.
const QUESTIONS: u32 = 40;
/// Clients that ask at once.
const AT_ONCE: usize = 12;

/// What a table is held for.
#[derive(Clone, Copy)]
pub(crate) struct Over<'a> {
    pub(crate) families: &'a [Family],
    pub(crate) protocols: &'a [Protocol],
}

/// Both families and every protocol.
pub(crate) const ALL: Over<'_> =
    Over { families: &Family::ALL, protocols: &[Protocol::Tcp, Protocol::Udp, Protocol::Sctp] };
/// Both families, TCP and UDP.
pub(crate) const TCP_UDP: Over<'_> =
    Over { families: &Family::ALL, protocols: &[Protocol::Tcp, Protocol::Udp] };
/// Both families, TCP.
pub(crate) const TCP: Over<'_> = Over { families: &Family::ALL, protocols: &[Protocol::Tcp] };

/// One row for one family and protocol.
struct Cell<'a> {
    row: &'a str,
    client: &'a str,
    protocol: Protocol,
    to: SocketAddr,
    wanted: Wanted,
}

/// What is to be noticed.
enum Wanted {
    /// Each of these hosts answers at one time or another, having seen one of these addresses, and
    /// nobody else does.
    Answers(BTreeMap<String, Vec<IpAddr>>),
    Refused,
    Silence,
}

impl Stage {
    /// Holds packets to the Service `name` against `table`, until they are as it says.
    ///
    /// A row is: who asks; where (see [`Frontends`]); which hosts answer, or `refused`, or `silence`;
    /// and whose address they see: that of `itself`, or of a place by name, one for all or one for
    /// each.
    pub(crate) fn check(&self, name: &str, over: Over<'_>, table: &str) {
        self.check_at(&self.frontends(name), over, table);
    }

    /// Where the Service `name` is now.
    pub(crate) fn frontends(&self, name: &str) -> Frontends {
        Frontends::of(&self.object(&["service", name]), &self.nodes)
    }

    /// [`Stage::check`], for a Service that may not be there any more.
    pub(crate) fn check_at(&self, frontends: &Frontends, over: Over<'_>, table: &str) {
        self.hold(self.cells(frontends, over, table));
    }

    /// [`Stage::check`], for many Services at once, each with its table.
    pub(crate) fn check_each(&self, over: Over<'_>, tables: &[(String, String)]) {
        let services = self.object(&["services"]);
        let services: BTreeMap<_, _> = services["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|service| (service["metadata"]["name"].as_str().unwrap_or_default(), service))
            .collect();
        let cells = tables.iter().flat_map(|(name, table)| {
            let service = services.get(&**name).unwrap_or_else(|| panic!("no Service {name}"));
            self.cells(&Frontends::of(service, &self.nodes), over, table)
        });
        self.hold(cells.collect());
    }

    fn cells<'a>(&self, frontends: &Frontends, over: Over<'_>, table: &'a str) -> Vec<Cell<'a>> {
        let rows = table.lines().map(str::trim).filter(|row| !row.is_empty());
        rows.flat_map(|row| {
            over.families.iter().flat_map(move |family| {
                over.protocols.iter().map(move |protocol| (row, *family, *protocol))
            })
        })
        .map(|(row, family, protocol)| self.cell(frontends, row, family, protocol))
        .collect()
    }

    fn hold(&self, mut cells: Vec<Cell<'_>>) {
        // At first nobody answers yet; later a packet may be lost.
        let mut patience = SILENCE;
        eventually("packets fare as the table says", || {
            let mut wrong = Vec::new();
            let mut left = Vec::new();
            for cells in chunks(std::mem::take(&mut cells)) {
                let found: Vec<_> = thread::scope(|scope| {
                    let ask = |cell| scope.spawn(move || (self.look(&cell, patience), cell));
                    let asked: Vec<_> = cells.into_iter().map(ask).collect();
                    asked.into_iter().map(|t| t.join().expect("a client panicked")).collect()
                });
                for (found, cell) in found {
                    if let Err(why) = found {
                        wrong.push(format!("{} {} at {}: {why}", cell.row, cell.protocol, cell.to));
                        left.push(cell);
                    }
                }
            }
            cells = left;
            patience = ANSWER.min(patience * 2);
            if wrong.is_empty() { Ok(()) } else { Err(wrong) }
        });
    }

    fn cell<'a>(
        &self,
        frontends: &Frontends,
        row: &'a str,
        family: Family,
        protocol: Protocol,
    ) -> Cell<'a> {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        let (client, to, answers) = (columns[0], columns[1], columns[2]);
        let to = frontends.at(to, family, protocol);
        let wanted = match answers {
            "refused" => Wanted::Refused,
            "silence" => Wanted::Silence,
            hosts => {
                let seen: Vec<&str> = columns[3].split(' ').collect();
                let each = hosts.split(' ').enumerate().map(|(i, host)| {
                    let seen = seen.get(i).unwrap_or(&seen[0]);
                    (host.to_owned(), self.addresses(client, seen, family))
                });
                Wanted::Answers(each.collect())
            }
        };
        Cell { row, client, protocol, to, wanted }
    }

    /// The addresses by which `seen` is known.
    fn addresses(&self, client: &str, seen: &str, family: Family) -> Vec<IpAddr> {
        let who = if seen == "itself" { client } else { seen };
        let place = self.at(who);
        match NODES.contains(&who) {
            true => place.addrs().into_iter().filter(|ip| Family::of(*ip) == family).collect(),
            false => vec![place.addr(family)],
        }
    }

    fn look(&self, cell: &Cell<'_>, patience: Duration) -> Result<(), String> {
        let Cell { client, protocol, to, ref wanted, .. } = *cell;
        match wanted {
            Wanted::Silence => only(Notice::Silence, self.asks(client, protocol, to, SILENCE)),
            Wanted::Refused => only(Notice::Refused, self.asks(client, protocol, to, patience)),
            Wanted::Answers(hosts) => {
                let mut missing: BTreeSet<&String> = hosts.keys().collect();
                for _ in 0..QUESTIONS {
                    let noticed = self.asks(client, protocol, to, patience);
                    let Notice::Answer { host, saw } = &noticed else {
                        return Err(format!("{noticed:?}"));
                    };
                    if !hosts.get(host).is_some_and(|seen| seen.contains(saw)) {
                        return Err(format!("{noticed:?}"));
                    }
                    missing.remove(host);
                    if missing.is_empty() {
                        return Ok(());
                    }
                }
                Err(format!("{missing:?} never answered"))
            }
        }
    }
}

fn only(wanted: Notice, noticed: Notice) -> Result<(), String> {
    if noticed == wanted { Ok(()) } else { Err(format!("{noticed:?}")) }
}

fn chunks(mut cells: Vec<Cell<'_>>) -> Vec<Vec<Cell<'_>>> {
    let mut chunks = Vec::new();
    while !cells.is_empty() {
        let rest = cells.split_off(cells.len().min(AT_ONCE));
        chunks.push(std::mem::replace(&mut cells, rest));
    }
    chunks
}

/// Where a Service is: `cluster`, its cluster IP; `node-1`, `node-2`, its node port there; `vip` and
/// `vip-2`, addresses of its load balancer; `external`, its external IP; `port@ADDRESS`, its node port
/// at any address. `:81` behind a name is another port.
#[derive(Debug, Default, Clone)]
pub(crate) struct Frontends {
    addrs: BTreeMap<(&'static str, Family), IpAddr>,
    ports: BTreeMap<Protocol, u16>,
    node_ports: BTreeMap<Protocol, u16>,
}

impl Frontends {
    /// Those of a Service, on nodes with these addresses.
    fn of(service: &Value, nodes: &BTreeMap<&'static str, Vec<IpAddr>>) -> Frontends {
        let mut found = Frontends::default();
        let mut put = |name: &'static str, addr: &Value| {
            let Some(addr) = addr.as_str().and_then(|addr| addr.parse().ok()) else { return };
            found.addrs.entry((name, Family::of(addr))).or_insert(addr);
        };
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        list(&service["spec"]["clusterIPs"]).iter().for_each(|addr| put("cluster", addr));
        list(&service["spec"]["externalIPs"]).iter().for_each(|addr| put("external", addr));
        // Two families, two addresses of each.
        let ingress = list(&service["status"]["loadBalancer"]["ingress"]);
        ingress.iter().take(2).for_each(|item| put("vip", &item["ip"]));
        ingress.iter().skip(2).for_each(|item| put("vip-2", &item["ip"]));
        for (name, addrs) in nodes {
            addrs.iter().for_each(|addr| put(name, &addr.to_string().into()));
        }
        for port in list(&service["spec"]["ports"]) {
            let protocol = port["protocol"].as_str().unwrap_or("TCP").to_lowercase();
            let protocol: Protocol = protocol.parse().expect("a protocol");
            let number = |field: &str| u16::try_from(port[field].as_u64()?).ok();
            let (port, node_port) = (number("port"), number("nodePort"));
            found.ports.entry(protocol).or_insert(port.expect("a port"));
            found.node_ports.entry(protocol).or_insert(node_port.unwrap_or_default());
        }
        found
    }

    /// The one of this name.
    pub(crate) fn at(&self, name: &str, family: Family, protocol: Protocol) -> SocketAddr {
        if let Some(addr) = name.strip_prefix("port@") {
            return SocketAddr::new(addr.parse().expect("an address"), self.node_ports[&protocol]);
        }
        let (name, port) = match name.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().expect("a port"))),
            None => (name, None),
        };
        let known = self.addrs.iter().find(|((known, of), _)| (*known, *of) == (name, family));
        let (_, addr) = known.unwrap_or_else(|| panic!("no {family} {name} in {self:?}"));
        let own = if NODES.contains(&name) { &self.node_ports } else { &self.ports };
        let port = port.or_else(|| own.get(&protocol).copied());
        SocketAddr::new(*addr, port.unwrap_or_else(|| panic!("no {protocol} port in {self:?}")))
    }
}
