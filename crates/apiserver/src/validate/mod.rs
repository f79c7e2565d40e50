//! Whether an object may be stored: what is wrong, field by field, in Kubernetes' words.
mod meta;
pub(crate) mod name;
mod objects;
mod pod;
mod update;

use serde_json::Value;

use crate::refusal::Cause;
use crate::resource::{Resource, Rules};
use crate::schema;
use crate::strategy::Part;

/// What is wrong with a new object.
pub(crate) fn create(resource: &Resource, value: &Value) -> Vec<Cause> {
    let mut causes = meta::causes(resource, value);
    causes.extend(schema::causes(schema::stored(resource), value, ""));
    causes.extend(of_kind(resource, value));
    causes
}

/// What is wrong with the update of `old` to `new`.
pub(crate) fn update(resource: &Resource, part: Part, new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = meta::causes(resource, new);
    causes.extend(meta::update_causes(new, old));
    match part {
        Part::Main => {
            causes.extend(schema::causes(schema::stored(resource), new, ""));
            causes.extend(of_kind(resource, new));
            causes.extend(update::causes(resource, new, old));
        }
        Part::Status => {
            causes.extend(schema::causes(schema::stored(resource), new, ""));
        }
        // What these may write, the server has written itself or taken from a list.
        Part::Binding | Part::Finalizers => {}
    }
    causes
}

fn of_kind(resource: &Resource, value: &Value) -> Vec<Cause> {
    match resource.rules {
        Rules::Pod => pod::causes(&value["spec"]),
        Rules::ConfigMap | Rules::Secret => objects::keys(value),
        Rules::Service => objects::service(value),
        Rules::EndpointSlice => objects::endpoint_slice(value),
        Rules::Plain | Rules::Event | Rules::Namespace | Rules::Node | Rules::Review => Vec::new(),
    }
}
