//! What a plain scalar means. Kubernetes reads YAML 1.1 with Go's rules, so `yes` is true, `0777`
//! is 511 and `1_000` is 1000, and so they are here: what `kubectl` would send is what is sent.
//!
//! Source: `sigs.k8s.io/yaml` (`goyaml.v2/resolve.go`, `yaml.go`).

use serde_json::{Number, Value};

/// A number that JSON doesn't have: infinity or not a number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotJson;

/// The value of an unquoted scalar.
pub(super) fn resolve(text: &str) -> Result<Value, NotJson> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(Value::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(Value::Bool(false));
        }
        ".nan" | ".NaN" | ".NAN" => return Err(NotJson),
        _ => {}
    }
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() <= 1 && matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Err(NotJson);
    }
    Ok(number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number))
}

/// A value as the name of a field, which is always a string.
pub(super) fn field_name(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Bool(is) => Some(is.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null => Some("null".to_owned()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
        return None;
    }
    let digits = text.replace('_', "");
    if let Some(integer) = integer(&digits) {
        return Some(integer);
    }
    if !is_float(&digits) {
        return None;
    }
    let float: f64 = digits.parse().ok().filter(|float: &f64| float.is_finite())?;
    // Go prints a whole float without a fraction, so the API server sees an integer.
    if float.fract() == 0.0 && float.abs() < 1e15 {
        return format!("{float:.0}").parse::<i64>().ok().map(Number::from);
    }
    Number::from_f64(float)
}

/// Go's `ParseInt(text, 0, 64)`, and unsigned beyond it.
fn integer(text: &str) -> Option<Number> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if is_negative {
        0_i64.checked_sub_unsigned(magnitude).map(Number::from)
    } else {
        Some(magnitude.into())
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let is_exponent = exponent
        .is_none_or(|exponent| is_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)));
    let is_mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => is_digits(fraction),
        Some((whole, fraction)) => is_digits(whole) && (fraction.is_empty() || is_digits(fraction)),
        None => is_digits(mantissa),
    };
    is_exponent && is_mantissa
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_mean_what_they_mean_to_kubectl() {
        let cases = [
            ("", json!(null)),
            ("~", json!(null)),
            ("null", json!(null)),
            ("nULL", json!("nULL")),
            ("yes", json!(true)),
            ("On", json!(true)),
            ("y", json!(true)),
            ("oN", json!("oN")),
            ("no", json!(false)),
            ("off", json!(false)),
            ("0", json!(0)),
            ("-7", json!(-7)),
            ("+7", json!(7)),
            ("1_000", json!(1000)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("0777", json!(511)),
            ("0b11", json!(3)),
            ("08", json!(8)),
            ("9223372036854775807", json!(i64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.5", json!(1.5)),
            ("1.0", json!(1)),
            ("1e3", json!(1000)),
            (".5", json!(0.5)),
            ("1.", json!(1)),
            ("1.2.3", json!("1.2.3")),
            ("10.96.0.10", json!("10.96.0.10")),
            ("100m", json!("100m")),
            ("1:30", json!("1:30")),
            ("2001-12-14", json!("2001-12-14")),
            ("--1", json!("--1")),
            ("-", json!("-")),
            (".", json!(".")),
            ("0x", json!("0x")),
            ("e3", json!("e3")),
        ];
        for (text, expected) in cases {
            assert_eq!(resolve(text), Ok(expected), "{text:?}");
        }
        for text in [".inf", "-.INF", "+.Inf", ".NaN"] {
            assert_eq!(resolve(text), Err(NotJson), "{text}");
        }
    }
}
