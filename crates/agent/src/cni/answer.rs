//! From a request to its reply: asks the loop and says the outcome in CNI's terms.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use wire::cni::{
    Add, AddResult, Check, Code, Environment, Error, Interface, Ip, Operation, Paths, Request,
    Route, parse,
};

use super::check::differences;
use super::pending;
use crate::{Attach, Attached, Handle, RequestError, Status};

/// Answers one call; `Err` is the refusal the runtime is told.
pub(super) async fn answer(
    handle: &Handle,
    paths: &Paths,
    environment: &Environment,
    stdin: &[u8],
    netns: Option<OwnedFd>,
) -> Result<String, Error> {
    let request = parse(environment, stdin)?;
    let version = request.version;
    let result = operate(handle, paths, request, netns).await?;
    Ok(result.map_or_else(String::new, |result| result.to_json(version)))
}

async fn operate(
    handle: &Handle,
    paths: &Paths,
    request: Request,
    netns: Option<OwnedFd>,
) -> Result<Option<AddResult>, Error> {
    match request.operation {
        Operation::Add(add) => {
            own_netns(&add.netns, netns.as_ref())?;
            forget_pending(handle, paths, &add).await?;
            attach(handle, request.network, *add).await.map(Some)
        }
        Operation::Check(asked) => {
            own_netns(&asked.netns, netns.as_ref())?;
            check(handle, *asked).await.map(|()| None)
        }
        Operation::Del(key) => handle.detach(key).await.map(|()| None).map_err(failed),
        Operation::Gc(None) => Ok(None),
        Operation::Gc(Some(keep)) => {
            let removed = handle.gc(request.network.clone(), keep).await.map_err(failed)?;
            let (network, removed) = (request.network, removed.len());
            tracing::info!(%network, removed, "garbage collected");
            Ok(None)
        }
        Operation::Status => match handle.status().await {
            Status::Ready { .. } => Ok(None),
            Status::NotReady(why) => {
                Err(Error::new(Code::Unavailable, "the network is not ready").because(why))
            }
            Status::Impaired(why) => {
                let what = "the network is not ready, and pods may be cut off";
                Err(Error::new(Code::LimitedConnectivity, what).because(why))
            }
        },
    }
}

/// A DEL that waits for this very attachment is older than this ADD.
async fn forget_pending(handle: &Handle, paths: &Paths, add: &Add) -> Result<(), Error> {
    let file = paths.pending_del(&add.key);
    if !file.exists() {
        return Ok(());
    }
    handle.detach(add.key.clone()).await.map_err(failed)?;
    pending::remove(&file).map_err(|error| {
        Error::new(Code::TryAgainLater, format!("remove {}", file.display()))
            .because(error.to_string())
    })
}

async fn attach(handle: &Handle, network: String, add: Add) -> Result<AddResult, Error> {
    let netns = add.netns.to_string_lossy().into_owned();
    let asked = Attach {
        key: add.key,
        network,
        netns: add.netns,
        pod: add.pod,
        addrs: add.addrs,
        mac: add.mac,
        port_mappings: add.port_mappings,
        search: add.search.map(Arc::new),
    };
    let attached = handle.attach(asked).await.map_err(failed)?;
    let result = AddResult { dns: add.dns, ..result_of(&attached, &netns) };
    Ok(match add.previous {
        Some(previous) => result.after(previous),
        None => result,
    })
}

async fn check(handle: &Handle, check: Check) -> Result<(), Error> {
    let key = check.key.clone();
    let attached = handle.check(check.key).await.map_err(failed)?;
    let netns = check.netns.to_string_lossy();
    let mut wrong = differences(&check.previous, &attached, &netns);
    if attached.attachment.netns != check.netns {
        let joined = attached.attachment.netns.display();
        wrong.push(format!("ADD joined {joined}, CHECK is about {netns}"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::new(Code::NotAsAdded, format!("attachment {key} is not as ADD returned it"))
        .because(wrong.join("; ")))
}

/// What ADD returns: the host end, then the container's, and what the latter has.
pub(super) fn result_of(attached: &Attached, netns: &str) -> AddResult {
    let link = &attached.link;
    let interface = |name: &model::IfName, mac: model::Mac, sandbox| Interface {
        name: name.to_string(),
        mac: Some(mac.to_string()),
        mtu: Some(link.mtu),
        sandbox,
        ..Interface::default()
    };
    let host = interface(&attached.host_link, link.host_mac, None);
    let pod = interface(&attached.attachment.key.ifname, link.mac, Some(netns.to_owned()));
    let gateway = |of: model::Family| {
        link.gateways.iter().copied().find(|gateway| model::Family::of(*gateway) == of)
    };
    let ip = |address: &ipnet::IpNet| Ip {
        address: *address,
        gateway: gateway(model::Family::of(address.addr())),
        interface: Some(1),
    };
    let default = |gateway: &std::net::IpAddr| Route {
        dst: default_of(*gateway),
        gw: Some(*gateway),
        mtu: None,
        advmss: None,
        priority: None,
        table: None,
        scope: None,
    };
    // As leased, primary family first (CRI-3): a link's own addresses are in canonical order.
    let leased = attached.attachment.addrs.iter();
    let leased = leased.filter_map(|addr| link.addrs.iter().find(|net| net.addr() == *addr));
    AddResult {
        interfaces: vec![host, pod],
        ips: leased.map(ip).collect(),
        routes: link.gateways.iter().map(default).collect(),
        ..AddResult::default()
    }
}

fn default_of(gateway: std::net::IpAddr) -> ipnet::IpNet {
    match gateway {
        std::net::IpAddr::V4(_) => ipnet::Ipv4Net::default().into(),
        std::net::IpAddr::V6(_) => ipnet::Ipv6Net::default().into(),
    }
}

/// The descriptor says which namespace the runtime means; the path is what the kernel is asked for
/// later. They are the same, and not the node's own, or nothing is done.
fn own_netns(path: &Path, netns: Option<&OwnedFd>) -> Result<(), Error> {
    let invalid = |why: String| {
        Error::new(Code::InvalidNetns, format!("CNI_NETNS: {}", path.display())).because(why)
    };
    let netns = netns.ok_or_else(|| invalid("the plugin sent no descriptor of it".to_owned()))?;
    let kind = fstatfs(netns).map_err(|error| invalid(error.to_string()))?.filesystem_type();
    if kind != NSFS_MAGIC {
        return Err(invalid("is no namespace".to_owned()));
    }
    let meant = nix::sys::stat::fstat(netns).map_err(|error| invalid(error.to_string()))?;
    let seen = fs::metadata(path).map_err(|error| {
        invalid(format!(
            "the agent does not see it: {error}; is /run/netns mounted into the agent's container \
             with mountPropagation HostToContainer?"
        ))
    })?;
    if (seen.dev(), seen.ino()) != (meant.st_dev, meant.st_ino) {
        return Err(invalid("is another namespace for the agent than for the runtime".to_owned()));
    }
    let node = fs::metadata("/proc/self/ns/net").map_err(|error| invalid(error.to_string()))?;
    if (seen.dev(), seen.ino()) == (node.dev(), node.ino()) {
        return Err(invalid("is the node's own network namespace".to_owned()));
    }
    Ok(())
}

/// A failed request in CNI's terms.
fn failed(error: RequestError) -> Error {
    let msg = error.to_string();
    let code = match error {
        RequestError::NotReady(_) | RequestError::Journal(_) => Code::TryAgainLater,
        RequestError::Exhausted(_) => Code::AddressesExhausted,
        RequestError::Conflict(_) => Code::Conflict,
        RequestError::Kernel(_) => Code::Failed,
        RequestError::Unknown(_) | RequestError::Differs { .. } => Code::NotAsAdded,
    };
    Error::new(code, msg)
}

#[cfg(test)]
pub(super) mod tests {
    use model::{Attachment, AttachmentKey, Mac};
    use plan::PodLink;
    use wire::cni::Version;

    use super::*;

    pub(in crate::cni) fn attached() -> Attached {
        let key = AttachmentKey { container_id: "c".into(), ifname: "eth0".parse().unwrap() };
        let host_link = key.host_link();
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let attachment = Attachment {
            key,
            network: "seaway".into(),
            netns: "/run/netns/blue".into(),
            pod: None,
            addrs: vec!["10.244.1.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            mac,
            port_mappings: Vec::new(),
            search: None,
        };
        let link = PodLink {
            netns: "/run/netns/blue".into(),
            mtu: 1450,
            host_mac: Mac([2, 0, 0, 0, 0, 2]),
            mac,
            addrs: vec!["10.244.1.2/32".parse().unwrap(), "fd00::2/128".parse().unwrap()],
            gateways: vec!["169.254.1.1".parse().unwrap(), "fe80::1".parse().unwrap()],
            gateway_mac: None,
            master: None,
        };
        Attached { attachment: Arc::new(attachment), link, host_link }
    }

    #[test]
    fn add_returns_both_ends_and_what_the_container_has() {
        let host = attached().host_link;
        let expected = format!(
            r#"{{"cniVersion":"1.1.0","interfaces":[{{"mac":"02:00:00:00:00:02","mtu":1450,"name":"{host}"}},{{"mac":"02:00:00:00:00:01","mtu":1450,"name":"eth0","sandbox":"/run/netns/blue"}}],"ips":[{{"address":"10.244.1.2/32","gateway":"169.254.1.1","interface":1}},{{"address":"fd00::2/128","gateway":"fe80::1","interface":1}}],"routes":[{{"dst":"0.0.0.0/0","gw":"169.254.1.1"}},{{"dst":"::/0","gw":"fe80::1"}}]}}"#
        );
        assert_eq!(result_of(&attached(), "/run/netns/blue").to_json(Version::V1_1_0), expected);
    }
}
