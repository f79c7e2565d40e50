//! Views as JSON, where a program would want them.

use model::Rfc3339;
use serde_json::{Value, json};

use super::{policy, services};
use crate::reconcile::StepReport;
use crate::shown::View;
use crate::sources::Basis;

/// A view by its name; `None` when it is only text.
pub(super) fn dump(name: &str, view: &View) -> Option<Value> {
    Some(match name {
        "ipam" => leases(view),
        "report" => report(view),
        "objects" => policy::objects(&view.world),
        "names" => policy::names(view),
        "services" => services::table(&view.compiled.services),
        _ => return None,
    })
}

/// A view that is only text, in the field's own notation: its lines.
pub(super) fn lines(text: &str) -> Value {
    json!({ "lines": text.lines().collect::<Vec<_>>() })
}

fn leases(view: &View) -> Value {
    let leases: Vec<Value> =
        view.leases
            .attachments
            .values()
            .map(|attachment| {
                let pod = attachment.pod.as_ref().map(
                    |pod| json!({ "namespace": pod.namespace, "name": pod.name, "uid": pod.uid }),
                );
                json!({
                    "containerID": &*attachment.key.container_id,
                    "ifname": attachment.key.ifname.as_str(),
                    "network": attachment.network,
                    "netns": attachment.netns,
                    "pod": pod,
                    "addresses": attachment.addrs,
                    "mac": attachment.mac.to_string(),
                })
            })
            .collect();
    let resting = view.leases.resting.iter();
    let resting: Vec<Value> =
        resting.map(|(addr, at)| json!({ "address": addr, "releasedAt": at })).collect();
    json!({ "leases": leases, "resting": resting })
}

fn report(view: &View) -> Value {
    let step = |step: &StepReport| {
        let failures: Vec<&str> = step.failures.iter().map(|f| f.text.as_str()).collect();
        json!({
            "step": step.step,
            "puts": step.puts,
            "deletes": step.deletes,
            "drift": step.drift,
            "failures": failures,
            "seconds": step.took.as_secs_f64(),
        })
    };
    let report = &view.report;
    let snapshot = match view.basis {
        Basis::Snapshot(written) => Some(Rfc3339(written).to_string()),
        Basis::Nothing | Basis::Lists => None,
    };
    json!({
        "snapshot": snapshot,
        "generation": report.generation.0,
        "seconds": report.took.as_secs_f64(),
        "steps": report.steps.iter().map(step).collect::<Vec<_>>(),
    })
}
