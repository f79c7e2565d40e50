//! Methods of the types that text stands for: times, addresses, URLs, quantities, optionals.
use std::net::IpAddr;
use std::rc::Rc;

use super::made;
use crate::crd::cel::eval::{Outcome, error};
use crate::crd::cel::net::Cidr;
use crate::crd::cel::value::{Map, Val};
use crate::time;

/// Calls such a method; none if there is no such.
pub(super) fn call<'v>(name: &str, args: &[Val<'v>]) -> Option<Outcome<'v>> {
    let (first, rest) = match args.split_first() {
        None if name == "optional.none" => return Some(Ok(Val::Optional(None))),
        None => return None,
        Some(pair) => pair,
    };
    match first {
        _ if name == "optional.of" && rest.is_empty() => Some(Ok(first.clone().some())),
        _ if name == "optional.ofNonZeroValue" && rest.is_empty() => {
            Some(Ok(if is_zero(first) { Val::Optional(None) } else { first.clone().some() }))
        }
        Val::Optional(inner) => optional(name, inner.as_ref(), rest),
        Val::Ip(address) if rest.is_empty() => ip(name, *address),
        Val::Cidr(range) => cidr(name, range, rest),
        Val::Time(nanoseconds) => moment(name, *nanoseconds, rest),
        Val::Duration(nanoseconds) if rest.is_empty() => span(name, *nanoseconds),
        Val::Url(url) if rest.is_empty() => Some(match name {
            "getScheme" => made(url.scheme.as_str()),
            "getHost" => made(url.host.as_str()),
            "getHostname" => made(url.hostname()),
            "getPort" => made(url.port()),
            "getEscapedPath" => made(url.path.as_str()),
            "getQuery" => Ok(query(&url.query)),
            _ => return None,
        }),
        Val::Quantity(amount) => quantity(name, *amount, rest),
        _ => None,
    }
}

fn is_zero(value: &Val<'_>) -> bool {
    match value {
        Val::Null => true,
        Val::Bool(truth) => !truth,
        Val::Int(n) => *n == 0,
        Val::Uint(n) => *n == 0,
        Val::Double(n) => *n == 0.0,
        Val::String(text) => text.is_empty(),
        Val::Bytes(bytes) => bytes.is_empty(),
        Val::List(list) => list.len() == 0,
        Val::Map(map) => map.len() == 0,
        Val::Duration(n) => *n == 0,
        Val::Time(_)
        | Val::Optional(_)
        | Val::Type(_)
        | Val::Ip(_)
        | Val::Cidr(_)
        | Val::Url(_)
        | Val::Quantity(_)
        | Val::Format(_) => false,
    }
}

fn optional<'v>(name: &str, inner: Option<&Rc<Val<'v>>>, rest: &[Val<'v>]) -> Option<Outcome<'v>> {
    let inner = inner.map(|inner| inner.as_ref().clone());
    Some(match (name, rest) {
        ("hasValue", []) => Ok(Val::Bool(inner.is_some())),
        ("value", []) => inner.map_or_else(|| error("optional.none() dereference"), Ok),
        ("orValue", [other]) => Ok(inner.unwrap_or_else(|| other.clone())),
        ("or", [other]) => Ok(inner.map_or_else(|| other.clone(), Val::some)),
        _ => return None,
    })
}

fn ip<'v>(name: &str, address: IpAddr) -> Option<Outcome<'v>> {
    let truth = match (name, address) {
        ("family", address) => return Some(Ok(Val::Int(if address.is_ipv4() { 4 } else { 6 }))),
        ("isUnspecified", address) => address.is_unspecified(),
        ("isLoopback", address) => address.is_loopback(),
        ("isLinkLocalMulticast", IpAddr::V4(v4)) => v4.octets()[..3] == [224, 0, 0],
        ("isLinkLocalMulticast", IpAddr::V6(v6)) => v6.segments()[0] & 0xff0f == 0xff02,
        ("isLinkLocalUnicast", IpAddr::V4(v4)) => v4.is_link_local(),
        ("isLinkLocalUnicast", IpAddr::V6(v6)) => v6.is_unicast_link_local(),
        ("isGlobalUnicast", address) => {
            let local = match address {
                IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
                IpAddr::V6(v6) => v6.is_unicast_link_local(),
            };
            !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || local)
        }
        _ => return None,
    };
    Some(Ok(Val::Bool(truth)))
}

fn cidr<'v>(name: &str, range: &Cidr, rest: &[Val<'v>]) -> Option<Outcome<'v>> {
    Some(Ok(match (name, rest) {
        ("ip", []) => Val::Ip(range.address),
        ("prefixLength", []) => Val::Int(i64::from(range.length)),
        ("masked", []) => Val::Cidr(range.masked()),
        ("containsIP", [Val::Ip(address)]) => Val::Bool(range.contains(*address)),
        ("containsIP", [Val::String(text)]) => match super::ip(text) {
            Some(address) => Val::Bool(range.contains(address)),
            None => return Some(error(format!("IP {text:?} can not be parsed"))),
        },
        ("containsCIDR", [Val::Cidr(other)]) => Val::Bool(range.covers(other)),
        ("containsCIDR", [Val::String(text)]) => match Cidr::parse(text) {
            Some(other) => Val::Bool(range.covers(&other)),
            None => return Some(error(format!("CIDR {text:?} can not be parsed"))),
        },
        _ => return None,
    }))
}

/// Parts of a time, in UTC: other zones are not known.
fn moment<'v>(name: &str, nanoseconds: i128, rest: &[Val<'v>]) -> Option<Outcome<'v>> {
    if let [Val::String(zone)] = rest
        && zone != "UTC"
    {
        return Some(error(format!("unknown time zone {zone}")));
    }
    let seconds = u64::try_from(nanoseconds.div_euclid(1_000_000_000)).ok()?;
    let text = time::rfc3339(seconds.min(time::LAST));
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let year_start = time::parse_rfc3339(&format!("{}-01-01T00:00:00Z", &text[..4]))?;
    let number = match name {
        "getFullYear" => part(0, 4)?,
        "getMonth" => part(5, 7)? - 1,
        "getDate" => part(8, 10)?,
        "getDayOfMonth" => part(8, 10)? - 1,
        "getHours" => part(11, 13)?,
        "getMinutes" => part(14, 16)?,
        "getSeconds" => part(17, 19)?,
        "getMilliseconds" => {
            i64::try_from(nanoseconds.rem_euclid(1_000_000_000) / 1_000_000).ok()?
        }
        // The first day was a Thursday.
        "getDayOfWeek" => i64::try_from((seconds / 86_400 + 4) % 7).ok()?,
        "getDayOfYear" => i64::try_from((seconds - year_start) / 86_400).ok()?,
        _ => return None,
    };
    Some(Ok(Val::Int(number)))
}

fn span<'v>(name: &str, nanoseconds: i64) -> Option<Outcome<'v>> {
    let unit = match name {
        "getHours" => 3_600_000_000_000,
        "getMinutes" => 60_000_000_000,
        "getSeconds" => 1_000_000_000,
        "getMilliseconds" => 1_000_000,
        _ => return None,
    };
    Some(Ok(Val::Int(nanoseconds / unit)))
}

fn query<'v>(pairs: &[(String, String)]) -> Val<'v> {
    let mut made: Vec<(String, Vec<Val<'v>>)> = Vec::new();
    for (key, value) in pairs {
        match made.iter_mut().find(|(own, _)| own == key) {
            Some((_, values)) => values.push(Val::string(value.as_str())),
            None => made.push((key.clone(), vec![Val::string(value.as_str())])),
        }
    }
    let entries = made.into_iter().map(|(key, values)| (Val::string(key), Val::list(values)));
    Val::Map(Map::Made(Rc::new(entries.collect())))
}

fn quantity<'v>(name: &str, amount: f64, rest: &[Val<'v>]) -> Option<Outcome<'v>> {
    #[expect(clippy::cast_precision_loss, reason = "quantities are held as doubles")]
    let other = match rest {
        [] => None,
        [Val::Quantity(other)] => Some(*other),
        [Val::Int(other)] => Some(*other as f64),
        _ => return None,
    };
    Some(Ok(match (name, other) {
        ("sign", None) => Val::Int(if amount > 0.0 { 1 } else { -i64::from(amount < 0.0) }),
        ("isInteger", None) => Val::Bool(amount.fract() == 0.0 && amount.abs() < 9.2e18),
        ("asApproximateFloat", None) => Val::Double(amount),
        #[expect(clippy::cast_possible_truncation, reason = "the range was just asked")]
        ("asInteger", None) if amount.fract() == 0.0 && amount.abs() < 9.2e18 => {
            Val::Int(amount as i64)
        }
        ("asInteger", None) => return Some(error("cannot convert value to integer")),
        ("isGreaterThan", Some(other)) => Val::Bool(amount > other),
        ("isLessThan", Some(other)) => Val::Bool(amount < other),
        ("compareTo", Some(other)) => {
            Val::Int(amount.partial_cmp(&other).map_or(0, |order| order as i64))
        }
        ("add", Some(other)) => Val::Quantity(amount + other),
        ("sub", Some(other)) => Val::Quantity(amount - other),
        _ => return None,
    }))
}
