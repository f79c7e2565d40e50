//! Keeps what leads pods to the API server: Service `default/kubernetes` with its endpoints, and the
//! range that Services' addresses come from.
//!
//! Source: Kubernetes, `pkg/controlplane/controller/kubernetesservice`, `…/defaultservicecidr` and
//! `pkg/controlplane/reconcilers`.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use serde_json::{Value, json};

use super::runtime::{Action, Change, Cluster, Controller, Keys, Kind, Plan, Turn, Write};
use crate::services::{self, DEFAULT_RANGE};
use crate::spec::Spec;
use crate::topology;

/// The one key of this controller.
const KEY: &str = "default/kubernetes";
/// Port of the API server behind its Service.
const API_PORT: u16 = 6443;

/// The controller of the API server's Service.
pub(super) struct ApiService(pub(super) Arc<Spec>);

impl Controller for ApiService {
    fn name(&self) -> &'static str {
        "kubernetes-service"
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "most kinds are nothing to this one")]
    fn concerns(&mut self, _: &Cluster, change: &Change, keys: &mut Keys) {
        let is_ours = match change {
            Change::Service(changed) => &*changed.key == KEY,
            Change::Endpoints(changed) => &*changed.key == KEY,
            Change::EndpointSlice(changed) => &*changed.key == KEY,
            Change::ServiceCIDR(changed) => &*changed.key == DEFAULT_RANGE,
            // There is always a node sooner or later: this is how it begins.
            Change::Node(changed) => changed.old.is_none(),
            _ => false,
        };
        if is_ours {
            keys.add(KEY);
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, _: &Turn<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let (Some(address), Some(api)) =
            (services::api_address(&self.0), topology::api_addrs(&self.0).first().copied())
        else {
            return plan;
        };
        if cluster.service_cidrs.get(DEFAULT_RANGE).is_none() {
            plan.writes.extend(create::<ServiceCIDR>(range(&self.0)));
        }
        if cluster.services.get(key).is_none() {
            plan.writes.extend(create::<Service>(service(address)));
        }
        if cluster.endpoints.get(key).is_none() {
            plan.writes.extend(create::<Endpoints>(endpoints(api)));
        }
        if cluster.endpoint_slices.get(key).is_none() {
            plan.writes.extend(create::<EndpointSlice>(slice(api)));
        }
        plan
    }
}

fn create<K: Kind>(object: Value) -> Option<Write> {
    serde_json::from_value::<K>(object).ok().map(|object| Write::new(Action::Create, object))
}

fn range(spec: &Spec) -> Value {
    let cidrs: Vec<String> = spec.service_cidrs.iter().map(ToString::to_string).collect();
    json!({ "metadata": { "name": DEFAULT_RANGE }, "spec": { "cidrs": cidrs } })
}

fn metadata() -> Value {
    json!({ "name": "kubernetes", "namespace": "default" })
}

fn service(address: IpAddr) -> Value {
    let mut metadata = metadata();
    metadata["labels"] = json!({ "component": "apiserver", "provider": "kubernetes" });
    json!({ "metadata": metadata, "spec": {
        "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
        "sessionAffinity": "None",
        "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": API_PORT }],
    } })
}

fn endpoints(api: IpAddr) -> Value {
    let mut metadata = metadata();
    metadata["labels"] = json!({ "endpointslice.kubernetes.io/skip-mirror": "true" });
    json!({ "metadata": metadata, "subsets": [{
        "addresses": [{ "ip": api }],
        "ports": [{ "name": "https", "port": API_PORT, "protocol": "TCP" }],
    }] })
}

fn slice(api: IpAddr) -> Value {
    let mut metadata = metadata();
    metadata["labels"] = json!({ "kubernetes.io/service-name": "kubernetes" });
    json!({ "metadata": metadata, "addressType": if api.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [api], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "port": API_PORT, "protocol": "TCP" }],
    })
}
