//! Amounts of resources.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Amounts by resource, in thousandths.
pub(super) type Amounts = BTreeMap<String, i128>;

/// The resource that counts pods.
pub(super) const PODS: &str = "pods";

/// Reads a quantity, in thousandths, rounded up; what is none is nothing.
///
/// Source: Kubernetes, `resource.Quantity`: a decimal number with a suffix of SI, of powers of 1024, or
/// an exponent.
pub(super) fn millis(quantity: &Quantity) -> i128 {
    let text = quantity.0.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-'));
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let Ok(number) = number.parse::<f64>() else { return 0 };
    let factor = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024f64,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        exponent => match exponent[1..].parse::<i32>() {
            Ok(exponent) if suffix.starts_with(['e', 'E']) => 10f64.powi(exponent.clamp(-30, 30)),
            Ok(_) | Err(_) => return 0,
        },
    };
    // Casting saturates; a part of a thousandth too much comes from the binary fraction.
    #[expect(clippy::cast_possible_truncation, reason = "amounts beyond 2^127 saturate")]
    let millis = (number * factor * 1000.0 - 1e-6).ceil() as i128;
    millis.max(0)
}

/// Amounts as the API writes them.
pub(super) fn amounts(quantities: Option<&BTreeMap<String, Quantity>>) -> Amounts {
    let pairs = quantities.into_iter().flatten();
    pairs.map(|(resource, quantity)| (resource.clone(), millis(quantity))).collect()
}

/// What a pod asks for: what its containers ask for together, or its init containers one after the other
/// beside the sidecars before them, whichever is more; and itself as a pod.
///
/// Source: Kubernetes, `PodRequests`; KEP-753 (sidecars).
pub(super) fn requests(spec: &PodSpec) -> Amounts {
    let asked = |container: &Container| {
        amounts(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
    };
    let mut total = Amounts::new();
    spec.containers.iter().for_each(|container| add(&mut total, &asked(container)));
    let (mut sidecars, mut most) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let mut now = asked(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, &now);
            now.clone_from(&sidecars);
        } else {
            add(&mut now, &sidecars);
        }
        raise(&mut most, now);
    }
    add(&mut total, &sidecars);
    raise(&mut total, most);
    add(&mut total, &amounts(spec.overhead.as_ref()));
    total.insert(PODS.to_owned(), 1000);
    total
}

pub(super) fn add(to: &mut Amounts, more: &Amounts) {
    for (resource, amount) in more {
        *to.entry(resource.clone()).or_default() += amount;
    }
}

pub(super) fn subtract(from: &mut Amounts, less: &Amounts) {
    for (resource, amount) in less {
        *from.entry(resource.clone()).or_default() -= amount;
    }
}

fn raise(to: &mut Amounts, least: Amounts) {
    for (resource, amount) in least {
        let own = to.entry(resource).or_default();
        *own = (*own).max(amount);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_read_as_thousandths() {
        let cases = [
            ("1", 1000),
            ("100m", 100),
            ("0.5", 500),
            ("1.5Gi", 1_610_612_736_000),
            ("2k", 2_000_000),
            ("1e3", 1_000_000),
            ("12E", 12_000_000_000_000_000_000_000),
            ("1u", 1),
            ("x", 0),
            ("", 0),
            ("1Zi", 0),
            ("-1", 0),
            ("0.1", 100),
        ];
        for (text, expect) in cases {
            assert_eq!(millis(&Quantity(text.to_owned())), expect, "{text}");
        }
    }

    #[test]
    fn init_containers_count_by_the_largest_and_sidecars_always() {
        let container = |cpu: &str, policy: Option<&str>| json!({ "name": "c", "restartPolicy": policy, "resources": { "requests": { "cpu": cpu } } });
        let spec: PodSpec = serde_json::from_value(json!({
            "containers": [container("1", None), container("500m", None)],
            "initContainers": [container("3", None), container("200m", Some("Always")), container("1", None)],
            "overhead": { "cpu": "10m" },
        }))
        .unwrap();
        assert_eq!(requests(&spec)["cpu"], 3010);
        assert_eq!(requests(&spec)[PODS], 1000);
    }
}
