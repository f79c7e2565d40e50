//! Owners of an object's size, as its scale shows them, and back.
//!
//! Source: k8s.io/apimachinery `util/managedfields/scalehandler.go`.
use serde_json::Value;

use super::entries::{Entry, Managed};
use super::set::FieldSet;
use super::{put, take};

/// The version of the kind `Scale`.
const SCALE: &str = "autoscaling/v1";

/// Shows in `scale` who owns the size of `object`, which stands at the path `wanted`.
pub(crate) fn show_owners(object: &Value, wanted: &str, scale: &mut Value) {
    let mut managed = Managed::stored(object["metadata"]["managedFields"].clone());
    managed.entries.retain(|entry| owns(entry, wanted));
    for entry in &mut managed.entries {
        SCALE.clone_into(&mut entry.api_version);
        entry.fields = size("spec.replicas");
    }
    put(scale, managed);
}

/// Writes into `object`, of `api_version`, who owns its size by `scale`.
pub(crate) fn take_owners(scale: &Value, api_version: &str, wanted: &str, object: &mut Value) {
    let mut owners = Managed::stored(scale["metadata"]["managedFields"].clone());
    owners.entries.retain(|entry| owns(entry, "spec.replicas"));
    let mut managed = Managed::stored(take(object));
    for entry in &mut managed.entries {
        let same = |other: &Entry| {
            (&other.manager, other.operation, &other.subresource)
                == (&entry.manager, entry.operation, &entry.subresource)
        };
        let before = owners.entries.len();
        let has_size = owns(entry, wanted);
        if has_size {
            owners.entries.retain(|other| !same(other));
        }
        if has_size && owners.entries.len() == before {
            entry.fields.subtract(&size(wanted));
        }
    }
    managed.entries.retain(|entry| !entry.fields.is_empty());
    for mut owner in owners.entries {
        api_version.clone_into(&mut owner.api_version);
        owner.fields = size(wanted);
        managed.entries.push(owner);
    }
    put(object, managed);
}

fn owns(entry: &Entry, path: &str) -> bool {
    !entry.fields.intersection(&size(path)).is_empty()
}

/// The field at a path with dots.
fn size(path: &str) -> FieldSet {
    FieldSet::of_fields(&[&path.split('.').collect::<Vec<_>>()])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, subresource: &str, api_version: &str, fields: &Value) -> Value {
        let mut entry = json!({"manager": manager, "operation": "Apply", "fieldsType": "FieldsV1",
            "apiVersion": api_version, "fieldsV1": fields});
        if !subresource.is_empty() {
            entry["subresource"] = json!(subresource);
        }
        entry
    }

    #[test]
    fn the_owner_of_a_size_is_the_owner_of_its_scale_and_back() {
        let both = json!({"f:spec": {"f:replicas": {}, "f:paused": {}}});
        let paused = json!({"f:spec": {"f:paused": {}}});
        let replicas = json!({"f:spec": {"f:replicas": {}}});
        let object = json!({"metadata": {"managedFields": [entry("a", "", "apps/v1", &both)]}});
        let mut scale = json!({"metadata": {}});
        show_owners(&object, "spec.replicas", &mut scale);
        let shown = json!([entry("a", "", SCALE, &replicas)]);
        assert_eq!(scale["metadata"]["managedFields"], shown);
        let mut kept = object.clone();
        take_owners(&scale, "apps/v1", "spec.replicas", &mut kept);
        assert_eq!(kept, object);
        let stolen = json!([entry("b", "scale", SCALE, &replicas)]);
        scale["metadata"]["managedFields"] = stolen;
        take_owners(&scale, "apps/v1", "spec.replicas", &mut kept);
        let expected =
            json!([entry("a", "", "apps/v1", &paused), entry("b", "scale", "apps/v1", &replicas),]);
        assert_eq!(kept["metadata"]["managedFields"], expected);
    }
}
