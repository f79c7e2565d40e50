//! The forms of values that many kinds share: numbers, addresses, selectors.
//!
//! Source: Kubernetes k8s.io/apimachinery `util/validation` and `meta/v1/validation`, whose
//! sentences these are.
use std::net::IpAddr;

use serde_json::{Value, json};

use super::name;
use crate::refusal::Cause;
use crate::selector::LabelSelector;

/// A number that may not be below zero; nothing is zero.
pub(super) fn non_negative(field: String, value: &Value) -> Option<Cause> {
    let bad = value.as_i64().is_some_and(|number| number < 0);
    bad.then(|| Cause::invalid(field, value, "must be greater than or equal to 0"))
}

/// The complaints about each of `fields` of `value` that is below zero.
pub(super) fn all_non_negative(path: &str, value: &Value, fields: &[&str]) -> Vec<Cause> {
    let check = |field: &&str| non_negative(format!("{path}.{field}"), &value[*field]);
    fields.iter().filter_map(check).collect()
}

/// What is wrong with a port's number.
pub(super) fn port_number(number: &Value) -> Option<&'static str> {
    let good = number.as_i64().is_some_and(|number| (1..=65_535).contains(&number));
    (!good).then_some("must be between 1 and 65535, inclusive")
}

/// A port by number, or by the name that a container gives it.
pub(super) fn port(field: String, value: &Value) -> Option<Cause> {
    let problem = match value.as_str() {
        Some(text) => name::port_name(text),
        None => port_number(value).map(str::to_owned),
    };
    problem.map(|problem| Cause::invalid(field, value, &problem))
}

/// A number of pods, or a part of them as `25%`.
pub(super) fn int_or_percent(field: &str, value: &Value) -> Vec<Cause> {
    let Some(text) = value.as_str() else {
        return non_negative(field.to_owned(), value).into_iter().collect();
    };
    let part = text.strip_suffix('%').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    match part.and_then(|digits| digits.parse::<u64>().ok()) {
        None => {
            let detail = "a valid percent string must be a numeric string followed by an ending \
                          '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
            vec![Cause::invalid(field, value, detail)]
        }
        Some(part) if part > 100 => {
            vec![Cause::invalid(field, value, "must not be greater than 100%")]
        }
        Some(_) => Vec::new(),
    }
}

/// Whether a number of pods or a part of them comes to nothing.
pub(super) fn is_zero(value: &Value) -> bool {
    match value.as_str() {
        Some(text) => text.trim_end_matches('%').bytes().all(|b| b == b'0'),
        None => value.as_i64().unwrap_or(0) == 0,
    }
}

/// What is wrong with an address.
pub(super) fn ip(field: &str, value: &Value) -> Option<Cause> {
    let good = value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok());
    let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    (!good).then(|| Cause::invalid(field, value, detail))
}

/// What is wrong with the address of an endpoint: those that mean this machine or this link are no
/// places to send to.
pub(super) fn endpoint_ip(field: &str, value: &Value) -> Option<Cause> {
    let Some(address) = value.as_str().and_then(|text| text.parse::<IpAddr>().ok()) else {
        return ip(field, value);
    };
    let (link_local, link_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    let detail = if address.is_unspecified() {
        format!("may not be unspecified ({address})")
    } else if address.is_loopback() {
        "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned()
    } else if link_local {
        "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned()
    } else if link_multicast {
        "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned()
    } else {
        return None;
    };
    Some(Cause::invalid(field, value, &detail))
}

/// The address and prefix length that `text` writes.
pub(super) fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let (address, length) = (address.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?);
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

/// What is wrong with a range of addresses.
pub(super) fn cidr(field: &str, value: &Value) -> Option<Cause> {
    let good = value.as_str().and_then(parse_cidr).is_some();
    let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    (!good).then(|| Cause::invalid(field, value, detail))
}

/// Whether the range `inner` is part of `outer` and smaller.
pub(super) fn is_strict_subset(inner: (IpAddr, u8), outer: (IpAddr, u8)) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(outer.1)).unwrap_or(0);
    inner.0.is_ipv4() == outer.0.is_ipv4()
        && inner.1 > outer.1
        && bits(inner.0) & mask == bits(outer.0) & mask
}

/// What is wrong with labels, as a map.
pub(super) fn labels(path: &str, labels: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        if let Some(problem) = name::qualified_name(key) {
            causes.push(Cause::invalid(path, &json!(key), &problem));
        }
        if let Some(problem) = name::label_value(value.as_str().unwrap_or("")) {
            causes.push(Cause::invalid(path, value, &problem));
        }
    }
    causes
}

/// What is wrong with a `LabelSelector`.
pub(super) fn selector(path: &str, selector: &Value) -> Vec<Cause> {
    let mut causes = labels(&format!("{path}.matchLabels"), &selector["matchLabels"]);
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    for (n, expression) in expressions.enumerate() {
        let path = format!("{path}.matchExpressions[{n}]");
        let values = expression["values"].as_array().map_or(&[][..], Vec::as_slice);
        let operator = expression["operator"].as_str().unwrap_or("");
        if matches!(operator, "In" | "NotIn") && values.is_empty() {
            let detail = "must be specified when `operator` is 'In' or 'NotIn'";
            causes.push(Cause::required(format!("{path}.values"), detail));
        }
        if matches!(operator, "Exists" | "DoesNotExist") && !values.is_empty() {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            causes.push(Cause::forbidden(format!("{path}.values"), detail));
        }
        let key = expression["key"].as_str().filter(|key| !key.is_empty());
        if let Some(problem) = key.and_then(name::qualified_name) {
            causes.push(Cause::invalid(format!("{path}.key"), &expression["key"], &problem));
        }
        for (n, value) in values.iter().enumerate() {
            if let Some(problem) = name::label_value(value.as_str().unwrap_or("")) {
                causes.push(Cause::invalid(format!("{path}.values[{n}]"), value, &problem));
            }
        }
    }
    causes
}

/// Whether a selector selects by nothing, and so everything.
pub(super) fn is_empty_selector(selector: &Value) -> bool {
    LabelSelector::of(selector) == LabelSelector::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_range_are_inside_it_and_smaller() {
        let cases = "
            10.0.0.0/8 10.1.0.0/16 yes
            10.0.0.0/8 10.0.0.0/8 no
            10.0.0.0/8 11.0.0.0/16 no
            0.0.0.0/0 10.0.0.0/8 yes
            fd00::/8 fd00:1::/32 yes
            ::/0 10.0.0.0/8 no
            10.1.0.0/16 10.0.0.0/8 no";
        for line in cases.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (outer, inner) = (parse_cidr(words[0]).unwrap(), parse_cidr(words[1]).unwrap());
            assert_eq!(is_strict_subset(inner, outer), words[2] == "yes", "{line}");
        }
    }

    #[test]
    fn amounts_are_numbers_or_parts_of_a_whole() {
        for good in [json!(0), json!(5), json!("0%"), json!("100%")] {
            assert_eq!(int_or_percent("f", &good), [], "{good}");
        }
        for bad in [json!(-1), json!("5"), json!("x%"), json!("101%"), json!("-1%")] {
            assert_eq!(int_or_percent("f", &bad).len(), 1, "{bad}");
        }
    }
}
