//! A DNS server of 10,000 Services for `cargo xtask bench dns`: `answer ADDRESS:PORT THREADS`, until its
//! standard input ends.

use std::error::Error;
use std::io::{Read, stdin};
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use model::{Protocol, ServiceName};
use plan::zone::{Endpoints, Entry, Port, Zones};
use seaway_proxy::dns::{
    Admits, Found, Known, Limits, Listen, Others, Prior, Server, Sought, Sources,
};
use wire::dns::Rcode;

/// Names, in a hundred namespaces.
const SERVICES: u32 = 10_000;

/// Nobody else is there to ask.
struct Nobody;

impl Others for Nobody {
    fn prior(&self, _: &Sought) -> Prior {
        Prior::Open
    }

    fn remembered(&self, _: &Sought) -> Option<Found> {
        None
    }

    fn ask(&self, _: Sought) -> BoxFuture<'static, Found> {
        let (rcode, records) = (Rcode::ServFail, Vec::new());
        std::future::ready(Found { rcode, is_authentic: false, records }).boxed()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (addr, threads) = (args.next().ok_or("ADDRESS:PORT")?, args.next().ok_or("THREADS")?);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let known = Known {
        zones: ArcSwap::from_pointee(zones()),
        cluster: ArcSwap::from_pointee(Sources::new(["0.0.0.0/0".parse()?, "::/0".parse()?])),
        pods: ArcSwap::default(),
        log: ArcSwapOption::empty(),
        named: ArcSwapOption::empty(),
    };
    let limits = Limits { threads: threads.parse()?, ..Limits::default() };
    let server =
        Server::start(Arc::new(known), Arc::new(Nobody), limits, runtime.handle().clone())?;
    let listen = Listen { addr: addr.parse()?, admits: Admits::Everyone };
    if let Some(error) = server.listen(&[listen], Vec::new()).pop() {
        return Err(error.into());
    }
    stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn zones() -> Zones {
    let mut zones = Zones::default();
    for i in 0..SERVICES {
        let [_, high, middle, low] = i.to_be_bytes();
        let addrs = [IpAddr::from([10, 96 + high, middle, low])];
        let ports = [Port { name: "http".into(), protocol: Protocol::Tcp, port: 80 }];
        let (addrs, ports, endpoints) = (addrs.into(), ports.into(), Endpoints::default());
        let name = ServiceName::new(&format!("ns-{}", i % 100), &format!("s-{i}"));
        zones.put(&name, Some(Entry::Cluster { addrs, ports, endpoints }));
    }
    zones.is_complete = true;
    zones
}
