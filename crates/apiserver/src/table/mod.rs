//! Objects as rows: what `kubectl get` prints.
//!
//! Source: Kubernetes pkg/printers/internalversion.
mod classes;
mod cluster;
mod pod;
mod workloads;

use serde_json::{Value, json};

use crate::resource::{Resource, Rules};
use crate::selector::LabelSelector;
use crate::time;

/// A column: its heading, type and whether only `-o wide` shows it.
type Column = (&'static str, &'static str, bool);

const NAME: Column = ("Name", "string", false);
const AGE: Column = ("Age", "string", false);
const PLAIN: &[Column] = &[NAME, AGE];

/// The columns of a kind.
pub(crate) fn columns(resource: &Resource) -> Vec<Value> {
    let column = |(name, of, wide): &Column| {
        let format = if *name == "Name" { "name" } else { "" };
        json!({
            "name": name, "type": of, "format": format, "description": "",
            "priority": i32::from(*wide),
        })
    };
    match &resource.custom {
        Some(custom) => custom.columns.headings(),
        None => layout(resource).0.iter().map(column).collect(),
    }
}

/// The cells of one object, as many as its kind has columns.
pub(crate) fn cells(resource: &Resource, object: &Value) -> Vec<Value> {
    match &resource.custom {
        Some(custom) => custom.columns.cells(object),
        None => layout(resource).1(object),
    }
}

/// A kind's columns, and the function that fills them.
type Layout = (&'static [Column], fn(&Value) -> Vec<Value>);

fn layout(resource: &Resource) -> Layout {
    let layout = LAYOUTS.iter().find(|(rules, _)| *rules == resource.rules);
    layout.map_or((PLAIN, plain), |(_, layout)| *layout)
}

const LAYOUTS: &[(Rules, Layout)] = &[
    (Rules::AdmissionPolicy, (classes::ADMISSION_POLICY, classes::admission_policy)),
    (Rules::AdmissionPolicyBinding, (classes::ADMISSION_BINDING, classes::admission_binding)),
    (Rules::ControllerRevision, (workloads::CONTROLLER_REVISION, workloads::controller_revision)),
    (Rules::CronJob, (workloads::CRON_JOB, workloads::cron_job)),
    (Rules::DaemonSet, (workloads::DAEMON_SET, workloads::daemon_set)),
    (Rules::Deployment, (workloads::DEPLOYMENT, workloads::deployment)),
    (Rules::HorizontalPodAutoscaler, (workloads::AUTOSCALER, workloads::autoscaler)),
    (Rules::IpAddress, (classes::IP_ADDRESS, classes::ip_address)),
    (Rules::Job, (workloads::JOB, workloads::job)),
    (Rules::LimitRange, (classes::ROLE, classes::role)),
    (Rules::PersistentVolume, (classes::VOLUME, classes::volume)),
    (Rules::PersistentVolumeClaim, (classes::CLAIM, classes::claim)),
    (Rules::PodDisruptionBudget, (workloads::DISRUPTION_BUDGET, workloads::disruption_budget)),
    (Rules::PodTemplate, (workloads::POD_TEMPLATE, workloads::pod_template)),
    (Rules::PriorityClass, (classes::PRIORITY_CLASS, classes::priority_class)),
    (Rules::ReplicaSet, (workloads::REPLICA_SET, workloads::replica_set)),
    (Rules::ReplicationController, (workloads::REPLICA_SET, workloads::replica_set)),
    (Rules::ResourceQuota, (classes::QUOTA, classes::quota)),
    (Rules::Role, (classes::ROLE, classes::role)),
    (Rules::RoleBinding, (classes::ROLE_BINDING, classes::role_binding)),
    (Rules::RuntimeClass, (classes::RUNTIME_CLASS, classes::runtime_class)),
    (Rules::ServiceCidr, (classes::SERVICE_CIDR, classes::service_cidr)),
    (Rules::StatefulSet, (workloads::STATEFUL_SET, workloads::stateful_set)),
    (Rules::StorageClass, (classes::STORAGE_CLASS, classes::storage_class)),
    (Rules::WebhookConfiguration, (classes::WEBHOOKS, classes::webhooks)),
    (Rules::ConfigMap, (cluster::CONFIG_MAP, cluster::config_map)),
    (Rules::Definition, (cluster::DEFINITION, cluster::definition)),
    (Rules::EndpointSlice, (cluster::ENDPOINT_SLICE, cluster::endpoint_slice)),
    (Rules::Endpoints, (cluster::ENDPOINTS, cluster::endpoints)),
    (Rules::Event, (cluster::EVENT, cluster::event)),
    (Rules::Ingress, (cluster::INGRESS, cluster::ingress)),
    (Rules::IngressClass, (cluster::INGRESS_CLASS, cluster::ingress_class)),
    (Rules::Lease, (cluster::LEASE, cluster::lease)),
    (Rules::Namespace, (cluster::NAMESPACE, cluster::namespace)),
    (Rules::NetworkPolicy, (cluster::NETWORK_POLICY, cluster::network_policy)),
    (Rules::Node, (cluster::NODE, cluster::node)),
    (Rules::Pod, (pod::COLUMNS, pod::cells)),
    (Rules::Scale, (cluster::SCALE, cluster::scale)),
    (Rules::Secret, (cluster::SECRET, cluster::secret)),
    (Rules::Service, (cluster::SERVICE, cluster::service)),
    (Rules::ServiceAccount, (cluster::SERVICE_ACCOUNT, cluster::service_account)),
];

fn plain(object: &Value) -> Vec<Value> {
    vec![name(object), age(object)]
}

fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

fn age(object: &Value) -> Value {
    json!(since(&object["metadata"]["creationTimestamp"]))
}

/// How long ago a time stamp was.
pub(crate) fn since(stamp: &Value) -> String {
    let then = stamp.as_str().and_then(time::parse_rfc3339);
    then.map_or_else(
        || "<unknown>".to_owned(),
        |then| time::human(time::now().saturating_sub(then)),
    )
}

/// The text at `value`, or `otherwise` if it is missing or empty.
fn text_or(value: &Value, otherwise: &str) -> String {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(otherwise).to_owned()
}

/// The items of a list, none if it is missing.
fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// `words` with commas, or `<none>`.
fn listed(words: &[String]) -> String {
    if words.is_empty() { "<none>".to_owned() } else { words.join(",") }
}

/// `a=b,c=d` of a map of strings, or `<none>`.
fn pairs(map: &Value) -> String {
    let entries = map.as_object().into_iter().flatten();
    let words: Vec<String> =
        entries.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(""))).collect();
    listed(&words)
}

/// A `LabelSelector` in its string form, or `<none>`.
fn selector(selector: &Value) -> String {
    let text = LabelSelector::of(selector).to_string();
    if text.is_empty() { "<none>".to_owned() } else { text }
}
