//! `Plan.pods`: each attachment's veth pair with everything inside the pod.
//!
//! The host end carries key and namespace path in its alias; that one batch of requests makes the
//! pair and its alias, so no kill can come between. Inside the pod, addresses, routes and neighbors
//! carry Seaway's protocol number, and what the pod's own processes add is left alone.
//!
//! Both ends have their settings before they go up. Those of the pod's end: no router advertisements
//! or redirects, no duplicate address detection.
//!
//! A pod whose namespace is gone, or who broke its own end, is observed as a row that differs, and
//! stands in nobody's way.

mod alias;
mod inside;
mod removal;

use std::collections::BTreeSet;
use std::error::Error as StdError;

use model::{AttachmentKey, IfName, Mac};
use plan::{Changes, Failure, Mechanism, ObserveError, PROTOCOL, PodLink, Put, Table};

pub(super) use alias::AliasedKey;
use inside::{Ends, Inside};
use removal::Removals;

use super::{Foreign, LinkNames, Write, failure, send, settings};
use crate::netlink::{
    Error, LinkChange, LinkKindRow, LinkRow, Netlink, PortFlags, Request, VethEnd,
};
use crate::netns::{Entrant, Netns};
use crate::sysctl;

/// How the bridge treats a pod's port: the pod may reach itself through a Service, and only written
/// forwarding entries lead to it.
const PORT: PortFlags = PortFlags { hairpin: true, learning: false, flood: false };

/// The link group of pods' links that are about to be removed, and are in no group otherwise.
const DOOMED: u32 = 0x5ea_0000 + PROTOCOL as u32;

/// How many links are removed together: their requests are one system call.
const TOGETHER: usize = 256;

type Cause = Box<dyn StdError + Send + Sync>;

/// Pods' links.
pub struct Pods {
    netlink: Netlink,
    entrant: Entrant,
    home: Netns,
    removals: Removals,
}

/// The host end of a pod's link, as listed.
struct HostEnd {
    link: LinkRow,
    aliased: AliasedKey,
    master: Option<IfName>,
}

/// A link with the name that follows from the key belongs to another attachment.
#[derive(Debug, thiserror::Error)]
#[error("link {link} belongs to attachment {owner}; two keys have the same hash")]
struct NameTaken {
    link: IfName,
    owner: AttachmentKey,
}

/// The pod has an interface of the wanted name already.
#[derive(Debug, thiserror::Error)]
#[error("{netns} has an interface {ifname} already that is not this attachment's")]
struct InterfaceExists {
    netns: Netns,
    ifname: IfName,
}

impl Pods {
    /// Opens the place in the calling thread's namespace, with a thread to enter the pods'.
    ///
    /// # Errors
    /// When no socket can be opened or no thread started.
    pub fn open() -> Result<Self, Error> {
        let (netlink, entrant) = (Netlink::open()?, Entrant::start()?);
        Ok(Pods { netlink, entrant, home: Netns::current()?, removals: Removals::default() })
    }

    /// The rows of these host ends, as [`Mechanism::observe`] would list them: for a pass that looks
    /// at few pods of many.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn observe_only(
        &mut self,
        links: &BTreeSet<IfName>,
    ) -> Result<Table<AttachmentKey, PodLink>, ObserveError> {
        let mut hosts = Vec::new();
        for name in links {
            let Some(link) = self.netlink.link(name)? else { continue };
            let Some(aliased) = AliasedKey::parse(&link) else { continue };
            let master = match link.master {
                Some(index) => self.netlink.link(index)?.map(|master| master.name),
                None => None,
            };
            hosts.push(HostEnd { link, aliased, master });
        }
        Ok(self.look_inside(hosts)?.into_iter().collect())
    }

    /// The rows of host ends, with what their pods show. One visit of the entrant reads them all.
    fn look_inside(
        &mut self,
        hosts: Vec<HostEnd>,
    ) -> Result<Vec<(AttachmentKey, PodLink)>, ObserveError> {
        let home = self.home.clone();
        let look = move || hosts.into_iter().map(|host| (host.aliased.key.clone(), host.row()));
        let rows = self.entrant.run(&home, move || look().collect());
        rows.map_err(|cause| ObserveError { attempt: "look into pods".into(), cause: cause.into() })
    }

    fn put(&mut self, key: &AttachmentKey, put: &Put<PodLink>) -> Result<(), Cause> {
        let row = &put.row;
        let alias = alias::text(key, &row.netns)?;
        let netns = Netns::open(&row.netns)?;
        let master = match &row.master {
            Some(name) => self.netlink.link_index(name.as_str())?,
            None => 0,
        };
        let ends = match self.netlink.link(&key.host_link())? {
            Some(link) => self.adopt(key, &link, &netns)?,
            None => None,
        };
        let settings = host_requests(key, row, &alias, master);
        let (ends, is_new) = match ends {
            Some(ends) => {
                self.netlink.batch(settings).into_iter().collect::<Result<(), _>>()?;
                (ends, false)
            }
            None => (self.create(key, row, &netns, settings)?, true),
        };
        let (host, ifname) = (key.host_link(), key.ifname.clone());
        let (master, row, far) = (row.master.clone(), row.clone(), ifname.clone());
        let set_up = move || -> Result<Netlink, Cause> {
            settings::write_ipv6(&host)?;
            netns.enter()?;
            Ok(inside::put(&far, ends, &row, is_new)?)
        };
        let mut inside = self.entrant.run(&self.home, set_up)??;
        let host = key.host_link();
        self.netlink.send(Request::link_up(&host))?;
        self.netlink.wait_for_carrier(&host)?;
        if let Some(master) = &master {
            self.netlink.wait_for_carrier(master)?;
        }
        // A pod that has been told its address is heard from its first word.
        inside.wait_for_carrier(&ifname)?;
        Ok(())
    }

    /// Removes links; several go as a group, marked and removed in one batch that no kill comes
    /// between, for each removal costs some milliseconds.
    fn delete(&mut self, keys: &[&AttachmentKey]) -> Vec<Failure<AttachmentKey>> {
        let write = |key: &&AttachmentKey, request| {
            let attempt = format!("delete pod link {key}");
            Write { key: (*key).clone(), attempt, request }
        };
        let writes: Vec<_> = match keys {
            [key] => vec![write(key, Request::delete_link(&key.host_link()))],
            [.., last] => {
                let marks =
                    keys.iter().map(|key| write(key, Request::set_group(&key.host_link(), DOOMED)));
                marks.chain([write(last, Request::delete_group(DOOMED))]).collect()
            }
            [] => Vec::new(),
        };
        self.removals.remove(keys, writes, (&mut self.netlink, &self.home))
    }

    /// Index and peer of a pair whose other end is the wanted interface of the pod. Any other pair
    /// of this name is a leftover (an older namespace, an end the pod moved away) and is removed.
    fn adopt(
        &mut self,
        key: &AttachmentKey,
        link: &LinkRow,
        netns: &Netns,
    ) -> Result<Option<Ends>, Cause> {
        if link.kind != LinkKindRow::Veth {
            return Err(Foreign(format!("link {}", link.name)).into());
        }
        if let Some(aliased) = AliasedKey::parse(link)
            && aliased.key != *key
        {
            return Err(NameTaken { link: link.name.clone(), owner: aliased.key }.into());
        }
        let ends = Ends { index: link.index, peer: link.peer };
        let ifname = key.ifname.clone();
        if self.entrant.run(netns, move || inside::is_peer(&ifname, ends))?? {
            return Ok(Some(ends));
        }
        self.netlink.send(Request::delete_link(link.index))?;
        Ok(None)
    }

    /// Makes the pair, the far end inside the pod at once, and sets up the host end, in one batch.
    fn create(
        &mut self,
        key: &AttachmentKey,
        row: &PodLink,
        netns: &Netns,
        settings: Vec<Request>,
    ) -> Result<Ends, Cause> {
        let host = key.host_link();
        let end = |name, mac, netns| VethEnd { name, mac: Some(mac), netns, mtu: Some(row.mtu) };
        let near = end(host.as_str(), row.host_mac, None);
        let far = end(key.ifname.as_str(), row.mac, Some(netns));
        let mut requests = vec![Request::add_veth(&near, &far)];
        requests.extend(settings);
        let mut answers = self.netlink.batch(requests).into_iter();
        match answers.next() {
            // The host's name was free a moment ago, so it is the pod's that is taken.
            Some(Err(error)) if error.is_exists() => {
                let (netns, ifname) = (netns.clone(), key.ifname.clone());
                return Err(InterfaceExists { netns, ifname }.into());
            }
            Some(Err(error)) => return Err(error.into()),
            _ => answers.collect::<Result<(), _>>()?,
        }
        let link = self.netlink.link(&host)?.ok_or(super::NoLink(host))?;
        Ok(Ends { index: link.index, peer: link.peer })
    }
}

/// Everything about the host end, except that it is up.
fn host_requests(key: &AttachmentKey, row: &PodLink, alias: &str, master: u32) -> Vec<Request> {
    let host = key.host_link();
    let change = LinkChange {
        mtu: Some(row.mtu),
        mac: Some(row.host_mac),
        alias: Some(alias),
        master: Some(master),
        link_local: sysctl::has_ipv6().then_some(false),
        ipv4: Some(settings::IPV4),
        ..LinkChange::default()
    };
    let mut requests = vec![Request::set_link(&host, &change)];
    if master != 0 {
        requests.push(Request::set_port(&host, PORT));
    }
    requests
}

impl Mechanism for Pods {
    type Key = AttachmentKey;
    type Row = PodLink;

    fn observe(&mut self) -> Result<Table<AttachmentKey, PodLink>, ObserveError> {
        let links = LinkNames::read(&mut self.netlink)?;
        let host_end = |link: &LinkRow| {
            let aliased = AliasedKey::parse(link)?;
            let master = link.master.and_then(|index| links.name(index));
            Some(HostEnd { link: link.clone(), aliased, master })
        };
        let hosts = links.by_index.values().filter_map(host_end).collect();
        Ok(self.look_inside(hosts)?.into_iter().collect())
    }

    fn apply(&mut self, changes: &Changes<AttachmentKey, PodLink>) -> Vec<Failure<AttachmentKey>> {
        let mut failures = Vec::new();
        for (key, put) in &changes.puts {
            if let Err(cause) = self.put(key, put) {
                failures.push(failure(key.clone(), format!("put pod link {key}"), cause));
            }
        }
        let keys: Vec<_> = changes.deletes.iter().rev().collect();
        keys.chunks(TOGETHER).for_each(|keys| failures.extend(self.delete(keys)));
        failures
    }
}

impl HostEnd {
    /// The row it stands for. Moves the calling thread into the pod's namespace.
    fn row(self) -> PodLink {
        let HostEnd { link, aliased, master } = self;
        let ends = Ends { index: link.index, peer: link.peer };
        let inside = Netns::open(&aliased.netns)
            .and_then(|netns| netns.enter())
            .map_err(Cause::from)
            .and_then(|()| Ok(inside::observe(&aliased.key.ifname, ends)?))
            .unwrap_or_else(|error| {
                // Nothing is known of a pod that cannot be looked into.
                tracing::debug!(key = %aliased.key, %error, "the pod's end cannot be read");
                Inside::default()
            });
        let sound = link.up
            && inside.up
            && link.link_local != Some(true)
            && link.mtu == inside.mtu
            && settings::are_in_place(&link)
            && (link.master.is_none() || link.port == Some(PORT));
        PodLink {
            netns: aliased.netns,
            mtu: if sound { link.mtu } else { 0 },
            host_mac: link.mac.unwrap_or(Mac([0; 6])),
            mac: inside.mac,
            addrs: inside.addrs,
            gateways: inside.gateways,
            gateway_mac: inside.gateway_mac,
            master,
        }
    }
}
