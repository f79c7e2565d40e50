//! Rules for amounts of resources: what containers ask for, what volumes hold.
//!
//! Source: Kubernetes pkg/apis/core/validation (`validateResourceRequirements`,
//! `validateContainerResourceName`, `ValidateResourceQuantityValue`), pkg/apis/core/helper.
use serde_json::{Value, json};

use super::name;
use crate::quantity::Quantity;
use crate::refusal::Cause;

/// What containers ask for that no vendor has named.
const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// What else is counted in a cluster without a vendor's name.
const COUNTED: [&str; 17] = [
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "requests.storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "storage",
    "pods",
    "resourcequotas",
    "services",
    "services.nodeports",
    "services.loadbalancers",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
];

const HUGE_PAGES: &str = "hugepages-";

/// What is wrong with the limits and requests of a container.
pub(super) fn causes(resources: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let limits = &resources["limits"];
    for field in ["limits", "requests"] {
        for (resource, amount) in resources[field].as_object().into_iter().flatten() {
            let path = format!("{path}.{field}[{resource}]");
            causes.extend(container_resource(resource, &path));
            causes.extend(of_resource(resource, amount, &path));
        }
    }
    for (resource, amount) in resources["requests"].as_object().into_iter().flatten() {
        causes.extend(within_limit(resource, amount, &limits[resource], path));
    }
    let asked = |wanted: &dyn Fn(&str) -> bool| {
        let maps = ["limits", "requests"].iter().filter_map(|field| resources[*field].as_object());
        maps.flat_map(serde_json::Map::keys).any(|resource| wanted(resource))
    };
    if asked(&|resource| resource.starts_with(HUGE_PAGES))
        && !asked(&|resource| matches!(resource, "cpu" | "memory"))
    {
        causes.push(Cause::forbidden(path, "HugePages require cpu or memory"));
    }
    causes
}

/// A request is no more than its limit; of what can't be lent, just as much.
fn within_limit(resource: &str, amount: &Value, limit: &Value, path: &str) -> Option<Cause> {
    let can_be_lent = is_native(resource) && !resource.starts_with(HUGE_PAGES);
    let field = format!("{path}.requests");
    let Some(most) = read(limit) else {
        let detail = "Limit must be set for non overcommitable resources";
        return (!can_be_lent).then(|| Cause::required(format!("{path}.limits"), detail));
    };
    let wanted = read(amount)?;
    let limit = limit.as_str().unwrap_or("");
    let detail = if !can_be_lent && wanted != most {
        format!("must be equal to {resource} limit of {limit}")
    } else if wanted > most {
        format!("must be less than or equal to {resource} limit of {limit}")
    } else {
        return None;
    };
    Some(Cause::invalid(field, amount, &detail))
}

/// What is wrong with an amount of `resource`.
pub(super) fn of_resource(resource: &str, amount: &Value, path: &str) -> Vec<Cause> {
    let mut causes: Vec<Cause> = non_negative(path, amount).into_iter().collect();
    let is_integer = COUNTED[8..].contains(&resource) || is_extended(resource);
    if is_integer && read(amount).is_some_and(|amount| !amount.is_whole()) {
        causes.push(Cause::invalid(path, amount, "must be an integer"));
    }
    causes
}

/// What is wrong with an amount that may not be below zero.
pub(super) fn non_negative(path: &str, amount: &Value) -> Option<Cause> {
    let detail = "must be greater than or equal to 0";
    let bad = read(amount).is_some_and(|amount| amount.is_negative());
    bad.then(|| Cause::invalid(path, amount, detail))
}

/// What is wrong with the name of what a container asks for.
fn container_resource(resource: &str, path: &str) -> Vec<Cause> {
    let given = json!(resource);
    if let Some(problem) = name::qualified_name(resource) {
        return vec![Cause::invalid(path, &given, &problem)];
    }
    let mut causes = Vec::new();
    if resource.contains('/') {
        if !is_native(resource) && !is_extended(resource) {
            let detail = "doesn't follow extended resource name standard";
            causes.push(Cause::invalid(path, &given, detail));
        }
        return causes;
    }
    if resource.starts_with(HUGE_PAGES) || STANDARD.contains(&resource) {
        return causes;
    }
    if !COUNTED.contains(&resource) && !resource.starts_with("requests.hugepages-") {
        let detail = "must be a standard resource type or fully qualified";
        causes.push(Cause::invalid(path, &given, detail));
    }
    causes.push(Cause::invalid(path, &given, "must be a standard resource for containers"));
    causes
}

/// Whether a resource is Kubernetes' own.
fn is_native(resource: &str) -> bool {
    !resource.contains('/') || resource.contains("kubernetes.io/")
}

/// Whether a resource is a vendor's.
fn is_extended(resource: &str) -> bool {
    let is_other = !is_native(resource) && !resource.starts_with("requests.");
    is_other && name::qualified_name(&format!("requests.{resource}")).is_none()
}

fn read(amount: &Value) -> Option<Quantity> {
    Quantity::parse(amount.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_held_against_their_resource_and_their_limit() {
        let cases = [
            ("limits", "cpu", "1", ""),
            ("limits", "cpu", "-1", "f.limits[cpu]: Invalid value: \"-1\": must be greater"),
            ("requests", "cpu", "2001m", "f.requests: Invalid value: \"2001m\": must be less"),
            ("requests", "cpu", "2", ""),
            ("limits", "example.com/card", "1", ""),
            (
                "limits",
                "example.com/card",
                "500m",
                "f.limits[example.com/card]: Invalid value: \
                \"500m\": must be an integer",
            ),
            ("requests", "example.com/card", "1", "f.limits: Required value: Limit must be set"),
            (
                "limits",
                "disk",
                "1",
                "f.limits[disk]: Invalid value: \"disk\": must be a standard \
                resource type or fully qualified",
            ),
            (
                "limits",
                "pods",
                "1",
                "f.limits[pods]: Invalid value: \"pods\": must be a standard \
                resource for containers",
            ),
            ("limits", "a b", "1", "f.limits[a b]: Invalid value: \"a b\": name part must consist"),
        ];
        for (field, resource, amount, expected) in cases {
            let mut asked = json!({field: {resource: amount}});
            if field == "requests" && resource == "cpu" {
                asked["limits"] = json!({"cpu": "2"});
            }
            let causes = causes(&asked, "f");
            let first = causes.first().map_or(String::new(), Cause::line);
            assert!(first.starts_with(expected), "{resource} {amount}: {first}");
            assert_eq!(first.is_empty(), expected.is_empty(), "{resource} {amount}: {first}");
        }
        let pages =
            json!({"limits": {"hugepages-2Mi": "4Mi"}, "requests": {"hugepages-2Mi": "4Mi"}});
        assert_eq!(causes(&pages, "f")[0].line(), "f: Forbidden: HugePages require cpu or memory");
    }
}
