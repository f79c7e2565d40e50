//! Numbers of linux/netfilter/nf_tables.h that libc has no names for, under their own names.

/// Operations, `enum nf_tables_msg_types`, in netfilter's subsystem 10.
pub(super) mod msg {
    pub(crate) const SUBSYSTEM: u16 = 10;
    pub(crate) const NEWTABLE: u16 = 0;
    pub(crate) const GETTABLE: u16 = 1;
    pub(crate) const DELTABLE: u16 = 2;
    pub(crate) const NEWCHAIN: u16 = 3;
    pub(crate) const GETCHAIN: u16 = 4;
    pub(crate) const DELCHAIN: u16 = 5;
    pub(crate) const NEWRULE: u16 = 6;
    pub(crate) const GETRULE: u16 = 7;
    pub(crate) const DELRULE: u16 = 8;
    pub(crate) const NEWSET: u16 = 9;
    pub(crate) const GETSET: u16 = 10;
    pub(crate) const DELSET: u16 = 11;
    pub(crate) const NEWSETELEM: u16 = 12;
    pub(crate) const GETSETELEM: u16 = 13;
    pub(crate) const DELSETELEM: u16 = 14;
    pub(crate) const GETGEN: u16 = 16;
    pub(crate) const BATCH_BEGIN: u16 = 0x10;
    pub(crate) const BATCH_END: u16 = 0x11;
}

pub(super) const NFTA_GEN_ID: u16 = 1;
pub(super) const NFTA_LIST_ELEM: u16 = 1;

pub(super) mod table {
    pub(crate) const NAME: u16 = 1;
    pub(crate) const FLAGS: u16 = 2;
    /// It goes with the socket that made it, and only that socket may write it.
    pub(crate) const F_OWNER: u32 = 2;
}

pub(super) mod chain {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 3;
    pub(crate) const HOOK: u16 = 4;
    pub(crate) const POLICY: u16 = 5;
    pub(crate) const TYPE: u16 = 7;
    pub(crate) const HOOK_NUM: u16 = 1;
    pub(crate) const HOOK_PRIORITY: u16 = 2;
}

pub(super) mod rule {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const CHAIN: u16 = 2;
    pub(crate) const HANDLE: u16 = 3;
    pub(crate) const EXPRESSIONS: u16 = 4;
    pub(crate) const USERDATA: u16 = 7;
    /// Type of a comment in user data, `NFTNL_UDATA_RULE_COMMENT` of libnftnl.
    pub(crate) const UDATA_COMMENT: u8 = 0;
}

pub(super) mod set {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const KEY_TYPE: u16 = 4;
    pub(crate) const KEY_LEN: u16 = 5;
    pub(crate) const DATA_TYPE: u16 = 6;
    pub(crate) const DATA_LEN: u16 = 7;
    pub(crate) const DESC: u16 = 9;
    pub(crate) const ID: u16 = 10;
    pub(crate) const TIMEOUT: u16 = 11;
    pub(crate) const USERDATA: u16 = 13;
    /// Since Linux 6.16.
    pub(crate) const COUNT: u16 = 20;
    pub(crate) const DESC_SIZE: u16 = 1;
    pub(crate) const DESC_CONCAT: u16 = 2;
    pub(crate) const FIELD_LEN: u16 = 1;
    /// `NFTNL_UDATA_SET_KEYBYTEORDER` of libnftnl.
    pub(crate) const UDATA_KEY: u8 = 0;
    /// `NFTNL_UDATA_SET_DATABYTEORDER`.
    pub(crate) const UDATA_DATA: u8 = 1;
    /// `BYTEORDER_HOST_ENDIAN` of nft.
    pub(crate) const HOST_ORDER: u32 = 1;
    /// `BYTEORDER_BIG_ENDIAN`.
    pub(crate) const BIG_ENDIAN: u32 = 2;
    pub(crate) const F_ANONYMOUS: u32 = 1;
    pub(crate) const F_INTERVAL: u32 = 4;
    pub(crate) const F_MAP: u32 = 8;
    pub(crate) const F_TIMEOUT: u32 = 0x10;
    /// Rules write it: `flags dynamic` of nft.
    pub(crate) const F_EVAL: u32 = 0x20;
    pub(crate) const F_CONCAT: u32 = 0x80;
    /// `NFT_DATA_VERDICT`.
    pub(crate) const VERDICT: u32 = 0xffff_ff00;
}

pub(super) mod element {
    pub(crate) const LIST_TABLE: u16 = 1;
    pub(crate) const LIST_SET: u16 = 2;
    pub(crate) const LIST_ELEMENTS: u16 = 3;
    pub(crate) const KEY: u16 = 1;
    pub(crate) const DATA: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    /// How long it stays from when it is put, in milliseconds.
    pub(crate) const TIMEOUT: u16 = 4;
    /// How long it stays still.
    pub(crate) const EXPIRATION: u16 = 5;
    pub(crate) const USERDATA: u16 = 6;
    pub(crate) const KEY_END: u16 = 10;
    pub(crate) const F_INTERVAL_END: u32 = 1;
    /// What nft writes beside the start of an interval without end (`NFTNL_UDATA_SET_ELEM_FLAGS`
    /// with `SET_ELEM_F_INTERVAL_OPEN`, in host order), to list `0.0.0.0/0` as such.
    pub(crate) const UDATA_OPEN: [u8; 2] = [1, 4];
}

pub(super) mod expr {
    pub(crate) const NAME: u16 = 1;
    pub(crate) const DATA: u16 = 2;
}

pub(super) mod target {
    pub(crate) const NAME: u16 = 1;
}

pub(super) mod data {
    pub(crate) const VALUE: u16 = 1;
    pub(crate) const VERDICT: u16 = 2;
    pub(crate) const VERDICT_CODE: u16 = 1;
    pub(crate) const VERDICT_CHAIN: u16 = 2;
    pub(crate) const DROP: i32 = 0;
    pub(crate) const ACCEPT: i32 = 1;
    pub(crate) const JUMP: i32 = -3;
    pub(crate) const GOTO: i32 = -4;
    pub(crate) const RETURN: i32 = -5;
}

pub(super) mod meta {
    pub(crate) const DREG: u16 = 1;
    pub(crate) const KEY: u16 = 2;
    pub(crate) const SREG: u16 = 3;
    pub(crate) const PROTOCOL: u32 = 1;
    pub(crate) const MARK: u32 = 3;
    pub(crate) const PRIORITY: u32 = 2;
    pub(crate) const IIFNAME: u32 = 6;
    pub(crate) const OIFNAME: u32 = 7;
    pub(crate) const IIFTYPE: u32 = 8;
    pub(crate) const NFPROTO: u32 = 15;
    pub(crate) const L4PROTO: u32 = 16;
}

pub(super) mod payload {
    pub(crate) const DREG: u16 = 1;
    pub(crate) const BASE: u16 = 2;
    pub(crate) const OFFSET: u16 = 3;
    pub(crate) const LEN: u16 = 4;
    pub(crate) const LINK: u32 = 0;
    pub(crate) const NETWORK: u32 = 1;
    pub(crate) const TRANSPORT: u32 = 2;
}

pub(super) mod ct {
    pub(crate) const DREG: u16 = 1;
    pub(crate) const KEY: u16 = 2;
    pub(crate) const DIRECTION: u16 = 3;
    pub(crate) const STATE: u32 = 0;
    pub(crate) const KEY_DIRECTION: u32 = 1;
    pub(crate) const STATUS: u32 = 2;
    pub(crate) const MARK: u32 = 3;
    pub(crate) const PROTO_SRC: u32 = 11;
    pub(crate) const SRC_IP: u32 = 19;
    pub(crate) const SRC_IP6: u32 = 21;
    pub(crate) const SREG: u16 = 4;
    /// `IP_CT_DIR_ORIGINAL`.
    pub(crate) const ORIGINAL: u8 = 0;
    /// `IP_CT_DIR_REPLY`.
    pub(crate) const REPLY: u8 = 1;
}

pub(super) mod fib {
    pub(crate) const DREG: u16 = 1;
    pub(crate) const RESULT: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const OIF: u32 = 1;
    pub(crate) const ADDRTYPE: u32 = 3;
    pub(crate) const F_DADDR: u32 = 2;
    pub(crate) const F_PRESENT: u32 = 32;
}

pub(super) mod cmp {
    pub(crate) const SREG: u16 = 1;
    pub(crate) const OP: u16 = 2;
    pub(crate) const DATA: u16 = 3;
    pub(crate) const EQ: u32 = 0;
    pub(crate) const NEQ: u32 = 1;
}

pub(super) mod range {
    pub(crate) const SREG: u16 = 1;
    pub(crate) const OP: u16 = 2;
    pub(crate) const FROM: u16 = 3;
    pub(crate) const TO: u16 = 4;
    pub(crate) const EQ: u32 = 0;
}

pub(super) mod bitwise {
    pub(crate) const SREG: u16 = 1;
    pub(crate) const DREG: u16 = 2;
    pub(crate) const LEN: u16 = 3;
    pub(crate) const MASK: u16 = 4;
    pub(crate) const XOR: u16 = 5;
    pub(crate) const OP: u16 = 6;
}

pub(super) mod lookup {
    pub(crate) const SET: u16 = 1;
    pub(crate) const SREG: u16 = 2;
    pub(crate) const DREG: u16 = 3;
    pub(crate) const FLAGS: u16 = 5;
    pub(crate) const F_INV: u32 = 1;
}

pub(super) mod numgen {
    pub(crate) const DREG: u16 = 1;
    pub(crate) const MODULUS: u16 = 2;
    pub(crate) const TYPE: u16 = 3;
    pub(crate) const OFFSET: u16 = 4;
    pub(crate) const RANDOM: u32 = 1;
}

pub(super) mod dynset {
    pub(crate) const SET: u16 = 1;
    pub(crate) const OP: u16 = 3;
    pub(crate) const SREG_KEY: u16 = 4;
    pub(crate) const SREG_DATA: u16 = 5;
    pub(crate) const TIMEOUT: u16 = 6;
    pub(crate) const EXPR: u16 = 7;
    pub(crate) const FLAGS: u16 = 9;
    pub(crate) const EXPRESSIONS: u16 = 10;
    pub(crate) const UPDATE: u32 = 1;
    pub(crate) const DELETE: u32 = 2;
}

pub(super) mod limit {
    pub(crate) const RATE: u16 = 1;
    pub(crate) const UNIT: u16 = 2;
    pub(crate) const BURST: u16 = 3;
    pub(crate) const TYPE: u16 = 4;
    pub(crate) const FLAGS: u16 = 5;
    /// A unit of time, in seconds.
    pub(crate) const SECOND: u64 = 1;
    /// `NFT_LIMIT_PKTS`.
    pub(crate) const PACKETS: u32 = 0;
    /// It matches what is over the rate.
    pub(crate) const F_INV: u32 = 1;
}

pub(super) mod log {
    pub(crate) const GROUP: u16 = 1;
    pub(crate) const PREFIX: u16 = 2;
}

pub(super) mod counter {
    pub(crate) const PACKETS: u16 = 2;
}

pub(super) mod immediate {
    pub(crate) const DREG: u16 = 1;
    pub(crate) const DATA: u16 = 2;
}

pub(super) mod nat {
    pub(crate) const TYPE: u16 = 1;
    pub(crate) const FAMILY: u16 = 2;
    pub(crate) const ADDR_MIN: u16 = 3;
    pub(crate) const ADDR_MAX: u16 = 4;
    pub(crate) const PROTO_MIN: u16 = 5;
    pub(crate) const PROTO_MAX: u16 = 6;
    pub(crate) const FLAGS: u16 = 7;
    pub(crate) const SNAT: u32 = 0;
    pub(crate) const DNAT: u32 = 1;
    /// `NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED`: the kernel adds them itself.
    pub(crate) const F_IMPLIED: u32 = 3;
}

pub(super) mod masq {
    pub(crate) const FLAGS: u16 = 1;
    /// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
    pub(crate) const F_FULLY_RANDOM: u32 = 0x10;
}

pub(super) mod reject {
    pub(crate) const TYPE: u16 = 1;
    pub(crate) const CODE: u16 = 2;
    pub(crate) const TCP_RST: u32 = 1;
    pub(crate) const ICMPX: u32 = 2;
    pub(crate) const ICMPX_PORT_UNREACH: u8 = 1;
}
