//! The kernel's places in the loop's order.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use kernel::conntrack::Entries;
use kernel::netlink::Netlink;
use kernel::nft::Nft;
use kernel::place::{
    Addrs, ForwardingEntries, Links, Neighbors, Pods, Proxies, Routes, Rules, Sysctls,
};
use model::{AttachmentKey, chain};
use plan::{Listener, Mechanism};

use crate::dns::Listeners;
use crate::observe::Metrics;
use crate::reconcile::{Flows, Marks, OwnLinks, Stage, Step, Steps, table};
use crate::sources::ReadHost;

/// File in the run directory that remembers what settings of the whole node were before.
pub(crate) const SYSCTLS: &str = "sysctls";

/// The names of all places, in the loop's order.
pub(crate) const PLACES: [&str; 13] = [
    "links",
    "addrs",
    "pods",
    "sysctls",
    "neighbors",
    "proxies",
    "fdb",
    "routes",
    "rules",
    "marks",
    "nft",
    "flows",
    LISTENERS,
];

/// The place where this process answers.
const LISTENERS: &str = "listeners";

/// A place could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("open {place}: {why}")]
pub struct PlaceError {
    place: &'static str,
    why: String,
}

/// All places of the network namespace of this thread. `run_dir` keeps the values that settings of
/// the whole node had before; `metrics` counts the flows that were forgotten. `listeners` are there while
/// an agent runs.
///
/// # Errors
/// [`PlaceError`] for the first that does not open.
pub(crate) fn steps(
    run_dir: &Path,
    metrics: &Arc<Metrics>,
    listeners: Option<Listeners>,
) -> Result<Steps, PlaceError> {
    let links = opened("links", Links::open())?;
    let addrs = opened("addrs", Addrs::open())?;
    let pods = opened("pods", Pods::open())?;
    let sysctls = opened("sysctls", Sysctls::open(run_dir.join(SYSCTLS)))?;
    let neighbors = opened("neighbors", Neighbors::open())?;
    let proxies = opened("proxies", Proxies::open())?;
    let fdb = opened("fdb", ForwardingEntries::open())?;
    let routes = opened("routes", Routes::open())?;
    let rules = opened("rules", Rules::open())?;
    let marks = opened("marks", Entries::open())?;
    let nft = opened("nft", Nft::open())?;
    let flows = opened("flows", Entries::open())?;
    let line = |key: &Listener, (): &()| key.to_string();
    let listeners = listeners.map(|place| -> Box<dyn Stage> {
        Box::new(Step::new(LISTENERS, place, table!(listeners), line))
    });
    let kernel: Vec<Box<dyn Stage>> = vec![
        Box::new(Step::new("links", links, table!(links), |k, r| format!("{k} {r}")).carrying()),
        Box::new(Step::new("addrs", addrs, table!(addrs), |(link, net), ()| {
            format!("{net} dev {link}")
        })),
        Box::new(
            Step::new("pods", pods, table!(pods), |k, r| format!("{k} dev {} {r}", k.host_link()))
                .of_links(OwnLinks {
                    key: AttachmentKey::clone,
                    link: AttachmentKey::host_link,
                    read: Pods::observe_only,
                })
                .carrying(),
        ),
        Box::new(Step::new("sysctls", sysctls, table!(sysctls), |k, r| format!("{k} {r}"))),
        Box::new(Step::new("neighbors", neighbors, table!(neighbors), |k, r| format!("{k} {r}"))),
        Box::new(Step::new("proxies", proxies, table!(proxies), |k, ()| k.to_string())),
        Box::new(Step::new("fdb", fdb, table!(fdb), |k, r| format!("{k} {r}"))),
        Box::new(Step::new("routes", routes, table!(routes), |k, r| format!("{k} {r}"))),
        Box::new(Step::new("rules", rules, table!(rules), |k, r| format!("{k} {r}"))),
        Box::new(Marks::new(marks)),
        Box::new(Step::new("nft", nft, table!(nft), |k, r| format!("{k} {r}")).atomic().leading()),
        Box::new(Flows::new(flows, Arc::clone(metrics))),
    ];
    Ok(Steps::new(kernel.into_iter().chain(listeners).collect()))
}

/// The rules that the kernel has for this node, read now, as `seaway dump nft` prints them.
///
/// # Errors
/// [`PlaceError`] when they could not be read.
pub fn rules() -> Result<BTreeSet<String>, PlaceError> {
    let mut nft = opened("nft", Nft::open())?;
    let rows = opened("nft", nft.observe())?;
    Ok(rows.iter().map(|(key, row)| format!("{key} {row}").trim_end().to_owned()).collect())
}

pub(crate) fn opened<T, E>(place: &'static str, result: Result<T, E>) -> Result<T, PlaceError>
where
    E: std::error::Error + 'static,
{
    result.map_err(|error| PlaceError { place, why: chain(&error) })
}

/// A reader of the uplinks of this thread's network namespace.
///
/// # Errors
/// [`PlaceError`] when there is no socket to ask through.
pub(crate) fn host_reader() -> Result<ReadHost, PlaceError> {
    let mut netlink = opened("host", Netlink::open())?;
    Ok(Box::new(move || kernel::host::observe(&mut netlink).map_err(|error| chain(&error))))
}

#[cfg(test)]
mod tests {
    use model::Dns;

    use super::*;
    use crate::dns::Answering;
    use crate::scratch::Scratch;
    use crate::sockets::Sockets;

    #[test]
    fn places_are_opened_under_their_names_in_the_loops_order() {
        let scratch = Scratch::new();
        let answering = Answering::start(&Dns::default(), None, &Sockets::default()).unwrap();
        let listeners = Some(Listeners::new(Arc::new(answering)));
        let steps = steps(scratch.path(), &Arc::default(), listeners).unwrap();
        assert_eq!(steps.names(), PLACES);
    }
}
