//! Names that nft prints for numbers.

use super::{Field, HookPoint, TableFamily, ether_type, fib_type};

/// `inet_proto`, as Debian's /etc/protocols names the protocols that Kubernetes clusters carry.
const PROTOCOLS: [(u8, &str); 22] = [
    (0, "ip"),
    (1, "icmp"),
    (2, "igmp"),
    (4, "ipencap"),
    (6, "tcp"),
    (17, "udp"),
    (33, "dccp"),
    (41, "ipv6"),
    (43, "ipv6-route"),
    (44, "ipv6-frag"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "ipv6-icmp"),
    (59, "ipv6-nonxt"),
    (60, "ipv6-opts"),
    (89, "ospf"),
    (103, "pim"),
    (112, "vrrp"),
    (132, "sctp"),
    (136, "udplite"),
    (137, "mpls-in-ip"),
];

const ICMPV6_TYPES: [(u8, &str); 18] = [
    (1, "destination-unreachable"),
    (2, "packet-too-big"),
    (3, "time-exceeded"),
    (4, "parameter-problem"),
    (128, "echo-request"),
    (129, "echo-reply"),
    (130, "mld-listener-query"),
    (131, "mld-listener-report"),
    (132, "mld-listener-done"),
    (133, "nd-router-solicit"),
    (134, "nd-router-advert"),
    (135, "nd-neighbor-solicit"),
    (136, "nd-neighbor-advert"),
    (137, "nd-redirect"),
    (138, "router-renumbering"),
    (141, "ind-neighbor-solicit"),
    (142, "ind-neighbor-advert"),
    (143, "mld2-listener-report"),
];

const FIB_TYPES: [(u8, &str); 9] = [
    (0, "unspec"),
    (fib_type::UNICAST, "unicast"),
    (fib_type::LOCAL, "local"),
    (fib_type::BROADCAST, "broadcast"),
    (4, "anycast"),
    (fib_type::MULTICAST, "multicast"),
    (6, "blackhole"),
    (fib_type::UNREACHABLE, "unreachable"),
    (8, "prohibit"),
];

const PRESENT: [(u8, &str); 2] = [(0, "missing"), (1, "exists")];

const DIRECTIONS: [(u8, &str); 2] = [(super::ORIGINAL, "original"), (super::REPLY, "reply")];

const NFPROTOS: [(u8, &str); 2] = [(super::NFPROTO_IPV4, "ipv4"), (super::NFPROTO_IPV6, "ipv6")];

const ETHER_TYPES: [(u16, &str); 5] = [
    (ether_type::IP, "ip"),
    (ether_type::ARP, "arp"),
    (ether_type::IP6, "ip6"),
    (0x8100, "8021q"),
    (0x88a8, "8021ad"),
];

/// Names of priorities in the inet family, and the only hook where nft knows them.
const INET_PRIORITIES: [(i32, &str, Option<HookPoint>); 6] = [
    (-300, "raw", None),
    (-150, "mangle", None),
    (-100, "dstnat", Some(HookPoint::Prerouting)),
    (0, "filter", None),
    (50, "security", None),
    (100, "srcnat", Some(HookPoint::Postrouting)),
];

/// The same in the bridge family.
const BRIDGE_PRIORITIES: [(i32, &str, Option<HookPoint>); 4] = [
    (-300, "dstnat", Some(HookPoint::Prerouting)),
    (-200, "filter", None),
    (100, "out", Some(HookPoint::Output)),
    (300, "srcnat", Some(HookPoint::Postrouting)),
];

/// How far from a name nft still counts from it.
const REACH: u32 = 10;

/// Name of `number` as a protocol.
pub(super) fn protocol(number: u8) -> String {
    named(&PROTOCOLS, number)
}

/// Name of the protocol `number` as the header whose ports nft prints; `None` for others.
pub(super) fn port_header(number: u8) -> Option<&'static str> {
    matches!(number, 6 | 17 | 33 | 132 | 136).then(|| find(&PROTOCOLS, number)).flatten()
}

/// Name of `number` as a value of `field`.
pub(super) fn number(field: Field, number: u8) -> String {
    match field {
        Field::Nfproto => named(&NFPROTOS, number),
        Field::Icmpv6Type => named(&ICMPV6_TYPES, number),
        Field::FibDaddrType => named(&FIB_TYPES, number),
        Field::FibDaddrOif => named(&PRESENT, number),
        Field::CtDirection => named(&DIRECTIONS, number),
        Field::L4proto
        | Field::Iifname
        | Field::Oifname
        | Field::EtherSaddr
        | Field::EtherDaddr
        | Field::EtherType
        | Field::Ip4Saddr
        | Field::Ip4Daddr
        | Field::Ip6Saddr
        | Field::Ip6Daddr
        | Field::ArpSaddrIp
        | Field::ArpSaddrEther
        | Field::Sport
        | Field::Dport
        | Field::Mark
        | Field::Priority
        | Field::Random(_)
        | Field::Client4
        | Field::Client6
        | Field::Server4
        | Field::Server6
        | Field::ServerPort => protocol(number),
    }
}

/// Name of an EtherType.
pub(super) fn ether(number: u16) -> String {
    let name = ETHER_TYPES.iter().find(|(known, _)| *known == number);
    name.map_or_else(|| format!("{number:#06x}"), |(_, name)| (*name).to_owned())
}

/// `filter`, `filter + 5`, or the number alone where no name is near.
pub(super) fn priority(family: TableFamily, point: HookPoint, priority: i32) -> String {
    let names: &[_] = match family {
        TableFamily::Inet => &INET_PRIORITIES,
        TableFamily::Bridge => &BRIDGE_PRIORITIES,
    };
    let near = names.iter().find(|(known, ..)| priority.abs_diff(*known) <= REACH);
    match near {
        Some((known, name, only)) if only.is_none_or(|only| only == point) => {
            match priority - known {
                0 => (*name).to_owned(),
                more @ 1.. => format!("{name} + {more}"),
                less => format!("{name} - {}", -less),
            }
        }
        Some(_) | None => priority.to_string(),
    }
}

/// Name of a packet's priority, as tc(8) writes it.
pub(super) fn class(number: u32) -> String {
    match number {
        0 => "none".to_owned(),
        u32::MAX => "root".to_owned(),
        _ => format!("{:x}:{:x}", number >> 16, number & 0xffff),
    }
}

/// `3h`, `1d2h`, `1m30s`.
pub(super) fn time(seconds: u64) -> String {
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];
    let mut left = seconds;
    units.iter().fold(String::new(), |mut text, (unit, name)| {
        if left >= *unit {
            text.push_str(&format!("{}{name}", left / unit));
            left %= unit;
        }
        text
    })
}

fn named(names: &[(u8, &'static str)], number: u8) -> String {
    find(names, number).map_or_else(|| number.to_string(), str::to_owned)
}

fn find(names: &[(u8, &'static str)], number: u8) -> Option<&'static str> {
    names.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}
