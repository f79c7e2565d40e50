//! Makes the Service that clients of the cluster's DNS ask, where there is none. It is never changed
//! afterwards: whoever wants another one changes it, and it stays so.
//!
//! Source: kubeadm, which gives it the tenth address of each range of Services; kubelets' `clusterDNS`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{Dns, OrdMap, Service, ServiceCidr, ServiceName};

use super::Context;

/// How long there has to be none: whoever replaces it takes a moment between the two.
const ABSENT: Duration = Duration::from_secs(15);

/// Pause after a try that came to nothing; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_secs(5);

/// Longest pause.
const LONGEST: Duration = Duration::from_secs(600);

/// Number of its address in each range.
const NUMBER: u8 = 10;

/// Does so until the future is dropped.
pub(super) async fn keep(context: &Context) {
    let wants = context.makes_dns_service;
    let Some(dns) = context.dns.as_ref().filter(|_| wants) else {
        return std::future::pending().await;
    };
    let mut services = context.watched.services.clone();
    let mut pause = SHORTEST;
    loop {
        while wanted(context, &dns.service).is_none() {
            if services.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
        tokio::time::sleep(ABSENT).await;
        if let Some(addrs) = wanted(context, &dns.service)
            && context.leadership.borrow().is_held()
        {
            match make(context, dns, &addrs).await {
                Ok(()) => pause = SHORTEST,
                Err(why) => {
                    tracing::warn!("{why}; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST);
                }
            }
        }
    }
}

/// The addresses of the Service that is to be made; `None` while there is one, or it is not known what there
/// is.
fn wanted(context: &Context, name: &ServiceName) -> Option<Vec<IpAddr>> {
    let services = context.watched.services.borrow();
    let cidrs = context.watched.service_cidrs.borrow();
    if services.rejected.contains_key(&name.to_string()) {
        return None;
    }
    addrs(services.listed.as_ref()?, cidrs.listed.as_ref()?, name)
}

async fn make(context: &Context, dns: &Dns, addrs: &[IpAddr]) -> Result<(), String> {
    let client = kube::connect(&context.access).await.map_err(|error| kube::chain(&error))?;
    let made = kube::make_dns_service(&client, &dns.service, addrs, dns.node_port).await;
    context.metrics.duties.wrote(made.is_ok());
    made.map_err(|error| kube::chain(&error))?;
    let texts: Vec<String> = addrs.iter().map(ToString::to_string).collect();
    tracing::info!("there was no Service {}: it is made, at {}", dns.service, texts.join(" and "));
    Ok(())
}

/// The tenth address of each range that Services have their addresses from, of the first family first. `None`
/// where there is a Service `name`, where no range is known, and where another Service has one of them: then
/// clients are answered by somebody else.
fn addrs(
    services: &OrdMap<ServiceName, Arc<Service>>,
    cidrs: &OrdMap<Arc<str>, Arc<ServiceCidr>>,
    name: &ServiceName,
) -> Option<Vec<IpAddr>> {
    if services.contains_key(name) {
        return None;
    }
    let addrs = match cidrs.get("kubernetes") {
        Some(first) => {
            let tenth = |cidr: &ipnet::IpNet| {
                let addr = plus(cidr.network(), NUMBER)?;
                (cidr.contains(&addr) && addr != cidr.broadcast()).then_some(addr)
            };
            first.cidrs.iter().filter_map(tenth).collect()
        }
        // It has the first address of the first range, whose length nobody tells.
        None => {
            let api = services.get(&ServiceName::new("default", "kubernetes"))?;
            vec![plus(*api.cluster_ips.first()?, NUMBER - 1)?]
        }
    };
    let is_taken = |addr| services.values().any(|service| service.cluster_ips.contains(addr));
    (!addrs.is_empty() && !addrs.iter().any(is_taken)).then_some(addrs)
}

/// The address `count` further.
fn plus(addr: IpAddr, count: u8) -> Option<IpAddr> {
    Some(match addr {
        IpAddr::V4(addr) => IpAddr::V4(u32::from(addr).checked_add(count.into())?.into()),
        IpAddr::V6(addr) => IpAddr::V6(u128::from(addr).checked_add(count.into())?.into()),
    })
}

#[cfg(test)]
mod tests {
    use kube::{Leadership, Listed, kind};
    use model::decode;
    use tokio::sync::watch;

    use super::super::served::serve;
    use super::*;
    use crate::observe::Teller;
    use crate::scratch::Scratch;
    use crate::sources::Watched;

    /// Each is `NAMESPACE/NAME` and its addresses.
    fn services(all: &[&str]) -> OrdMap<ServiceName, Arc<Service>> {
        let read = |line: &&str| {
            let (name, ips) = line.split_once(' ').unwrap();
            let (namespace, name) = name.split_once('/').unwrap();
            let ips: Vec<&str> = ips.split(' ').collect();
            let json = serde_json::json!({"metadata": {"namespace": namespace, "name": name},
                "spec": {"clusterIPs": ips}});
            let service = decode::service(json.to_string().as_bytes()).unwrap();
            (service.name.clone(), Arc::new(service))
        };
        all.iter().map(read).collect()
    }

    fn cidrs(all: &[(&str, &str)]) -> OrdMap<Arc<str>, Arc<ServiceCidr>> {
        let read = |(name, nets): &(&str, &str)| {
            let cidrs = nets.split(' ').map(|net| net.parse().unwrap()).collect();
            let name: Arc<str> = (*name).into();
            (Arc::clone(&name), Arc::new(ServiceCidr { name, cidrs }))
        };
        all.iter().map(read).collect()
    }

    #[test]
    fn the_service_of_dns_has_the_address_that_kubelets_are_told() {
        type Case =
            (&'static [&'static str], &'static [(&'static str, &'static str)], &'static str);
        let api = "default/kubernetes 10.96.0.1";
        let both = ("kubernetes", "10.96.0.0/16 fd00:96::/112");
        let cases: [Case; 10] = [
            (&[], &[], "none"),
            (&["default/kubernetes 10.96.0.1"], &[], "10.96.0.10"),
            (&["default/kubernetes fd00:96::1"], &[], "fd00:96::a"),
            (&["default/kubernetes 10.96.0.1"], &[("kubernetes", "10.96.0.0/12")], "10.96.0.10"),
            (&["default/kubernetes 10.96.0.1"], &[("more", "10.97.0.0/16")], "10.96.0.10"),
            (&["default/kubernetes 10.96.0.1"], &[("kubernetes", "10.96.0.0/29")], "none"),
            (&["default/kubernetes 10.96.0.1", "kube-system/kube-dns 10.96.0.77"], &[], "none"),
            (&["default/kubernetes 10.96.0.1", "kube-system/coredns 10.96.0.10"], &[], "none"),
            (&["default/kubernetes 10.96.0.1", "a/b 10.96.0.11"], &[], "10.96.0.10"),
            (&["default/kubernetes 255.255.255.250"], &[], "none"),
        ];
        let name = ServiceName::new("kube-system", "kube-dns");
        let said = |of: &[&str], ranges: &[(&str, &str)]| {
            addrs(&services(of), &cidrs(ranges), &name).map_or("none".to_owned(), |addrs| {
                addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            })
        };
        for (of, ranges, want) in cases {
            assert_eq!(said(of, ranges), want, "{of:?} {ranges:?}");
        }
        assert_eq!(said(&[api], &[both]), "10.96.0.10 fd00:96::a");
        assert_eq!(said(&[api, "a/b fd00:96::a"], &[both]), "none");
    }

    #[tokio::test]
    async fn the_service_of_dns_is_made_once_and_left_as_it_is() {
        let scratch = Scratch::new();
        let (dns, access) = (Dns::default(), serve(&scratch).0);
        let context = Context {
            access: access.clone(),
            watched: Watched::new().1,
            moves: watch::channel(()).1,
            leadership: watch::channel(Leadership::default()).1,
            metrics: Arc::default(),
            teller: Teller { events: kube::Events::new().0, metrics: Arc::default() },
            dns: Some(dns.clone()),
            makes_dns_service: true,
            pod_cidrs: super::super::PodCidrs::Never,
        };
        let [first, second] = ["10.96.0.10", "10.96.0.11"].map(|addr| addr.parse().unwrap());
        let v6 = "fd00:96::a".parse().unwrap();
        make(&context, &dns, &[first, v6]).await.unwrap();
        make(&context, &dns, &[second]).await.unwrap();
        let (out, mut seen) = watch::channel(Listed::default());
        let client = kube::connect(&access).await.unwrap();
        let moves = context.moves.clone();
        let watching = tokio::spawn(kube::watch(kind::services(), client, access, out, moves));
        let listed = seen.wait_for(|seen| seen.listed.is_some()).await.unwrap().listed.clone();
        watching.abort();
        let listed = listed.unwrap();
        let made = &listed[&dns.service];
        assert_eq!(made.cluster_ips, [first, v6]);
        let ports: Vec<String> =
            made.ports.iter().map(|it| format!("{}/{}", it.name, it.port)).collect();
        assert_eq!(ports, ["dns/53", "dns-tcp/53"]);
        assert_eq!(addrs(&listed, &OrdMap::new(), &dns.service), None);
    }
}
