//! Flows of this node that other policies would cut.

use std::net::SocketAddr;

use compile::policy::{Connection, Party, Verdicts, parties};
use kernel::conntrack::Entries;
use model::Protocol;

use super::Judged;

/// A flow that is there, is allowed, and would not be.
pub(super) struct Cut {
    pub(super) protocol: Protocol,
    /// Who began it.
    pub(super) from: SocketAddr,
    /// Who answers it.
    pub(super) to: SocketAddr,
    pub(super) connection: Connection,
    /// What would be said of it.
    pub(super) after: Verdicts,
}

/// The flows that connection tracking has in this network namespace, and that `after` drops and `before`
/// does not.
pub(super) fn cut(before: &Judged, after: &Judged) -> anyhow::Result<Vec<Cut>> {
    let parties = parties(&before.world);
    let party = |end: SocketAddr| parties.get(&end.ip()).cloned().unwrap_or(Party::Elsewhere);
    let connection = |protocol: Protocol, from: SocketAddr, to: SocketAddr, is_led| Connection {
        client: party(from),
        from: from.ip(),
        server: party(to),
        to: to.ip(),
        protocol: protocol.number(),
        port: to.port(),
        is_led,
    };
    let is_cut = |connection: &Connection| {
        before.judge().judge(connection).is_allowed()
            && !after.judge().judge(connection).is_allowed()
    };
    let mut flows = Entries::open()?.flows(&|flow| {
        is_cut(&connection(flow.to.protocol, flow.from, flow.backend, flow.is_translated()))
    })?;
    flows.sort_unstable();
    let cut = flows.into_iter().map(|flow| {
        let (protocol, from, to) = (flow.to.protocol, flow.from, flow.backend);
        let connection = connection(protocol, from, to, flow.is_translated());
        Cut { protocol, from, to, after: after.judge().judge(&connection), connection }
    });
    Ok(cut.collect())
}
