//! Settings of one link in each family: what `net.ipv4.conf.LINK.*` and `net.ipv6.conf.LINK.*` hold.
//!
//! Both come with every link that is listed. Those of IPv4 can be set by the request that sets up
//! the link; those of IPv6 only below /proc/sys.

use netlink_packet_core::{DefaultNla, NLA_F_NESTED};
use netlink_packet_route::link::{AfSpecInet, AfSpecInet6, AfSpecUnspec};

/// What IPv4 does with packets of a link. Source: ip-sysctl.rst, `conf/interface/*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Conf {
    /// Packets that enter here may be forwarded.
    pub forwarding: bool,
    /// 0 off, 1 strict, 2 loose.
    pub rp_filter: u8,
    /// Packets may come from an address of the node itself.
    pub accept_local: bool,
    /// ICMP redirects are followed.
    pub accept_redirects: bool,
    /// ICMP redirects are sent.
    pub send_redirects: bool,
    /// 127/8 is routed like other addresses.
    pub route_localnet: bool,
}

/// What IPv6 believes on a link. Source: ip-sysctl.rst, `conf/interface/*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6Conf {
    /// Router advertisements: 0 ignored, 1 believed unless forwarding, 2 believed.
    pub accept_ra: u8,
    /// ICMPv6 redirects are followed.
    pub accept_redirects: bool,
}

/// `IFLA_INET_CONF` of linux/if_link.h.
const INET_CONF: u16 = 1;

impl Ipv4Conf {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the codec knows far more than we read")]
    pub(super) fn from_part(part: &AfSpecInet) -> Option<Self> {
        match part {
            AfSpecInet::DevConf(conf) => Some(Ipv4Conf {
                forwarding: conf.forwarding != 0,
                rp_filter: u8::try_from(conf.rp_filter).unwrap_or(u8::MAX),
                accept_local: conf.accept_local != 0,
                accept_redirects: conf.accept_redirects != 0,
                send_redirects: conf.send_redirects != 0,
                route_localnet: conf.route_localnet != 0,
            }),
            _ => None,
        }
    }

    /// As the kernel takes it: one attribute per setting. The codec's own form leaves zeros out.
    pub(super) fn to_part(self) -> AfSpecUnspec {
        // `IPV4_DEVCONF_*` of linux/ip.h.
        let settings: [(u16, u32); 6] = [
            (1, self.forwarding.into()),
            (4, self.accept_redirects.into()),
            (6, self.send_redirects.into()),
            (8, self.rp_filter.into()),
            (23, self.accept_local.into()),
            (26, self.route_localnet.into()),
        ];
        let mut bytes = Vec::with_capacity(settings.len() * 8);
        for (kind, value) in settings {
            bytes.extend(8u16.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value.to_ne_bytes());
        }
        let conf = DefaultNla::new(INET_CONF | NLA_F_NESTED, bytes);
        AfSpecUnspec::Inet(vec![AfSpecInet::Other(conf)])
    }
}

impl Ipv6Conf {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the codec knows far more than we read")]
    pub(super) fn from_part(part: &AfSpecInet6) -> Option<Self> {
        match part {
            AfSpecInet6::DevConf(conf) => Some(Ipv6Conf {
                accept_ra: u8::try_from(conf.accept_ra).unwrap_or(u8::MAX),
                accept_redirects: conf.accept_redirects != 0,
            }),
            _ => None,
        }
    }
}
