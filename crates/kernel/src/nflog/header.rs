//! The headers at the start of a packet: who sends it to whom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who sends a packet of IP to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Header {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Number of the protocol behind all headers of IP.
    pub protocol: u8,
    /// Port of the source; 0 where the protocol has none, or where it is not shown.
    pub sport: u16,
    /// Port of the destination, in the same way; for ICMP and ICMPv6 the type.
    pub dport: u16,
}

/// Protocol numbers whose header begins with two ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// Protocol numbers of ICMP and ICMPv6.
const ICMP: [u8; 2] = [1, 58];

impl Header {
    /// Reads the start of a packet of IPv4 or IPv6; `None` for anything else, and for what is cut short before its
    /// addresses.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::read_v4(packet),
            6 => Self::read_v6(packet),
            _ => None,
        }
    }

    /// RFC 791 §3.1.
    fn read_v4(packet: &[u8]) -> Option<Self> {
        let fixed = packet.get(..20)?;
        let addr = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(&fixed[at..at + 4]).ok()?));
        let is_first = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x1fff == 0;
        let behind = packet.get(usize::from(fixed[0] & 0xf) * 4..).filter(|_| is_first);
        Some(Self::of((addr(12)?.into(), addr(16)?.into()), fixed[9], behind.unwrap_or_default()))
    }

    /// RFC 8200 §3, and §4 for what may stand before the protocol: each such header is eight bytes at least.
    fn read_v6(packet: &[u8]) -> Option<Self> {
        let fixed = packet.get(..40)?;
        let addr =
            |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(&fixed[at..at + 16]).ok()?));
        let (mut protocol, mut rest) = (fixed[6], &packet[40..]);
        while let Some([next, length, ..]) = rest.get(..8) {
            let length = usize::from(*length);
            let is_later = |header: &[u8]| u16::from_be_bytes([header[2], header[3]]) & 0xfff8 != 0;
            let length = match protocol {
                // Hop-by-hop and destination options, routing.
                0 | 43 | 60 => (length + 1) * 8,
                44 if is_later(rest) => {
                    (protocol, rest) = (*next, &[]);
                    break;
                }
                44 => 8,
                // Authentication (RFC 4302).
                51 => (length + 2) * 4,
                _ => break,
            };
            (protocol, rest) = (*next, rest.get(length..).unwrap_or_default());
        }
        Some(Self::of((addr(8)?.into(), addr(24)?.into()), protocol, rest))
    }

    /// With what stands at the start of `behind`.
    fn of((src, dst): (IpAddr, IpAddr), protocol: u8, behind: &[u8]) -> Self {
        let (sport, dport) = match behind {
            [a, b, c, d, ..] if WITH_PORTS.contains(&protocol) => {
                (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))
            }
            [kind, ..] if ICMP.contains(&protocol) => (0, u16::from(*kind)),
            _ => (0, 0),
        };
        Header { src, dst, protocol, sport, dport }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(protocol: u8, options: usize, offset: u16, behind: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20 + options * 4];
        packet[0] = 0x45 + u8::try_from(options).unwrap();
        packet[6..8].copy_from_slice(&offset.to_be_bytes());
        packet[9] = protocol;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend(behind);
        packet
    }

    fn v6(first: u8, behind: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[6]) = (0x60, first);
        (packet[8], packet[23], packet[24], packet[39]) = (0xfd, 1, 0xfd, 2);
        packet.extend(behind);
        packet
    }

    /// `PROTOCOL SPORT>DPORT`.
    fn said(packet: &[u8]) -> String {
        let Header { src, dst, protocol, sport, dport } = Header::read(packet).unwrap();
        let ends = (src.to_string(), dst.to_string());
        let of_v4 = ends == ("10.0.0.1".into(), "10.0.0.2".into());
        assert!(of_v4 || ends == ("fd00::1".into(), "fd00::2".into()), "{ends:?}");
        format!("{protocol} {sport}>{dport}")
    }

    #[test]
    fn npx4_ports_stand_behind_every_header_of_ip() {
        let ports = [0x9c, 0x40, 0, 80];
        let hops = [6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let to_tcp = |header: &[u8]| [header, &ports, &[0; 4]].concat();
        let auth = [6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let cases = [
            (v4(6, 0, 0, &ports), "6 40000>80"),
            (v4(17, 10, 0, &ports), "17 40000>80"),
            (v4(132, 0, 0x4000, &ports), "132 40000>80"),
            (v4(6, 0, 1, &ports), "6 0>0"),
            (v4(6, 0, 0, &ports[..3]), "6 0>0"),
            (v4(1, 0, 0, &[8]), "1 0>8"),
            (v4(47, 0, 0, &ports), "47 0>0"),
            (v6(6, &ports), "6 40000>80"),
            (v6(58, &[128, 0]), "58 0>128"),
            (v6(0, &to_tcp(&hops)), "6 40000>80"),
            (v6(60, &to_tcp(&[&[43][..], &hops[1..], &hops].concat())), "6 40000>80"),
            (v6(44, &to_tcp(&[6, 0, 0, 1, 0, 0, 0, 0])), "6 40000>80"),
            (v6(44, &to_tcp(&[6, 0, 0, 8, 0, 0, 0, 0])), "6 0>0"),
            (v6(51, &to_tcp(&auth)), "6 40000>80"),
            (v6(0, &[6, 255, 0, 0, 0, 0, 0, 0]), "6 0>0"),
            (v6(0, &[6, 0, 0, 0]), "0 0>0"),
        ];
        for (packet, want) in cases {
            assert_eq!(said(&packet), want, "{packet:?}");
        }
    }

    #[test]
    fn npx4_what_is_not_ip_or_has_no_addresses_is_nobodys() {
        for packet in [&[][..], &[0x45], &v4(6, 0, 0, &[])[..19], &v6(6, &[])[..39], &[0x20; 60]] {
            assert_eq!(Header::read(packet), None, "{packet:?}");
        }
    }
}
