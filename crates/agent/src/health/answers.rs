//! The answers, byte for byte as kube-proxy gives them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use compile::services::{At, Resolved};
use model::{Family, Rfc3339, ServiceName};
use plan::nft::Value;

use crate::reconcile::{RULES, Subject, since_1970};
use crate::shown::View;

/// How long the kernel may be behind: twice the time between two full looks at it, which kube-proxy
/// makes 30 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether this node serves Services, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Health {
    /// The kernel has what the cluster asks for, or is not behind for long.
    pub(crate) is_current: bool,
    /// A pass has brought rules into the kernel since this agent started.
    pub(crate) is_programmed: bool,
    /// The Node exists and is not about to go.
    pub(crate) is_eligible: bool,
    /// When the last pass that succeeded ended.
    last_updated: Rfc3339,
    now: Rfc3339,
}

impl Health {
    /// As `view` shows it, when the kernel is behind since `since`.
    pub(crate) fn of(view: &View, since: Option<Instant>) -> Self {
        let node = view.world.nodes.get(&view.world.config.node);
        Health {
            is_current: since.is_none_or(|since| since.elapsed() < PATIENCE),
            is_programmed: view.programmed.is_some(),
            is_eligible: node.is_some_and(|node| !node.is_leaving),
            last_updated: Rfc3339(view.programmed.unwrap_or_default()),
            now: Rfc3339(since_1970()),
        }
    }

    /// Whether load balancers may send new flows of any Service here.
    pub(crate) fn is_healthy(self) -> bool {
        self.serves() && self.is_eligible
    }

    /// Whether packets to Services find their way here, whatever becomes of the Node.
    pub(crate) fn serves(self) -> bool {
        self.is_current && self.is_programmed
    }

    /// The body for who asks whether to send flows here.
    pub(crate) fn healthz(self) -> String {
        let eligible = format!(r#""nodeEligible":{},"#, self.is_eligible);
        self.body(self.is_healthy(), self.serves(), &eligible)
    }

    /// The body for who asks whether to restart the agent: one that has not heard of the cluster yet
    /// is well.
    pub(crate) fn livez(self) -> String {
        self.body(self.is_current, self.is_current, "")
    }

    /// An answer of status 200 was updated just now, as clients of old know it.
    fn body(self, is_ok: bool, is_healthy: bool, eligible: &str) -> String {
        let last = self.last_updated;
        let updated = if is_ok { self.now } else { last };
        let family = format!(r#"{{"lastUpdated":"{last}","healthy":{is_healthy}}}"#);
        format!(
            r#"{{"lastUpdated":"{updated}","currentTime":"{now}",{eligible}"healthy":{is_healthy},"status":{{"IPv4":{family},"IPv6":{family}}}}}"#,
            now = self.now,
        )
    }
}

/// What a load balancer is told about a Service: how many endpoints this node has, and whether flows
/// reach them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceHealth {
    pub(crate) local_endpoints: usize,
    pub(crate) serves: bool,
    pub(crate) body: String,
}

/// What is answered about the Service `name` at its port of `family`. Flows reach its endpoints when
/// the node serves, and the last pass refused no row of this Service.
pub(crate) fn service_health(
    view: &View,
    name: &ServiceName,
    family: Family,
    health: Health,
) -> ServiceHealth {
    let resolved = view.compiled.services.services.get(name);
    let check = resolved
        .and_then(|resolved| resolved.health_checks.iter().find(|check| check.family == family));
    let local_endpoints = check.map_or(0, |check| check.local_endpoints);
    let serves = health.serves() && resolved.is_some_and(|resolved| is_in_kernel(view, resolved));
    let ServiceName { namespace, name } = name;
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\
         \"localEndpoints\": {local_endpoints},\n\t\"serviceProxyHealthy\": {serves}\n}}"
    );
    ServiceHealth { local_endpoints, serves, body }
}

/// Whether every row of a Service is in the kernel, by the report of the pass that was to bring it.
fn is_in_kernel(view: &View, resolved: &Resolved) -> bool {
    let own = &view.compiled.services.node_port_addrs;
    let mut refused = view.report.failures_of(RULES);
    !refused.any(|failure| concerns(&failure.subject, resolved, own))
}

/// Whether a row that names `subject` may be one that the Service goes by: by a frontend of its own, by
/// a node port, or by one of the addresses that node ports are at.
fn concerns(subject: &Subject, resolved: &Resolved, own: &BTreeSet<IpAddr>) -> bool {
    let Subject::Values(values) = subject else { return *subject == Subject::Everything };
    let frontends = || resolved.ports.iter().flat_map(|port| &port.frontends);
    let is_at = |addr: IpAddr| {
        frontends().any(|frontend| match frontend.at {
            At::Ip(ip) => ip == addr,
            At::NodeAddresses => own.contains(&addr),
        })
    };
    values.iter().any(|value| match value {
        Value::Ipv4(addr) => is_at((*addr).into()),
        Value::Ipv6(addr) => is_at((*addr).into()),
        Value::Port(port) => {
            frontends().any(|frontend| frontend.at == At::NodeAddresses && frontend.port == *port)
        }
        Value::Name(_)
        | Value::Ether(_)
        | Value::Prefix(_)
        | Value::Number(_)
        | Value::Mark(_)
        | Value::ClassId(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use compile::services::{Action, Frontend, FrontendKind, HealthCheck, PortEntry};
    use compile::{Compiled, ServiceTable};
    use model::{Node, NodeName, Protocol};

    use super::*;
    use crate::reconcile::{FailureRow, Report, StepReport};

    fn view(is_leaving: Option<bool>, programmed: bool) -> View {
        let mut view = View::default();
        view.world.config.node = NodeName::from("a");
        if let Some(is_leaving) = is_leaving {
            let node = Node { is_leaving, ..Node::new(NodeName::from("a")) };
            view.world.nodes.insert(node.name.clone(), Arc::new(node));
        }
        view.programmed = programmed.then_some(Duration::ZERO);
        view
    }

    fn ago(seconds: u64) -> Option<Instant> {
        Some(Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap())
    }

    #[test]
    fn a_node_is_healthy_while_it_stays_and_the_kernel_is_not_far_behind() {
        let cases = [
            ("all is well", view(Some(false), true), None, (true, true)),
            ("behind for a moment", view(Some(false), true), ago(10), (true, true)),
            ("behind for long", view(Some(false), true), ago(61), (false, false)),
            ("the Node is leaving", view(Some(true), true), None, (false, true)),
            ("there is no Node", view(None, true), None, (false, true)),
            ("no pass yet", view(Some(false), false), None, (false, true)),
            ("no pass for long", view(Some(false), false), ago(61), (false, false)),
        ];
        for (case, view, since, (healthz, livez)) in cases {
            let health = Health::of(&view, since);
            assert_eq!((health.is_healthy(), health.is_current), (healthz, livez), "{case}");
        }
    }

    #[test]
    fn the_bodies_are_kube_proxys() {
        let health = Health {
            last_updated: Rfc3339::parse("2026-05-01T00:00:00Z").unwrap(),
            now: Rfc3339::parse("2026-05-01T00:00:01Z").unwrap(),
            ..Health::of(&view(Some(true), true), None)
        };
        let family = r#"{"lastUpdated":"2026-05-01T00:00:00.000000Z","healthy":true}"#;
        let rest = format!(r#""healthy":true,"status":{{"IPv4":{family},"IPv6":{family}}}}}"#);
        let current = r#""currentTime":"2026-05-01T00:00:01.000000Z""#;
        assert_eq!(
            health.healthz(),
            format!(
                r#"{{"lastUpdated":"2026-05-01T00:00:00.000000Z",{current},"nodeEligible":false,{rest}"#
            )
        );
        assert_eq!(
            health.livez(),
            format!(r#"{{"lastUpdated":"2026-05-01T00:00:01.000000Z",{current},{rest}"#)
        );
    }

    /// A Service at 10.96.0.1 and node port 30080 with two endpoints here.
    fn with_service(refused: &[Subject]) -> (View, ServiceName) {
        let name = ServiceName::new("shop", "web");
        let frontend = |kind, at, port| {
            let (inside, outside) = (Action::Reject, Action::Reject);
            Frontend { kind, at, port, inside, outside, allowed: None }
        };
        let ip = At::Ip("10.96.0.1".parse().unwrap());
        let port = PortEntry {
            name: "".into(),
            protocol: Protocol::Tcp,
            family: Family::V4,
            affinity: None,
            cluster: Vec::new().into(),
            local: Vec::new().into(),
            serving: plan::Serving::default(),
            frontends: vec![
                frontend(FrontendKind::ClusterIp, ip, 80),
                frontend(FrontendKind::NodePort, At::NodeAddresses, 30_080),
            ],
        };
        let check = HealthCheck { family: Family::V4, port: 32_000, local_endpoints: 2 };
        let resolved =
            Resolved { ports: vec![port], health_checks: vec![check], ..Resolved::default() };
        let services = ServiceTable {
            services: [(name.clone(), Arc::new(resolved))].into_iter().collect(),
            node_port_addrs: ["192.0.2.1".parse().unwrap()].into(),
            ..ServiceTable::default()
        };
        let failure =
            |subject: &Subject| FailureRow { subject: subject.clone(), text: String::new() };
        let failures = refused.iter().map(failure).collect();
        let step = StepReport { step: RULES, failures, ..StepReport::default() };
        let view = View {
            compiled: Arc::new(Compiled { services, ..Compiled::default() }),
            report: Arc::new(Report { steps: vec![step], ..Report::default() }),
            ..view(Some(false), true)
        };
        (view, name)
    }

    #[test]
    fn s84_a_service_is_served_here_when_the_kernel_refused_no_row_of_it() {
        let values = |values: &[Value]| Subject::Values(values.to_vec());
        let addr = |text: &str| Value::Ipv4(text.parse().unwrap());
        let cases = [
            (vec![], true),
            (vec![Subject::Everything], false),
            (vec![values(&[addr("10.96.0.1"), Value::Number(6), Value::Port(80)])], false),
            (vec![values(&[addr("10.96.0.2"), Value::Number(6), Value::Port(80)])], true),
            (vec![values(&[Value::Number(6), Value::Port(30_080), Value::Mark(1)])], false),
            (vec![values(&[Value::Number(6), Value::Port(30_081)])], true),
            (vec![values(&[addr("192.0.2.1")])], false),
            (vec![values(&[addr("192.0.2.2")])], true),
        ];
        for (refused, serves) in cases {
            let (view, name) = with_service(&refused);
            let health = Health::of(&view, None);
            let got = service_health(&view, &name, Family::V4, health);
            assert_eq!((got.local_endpoints, got.serves), (2, serves), "{refused:?}");
            let body = format!(
                "{{\n\t\"service\": {{\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t}},\n\t\
                 \"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": {serves}\n}}"
            );
            assert_eq!(got.body, body);
            let other = service_health(&view, &name, Family::V6, health);
            assert_eq!(other.local_endpoints, 0, "it has no endpoint of the other family");
        }
    }
}
