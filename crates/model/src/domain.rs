//! Names of the DNS.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::str::FromStr;

/// Length of the longest name in wire form (RFC 1035 §2.3.4).
const LONGEST: usize = 255;

/// Length of the longest label.
const LONGEST_LABEL: usize = 63;

/// A name of the DNS, from its root: labels of 1 to 63 bytes, at most 255 bytes with their lengths.
///
/// It is held inline in its wire form, each label behind its length and a zero at the end, because
/// names are looked up and written a hundred thousand times a second. Case is kept and counts: the
/// names to be compared are in lower case.
///
/// Source: RFC 1035 §3.1, RFC 4343.
#[derive(Clone, Copy)]
pub struct DomainName {
    len: u8,
    bytes: [u8; LONGEST],
}

impl DomainName {
    /// The root: no label.
    pub const ROOT: DomainName = DomainName { len: 1, bytes: [0; LONGEST] };

    /// `cluster.local.`
    pub const CLUSTER_LOCAL: DomainName = DomainName::constant(b"\x07cluster\x05local\0");

    /// The name with this wire form, which the caller knows to be one.
    pub const fn constant(wire: &[u8]) -> Self {
        let mut name = DomainName::ROOT;
        let mut i = 0;
        while i < wire.len() {
            name.bytes[i] = wire[i];
            i += 1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a longer one stops the build above")]
        let len = wire.len() as u8;
        DomainName { len, ..name }
    }

    /// The name that `wire` begins with. `None` when it is too long, ends early, or has a label of a
    /// kind that is none: a pointer, above all.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        let mut at = 0;
        loop {
            match usize::from(*wire.get(at)?) {
                0 => break,
                label if label > LONGEST_LABEL => return None,
                label => at += label + 1,
            }
            if at >= LONGEST {
                return None;
            }
        }
        let mut name = DomainName { len: u8::try_from(at + 1).ok()?, ..DomainName::ROOT };
        name.bytes[..=at].copy_from_slice(&wire[..=at]);
        Some(name)
    }

    /// The wire form.
    pub fn as_wire(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The labels, the first one first.
    pub fn labels(&self) -> Labels<'_> {
        Labels(self.as_wire())
    }

    /// The same in lower case.
    #[must_use]
    pub fn lowered(mut self) -> Self {
        self.bytes.make_ascii_lowercase(); // A length is below any letter.
        self
    }

    /// The name by which `ip` leads back to names (RFC 1035 §3.5, RFC 3596 §2.5).
    pub fn reverse(ip: IpAddr) -> Self {
        let text = match ip {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(ip) => {
                let bytes = ip.octets().into_iter().rev();
                let digits: String =
                    bytes.map(|o| format!("{:x}.{:x}.", o & 0xf, o >> 4)).collect();
                format!("{digits}ip6.arpa")
            }
        };
        text.parse().expect("short labels, and no more than 74 bytes")
    }

    /// The labels before those of `zone`, when the name is `zone` or under it: on whole labels, so
    /// `evil-cluster.local` is not under `cluster.local`.
    pub fn below(&self, zone: &DomainName) -> Option<Labels<'_>> {
        let before = usize::from(self.len).checked_sub(usize::from(zone.len))?;
        let (labels, end) = self.as_wire().split_at(before);
        if end != zone.as_wire() {
            return None;
        }
        let mut rest = Labels(labels);
        // Where the zone seems to begin within a label, the last label has fewer bytes than it says.
        while !rest.0.is_empty() {
            let label = usize::from(rest.0[0]);
            rest.0 = rest.0.get(label + 1..)?;
        }
        Some(Labels(labels))
    }

    /// Whether the name is `zone` or under it.
    pub fn is_under(&self, zone: &DomainName) -> bool {
        self.below(zone).is_some()
    }

    /// The labels before those of `from`, with `to` behind them. `None` when the name is not under `from`, or
    /// that is too long.
    #[must_use]
    pub fn moved(&self, from: &DomainName, to: &DomainName) -> Option<Self> {
        let labels = self.below(from)?.0;
        let len = labels.len() + usize::from(to.len);
        if len > LONGEST {
            return None;
        }
        let mut name = DomainName { len: u8::try_from(len).ok()?, ..DomainName::ROOT };
        name.bytes[..labels.len()].copy_from_slice(labels);
        name.bytes[labels.len()..len].copy_from_slice(to.as_wire());
        Some(name)
    }

    /// The name with `label` before it. `None` when that is too long, or `label` is no label.
    #[must_use]
    pub fn under(&self, label: &[u8]) -> Option<Self> {
        let len = usize::from(self.len) + label.len() + 1;
        if label.is_empty() || label.len() > LONGEST_LABEL || len > LONGEST {
            return None;
        }
        let mut name = DomainName { len: u8::try_from(len).ok()?, ..DomainName::ROOT };
        name.bytes[0] = u8::try_from(label.len()).ok()?;
        name.bytes[1..=label.len()].copy_from_slice(label);
        name.bytes[label.len() + 1..len].copy_from_slice(self.as_wire());
        Some(name)
    }
}

/// Labels of a name, from the left.
#[derive(Debug, Clone)]
pub struct Labels<'a>(&'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first().filter(|(len, _)| **len != 0)?;
        let (label, rest) = rest.split_at(usize::from(*len));
        self.0 = rest;
        Some(label)
    }
}

impl PartialEq for DomainName {
    fn eq(&self, other: &Self) -> bool {
        self.as_wire() == other.as_wire()
    }
}

impl Eq for DomainName {}

impl Hash for DomainName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_wire().hash(state);
    }
}

impl PartialOrd for DomainName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DomainName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_wire().cmp(other.as_wire())
    }
}

/// As in zone files, with the dot of the root at its end (RFC 1035 §5.1).
impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.len == 1 {
            return f.write_str(".");
        }
        for label in self.labels() {
            for byte in label {
                match byte {
                    b'.' | b'\\' | b'"' | b';' => write!(f, "\\{}", char::from(*byte))?,
                    0x21..=0x7e => write!(f, "{}", char::from(*byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Reads `a.example` or `a.example.`; either way it is from the root. There are no escapes.
impl FromStr for DomainName {
    type Err = InvalidDomainName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDomainName(text.to_owned());
        let labels = text.strip_suffix('.').unwrap_or(text);
        if text == "." {
            return Ok(DomainName::ROOT);
        }
        if text.bytes().any(|byte| !(0x21..=0x7e).contains(&byte) || byte == b'\\') {
            return Err(invalid());
        }
        let mut name = DomainName::ROOT;
        for label in labels.rsplit('.') {
            name = name.under(label.as_bytes()).ok_or_else(invalid)?;
        }
        Ok(name)
    }
}

/// Text that is no name of the DNS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("domain name {0:?}: labels of 1 to 63 bytes with dots between, at most 253 bytes")]
pub struct InvalidDomainName(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_under_a_zone_on_whole_labels() {
        let zone = DomainName::CLUSTER_LOCAL;
        for (text, labels) in [
            ("cluster.local", Some(vec![])),
            ("a.cluster.local.", Some(vec!["a"])),
            ("b.a.cluster.local", Some(vec!["b", "a"])),
            ("evil-cluster.local", None),
            ("local", None),
            (".", None),
            ("cluster.local.example", None),
        ] {
            let name = name(text);
            let below = name.below(&zone);
            let got = below.map(|labels| labels.map(|l| std::str::from_utf8(l).unwrap()).collect());
            assert_eq!(got, labels, "{text}");
        }
        // Its last bytes are those of the zone, and its labels are others.
        let inside = DomainName::from_wire(b"\x0fa\x07cluster\x05local\0");
        assert_eq!(inside.and_then(|name| name.below(&zone).map(Iterator::count)), None);
        assert_eq!(name("a.example").below(&DomainName::ROOT).map(Iterator::count), Some(2));
    }

    #[test]
    fn text_and_wire_say_the_same() {
        for text in ["a.example.", "_http._tcp.Web.ns1.", "."] {
            let name = name(text);
            assert_eq!(name.to_string(), text);
            assert_eq!(DomainName::from_wire(name.as_wire()), Some(name), "{text}");
        }
        assert_eq!(name("A.Example").lowered(), name("a.example."));
        assert_eq!(name("cluster.local"), DomainName::CLUSTER_LOCAL);
        let odd = DomainName::from_wire(b"\x04a.\x00\xff\0").unwrap();
        assert_eq!(odd.to_string(), "a\\.\\000\\255.");
    }

    #[test]
    fn addresses_have_names_in_reverse() {
        let cases = [
            ("10.96.0.10", "10.0.96.10.in-addr.arpa."),
            (
                "fd00:96::a",
                "a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa.",
            ),
        ];
        for (ip, name) in cases {
            assert_eq!(DomainName::reverse(ip.parse().unwrap()).to_string(), name);
        }
    }

    #[test]
    fn what_is_too_long_or_no_label_is_refused() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(name(&longest).as_wire().len(), 255);
        let bad = ["", "a..b", ".a", "a b", "\\a", &format!("{label}a"), &format!("{longest}a")];
        for text in bad {
            assert!(text.parse::<DomainName>().is_err(), "{text}");
        }
        let long = [&name(&longest).as_wire()[..254], b"\x01a\0"].concat();
        for wire in [&b""[..], b"\x01", b"\x01a", b"\xc0\x0c", b"\x40", &long] {
            assert_eq!(DomainName::from_wire(wire), None, "{wire:?}");
        }
    }
}
