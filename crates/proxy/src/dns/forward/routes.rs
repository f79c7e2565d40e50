//! Who is asked about a name.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::DomainName;
use model::forwarding::{self, ForwardZone, Over, Policy, Server};
use nix::net::if_::if_nametoindex;

use super::rules::parents;
use super::tasks::Tasks;
use super::tls;
use super::upstream::Upstream;
use crate::dns::random;

/// Servers that one zone has at most (DNS-81).
const MOST_UPSTREAMS: usize = 15;

/// Port of DNS.
const PORT: u16 = 53;

/// Zones with their servers.
#[derive(Debug, Default)]
pub(super) struct Routes(HashMap<Box<[u8]>, Arc<Route>>);

/// The servers of a zone. When there are none, its names cannot be asked for: the servers of the zone
/// above are not told about them.
#[derive(Debug)]
pub(super) struct Route {
    settings: ForwardZone,
    servers: Vec<Server>,
    upstreams: Vec<Arc<Upstream>>,
    turn: AtomicUsize,
}

/// Why servers of a zone are not asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadRoute {
    #[error("read nameservers of zone {zone} from {file}")]
    File { zone: String, file: String, source: io::Error },
    #[error(
        "zone {0} has no server to ask: check its `to`, and the nameserver lines of files in it"
    )]
    Nobody(String),
    #[error("prepare to verify certificates of zone {zone}'s servers")]
    Tls { zone: String, source: io::Error },
    #[error("prepare to ask {server} about zone {zone}")]
    Server { zone: String, server: String, source: io::Error },
}

impl Routes {
    /// The route for `name`: that of the longest zone it is in (DNS-91).
    pub(super) fn find(&self, name: &DomainName) -> Option<&Route> {
        let wire = name.as_wire();
        let mut zones = std::iter::once(0).chain(parents(wire));
        zones.find_map(|at| self.0.get(&wire[at..])).map(|route| &**route)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.values().map(|route| &**route)
    }

    /// The routes for `zones`, by what files say now, and what is wrong with them. Routes that are as they
    /// were keep their connections and what is known of their servers; one whose file cannot be read goes
    /// on with the servers it had.
    pub(super) fn renewed(
        &self,
        zones: &[ForwardZone],
        tasks: &Arc<Tasks>,
    ) -> (Self, Vec<BadRoute>) {
        let (mut routes, mut bad) = (HashMap::new(), Vec::new());
        for settings in zones {
            let key = settings.zone.as_wire();
            let old = self.0.get(key).filter(|route| route.settings == *settings);
            let servers = match servers(settings) {
                Ok(servers) => servers,
                Err(reason) => {
                    bad.push(reason);
                    old.map(|route| route.servers.clone()).unwrap_or_default()
                }
            };
            let route = match old.filter(|route| route.servers == servers) {
                Some(same) => Arc::clone(same),
                None => Arc::new(Route::new(settings, servers, tasks, &mut bad)),
            };
            routes.insert(key.into(), route);
        }
        (Routes(routes), bad)
    }

    /// Whether each route is the one that `other` has.
    pub(super) fn is_same(&self, other: &Routes) -> bool {
        let is_there = |route: &Arc<Route>| {
            let there = other.0.get(route.zone().as_wire());
            there.is_some_and(|there| Arc::ptr_eq(route, there))
        };
        self.0.len() == other.0.len() && self.0.values().all(is_there)
    }
}

impl Route {
    fn new(
        settings: &ForwardZone,
        servers: Vec<Server>,
        tasks: &Arc<Tasks>,
        bad: &mut Vec<BadRoute>,
    ) -> Self {
        let zone = settings.zone.to_string();
        let is_tls = |server: &Server| matches!(server.over, Over::Tls(_));
        let layer = servers.iter().any(is_tls).then(|| tls::layer(settings.ca.as_deref()));
        let layer = match layer.transpose() {
            Ok(layer) => layer,
            Err(source) => {
                bad.push(BadRoute::Tls { zone: zone.clone(), source });
                None
            }
        };
        let mut upstreams = Vec::new();
        for server in &servers {
            match Upstream::new(server.clone(), layer.as_ref(), settings, tasks) {
                Ok(upstream) => upstreams.push(Arc::new(upstream)),
                Err(source) => {
                    let (zone, server) = (zone.clone(), server.to_string());
                    bad.push(BadRoute::Server { zone, server, source });
                }
            }
        }
        let turn = AtomicUsize::new(0);
        Route { settings: settings.clone(), servers, upstreams, turn }
    }

    /// The zone.
    pub(super) fn zone(&self) -> &DomainName {
        &self.settings.zone
    }

    /// Its servers.
    pub(super) fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Whom to ask, in this order: as the policy says, who answers before who does not. When nobody does,
    /// the checks may be wrong, so any of them.
    pub(super) fn order(&self) -> Vec<Arc<Upstream>> {
        let is_asked = |upstream: &&Arc<Upstream>| !upstream.is_loop();
        let mut order: Vec<_> = self.upstreams.iter().filter(is_asked).cloned().collect();
        match (self.settings.policy, order.len()) {
            (_, 0 | 1) => {}
            (Policy::Random, _) => shuffle(&mut order),
            (Policy::RoundRobin, len) => {
                order.rotate_left(self.turn.fetch_add(1, Ordering::Relaxed) % len);
            }
            (Policy::Sequential, _) => {}
        }
        order.sort_by_key(|upstream| upstream.standing());
        order
    }
}

fn shuffle<T>(all: &mut [T]) {
    for last in (1..all.len()).rev() {
        all.swap(last, usize::from(random::number()) % (last + 1));
    }
}

/// The servers that `settings` name, by what files say now.
fn servers(settings: &ForwardZone) -> Result<Vec<Server>, BadRoute> {
    let mut all = Vec::new();
    for to in &settings.to {
        match to {
            forwarding::Upstream::Server(server) => all.push(server.clone()),
            forwarding::Upstream::File(file) => {
                let text = fs::read_to_string(file).map_err(|source| BadRoute::File {
                    zone: settings.zone.to_string(),
                    file: file.clone(),
                    source,
                })?;
                let server = |addr| Server { addr, over: Over::Udp };
                all.extend(nameservers(&text).into_iter().map(server));
            }
        }
    }
    let mut seen = Vec::new();
    all.retain(|server| {
        let is_new = !seen.contains(server);
        seen.push(server.clone());
        is_new
    });
    all.truncate(MOST_UPSTREAMS);
    match all.is_empty() {
        true => Err(BadRoute::Nobody(settings.zone.to_string())),
        false => Ok(all),
    }
}

/// The addresses in lines like `nameserver 192.0.2.53`. What is none is not for us (resolv.conf(5)).
fn nameservers(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let addr = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        let Some((addr, link)) = addr.split_once('%') else {
            return Some(SocketAddr::new(addr.parse::<IpAddr>().ok()?, PORT));
        };
        let scope = link.parse().ok().or_else(|| if_nametoindex(link).ok())?;
        let addr: Ipv6Addr = addr.parse().ok()?;
        Some(SocketAddrV6::new(addr, PORT, 0, scope).into())
    };
    text.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameservers_are_those_that_a_resolver_would_ask() {
        let text = "# nameserver 192.0.2.1\nsearch a.example\nnameserver 192.0.2.2 # first\n\
            ;nameserver 192.0.2.3\n\tnameserver\t2001:db8::1\nnameserver nonsense\nnameserver\n\
            nameserver fe80::1%lo\nnameserver fe80::1%7\nnameserver fe80::1%absent\noptions ndots:5";
        let servers = ["192.0.2.2:53", "[2001:db8::1]:53", "[fe80::1%1]:53", "[fe80::1%7]:53"];
        let servers: Vec<SocketAddr> = servers.iter().map(|addr| addr.parse().unwrap()).collect();
        assert_eq!(nameservers(text), servers);
    }

    #[tokio::test]
    async fn dns83_dns91_the_longest_zone_that_a_name_is_in_counts() {
        let tasks = Arc::new(Tasks::new(tokio::runtime::Handle::current()));
        let server = Server { addr: ([192, 0, 2, 1], 53).into(), over: Over::Udp };
        let zone = |zone: &str| {
            let to = vec![forwarding::Upstream::Server(server.clone())];
            ForwardZone::new(zone.parse().unwrap(), to)
        };
        let zones = [zone("."), zone("example"), zone("corp.example")];
        let (routes, bad) = Routes::default().renewed(&zones, &tasks);
        assert!(bad.is_empty(), "{bad:?}");
        for (name, zone) in [
            ("a.corp.example", "corp.example."),
            ("corp.example", "corp.example."),
            ("evil-corp.example", "example."),
            ("org", "."),
            (".", "."),
        ] {
            let route = routes.find(&name.parse().unwrap()).unwrap();
            assert_eq!(route.zone().to_string(), zone, "{name}");
        }
        let (same, _) = routes.renewed(&zones, &tasks);
        assert!(same.is_same(&routes), "what is the same stays");
    }

    #[tokio::test]
    async fn a_zone_whose_servers_are_not_known_is_not_asked_about_elsewhere() {
        let tasks = Arc::new(Tasks::new(tokio::runtime::Handle::current()));
        let file = forwarding::Upstream::File("/nonexistent/resolv.conf".to_owned());
        let zones = [ForwardZone::new("corp.example".parse().unwrap(), vec![file])];
        let (routes, bad) = Routes::default().renewed(&zones, &tasks);
        let told = "read nameservers of zone corp.example. from /nonexistent/resolv.conf";
        assert_eq!(bad[0].to_string(), told);
        let route = routes.find(&"a.corp.example".parse().unwrap()).unwrap();
        assert!(route.order().is_empty());
    }
}
