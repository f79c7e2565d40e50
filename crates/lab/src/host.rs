//! A host of the lab: a network and a host name of its own, held open and in need of no process.
//! It is gone with the value, however the program ends.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ipnet::IpNet;
use kernel::netlink::{LinkChange, Netlink, Request, RouteSpec, VethEnd};
use kernel::netns::Netns;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;

/// A host without anything on it: loopback is up, the rest is for cables.
#[derive(Debug)]
pub struct Host {
    name: String,
    netns: Netns,
    uts: Arc<OwnedFd>,
}

/// Something about a host could not be done.
#[derive(Debug, thiserror::Error)]
#[error("{host}: {attempt}")]
pub struct HostError {
    /// Name of the host.
    pub host: String,
    /// What was attempted.
    pub attempt: String,
    /// Why it failed.
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

/// Settings of every host: no router advertisements are believed, and an address can be used at once,
/// because the lab gives none away twice.
const SETTINGS: [(&str, &str); 4] = [
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
];

impl Host {
    /// A new host of this name.
    ///
    /// # Errors
    /// Without root, or on a machine out of room for namespaces.
    pub fn make(name: &str) -> Result<Self, HostError> {
        let made = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS)?;
                sethostname(name)?;
                let uts = File::open("/proc/thread-self/ns/uts")?;
                Ok((Netns::current().map_err(io::Error::other)?, uts))
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let (netns, uts) = made.map_err(|cause: io::Error| HostError {
            host: name.to_owned(),
            attempt: "make namespaces".to_owned(),
            cause: cause.into(),
        })?;
        let host = Host { name: name.to_owned(), netns, uts: Arc::new(uts.into()) };
        host.send(Request::link_up("lo"))?;
        host.set(&SETTINGS)?;
        Ok(host)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its network namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The namespace of its host name.
    pub fn uts(&self) -> &Arc<OwnedFd> {
        &self.uts
    }

    /// Runs `work` on a thread inside the host's network.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, HostError> {
        self.netns.run(work).map_err(|cause| self.failed("enter", cause))
    }

    /// Writes kernel settings, as paths below `/proc/sys`. Those the kernel does not have are skipped:
    /// a kernel without IPv6 has nothing to say about it.
    ///
    /// # Errors
    /// When the kernel refuses a value.
    pub fn set(&self, settings: &[(&str, &str)]) -> Result<(), HostError> {
        self.run(|| {
            for (path, value) in settings {
                match std::fs::write(format!("/proc/sys/{path}"), value) {
                    Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                        return Err(self.failed(&format!("set {path} to {value}"), cause));
                    }
                    Ok(()) | Err(_) => {}
                }
            }
            Ok(())
        })?
    }

    /// Makes a bridge and raises it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add_bridge(&self, name: &str) -> Result<(), HostError> {
        self.send(Request::add_bridge(name, None))?;
        self.send(Request::link_up(name))
    }

    /// Makes link `link` a port of `bridge` and raises it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add_port(&self, link: &str, bridge: &str) -> Result<(), HostError> {
        let master = self.index(bridge)?;
        let change = LinkChange { master: Some(master), up: Some(true), ..LinkChange::default() };
        self.send(Request::set_link(link, &change))
    }

    /// Raises link `link` and gives it `addrs`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add_addrs(&self, link: &str, addrs: &[IpNet]) -> Result<(), HostError> {
        let index = self.index(link)?;
        self.send(Request::link_up(index))?;
        addrs.iter().try_for_each(|addr| self.send(Request::add_addr(index, *addr)))
    }

    /// Changes link `link`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn change(&self, link: &str, change: &LinkChange<'_>) -> Result<(), HostError> {
        self.send(Request::set_link(link, change))
    }

    /// Takes link `link` out of its bridge; it stays up.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove_port(&self, link: &str) -> Result<(), HostError> {
        self.change(link, &LinkChange { master: Some(0), ..LinkChange::default() })
    }

    /// Adds a route over link `link`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add_route(&self, to: IpNet, via: IpAddr, link: &str) -> Result<(), HostError> {
        let dev = self.index(link)?;
        self.send(Request::add_route(&RouteSpec::new(to, Some(via), Some(dev))))
    }

    /// Removes link `link`; one that is gone is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove_link(&self, link: &str) -> Result<(), HostError> {
        let mut netlink = self.netlink()?;
        match netlink.send(Request::delete_link(link)) {
            Err(error) if !error.is_gone() => Err(self.failed("remove a link", error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(crate) fn index(&self, link: &str) -> Result<u32, HostError> {
        let index = self.netlink()?.link_index(link);
        index.map_err(|cause| self.failed("find a link", cause))
    }

    fn send(&self, request: Request) -> Result<(), HostError> {
        let sent = self.netlink()?.send(request);
        sent.map_err(|cause| self.failed("configure", cause))
    }

    fn netlink(&self) -> Result<Netlink, HostError> {
        Netlink::open_in(&self.netns).map_err(|cause| self.failed("open netlink", cause))
    }

    pub(crate) fn failed(
        &self,
        attempt: &str,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> HostError {
        HostError { host: self.name.clone(), attempt: attempt.to_owned(), cause: cause.into() }
    }
}

/// Joins two hosts with a cable: a veth pair with an end of each name. Both ends are down.
///
/// # Errors
/// The kernel's, when a name is taken.
pub fn cable(a: (&Host, &str), b: (&Host, &str), mtu: u32) -> Result<(), HostError> {
    let end = |name, netns| VethEnd { name, mac: None, netns, mtu: Some(mtu) };
    a.0.send(Request::add_veth(&end(a.1, None), &end(b.1, Some(&b.0.netns))))
}
