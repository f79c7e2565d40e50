//! Whether an object may be stored: what is wrong, field by field, in Kubernetes' words.
mod cluster;
mod container;
mod meta;
pub(crate) mod name;
mod network;
mod objects;
mod placement;
mod pod;
mod resources;
mod schedule;
mod service;
mod update;
mod value;
mod workloads;

use serde_json::Value;

use crate::crd;
use crate::refusal::Cause;
use crate::resource::{Resource, Rules};
use crate::schema;
use crate::strategy::Part;

/// What is wrong with a new object.
pub(crate) fn create(resource: &Resource, value: &Value) -> Vec<Cause> {
    let mut causes = meta::causes(resource, value);
    causes.extend(schema::causes(resource, value, None));
    causes.extend(of_kind(resource, value));
    if resource.rules == Rules::Pod {
        causes.extend(pod::create_causes(value));
    }
    causes
}

/// What is wrong with the update of `old` to `new`.
pub(crate) fn update(resource: &Resource, part: Part, new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = meta::causes(resource, new);
    causes.extend(meta::update_causes(new, old));
    match part {
        Part::Main => {
            causes.extend(schema::causes(resource, new, Some(old)));
            causes.extend(of_kind(resource, new));
            causes.extend(update::causes(resource, new, old));
        }
        Part::EphemeralContainers => {
            causes.extend(schema::causes(resource, new, Some(old)));
            causes.extend(of_kind(resource, new));
            causes.extend(update::ephemeral(new, old));
        }
        Part::Status => {
            causes.extend(schema::causes(resource, new, Some(old)));
        }
        // What these may write, the server has written itself or taken from a list.
        Part::Binding | Part::Finalizers => {}
    }
    causes
}

/// What is wrong beyond the rules of the schema.
type Check = fn(&Value) -> Vec<Cause>;

const CHECKS: &[(Rules, Check)] = &[
    (Rules::ConfigMap, objects::keys),
    (Rules::CronJob, workloads::cron_job),
    (Rules::DaemonSet, workloads::daemon_set),
    (Rules::Definition, crd::definition::causes),
    (Rules::Deployment, workloads::deployment),
    (Rules::EndpointSlice, network::endpoint_slice),
    (Rules::Endpoints, network::endpoints),
    (Rules::HorizontalPodAutoscaler, workloads::autoscaler),
    (Rules::Ingress, network::ingress),
    (Rules::IngressClass, network::ingress_class),
    (Rules::IpAddress, cluster::ip_address),
    (Rules::Job, workloads::job),
    (Rules::Lease, cluster::lease),
    (Rules::NetworkPolicy, network::policy),
    (Rules::Pod, |pod| pod::causes(&pod["spec"], "spec")),
    (Rules::PodDisruptionBudget, workloads::disruption_budget),
    (Rules::PodTemplate, |object| pod::template(&object["template"], "template")),
    (Rules::PriorityClass, cluster::priority_class),
    (Rules::ReplicaSet, workloads::replica_set),
    (Rules::ReplicationController, workloads::replication_controller),
    (Rules::Role, cluster::role),
    (Rules::RoleBinding, cluster::role_binding),
    (Rules::Secret, objects::secret),
    (Rules::Service, service::causes),
    (Rules::ServiceCidr, network::service_cidr),
    (Rules::StatefulSet, workloads::stateful_set),
];

fn of_kind(resource: &Resource, value: &Value) -> Vec<Cause> {
    let check = CHECKS.iter().find(|(rules, _)| *rules == resource.rules);
    check.map_or_else(Vec::new, |(_, check)| check(value))
}

#[cfg(test)]
mod tests;
