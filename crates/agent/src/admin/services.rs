//! Services as programs want them, and one of them explained.

use compile::services::{
    Action, At, Backend, ExplainedEndpoint, ExplainedPort, Explanation, Frontend, PortEntry,
    Resolved, ServiceTable, Source, Topology, explain,
};
use http::StatusCode;
use model::{ServiceName, TrafficPolicy};
use serde_json::{Value, json};

use super::Answer;
use crate::shown::View;

/// The whole table.
pub(super) fn table(table: &ServiceTable) -> Value {
    let services = table.services.iter().map(|(name, resolved)| {
        let mut row = opened(resolved);
        row["namespace"] = name.namespace.as_ref().into();
        row["name"] = name.name.as_ref().into();
        row
    });
    json!({
        "nodePortAddresses": table.node_port_addrs,
        "cidrs": table.cidrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "services": services.collect::<Vec<_>>(),
    })
}

/// The Service called `NAMESPACE/NAME`, or `NAME` in the namespace default.
fn explain_one(name: &str, view: &View) -> Option<Explanation> {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    let name = ServiceName::new(namespace, name);
    let table = &view.compiled.services;
    explain(&view.world, &view.world.config.node, table, &name)
}

/// The answer to who asks about one Service.
pub(super) fn explained(name: &str, view: &View, as_json: bool) -> Answer {
    match explain_one(name, view) {
        None => Answer::new(StatusCode::NOT_FOUND, format!("there is no Service {name}\n")),
        Some(explanation) if as_json => Answer::json(&explanation_json(&explanation)),
        Some(explanation) => Answer::text(explanation.to_string()),
    }
}

fn explanation_json(explanation: &Explanation) -> Value {
    let Explanation { service, closed, resolved, ports } = explanation;
    json!({
        "namespace": &*service.namespace,
        "name": &*service.name,
        "closed": closed,
        "opens": opened(resolved),
        "endpoints": ports.iter().map(explained_port).collect::<Vec<_>>(),
    })
}

fn explained_port(port: &ExplainedPort) -> Value {
    let endpoint = |endpoint: &ExplainedEndpoint| {
        let verdict = |excluded: &Option<_>| match excluded {
            None => json!({ "chosen": true }),
            Some(why) => json!({ "chosen": false, "why": format!("{why}") }),
        };
        let mut row = backend(&endpoint.backend);
        row["node"] = endpoint.node.as_ref().map(|node| node.as_str()).into();
        row["cluster"] = verdict(&endpoint.cluster);
        row["local"] = endpoint.local.as_ref().map(verdict).into();
        row
    };
    json!({
        "port": &*port.name,
        "protocol": port.protocol.to_string(),
        "family": port.family.to_string(),
        "topology": match port.topology {
            Topology::Anywhere => Value::Null,
            Topology::SameZone => "zone".into(),
            Topology::SameNode => "node".into(),
        },
        "endpoints": port.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

/// What a Service opens.
fn opened(resolved: &Resolved) -> Value {
    let checks = resolved.health_checks.iter().map(|check| {
        json!({
            "family": check.family.to_string(),
            "port": check.port,
            "localEndpoints": check.local_endpoints,
        })
    });
    json!({
        "ports": resolved.ports.iter().map(port).collect::<Vec<_>>(),
        "healthChecks": checks.collect::<Vec<_>>(),
    })
}

fn port(port: &PortEntry) -> Value {
    let backends = |set: &[Backend]| -> Vec<Value> { set.iter().map(backend).collect() };
    json!({
        "name": &*port.name,
        "protocol": port.protocol.to_string(),
        "family": port.family.to_string(),
        "affinitySeconds": port.affinity.map(|affinity| affinity.as_secs()),
        "frontends": port.frontends.iter().map(frontend).collect::<Vec<_>>(),
        "cluster": backends(&port.cluster),
        "local": backends(&port.local),
    })
}

fn backend(backend: &Backend) -> Value {
    json!({ "address": backend.addr, "port": backend.port, "here": backend.is_local })
}

fn frontend(frontend: &Frontend) -> Value {
    let addr = match frontend.at {
        At::Ip(addr) => Some(addr),
        At::NodeAddresses => None,
    };
    let allowed = frontend.allowed.as_ref();
    let allowed: Option<Vec<String>> =
        allowed.map(|nets| nets.iter().map(ToString::to_string).collect());
    json!({
        "kind": frontend.kind.to_string(),
        "address": addr,
        "port": frontend.port,
        "inside": action(&frontend.inside),
        "outside": action(&frontend.outside),
        "allowed": allowed,
    })
}

fn action(action: &Action) -> Value {
    match action {
        Action::Forward { to, source } => json!({
            "to": match to {
                TrafficPolicy::Cluster => "cluster",
                TrafficPolicy::Local => "local",
            },
            "source": match source {
                Source::Kept => "kept",
                Source::KeptForPods => "kept for pods",
                Source::Node => "node",
            },
        }),
        Action::Reject => json!("reject"),
        Action::Drop => json!("drop"),
    }
}
