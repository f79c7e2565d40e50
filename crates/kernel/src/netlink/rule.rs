//! Policy rules: which table a packet is routed by.

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::addr::family;
use super::{Error, Netlink, Request};

/// `from PREFIX fwmark BITS/BITS lookup TABLE` at a priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSpec {
    /// Order among all rules, lowest first.
    pub priority: u32,
    /// Source prefix it applies to.
    pub from: IpNet,
    /// Bits of the mark that all have to be set; 0 when the mark does not matter.
    pub mark: u32,
    /// Table it leads to; 0 is any, when a rule is removed.
    pub table: u32,
    /// Owner's mark (`FRA_PROTOCOL`).
    pub protocol: u8,
}

/// A rule as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRow {
    /// What could be written.
    pub spec: RuleSpec,
    /// Whether it says no more than that.
    pub plain: bool,
}

impl RuleSpec {
    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = family(self.from.addr());
        message.header.src_len = self.from.prefix_len();
        message.header.action = RuleAction::ToTable;
        message.attributes = vec![
            RuleAttribute::Priority(self.priority),
            RuleAttribute::Protocol(RouteProtocol::from(self.protocol)),
        ];
        if self.table != 0 {
            message.attributes.push(RuleAttribute::Table(self.table));
        }
        if self.from.prefix_len() > 0 {
            message.attributes.push(RuleAttribute::Source(self.from.network()));
        }
        if self.mark != 0 {
            let bits = self.mark;
            message.attributes.extend([RuleAttribute::FwMark(bits), RuleAttribute::FwMask(bits)]);
        }
        message
    }

    fn words(&self) -> String {
        let mark = match self.mark {
            0 => String::new(),
            bits => format!(" fwmark {bits:#x}/{bits:#x}"),
        };
        format!("{}: from {}{mark} lookup {}", self.priority, self.from, self.table)
    }
}

impl Request {
    /// Adds a rule; refused (EEXIST) when the very same stands.
    pub fn add_rule(rule: &RuleSpec) -> Self {
        let message = RouteNetlinkMessage::NewRule(rule.message());
        let attempt = format!("add rule {}", rule.words());
        Request::new(attempt, message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Removes a rule.
    pub fn delete_rule(rule: &RuleSpec) -> Self {
        let message = RouteNetlinkMessage::DelRule(rule.message());
        Request::new(format!("delete rule {}", rule.words()), message, 0)
    }
}

impl Netlink {
    /// Rules of both families.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn rules(&mut self) -> Result<Vec<RuleRow>, Error> {
        let mut rows = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RuleMessage::default();
            message.header.family = family;
            let request = RouteNetlinkMessage::GetRule(message);
            rows.extend(self.dump("list rules", &request, RuleRow::from_message)?);
        }
        Ok(rows)
    }
}

impl RuleRow {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the codec knows more than we read")]
    fn from_message(message: RouteNetlinkMessage) -> Option<Self> {
        let RouteNetlinkMessage::NewRule(message) = message else { return None };
        let any = match message.header.family {
            AddressFamily::Inet => std::net::Ipv4Addr::UNSPECIFIED.into(),
            AddressFamily::Inet6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let (mut priority, mut table) = (0, u32::from(message.header.table));
        let (mut from, mut protocol) = (any, 0);
        let (mut mark, mut mask) = (0, 0);
        let mut plain = message.header.action == RuleAction::ToTable
            && message.header.dst_len == 0
            && message.header.flags == RuleFlags::empty();
        for attribute in message.attributes {
            match attribute {
                RuleAttribute::Priority(value) => priority = value,
                RuleAttribute::Table(id) => table = id,
                RuleAttribute::Source(addr) => from = addr,
                RuleAttribute::Protocol(mark) => protocol = mark.into(),
                RuleAttribute::FwMark(bits) => mark = bits,
                RuleAttribute::FwMask(bits) => mask = bits,
                RuleAttribute::Iifname(_)
                | RuleAttribute::Oifname(_)
                | RuleAttribute::IpProtocol(_) => plain = false,
                _ => {}
            }
        }
        plain &= mark == mask;
        let from = IpNet::new(from, message.header.src_len).ok()?;
        Some(RuleRow { spec: RuleSpec { priority, from, mark, table, protocol }, plain })
    }
}
