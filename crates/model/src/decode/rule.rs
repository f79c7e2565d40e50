//! What rules of every kind of policy have in common.
//!
//! A rule that can't be read, because it is wrong or newer than this program, is closed: it allows
//! nothing, and where it was to forbid it forbids everything (NP-C8). It says so among the policy's
//! faults. To leave out the whole policy would open what its other rules close.

use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;
use serde_json::Value;

use super::{DecodeError, Object};
use crate::{Direction, IpBlock, PortMatch, Protocol};

/// `from` or `to`, whichever is due; the other one is not known there.
#[derive(Deserialize)]
pub(super) struct WirePeers {
    from: Option<Vec<Value>>,
    to: Option<Vec<Value>>,
}

impl WirePeers {
    /// The peers and the name of their field.
    pub(super) fn of(
        self,
        object: &Object,
        field: &str,
        direction: Direction,
    ) -> Result<(Vec<Value>, String), DecodeError> {
        let ((due, name), (other, wrong)) = match direction {
            Direction::Ingress => ((self.from, "from"), (self.to, "to")),
            Direction::Egress => ((self.to, "to"), (self.from, "from")),
        };
        if other.is_some() {
            let why = format!("is not known in an {direction} rule");
            return Err(object.fail(&format!("{field}.{wrong}"), why));
        }
        Ok((due.unwrap_or_default(), format!("{field}.{name}")))
    }
}

impl Object {
    /// A range of addresses.
    pub(super) fn block(
        &self,
        field: &str,
        cidr: &str,
        except: &[String],
    ) -> Result<IpBlock, DecodeError> {
        let net = |field: &str, text: &str| {
            lenient_net(text).ok_or_else(|| self.fail(field, format!("{text:?} is not a CIDR")))
        };
        let cidr = net(&format!("{field}.cidr"), cidr)?;
        let mut inside = Vec::new();
        for (i, text) in except.iter().enumerate() {
            let field = format!("{field}.except[{i}]");
            let except = net(&field, text)?;
            if !cidr.contains(&except) {
                return Err(self.fail(&field, format!("{except} is not inside of {cidr}")));
            }
            inside.push(except);
        }
        inside.sort_unstable();
        inside.dedup();
        Ok(IpBlock { cidr, except: inside })
    }

    /// The ports from `first` to `last`.
    pub(super) fn ports(
        &self,
        field: &str,
        protocol: Protocol,
        (first, last): (i64, i64),
    ) -> Result<PortMatch, DecodeError> {
        let (first, last) = (self.port(field, first)?, self.port(field, last)?);
        if last < first {
            return Err(self.fail(field, format!("{last} is below {first}")));
        }
        Ok(PortMatch::Numbers { protocol, first, last })
    }
}

/// A CIDR without its host bits, as leniently read as the API has always been: with zeros before the
/// numbers of an IPv4 address, which stay decimal, and for IPv4 addresses written in IPv6.
///
/// Source: apimachinery `validation.IsValidCIDRForLegacyField`, Go's `net.ParseCIDR`.
fn lenient_net(text: &str) -> Option<IpNet> {
    let (addr, length) = text.split_once('/')?;
    let plain = |octet: &str| match octet.trim_start_matches('0') {
        "" if !octet.is_empty() => "0".to_owned(),
        digits => digits.to_owned(),
    };
    let addr = match addr.contains(':') {
        true => addr.to_owned(),
        false => addr.split('.').map(plain).collect::<Vec<_>>().join("."),
    };
    match format!("{addr}/{length}").parse::<IpNet>().ok()?.trunc() {
        IpNet::V6(net) if net.prefix_len() >= 96 => match net.addr().to_ipv4_mapped() {
            Some(addr) => Ipv4Net::new(addr, net.prefix_len() - 96).ok().map(IpNet::V4),
            None => Some(IpNet::V6(net)),
        },
        net @ (IpNet::V4(_) | IpNet::V6(_)) => Some(net),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npn11_host_bits_are_cut_off_and_old_ways_of_writing_are_read() {
        let cases = [
            ("10.10.1.12/24", Some("10.10.1.0/24")),
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("010.001.000.255/32", Some("10.1.0.255/32")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("2001:db8::1/32", Some("2001:db8::/32")),
            ("::ffff:10.1.2.3/104", Some("10.0.0.0/8")),
            ("::/0", Some("::/0")),
            ("10.0.0.0", None),
            ("10.0.0/8", None),
            ("10..0.0/8", None),
            ("10.0.0.0/33", None),
            ("x/8", None),
        ];
        for (text, want) in cases {
            assert_eq!(lenient_net(text), want.map(|net| net.parse().unwrap()), "{text}");
        }
    }
}
