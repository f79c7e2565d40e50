//! Declarations of sets and maps, and their elements, both ways.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use plan::nft::{Data, DataType, Dynamic, Set, Type, Value, Values};

use super::abi::{NFTA_LIST_ELEM, data, element, set};
use super::bytes;
use super::expression::write_verdict;
use super::lower::Inexpressible;
use super::read::read_verdict;
use super::wire::{Attrs, Writer};

/// Bits of one type in the id of a concatenation.
const TYPE_BITS: u32 = 6;

/// Most types that an id has room for.
const FIELDS: usize = 5;
/// Longest key or value, `NFT_DATA_VALUE_MAXLEN`.
const LENGTH: u32 = 64;

/// Number of the type in nft, by which `nft list` knows how to print it. The kernel only keeps it.
fn type_id(kind: Type) -> u32 {
    match kind {
        Type::Ipv4Addr => 7,
        Type::Ipv6Addr => 8,
        Type::EtherAddr => 9,
        Type::InetProto => 12,
        Type::InetService => 13,
        Type::Mark => 19,
        Type::ClassId => 23,
        Type::IfName => 41,
    }
}

fn concatenated_id(types: &[Type]) -> u32 {
    types.iter().fold(0, |id, kind| (id << TYPE_BITS) | type_id(*kind))
}

/// The types of a concatenation's id, five at most.
fn types_of(id: u32) -> Option<Vec<Type>> {
    let pieces = (0..32 / TYPE_BITS).rev().map(|at| (id >> (at * TYPE_BITS)) & 0x3f);
    let pieces = pieces.skip_while(|piece| *piece == 0);
    let types = pieces.map(|piece| Type::ALL.into_iter().find(|kind| type_id(*kind) == piece));
    types.collect::<Option<Vec<_>>>().filter(|types| concatenated_id(types) == id)
}

/// Length of a key or value: fields of a concatenation are padded to four bytes, one alone is not.
fn len(types: &[Type]) -> u32 {
    match types {
        [one] => bytes::width(*one),
        many => many.iter().map(|kind| bytes::width(*kind).next_multiple_of(4)).sum(),
    }
}

/// Whether a set can be declared like this and read back.
///
/// # Errors
/// [`Inexpressible`] for a key or value without fields or with too many, for intervals of anything
/// but addresses, and for a dynamic set of intervals or one that never forgets.
pub(super) fn check_declaration(declared: &Set) -> Result<(), Inexpressible> {
    let fits = |types: &[Type]| (1..=FIELDS).contains(&types.len()) && len(types) <= LENGTH;
    let data_fits = match &declared.data {
        None | Some(DataType::Verdict) => true,
        Some(DataType::Values(types)) => fits(types),
    };
    if !fits(&declared.key) || !data_fits {
        return Err(Inexpressible(format!(
            "keys and values have 1 to {FIELDS} fields, {LENGTH} bytes"
        )));
    }
    if declared.interval && !matches!(declared.key.last(), Some(Type::Ipv4Addr | Type::Ipv6Addr)) {
        return Err(Inexpressible("intervals are of addresses, the last of a key".to_owned()));
    }
    let is_sized = declared.size.is_none_or(|size| size > 0 && !declared.interval);
    let whole = |timeout: Duration| timeout.as_secs() > 0 && timeout.subsec_nanos() == 0;
    let lasts = declared.dynamic.is_none_or(|it| declared.size.is_some() && whole(it.timeout));
    let why = "sets with a size have exact keys, and dynamic ones have one and whole seconds";
    if is_sized && lasts { Ok(()) } else { Err(Inexpressible(why.to_owned())) }
}

/// Writes what follows the set's name.
pub(super) fn write_declaration(out: &mut Writer, declared: &Set) {
    out.be32(set::FLAGS, flags(declared));
    out.be32(set::KEY_TYPE, concatenated_id(&declared.key));
    out.be32(set::KEY_LEN, len(&declared.key));
    match &declared.data {
        None => {}
        Some(DataType::Verdict) => out.be32(set::DATA_TYPE, set::VERDICT),
        Some(DataType::Values(types)) => {
            out.be32(set::DATA_TYPE, concatenated_id(types));
            out.be32(set::DATA_LEN, len(types));
        }
    }
    if let Some(Dynamic { timeout }) = declared.dynamic {
        out.attr(set::TIMEOUT, &(timeout.as_secs() * 1000).to_be_bytes());
    }
    if let Some(size) = declared.size {
        out.nest(set::DESC, |out| out.be32(set::DESC_SIZE, size));
    }
    if is_concatenated(declared) {
        let len = |out: &mut Writer, kind: &Type| {
            out.nest(NFTA_LIST_ELEM, |out| out.be32(set::FIELD_LEN, bytes::width(*kind)));
        };
        out.nest(set::DESC, |out| {
            out.nest(set::DESC_CONCAT, |out| declared.key.iter().for_each(|kind| len(out, kind)));
        });
    }
    out.be32(set::ID, 1);
    let mut hints = hint(set::UDATA_KEY, &declared.key);
    if let Some(DataType::Values(types)) = &declared.data {
        hints.extend(hint(set::UDATA_DATA, types));
    }
    out.attr(set::USERDATA, &hints);
}

/// The kernel's flags of a set.
fn flags(declared: &Set) -> u32 {
    let flag = |is: bool, flags: u32| if is { flags } else { 0 };
    flag(declared.interval, set::F_INTERVAL)
        | flag(is_concatenated(declared), set::F_CONCAT)
        | flag(declared.data.is_some(), set::F_MAP)
        | flag(declared.dynamic.is_some(), set::F_EVAL | set::F_TIMEOUT)
}

/// Whether keys are intervals in several fields: the kernel holds both ends of such in one element.
fn is_concatenated(declared: &Set) -> bool {
    declared.interval && declared.key.len() > 1
}

/// Tells nft the byte order of a key or value, as libnftnl does: without it `nft list` takes a mark
/// alone for big-endian, and a name for backwards.
fn hint(kind: u8, types: &[Type]) -> Vec<u8> {
    let order = match types {
        [Type::Mark | Type::ClassId | Type::IfName] => set::HOST_ORDER,
        _ => set::BIG_ENDIAN,
    };
    [&[kind, 4], order.to_ne_bytes().as_slice()].concat()
}

/// Reads a declaration; `None` for one that Seaway does not write.
pub(super) fn read_declaration(attrs: Attrs<'_>) -> Option<Set> {
    let found = attrs.be32(set::FLAGS).unwrap_or_default();
    let is_map = found & set::F_MAP != 0;
    let key = types_of(attrs.be32(set::KEY_TYPE)?).filter(|types| !types.is_empty())?;
    let data = match attrs.be32(set::DATA_TYPE) {
        Some(set::VERDICT) if is_map => Some(DataType::Verdict),
        Some(id) if is_map => {
            let types = types_of(id).filter(|types| !types.is_empty())?;
            (attrs.be32(set::DATA_LEN)? == len(&types)).then_some(DataType::Values(types))
        }
        _ if is_map => return None,
        _ => None,
    };
    let interval = found & set::F_INTERVAL != 0;
    let dynamic = if found & set::F_EVAL == 0 { None } else { Some(read_dynamic(attrs)?) };
    let size = attrs.nested(set::DESC).and_then(|desc| desc.be32(set::DESC_SIZE));
    let declared = Set { key, data, interval, size, dynamic };
    let is_ours = attrs.be32(set::KEY_LEN)? == len(&declared.key)
        && declared.data.is_some() == is_map
        && flags(&declared) == found;
    is_ours.then_some(declared)
}

fn read_dynamic(attrs: Attrs<'_>) -> Option<Dynamic> {
    let milliseconds = u64::from_be_bytes(attrs.get(set::TIMEOUT)?.try_into().ok()?);
    let timeout = Duration::from_millis(milliseconds);
    (milliseconds % 1000 == 0).then_some(Dynamic { timeout })
}

/// Writes the element, or the two ends of its interval.
pub(super) fn write_element(out: &mut Writer, key: &[Value], leads_to: Option<&Data>) {
    let net = match key {
        [Value::Prefix(net)] => net,
        [first @ .., Value::Prefix(net)] => {
            let end = |out: &mut Writer| {
                let last: Vec<_> = first.iter().cloned().chain([bytes::last(net)]).collect();
                write_values(out, element::KEY_END, &last);
            };
            return write_one(out, |out| write_values(out, element::KEY, key), leads_to, end);
        }
        _ => return write_one(out, |out| write_values(out, element::KEY, key), leads_to, |_| {}),
    };
    let end = after(net);
    let open = |out: &mut Writer| {
        if end.is_none() {
            let flags = 1_u32.to_ne_bytes();
            out.attr(element::USERDATA, &[&element::UDATA_OPEN[..], &flags].concat());
        }
    };
    write_one(out, |out| write_values(out, element::KEY, key), leads_to, open);
    if let Some(end) = end {
        let is_end = |out: &mut Writer| out.be32(element::FLAGS, element::F_INTERVAL_END);
        write_one(out, |out| write_values(out, element::KEY, &[end]), None, is_end);
    }
}

/// Writes an element of a set that stays for a time of its own; how long is nothing to who removes it.
pub(super) fn write_timed(out: &mut Writer, key: &Value, stays: Option<Duration>) {
    let timeout = |out: &mut Writer| {
        if let Some(stays) = stays {
            let milliseconds = u64::try_from(stays.as_millis()).unwrap_or(u64::MAX);
            out.attr(element::TIMEOUT, &milliseconds.to_be_bytes());
        }
    };
    write_one(out, |out| write_values(out, element::KEY, std::slice::from_ref(key)), None, timeout);
}

/// Reads the address of such an element, and how long it stays still.
pub(super) fn read_timed(attrs: Attrs<'_>) -> Option<(IpAddr, Duration)> {
    let key = attrs.nested(element::KEY)?.get(data::VALUE)?;
    let addr = match key.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(key).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(key).ok()?),
    };
    let left = u64::from_be_bytes(attrs.get(element::EXPIRATION)?.try_into().ok()?);
    Some((addr, Duration::from_millis(left)))
}

fn write_one(
    out: &mut Writer,
    key: impl FnOnce(&mut Writer),
    leads_to: Option<&Data>,
    more: impl FnOnce(&mut Writer),
) {
    let start = out.open_nest(NFTA_LIST_ELEM);
    key(out);
    match leads_to {
        None => {}
        Some(Data::Values(values)) => write_values(out, element::DATA, &values.to_vec()),
        Some(Data::Verdict(verdict)) => {
            out.nest(element::DATA, |out| write_verdict(out, verdict));
        }
    }
    more(out);
    out.close_attr(start);
}

fn write_values(out: &mut Writer, kind: u16, values: &[Value]) {
    let nest = out.open_nest(kind);
    let value = out.open_attr(data::VALUE);
    let start = out.bytes.len();
    for field in values {
        // Names too long do not come here: `Todo::new()` refuses them.
        let Some(bytes) = bytes::encode(field) else { continue };
        out.bytes.extend(bytes.as_slice());
        if values.len() > 1 {
            let padded = (out.bytes.len() - start).next_multiple_of(4);
            out.bytes.resize(start + padded, 0);
        }
    }
    out.close_attr(value);
    out.close_attr(nest);
}

/// The first address behind `net`; `None` when there is none.
fn after(net: &IpNet) -> Option<Value> {
    match net {
        IpNet::V4(net) => {
            let next = u32::from(net.broadcast()).checked_add(1)?;
            Some(Value::Ipv4(Ipv4Addr::from(next)))
        }
        IpNet::V6(net) => {
            let next = u128::from(net.broadcast()).checked_add(1)?;
            Some(Value::Ipv6(Ipv6Addr::from(next)))
        }
    }
}

/// An element's key and what it leads to.
pub(super) type Element = (Values, Option<Data>);

/// The same before its interval's end is known.
type Found = (Vec<Value>, Option<Data>);

/// Elements of one set, as they come in.
#[derive(Debug)]
pub(super) struct Elements<'s> {
    declared: &'s Set,
    found: Vec<Found>,
    ends: Vec<Value>,
}

/// An element that Seaway does not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Foreign;

impl<'s> Elements<'s> {
    /// No element of `declared` yet.
    pub(super) fn of(declared: &'s Set) -> Self {
        Elements { declared, found: Vec::new(), ends: Vec::new() }
    }

    /// Takes the elements of one message.
    pub(super) fn read(&mut self, message: Attrs<'_>) -> Result<(), Foreign> {
        for (_, element) in message.nested(element::LIST_ELEMENTS).unwrap_or(Attrs(&[])) {
            self.one(Attrs(element)).ok_or(Foreign)?;
        }
        Ok(())
    }

    fn one(&mut self, attrs: Attrs<'_>) -> Option<()> {
        let known =
            [element::KEY, element::KEY_END, element::DATA, element::FLAGS, element::USERDATA];
        attrs.into_iter().all(|(kind, _)| known.contains(&kind)).then_some(())?;
        let key = attrs.nested(element::KEY)?.get(data::VALUE)?;
        let mut key = read_values(&self.declared.key, key)?;
        match attrs.be32(element::FLAGS).unwrap_or_default() {
            0 => {}
            element::F_INTERVAL_END if self.declared.interval => {
                self.ends.push(key.pop()?);
                return Some(());
            }
            _ => return None,
        }
        if is_concatenated(self.declared) {
            let end = attrs.nested(element::KEY_END)?.get(data::VALUE)?;
            *key.last_mut()? = between(&key, &read_values(&self.declared.key, end)?)?;
        }
        let leads_to = match (&self.declared.data, attrs.nested(element::DATA)) {
            (None, None) => None,
            (Some(DataType::Verdict), Some(data)) => Some(Data::Verdict(read_verdict(data)?)),
            (Some(DataType::Values(types)), Some(found)) => {
                Some(Data::Values(read_values(types, found.get(data::VALUE)?)?.into()))
            }
            (Some(_), None) | (None, Some(_)) => return None,
        };
        self.found.push((key, leads_to));
        Some(())
    }

    /// The elements, prefixes where keys are intervals.
    pub(super) fn finish(mut self) -> Result<Vec<Element>, Foreign> {
        if self.declared.interval && !is_concatenated(self.declared) {
            self.ends.sort();
            for (key, _) in &mut self.found {
                let net = prefix(key, &self.ends).ok_or(Foreign)?;
                *key = vec![Value::Prefix(net)];
            }
        }
        Ok(self.found.into_iter().map(|(key, data)| (key.into(), data)).collect())
    }
}

/// The prefix in the last field from `start` to `end`, which differ in nothing else.
fn between(start: &[Value], end: &[Value]) -> Option<Value> {
    let ((first, before), (last, same)) = (start.split_last()?, end.split_last()?);
    let net = match (first, last) {
        (Value::Ipv4(first), Value::Ipv4(last)) => v4(*first, u64::from(u32::from(*last)) + 1),
        (Value::Ipv6(first), Value::Ipv6(last)) => v6(*first, u128::from(*last).checked_add(1)),
        _ => None,
    };
    net.filter(|_| before == same).map(Value::Prefix)
}

fn read_values(types: &[Type], mut bytes: &[u8]) -> Option<Vec<Value>> {
    if usize::try_from(len(types)) != Ok(bytes.len()) {
        return None;
    }
    let mut values = Vec::with_capacity(types.len());
    for kind in types {
        let width = usize::try_from(bytes::width(*kind)).ok()?;
        values.push(bytes::decode(*kind, bytes.get(..width)?)?);
        bytes = bytes.get(width.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(values)
}

/// The prefix from `start` to the next of the sorted `ends`, or to the end of all addresses.
fn prefix(start: &[Value], ends: &[Value]) -> Option<IpNet> {
    let next = ends.get(ends.partition_point(|end| *end <= start[0]));
    match (start, next) {
        ([Value::Ipv4(start)], None) => v4(*start, 1 << 32),
        ([Value::Ipv4(start)], Some(Value::Ipv4(end))) => v4(*start, u64::from(u32::from(*end))),
        ([Value::Ipv6(start)], None) => v6(*start, None),
        ([Value::Ipv6(start)], Some(Value::Ipv6(end))) => v6(*start, Some(u128::from(*end))),
        _ => None,
    }
}

fn v4(start: Ipv4Addr, end: u64) -> Option<IpNet> {
    let size = end.checked_sub(u64::from(u32::from(start)))?;
    let len = 32_u32.checked_sub(size.is_power_of_two().then(|| size.trailing_zeros())?)?;
    let net = Ipv4Net::new(start, u8::try_from(len).ok()?).ok()?;
    (net.network() == start).then_some(IpNet::V4(net))
}

/// `None` as `end` is 2^128.
fn v6(start: Ipv6Addr, end: Option<u128>) -> Option<IpNet> {
    let size = end.unwrap_or(0).wrapping_sub(u128::from(start));
    let len = match size {
        0 => 0,
        size => 128_u32.checked_sub(size.is_power_of_two().then(|| size.trailing_zeros())?)?,
    };
    let net = Ipv6Net::new(start, u8::try_from(len).ok()?).ok()?;
    (net.network() == start).then_some(IpNet::V6(net))
}
