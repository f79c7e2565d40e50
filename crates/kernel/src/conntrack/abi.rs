//! Numbers of ctnetlink: `linux/netfilter/nfnetlink_conntrack.h`.

use model::Family;

/// `NFNL_SUBSYS_CTNETLINK`, in a message's type.
const SUBSYSTEM: u16 = 1 << 8;
/// `IPCTNL_MSG_CT_NEW`: without `NLM_F_CREATE`, what is there becomes another.
pub(super) const NEW: u16 = SUBSYSTEM;
/// `IPCTNL_MSG_CT_GET`.
pub(super) const GET: u16 = SUBSYSTEM | 1;
/// `IPCTNL_MSG_CT_DELETE`.
pub(super) const DELETE: u16 = SUBSYSTEM | 2;

pub(super) const CTA_TUPLE_ORIG: u16 = 1;
pub(super) const CTA_TUPLE_REPLY: u16 = 2;
pub(super) const CTA_STATUS: u16 = 3;
pub(super) const CTA_MARK: u16 = 8;
pub(super) const CTA_ID: u16 = 12;
pub(super) const CTA_ZONE: u16 = 18;
pub(super) const CTA_MARK_MASK: u16 = 21;
pub(super) const CTA_FILTER: u16 = 25;

/// Bit of `CTA_STATUS`: `IPS_SEEN_REPLY` of `linux/netfilter/nf_conntrack_common.h`.
pub(super) const SEEN_REPLY: u32 = 1 << 1;

/// Inside of a tuple.
pub(super) const CTA_TUPLE_IP: u16 = 1;
pub(super) const CTA_TUPLE_PROTO: u16 = 2;
pub(super) const CTA_TUPLE_ZONE: u16 = 3;

/// Inside of `CTA_TUPLE_IP`: source and destination.
pub(super) const CTA_IP_V4: [u16; 2] = [1, 2];
pub(super) const CTA_IP_V6: [u16; 2] = [3, 4];

/// Inside of `CTA_TUPLE_PROTO`: the protocol, source and destination port.
pub(super) const CTA_PROTO_NUM: u16 = 1;
pub(super) const CTA_PROTO_PORT: [u16; 2] = [2, 3];

/// Inside of `CTA_FILTER`: which fields of the original and of the reply tuple count.
pub(super) const CTA_FILTER_ORIG_FLAGS: u16 = 1;
pub(super) const CTA_FILTER_REPLY_FLAGS: u16 = 2;

/// Bits of either: `CTA_FILTER_F_CTA_…` of `net/netfilter/nf_internals.h`, source and destination.
pub(super) const FILTER_IP: [u32; 2] = [1 << 0, 1 << 1];
pub(super) const FILTER_PROTO_NUM: u32 = 1 << 3;
pub(super) const FILTER_PORT: [u32; 2] = [1 << 4, 1 << 5];

/// `NFPROTO_` of a family.
pub(super) fn nfproto(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}
