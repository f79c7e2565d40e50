//! The downward API: fields of a pod and resources of its containers, as text.
//!
//! Source: kubelet `fieldpath.ExtractFieldPathAsString`, `resource.ExtractContainerResourceValue`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// A field of the object itself; `None` for a path that there isn't.
pub(super) fn of_pod(path: &str, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref();
    let text = |field: Option<&String>| Some(field.cloned().unwrap_or_default());
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.labels" => &pod.metadata.labels,
            "metadata.annotations" => &pod.metadata.annotations,
            _ => return None,
        };
        return text(map.as_ref().and_then(|map| map.get(key)));
    }
    match path {
        "metadata.name" => text(pod.metadata.name.as_ref()),
        "metadata.namespace" => text(pod.metadata.namespace.as_ref()),
        "metadata.uid" => text(pod.metadata.uid.as_ref()),
        "metadata.labels" => Some(lines(pod.metadata.labels.as_ref())),
        "metadata.annotations" => Some(lines(pod.metadata.annotations.as_ref())),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => {
            let named = spec.and_then(|spec| spec.service_account_name.clone());
            Some(named.unwrap_or_else(|| "default".to_owned()))
        }
        _ => None,
    }
}

/// Source: `fieldpath.FormatMap`: `key="value"`, one a line, sorted.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// A request or limit of the container that `wanted` names, or of `own`, in units of its divisor,
/// rounded up. A limit that isn't set is all the node has.
///
/// # Errors
/// A container or resource that there isn't.
pub(super) fn resource(
    wanted: &ResourceFieldSelector,
    pod: &Pod,
    own: Option<&Container>,
) -> Result<String, String> {
    let named = wanted.container_name.as_deref().filter(|name| !name.is_empty());
    let spec = pod.spec.iter();
    let mut all =
        spec.flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let container = match named {
        None => own,
        Some(name) => all.find(|container| container.name == name),
    };
    let container =
        container.ok_or_else(|| format!("container {} not found", named.unwrap_or_default()))?;
    let unknown = || format!("unsupported container resource: {}", wanted.resource);
    let (side, name) = wanted.resource.split_once('.').ok_or_else(unknown)?;
    let resources = container.resources.as_ref();
    let limit = resources.and_then(|it| it.limits.as_ref()?.get(name));
    let request = resources.and_then(|it| it.requests.as_ref()?.get(name));
    let quantity = match side {
        "limits" => limit,
        "requests" => request.or(limit),
        _ => return Err(unknown()),
    };
    let is_known =
        ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with("hugepages-");
    if !is_known {
        return Err(unknown());
    }
    let amount = match (quantity, side) {
        (Some(Quantity(text)), _) => thousandths(text).ok_or_else(unknown)?,
        (None, "requests") => 0,
        (None, _) => of_node(name),
    };
    let divisor = wanted.divisor.as_ref().and_then(|Quantity(text)| thousandths(text));
    // Source: a divisor of 0 is 1 of the resource's own unit.
    let divisor = divisor.filter(|divisor| *divisor > 0).unwrap_or(1000);
    Ok(amount.div_ceil(divisor).to_string())
}

/// A quantity in thousandths, rounded up; `None` if the text is none.
///
/// Source: `resource.Quantity`: a decimal number and a suffix of base ten or two, or an exponent.
pub(super) fn thousandths(text: &str) -> Option<u128> {
    let end =
        text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '+').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, part) = number.trim_start_matches('+').split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{}{part}", whole.trim_start_matches('+')).parse().ok()?;
    let scale = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    // How many thousandths one of the suffix is: multiplied, and divided.
    let (times, over) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1000),
        "m" => (1, 1),
        "" => (1000, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (1_000_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000_000, 1),
        "Ki" => (1000 << 10, 1),
        "Mi" => (1000 << 20, 1),
        "Gi" => (1000 << 30, 1),
        "Ti" => (1000 << 40, 1),
        "Pi" => (1000 << 50, 1),
        "Ei" => (1000_u128 << 60, 1),
        exponent => {
            let exponent = exponent.strip_prefix(['e', 'E'])?;
            let (is_small, digits) = match exponent.strip_prefix('-') {
                Some(digits) => (true, digits),
                None => (false, exponent.trim_start_matches('+')),
            };
            let power = 10_u128.checked_pow(digits.parse().ok()?)?;
            if is_small { (1000, power) } else { (power.checked_mul(1000)?, 1) }
        }
    };
    Some(digits.checked_mul(times)?.div_ceil(scale.checked_mul(over)?))
}

/// What the node has of a resource, in thousandths.
fn of_node(name: &str) -> u128 {
    match name {
        "cpu" => {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            cores as u128 * 1000
        }
        "memory" => {
            let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
            let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
            let kib = total.and_then(|total| total.split_whitespace().next()?.parse::<u128>().ok());
            kib.unwrap_or(0) * 1024 * 1000
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_read_in_every_notation() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("100m", Some(100)),
            ("1.5", Some(1500)),
            ("1n", Some(1)),
            ("64Mi", Some(67_108_864_000)),
            ("1k", Some(1_000_000)),
            ("2e3", Some(2_000_000)),
            ("5E-1", Some(500)),
            ("1Ei", Some(1_152_921_504_606_846_976_000)),
            ("x", None),
            ("1Xi", None),
            ("", None),
            ("1e99", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text}");
        }
    }

    #[test]
    fn a_resource_is_told_in_units_of_the_divisor_rounded_up() {
        let pod = json!({"spec": {"containers": [{"name": "c", "resources": {
            "limits": {"cpu": "1500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let cases = [
            ("limits.cpu", "0", Ok("2")),
            ("limits.cpu", "1m", Ok("1500")),
            ("requests.cpu", "1", Ok("1")),
            ("requests.cpu", "1m", Ok("250")),
            ("limits.memory", "1Mi", Ok("64")),
            ("requests.memory", "1", Ok("67108864")),
            ("requests.ephemeral-storage", "1", Ok("0")),
            ("limits.pods", "1", Err("unsupported container resource: limits.pods")),
            ("cpu", "1", Err("unsupported container resource: cpu")),
        ];
        for (resource_name, divisor, expected) in cases {
            let wanted =
                json!({"containerName": "c", "resource": resource_name, "divisor": divisor});
            let wanted = serde_json::from_value(wanted).unwrap();
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(resource(&wanted, &pod, None), expected, "{resource_name}");
        }
        let nobody = json!({"containerName": "x", "resource": "limits.cpu"});
        let nobody = serde_json::from_value(nobody).unwrap();
        assert_eq!(resource(&nobody, &pod, None), Err("container x not found".to_owned()));
    }
}
