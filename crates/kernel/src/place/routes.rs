//! `Plan.routes`: routes of both families, marked by `rtm_protocol`.

use plan::{
    Changes, Failure, Mechanism, ObserveError, PROTOCOL, Put, Route, RouteKey, RouteTable, Table,
};

use super::{Foreign, LinkNames, NoLink, Write, all_failed, failure, send};
use crate::netlink::{Error, Netlink, Request, RouteRow, RouteSpec};

/// Routes of the main table, of Seaway's own, and of the one of what is delivered here.
pub struct Routes {
    netlink: Netlink,
}

impl Routes {
    /// Opens the place in the calling thread's namespace.
    ///
    /// # Errors
    /// When no socket can be opened.
    pub fn open() -> Result<Self, Error> {
        Ok(Routes { netlink: Netlink::open()? })
    }

    /// A new route was refused because one stands there: ours, from a pass that was cut short, is
    /// replaced; another's is left alone.
    fn settle(
        &mut self,
        standing: Vec<(RouteKey, Write<RouteKey>)>,
    ) -> Result<Vec<Failure<RouteKey>>, ObserveError> {
        if standing.is_empty() {
            return Ok(Vec::new());
        }
        let ours = self.observe()?;
        let (ours, foreign): (Vec<_>, Vec<_>) =
            standing.into_iter().partition(|(key, _)| ours.get(key).is_some());
        let foreign = foreign.into_iter().map(|(key, write)| {
            let cause = Foreign(format!("route {key}"));
            failure(key, write.attempt, cause)
        });
        let mut failures: Vec<_> = foreign.collect();
        let replace = ours.into_iter().map(|(_, write)| write).collect();
        failures.extend(send(&mut self.netlink, replace, |_| false));
        Ok(failures)
    }

    fn put(
        &mut self,
        links: &LinkNames,
        changes: &Changes<RouteKey, Route>,
    ) -> Vec<Failure<RouteKey>> {
        let (mut failures, mut standing) = (Vec::new(), Vec::new());
        let (mut rows, mut requests) = (Vec::new(), Vec::new());
        for (key, put) in &changes.puts {
            let attempt = format!("put route {key} {}", put.row);
            match spec(links, key, put) {
                Ok(spec) => {
                    let replace = Request::replace_route(&spec);
                    let first = put.old.is_none().then(|| Request::add_route(&spec));
                    requests.push(first.unwrap_or_else(|| replace.clone()));
                    rows.push(Write { key: key.clone(), attempt, request: replace });
                }
                Err(cause) => failures.push(failure(key.clone(), attempt, cause)),
            }
        }
        for (write, answer) in rows.into_iter().zip(self.netlink.batch(requests)) {
            match answer {
                Ok(()) => {}
                Err(error) if error.is_exists() => standing.push((write.key.clone(), write)),
                Err(error) => failures.push(failure(write.key, write.attempt, error.into_cause())),
            }
        }
        match self.settle(standing) {
            Ok(more) => failures.extend(more),
            Err(error) => {
                let text = error.to_string();
                failures.extend(
                    changes
                        .puts
                        .keys()
                        .map(|key| failure(key.clone(), format!("put route {key}"), text.clone())),
                );
            }
        }
        failures
    }
}

impl Mechanism for Routes {
    type Key = RouteKey;
    type Row = Route;

    fn observe(&mut self) -> Result<Table<RouteKey, Route>, ObserveError> {
        let links = LinkNames::read(&mut self.netlink)?;
        let rows = self.netlink.routes(Some(PROTOCOL), None)?;
        Ok(rows.iter().filter_map(|row| entry(&links, row)).collect())
    }

    fn apply(&mut self, changes: &Changes<RouteKey, Route>) -> Vec<Failure<RouteKey>> {
        let devs = changes.puts.values().filter_map(|put| put.row.dev.as_ref());
        let mut failures = match LinkNames::of(&mut self.netlink, devs) {
            Ok(links) => self.put(&links, changes),
            Err(error) => return all_failed(changes, |key| format!("write route {key}"), error),
        };
        let gone = |key: &RouteKey| {
            let request = Request::delete_route(key.table.id(), key.dst, PROTOCOL);
            Write { key: key.clone(), attempt: format!("delete route {key}"), request }
        };
        let writes = changes.deletes.iter().rev().map(gone).collect();
        failures.extend(send(&mut self.netlink, writes, Error::is_gone));
        failures
    }
}

fn spec(links: &LinkNames, key: &RouteKey, put: &Put<Route>) -> Result<RouteSpec, NoLink> {
    let row = &put.row;
    let index = |name| links.index(name).ok_or_else(|| NoLink(name.clone()));
    let dev = row.dev.as_ref().map(index).transpose()?;
    let (table, dst) = (key.table.id(), key.dst);
    let Route { via, onlink, src, .. } = *row;
    Ok(RouteSpec { table, dst, via, dev, onlink, src, protocol: PROTOCOL })
}

/// The key and row of one of the kernel's routes; `None` outside of those tables.
fn entry(links: &LinkNames, row: &RouteRow) -> Option<(RouteKey, Route)> {
    let table = [RouteTable::Main, RouteTable::Overlay, RouteTable::Local]
        .into_iter()
        .find(|table| table.id() == row.spec.table)?;
    let key = RouteKey { table, dst: row.spec.dst };
    let RouteSpec { via, dev, onlink, src, .. } = row.spec;
    let dev = match dev {
        Some(index) => Some(links.name(index)?),
        None => None,
    };
    if row.plain {
        return Some((key, Route { via, dev, onlink, src }));
    }
    // Several next hops or an encapsulation: no plan asks for it, and no wanted row is equal.
    Some((key, Route { via: None, dev: None, onlink: true, src: None }))
}
