//! The formats of text and numbers that schemas may ask for. Those not listed ask for nothing.
//!
//! Source: k8s.io/kube-openapi `pkg/validation/strfmt`; apiextensions-apiserver
//! `pkg/apiserver/validation/formats.go` (which of them custom resources know).
use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine;
use serde_json::Value;

use super::pattern;
use crate::{time, validate};

/// Whether `text` has the format.
pub(super) fn is_good(format: &str, text: &str) -> bool {
    let matches =
        |expression: &str| pattern::compile(expression).is_ok_and(|regex| regex.is_match(text));
    match format {
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "cidr" => is_cidr(text),
        "date" => is_date(text),
        "date-time" | "datetime" => time::parse_rfc3339(text).is_some(),
        "duration" => duration(text).is_some(),
        "email" => matches(r"^[^@\s<>]+@[^@\s<>]+$"),
        "hostname" => {
            text.len() <= 255
                && text.split('.').all(|label| {
                    !label.is_empty()
                        && label.len() <= 63
                        && !label.starts_with('-')
                        && !label.ends_with('-')
                        && label.chars().all(|c| c.is_alphanumeric() || c == '-')
                })
        }
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "mac" => matches(r"(?i)^([0-9a-f]{2}([:-]|$)){6,8}$"),
        "uri" => text.starts_with('/') || matches(r"^[A-Za-z][A-Za-z0-9+.-]*:[^\s]+$"),
        "uuid" => {
            matches(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$")
        }
        "uuid3" => {
            matches(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$")
        }
        "uuid4" => matches(
            r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$",
        ),
        "uuid5" => matches(
            r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$",
        ),
        "hexcolor" => matches(r"(?i)^#?([0-9a-f]{3}|[0-9a-f]{6})$"),
        "k8s-short-name" => validate::name::label(text).is_none(),
        "k8s-long-name" => validate::name::subdomain(text).is_none(),
        _ => true,
    }
}

/// Whether `text` is an address with the length of a prefix.
pub(super) fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let within = |most: u8| length.parse::<u8>().is_ok_and(|bits| bits <= most);
    (address.parse::<Ipv4Addr>().is_ok() && within(32))
        || (address.parse::<Ipv6Addr>().is_ok() && within(128))
}

/// Whether `text` is a day as RFC 3339 writes it.
pub(super) fn is_date(text: &str) -> bool {
    text.len() == 10 && time::parse_rfc3339(&format!("{text}T00:00:00Z")).is_some()
}

/// What is wrong with a number that its format has no room for.
pub(super) fn out_of_range(format: &str, value: &Value, path: &str) -> Option<String> {
    let good = match format {
        "int32" => value.as_f64().is_none_or(|n| (-2_147_483_648.0..=2_147_483_647.0).contains(&n)),
        "int64" => !value.is_u64() || value.is_i64(),
        "float" => value.as_f64().is_none_or(|n| n.abs() <= f64::from(f32::MAX)),
        _ => true,
    };
    let kind = if format == "float" { "number" } else { "integer" };
    (!good).then(|| format!("Checked value must be of type {kind} with format {format} in {path}"))
}

/// The nanoseconds that Go's notation of a duration (`1h2m3.5s`) says.
pub(super) fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: f64 = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[letters..];
    }
    #[expect(clippy::cast_possible_truncation, reason = "within 2^63, which was just asked")]
    (total < 9.2e18).then_some(if negative { -total } else { total } as i64)
}
