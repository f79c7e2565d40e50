//! Whether an object may be stored: what is wrong, field by field, in Kubernetes' words.
mod meta;
pub(crate) mod name;
mod objects;
mod pod;
mod update;

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
    (Rules::Definition, crd::definition::causes),
    (Rules::EndpointSlice, objects::endpoint_slice),
    (Rules::Pod, |pod| pod::causes(&pod["spec"])),
    (Rules::Secret, objects::keys),
    (Rules::Service, objects::service),
];

fn of_kind(resource: &Resource, value: &Value) -> Vec<Cause> {
    let check = CHECKS.iter().find(|(rules, _)| *rules == resource.rules);
    check.map_or_else(Vec::new, |(_, check)| check(value))
}
