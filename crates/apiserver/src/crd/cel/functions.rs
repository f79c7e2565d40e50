//! Operators and functions that expressions may use.
//!
//! Source: github.com/google/cel-spec `doc/langdef.md`, "List of Standard Definitions";
//! Kubernetes "CEL in Kubernetes", "CEL options, language features, and libraries".
mod access;
mod lists;
mod text;

use std::borrow::Cow;
use std::rc::Rc;

use base64::Engine;

use super::eval::{Failure, Outcome, Scope, error};
use super::net::{Cidr, Url, ip};
use super::value::Val;
use crate::crd::format;
use crate::time;

/// Calls `name`; of a method, the first of `args` is what it is called on.
pub(super) fn call<'v>(scope: &mut Scope<'v>, name: &str, args: &[Val<'v>]) -> Outcome<'v> {
    let found = convert(name, args)
        .or_else(|| text::call(scope, name, args))
        .or_else(|| lists::call(scope, name, args))
        .or_else(|| access::call(name, args));
    found.unwrap_or_else(|| {
        let types: Vec<&str> = args.iter().map(Val::type_name).collect();
        error(format!("no such overload: {name}({})", types.join(", ")))
    })
}

/// The name of a type's value.
pub(super) fn type_named(name: &str) -> &'static str {
    let known = ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "type"];
    known.into_iter().find(|known| *known == name).unwrap_or("null_type")
}

fn overflow<T>(what: &str) -> Result<T, Failure> {
    error(format!("{what} overflow"))
}

pub(super) fn negate<'v>(value: &Val<'v>) -> Outcome<'v> {
    match value {
        Val::Int(n) => n.checked_neg().map_or_else(|| overflow("integer"), |n| Ok(Val::Int(n))),
        Val::Double(n) => Ok(Val::Double(-n)),
        Val::Duration(n) => {
            n.checked_neg().map_or_else(|| overflow("duration"), |n| Ok(Val::Duration(n)))
        }
        other => error(format!("no such overload: -{}", other.type_name())),
    }
}

/// `+`, `-`, `*`, `/` and `%`; none if there is no such operation on these.
pub(super) fn arithmetic<'v>(sign: &str, left: &Val<'v>, right: &Val<'v>) -> Option<Outcome<'v>> {
    Some(match (left, right) {
        (Val::Int(a), Val::Int(b)) => {
            if matches!(sign, "/" | "%") && *b == 0 {
                return Some(error(if sign == "/" {
                    "division by zero"
                } else {
                    "modulus by zero"
                }));
            }
            let result = match sign {
                "+" => a.checked_add(*b),
                "-" => a.checked_sub(*b),
                "*" => a.checked_mul(*b),
                "/" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            result.map_or_else(|| overflow("integer"), |n| Ok(Val::Int(n)))
        }
        (Val::Uint(a), Val::Uint(b)) => {
            if matches!(sign, "/" | "%") && *b == 0 {
                return Some(error(if sign == "/" {
                    "division by zero"
                } else {
                    "modulus by zero"
                }));
            }
            let result = match sign {
                "+" => a.checked_add(*b),
                "-" => a.checked_sub(*b),
                "*" => a.checked_mul(*b),
                "/" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            result.map_or_else(|| overflow("unsigned integer"), |n| Ok(Val::Uint(n)))
        }
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(match sign {
            "+" => a + b,
            "-" => a - b,
            "*" => a * b,
            "/" => a / b,
            _ => return None,
        })),
        (Val::String(a), Val::String(b)) if sign == "+" => Ok(Val::string(format!("{a}{b}"))),
        (Val::Bytes(a), Val::Bytes(b)) if sign == "+" => {
            Ok(Val::Bytes([a.as_ref(), b.as_ref()].concat().into()))
        }
        (Val::List(a), Val::List(b)) if sign == "+" => Ok(Val::list(a.joined(b))),
        _ => return times(sign, left, right),
    })
}

fn times<'v>(sign: &str, left: &Val<'v>, right: &Val<'v>) -> Option<Outcome<'v>> {
    let span = |nanoseconds: Option<i64>| {
        nanoseconds.map_or_else(|| overflow("duration"), |n| Ok(Val::Duration(n)))
    };
    Some(match (left, sign, right) {
        (Val::Duration(a), "+", Val::Duration(b)) => span(a.checked_add(*b)),
        (Val::Duration(a), "-", Val::Duration(b)) => span(a.checked_sub(*b)),
        (Val::Time(a), "-", Val::Time(b)) => span(i64::try_from(a - b).ok()),
        (Val::Time(a), "+", Val::Duration(b)) | (Val::Duration(b), "+", Val::Time(a)) => {
            Ok(Val::Time(a + i128::from(*b)))
        }
        (Val::Time(a), "-", Val::Duration(b)) => Ok(Val::Time(a - i128::from(*b))),
        _ => return None,
    })
}

/// Conversions between types.
fn convert<'v>(name: &str, args: &[Val<'v>]) -> Option<Outcome<'v>> {
    let [value] = args else { return None };
    Some(match (name, value) {
        ("dyn", value) => Ok(value.clone()),
        ("type", value) => Ok(Val::Type(value.type_name())),
        ("int", Val::Int(_))
        | ("uint", Val::Uint(_))
        | ("double", Val::Double(_))
        | ("bool", Val::Bool(_))
        | ("bytes", Val::Bytes(_))
        | ("duration", Val::Duration(_))
        | ("timestamp", Val::Time(_)) => Ok(value.clone()),
        ("int", _) => int(value)?,
        ("uint", Val::Int(n)) => match u64::try_from(*n) {
            Ok(n) => Ok(Val::Uint(n)),
            Err(_) => overflow("unsigned integer"),
        },
        ("uint", Val::String(text)) => parsed(text, "uint", text.parse().ok().map(Val::Uint)),
        #[expect(clippy::cast_precision_loss, reason = "as CEL converts integers")]
        ("double", Val::Int(n)) => Ok(Val::Double(*n as f64)),
        #[expect(clippy::cast_precision_loss, reason = "as CEL converts integers")]
        ("double", Val::Uint(n)) => Ok(Val::Double(*n as f64)),
        ("double", Val::String(text)) => parsed(text, "double", text.parse().ok().map(Val::Double)),
        ("bool", Val::String(text)) => parsed(text, "bool", truth(text).map(Val::Bool)),
        ("bytes", Val::String(text)) => Ok(Val::Bytes(text.as_bytes().into())),
        ("duration", Val::String(text)) => {
            parsed(text, "duration", format::duration(text).map(Val::Duration))
        }
        ("timestamp", Val::String(text)) => {
            parsed(text, "timestamp", nanoseconds(text).map(Val::Time))
        }
        ("timestamp", Val::Int(n)) => Ok(Val::Time(i128::from(*n) * 1_000_000_000)),
        ("string", _) => match shown(value) {
            Some(text) => Ok(Val::string(text)),
            None => return None,
        },
        ("ip", Val::String(text)) => parsed(text, "IP", ip(text).map(Val::Ip)),
        ("cidr", Val::String(text)) => parsed(text, "CIDR", Cidr::parse(text).map(Val::Cidr)),
        ("url", Val::String(text)) => {
            parsed(text, "URL", Url::parse(text).map(|url| Val::Url(Rc::new(url))))
        }
        ("quantity", Val::String(text)) => {
            parsed(text, "quantity", super::quantity(text).map(Val::Quantity))
        }
        ("isIP", Val::String(text)) => Ok(Val::Bool(ip(text).is_some())),
        ("isCIDR", Val::String(text)) => Ok(Val::Bool(Cidr::parse(text).is_some())),
        ("isURL", Val::String(text)) => Ok(Val::Bool(Url::parse(text).is_some())),
        ("isQuantity", Val::String(text)) => Ok(Val::Bool(super::quantity(text).is_some())),
        ("ip.isCanonical", Val::String(text)) => {
            let written = ip(text).map(|address| address.to_string());
            parsed(text, "IP", written.map(|own| Val::Bool(own == **text)))
        }
        _ => return None,
    })
}

fn int<'v>(value: &Val<'v>) -> Option<Outcome<'v>> {
    Some(match value {
        Val::Uint(n) => i64::try_from(*n).map_or_else(|_| overflow("integer"), |n| Ok(Val::Int(n))),
        #[expect(clippy::cast_possible_truncation, reason = "the range was just asked")]
        Val::Double(n) if n.abs() < 9.2e18 => Ok(Val::Int(*n as i64)),
        Val::Double(_) => overflow("integer"),
        Val::String(text) => parsed(text, "int", text.parse().ok().map(Val::Int)),
        Val::Time(n) => {
            let seconds = i64::try_from(n.div_euclid(1_000_000_000));
            seconds.map_or_else(|_| overflow("integer"), |n| Ok(Val::Int(n)))
        }
        Val::Duration(n) => Ok(Val::Int(*n)),
        _ => return None,
    })
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What was read from `text`, or that nothing could be.
fn parsed<'v>(text: &str, what: &str, value: Option<Val<'v>>) -> Outcome<'v> {
    value.map_or_else(|| error(format!("{what} {text:?} can not be parsed")), Ok)
}

/// A value as text; none if it has no such form.
pub(super) fn shown(value: &Val<'_>) -> Option<String> {
    Some(match value {
        Val::Bool(truth) => truth.to_string(),
        Val::Int(n) => n.to_string(),
        Val::Uint(n) => n.to_string(),
        Val::Double(n) => n.to_string(),
        Val::String(text) => text.clone().into_owned(),
        Val::Bytes(bytes) => String::from_utf8(bytes.to_vec()).ok()?,
        Val::Duration(n) => duration_text(*n),
        Val::Time(n) => {
            let whole = u64::try_from(n.div_euclid(1_000_000_000)).ok()?;
            time::rfc3339(whole.min(time::LAST))
        }
        Val::Ip(address) => address.to_string(),
        Val::Cidr(range) => range.to_string(),
        Val::Type(name) => (*name).to_owned(),
        Val::Null
        | Val::List(_)
        | Val::Map(_)
        | Val::Optional(_)
        | Val::Url(_)
        | Val::Quantity(_)
        | Val::Format(_) => return None,
    })
}

/// A duration in seconds, as CEL writes it.
fn duration_text(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let (whole, rest) =
        (nanoseconds.unsigned_abs() / 1_000_000_000, nanoseconds.unsigned_abs() % 1_000_000_000);
    let fraction = format!("{rest:09}");
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{dot}{fraction}s")
}

/// Bytes in base64.
fn base64_text(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A text that is made.
fn made<'v>(text: impl Into<String>) -> Outcome<'v> {
    Ok(Val::String(Cow::Owned(text.into())))
}

/// The nanoseconds since 1970 of an RFC 3339 time.
pub(super) fn nanoseconds(text: &str) -> Option<i128> {
    let seconds = i128::from(time::parse_rfc3339(text)?);
    let digits = text.split_once('.').map_or("", |(_, rest)| rest);
    let digits: String = digits.chars().take_while(char::is_ascii_digit).take(9).collect();
    let fraction: i128 = format!("{digits:0<9}").parse().unwrap_or(0);
    Some(seconds * 1_000_000_000 + fraction)
}
