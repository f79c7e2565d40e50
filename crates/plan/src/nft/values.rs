//! The values of an element, in one small piece of memory: most rows of a plan are elements.

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use model::Mac;

use super::expr::Value;

/// As many bytes as the longest key of Services takes: IPv6 address, protocol, port and a number.
const SHORT: usize = 30;

/// The values of an element's key, or of what it leads to, in order. Equal and sorted as the values are.
#[derive(Clone)]
pub struct Values(Packed);

/// Value after value: a byte for its kind, then its content, numbers in network order.
#[derive(Clone)]
enum Packed {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Arc<[u8]>),
}

impl Values {
    /// Its values.
    pub fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        let mut rest = Rest(self.bytes());
        std::iter::from_fn(move || rest.value())
    }

    /// Its values, to be looked at side by side.
    pub fn to_vec(&self) -> Vec<Value> {
        self.iter().collect()
    }

    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Packed::Short { len, bytes } => &bytes[..usize::from(*len)],
            Packed::Long(bytes) => bytes,
        }
    }
}

impl FromIterator<Value> for Values {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        let mut packed = Vec::with_capacity(2 * SHORT);
        values.into_iter().for_each(|value| pack(&mut packed, &value));
        let mut bytes = [0; SHORT];
        match (u8::try_from(packed.len()), bytes.get_mut(..packed.len())) {
            (Ok(len), Some(start)) => {
                start.copy_from_slice(&packed);
                Values(Packed::Short { len, bytes })
            }
            _ => Values(Packed::Long(packed.into())),
        }
    }
}

impl From<Vec<Value>> for Values {
    fn from(values: Vec<Value>) -> Self {
        values.into_iter().collect()
    }
}

impl<const N: usize> From<[Value; N]> for Values {
    fn from(values: [Value; N]) -> Self {
        values.into_iter().collect()
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Values {}

impl PartialOrd for Values {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Values {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Kinds of values, in the order in which [`Value`] has them.
mod kind {
    pub(super) const IPV4: u8 = 0;
    pub(super) const IPV6: u8 = 1;
    pub(super) const PREFIX4: u8 = 2;
    pub(super) const PREFIX6: u8 = 3;
    pub(super) const ETHER: u8 = 4;
    pub(super) const NAME: u8 = 5;
    pub(super) const NUMBER: u8 = 6;
    pub(super) const PORT: u8 = 7;
    pub(super) const MARK: u8 = 8;
    pub(super) const CLASS_ID: u8 = 9;
}

fn pack(out: &mut Vec<u8>, value: &Value) {
    let mut put = |kind, content: &[u8]| {
        out.push(kind);
        out.extend_from_slice(content);
    };
    match value {
        Value::Ipv4(addr) => put(kind::IPV4, &addr.octets()),
        Value::Ipv6(addr) => put(kind::IPV6, &addr.octets()),
        Value::Prefix(net) => {
            match net.addr() {
                IpAddr::V4(addr) => put(kind::PREFIX4, &addr.octets()),
                IpAddr::V6(addr) => put(kind::PREFIX6, &addr.octets()),
            }
            out.push(net.prefix_len());
        }
        Value::Ether(mac) => put(kind::ETHER, &mac.0),
        Value::Name(name) => {
            // No link's name has a zero in it, and none is a prefix of another with its end.
            put(kind::NAME, name.as_bytes());
            out.push(0);
        }
        Value::Number(number) => put(kind::NUMBER, &[*number]),
        Value::Port(port) => put(kind::PORT, &port.to_be_bytes()),
        Value::Mark(mark) => put(kind::MARK, &mark.to_be_bytes()),
        Value::ClassId(class) => put(kind::CLASS_ID, &class.to_be_bytes()),
    }
}

/// What is left of the bytes of [`Values`].
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// The next value; `None` at the end.
    fn value(&mut self) -> Option<Value> {
        Some(match u8::from_be_bytes(self.take()?) {
            kind::IPV4 => Value::Ipv4(Ipv4Addr::from(self.take::<4>()?)),
            kind::IPV6 => Value::Ipv6(Ipv6Addr::from(self.take::<16>()?)),
            kind::PREFIX4 => {
                let addr = Ipv4Addr::from(self.take::<4>()?);
                self.prefix(addr.into())?
            }
            kind::PREFIX6 => {
                let addr = Ipv6Addr::from(self.take::<16>()?);
                self.prefix(addr.into())?
            }
            kind::ETHER => Value::Ether(Mac(self.take()?)),
            kind::NAME => {
                let end = self.0.iter().position(|byte| *byte == 0)?;
                let name = std::str::from_utf8(&self.0[..end]).ok()?;
                self.0 = &self.0[end + 1..];
                Value::Name(name.into())
            }
            kind::NUMBER => Value::Number(u8::from_be_bytes(self.take()?)),
            kind::PORT => Value::Port(u16::from_be_bytes(self.take()?)),
            kind::MARK => Value::Mark(u32::from_be_bytes(self.take()?)),
            kind::CLASS_ID => Value::ClassId(u32::from_be_bytes(self.take()?)),
            _ => return None,
        })
    }

    fn prefix(&mut self, addr: IpAddr) -> Option<Value> {
        let len = u8::from_be_bytes(self.take()?);
        IpNet::new(addr, len).ok().map(Value::Prefix)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In order.
    fn samples() -> Vec<Value> {
        let net = |text: &str| Value::Prefix(text.parse().expect("a prefix"));
        vec![
            Value::Ipv4(Ipv4Addr::new(1, 2, 3, 4)),
            Value::Ipv4(Ipv4Addr::new(10, 0, 0, 1)),
            Value::Ipv6(Ipv6Addr::LOCALHOST),
            net("10.0.0.0/8"),
            net("10.0.0.0/16"),
            net("10.1.0.0/16"),
            net("fd00::/8"),
            Value::Ether(Mac::derive("a")),
            Value::Name("eth".into()),
            Value::Name("eth0".into()),
            Value::Name("eth00".into()),
            Value::Number(17),
            Value::Port(80),
            Value::Port(8080),
            Value::Mark(1),
            Value::Mark(1 << 31),
            Value::ClassId(7),
        ]
    }

    #[test]
    fn what_is_packed_is_unpacked_and_sorted_as_it_was() {
        let lists: Vec<Vec<Value>> = samples()
            .into_iter()
            .flat_map(|a| samples().into_iter().map(move |b| vec![a.clone(), b]))
            .chain([Vec::new(), samples()])
            .collect();
        for list in &lists {
            assert_eq!(Values::from(list.clone()).to_vec(), *list);
        }
        for (a, b) in lists.iter().flat_map(|a| lists.iter().map(move |b| (a, b))) {
            let packed = Values::from(a.clone()).cmp(&Values::from(b.clone()));
            assert_eq!(packed, a.cmp(b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_row_of_a_service_takes_no_memory_besides() {
        let key = [
            Value::Ipv6(Ipv6Addr::LOCALHOST),
            Value::Number(6),
            Value::Port(80),
            Value::Mark(u32::MAX),
        ];
        assert!(matches!(Values::from(key), Values(Packed::Short { .. })));
        assert_eq!(size_of::<Values>(), 32);
    }
}
