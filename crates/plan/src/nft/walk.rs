//! The meaning of a table: what its rules do to a packet.

use std::cell::Cell;
use std::net::IpAddr;

use ipnet::IpNet;

use super::packet::{Learned, Packet, Surroundings};
use super::{
    ChainKind, ChainName, CtState, Data, DynamicOp, Field, HookPoint, Key, Nat, NatSource, Op,
    RejectWith, Row, Rule, SetName, Statement, TableFamily, Value, Verdict, Writable,
};
use crate::{Table, nft::Chain};

/// What became of a packet at one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk<'a> {
    /// Where it ended.
    pub outcome: Outcome,
    /// The rewrite of its addresses that a `nat` chain chose.
    pub rewrite: Option<Rewrite>,
    /// Its mark afterwards.
    pub mark: u32,
    /// The mark of its connection afterwards, if it has one.
    pub connection_mark: Option<u32>,
    /// The rules that matched, in order.
    pub trace: Vec<Step<'a>>,
    /// What rules have learned, with what the packet added and took out.
    pub learned: Learned,
    /// How many values of [`Surroundings::random`], from 0, make all the difference that chance can
    /// make: the least common multiple of the moduli that were drawn by, 1 where none was.
    pub chances: u32,
}

/// Where a packet ended at a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    Accept,
    /// It is gone.
    Drop,
    /// It is gone, and its sender is told.
    Reject(RejectWith),
}

/// A new address for a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrite {
    /// Destination or source becomes this address and port.
    To {
        /// Which side.
        side: Nat,
        /// New address.
        addr: IpAddr,
        /// New port.
        port: u16,
    },
    /// Source becomes an address of the link it leaves by.
    Masquerade {
        /// Ports are chosen at random.
        fully_random: bool,
    },
}

/// A rule that matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'a> {
    /// The chain it stands in.
    pub chain: &'a ChainName,
    /// The rule.
    pub rule: &'a Rule,
}

/// Runs `packet` through the base chains that `family`'s table has at `point`, in the order of their
/// priorities. A `nat` chain sees only the first packet of a flow, and none once a chain before it has
/// chosen a rewrite; the chains behind it see what it made of the packet.
///
/// Rules must match on the protocol before they look at ports: where a packet's protocol has none,
/// the kernel would compare whatever stands in their place, and this function does not match.
///
/// Source: `nft_do_chain()` in net/netfilter/nf_tables_core.c, `nf_nat_inet_fn()` in
/// net/netfilter/nf_nat_core.c; nft(8).
pub fn walk<'a>(
    table: &'a Table<Key, Row>,
    family: TableFamily,
    point: HookPoint,
    packet: &Packet,
    surroundings: &Surroundings,
) -> Walk<'a> {
    let (packet, learned) = (packet.clone(), surroundings.learned.clone());
    let (trace, chances) = (vec![], Cell::new(1));
    let mut walker = Walker { table, family, packet, surroundings, learned, trace, chances };
    let mut rewrite = None;
    let mut outcome = Outcome::Accept;
    for (name, chain, kind) in base_chains(table, family, point) {
        let is_settled = rewrite.is_some() || walker.packet.ct_state != CtState::New;
        if kind == ChainKind::Nat && is_settled {
            continue;
        }
        match walker.base(name, chain) {
            End::Accept => {}
            End::Drop => outcome = Outcome::Drop,
            End::Reject(with) => outcome = Outcome::Reject(with),
            End::Rewrite(chosen) => {
                walker.packet.rewrite(chosen);
                rewrite = Some(chosen);
            }
        }
        if outcome != Outcome::Accept {
            break;
        }
    }
    let Walker { packet, trace, learned, chances, .. } = walker;
    let (mark, connection_mark) = (packet.mark, packet.connection.map(|of| of.mark));
    Walk { outcome, rewrite, mark, connection_mark, trace, learned, chances: chances.get() }
}

/// Base chains at a hook, lowest priority first; by name among equals.
fn base_chains(
    table: &Table<Key, Row>,
    family: TableFamily,
    point: HookPoint,
) -> Vec<(&ChainName, &Chain, ChainKind)> {
    let mut chains: Vec<_> = table
        .iter()
        .filter_map(|(key, row)| match (key, row) {
            (Key::Chain(of, name), Row::Chain(chain)) if *of == family => {
                let hook = chain.hook.filter(|hook| hook.point == point)?;
                Some((hook.priority, name, chain, hook.kind))
            }
            _ => None,
        })
        .collect();
    chains.sort_by_key(|(priority, ..)| *priority);
    chains.into_iter().map(|(_, name, chain, kind)| (name, chain, kind)).collect()
}

/// How a base chain ends.
enum End {
    Accept,
    Drop,
    Reject(RejectWith),
    Rewrite(Rewrite),
}

/// What a statement asks for.
enum Next<'a> {
    /// The next statement.
    Statement,
    /// The next rule: this one does not match.
    Rule,
    /// A verdict.
    Verdict(&'a Verdict),
    /// The base chain is over.
    End(End),
}

struct Walker<'a, 's> {
    table: &'a Table<Key, Row>,
    family: TableFamily,
    packet: Packet,
    surroundings: &'s Surroundings,
    learned: Learned,
    trace: Vec<Step<'a>>,
    chances: Cell<u32>,
}

impl<'a> Walker<'a, '_> {
    /// Runs one base chain with a stack of calls, as the kernel does. A chain that is not there is
    /// empty; the kernel refuses such a table, and one whose jumps form a loop.
    fn base(&mut self, name: &'a ChainName, chain: &'a Chain) -> End {
        let mut here = (name, chain.rules.iter());
        let mut callers = Vec::new();
        loop {
            let Some(rule) = here.1.next() else {
                let Some(caller) = callers.pop() else { return End::Accept };
                here = caller;
                continue;
            };
            match self.rule(here.0, rule) {
                Next::Statement | Next::Rule => {}
                Next::End(end) => return end,
                Next::Verdict(Verdict::Accept) => return End::Accept,
                Next::Verdict(Verdict::Drop) => return End::Drop,
                Next::Verdict(Verdict::Return) => here.1 = [].iter(),
                Next::Verdict(Verdict::Goto(to)) => here = (to, self.rules(to)),
                Next::Verdict(Verdict::Jump(to)) => {
                    callers.push(std::mem::replace(&mut here, (to, self.rules(to))));
                }
            }
        }
    }

    fn rules(&self, name: &'a ChainName) -> std::slice::Iter<'a, Rule> {
        match self.table.get(&Key::Chain(self.family, name.clone())) {
            Some(Row::Chain(chain)) => chain.rules.iter(),
            Some(Row::Table | Row::Set(_) | Row::Element(_)) | None => [].iter(),
        }
    }

    fn rule(&mut self, chain: &'a ChainName, rule: &'a Rule) -> Next<'a> {
        for statement in &rule.statements {
            match self.statement(statement) {
                Next::Statement => {}
                Next::Rule => return Next::Rule,
                done @ (Next::Verdict(_) | Next::End(_)) => {
                    self.trace.push(Step { chain, rule });
                    return done;
                }
            }
        }
        self.trace.push(Step { chain, rule });
        Next::Rule
    }

    fn statement(&mut self, statement: &'a Statement) -> Next<'a> {
        match statement {
            Statement::Match(field, op, value) => {
                let found = self.value(*field);
                found.map_or(Next::Rule, |found| when(matches(&found, value) == (*op == Op::Eq)))
            }
            Statement::Within(field, first, last) => {
                let ports = Value::Port(*first)..=Value::Port(*last);
                when(self.value(*field).is_some_and(|port| ports.contains(&port)))
            }
            Statement::Lookup(fields, op, set) => match self.values(fields) {
                Some(values) => when(self.element(set, values).is_some() == (*op == Op::Eq)),
                None => Next::Rule,
            },
            Statement::Vmap(fields, map) => match self.lead(fields, map) {
                Some(Data::Verdict(verdict)) => Next::Verdict(verdict),
                Some(Data::Values(_)) | None => Next::Rule,
            },
            Statement::CtState(states) => when(states.contains(&self.packet.ct_state)),
            Statement::CtStatus(bits) => when(!bits.is_disjoint(&self.packet.ct_status)),
            // A packet alone is within every rate, and no excess.
            Statement::Counter | Statement::Limit(_) | Statement::Log { .. } => Next::Statement,
            Statement::Notrack => {
                self.packet.ct_state = CtState::Untracked;
                Next::Statement
            }
            Statement::SetMark(mark) => {
                self.packet.mark = *mark;
                Next::Statement
            }
            Statement::SetMarkBits(bits) => {
                self.packet.mark |= bits;
                Next::Statement
            }
            Statement::MarkBits(bits) => when(self.packet.mark & bits != 0),
            Statement::ConnectionMarkIn(mask, set) => {
                let mark = self.packet.connection.map(|of| Value::Mark(of.mark & mask));
                when(mark.is_some_and(|mark| self.element(set, vec![mark]).is_some()))
            }
            Statement::SetConnectionMark { mask, value } => {
                self.packet.set_connection_mark(*mask, *value);
                Next::Statement
            }
            Statement::SetFrom(to, fields, map) => self.set(*to, fields, map),
            Statement::Dynamic { op, map, key, data } => self.learn(*op, map, key, data),
            Statement::Excess { .. } | Statement::Foreign => Next::Rule,
            Statement::Nat(side, NatSource::Map { ipv6, fields, map }) => {
                self.rewrite(*side, *ipv6, fields, map)
            }
            Statement::Masquerade { fully_random } => {
                Next::End(End::Rewrite(Rewrite::Masquerade { fully_random: *fully_random }))
            }
            Statement::Reject(with) => Next::End(End::Reject(*with)),
            Statement::Verdict(verdict) => Next::Verdict(verdict),
        }
    }

    fn set(&mut self, to: Writable, fields: &[Field], map: &SetName) -> Next<'a> {
        match (to, self.lead_to(fields, map).as_deref()) {
            (Writable::Mark, Some([Value::Mark(mark)])) => self.packet.mark = *mark,
            (Writable::Priority, Some([Value::ClassId(priority)])) => {
                self.packet.priority = *priority;
            }
            _ => return Next::Rule,
        }
        Next::Statement
    }

    /// A map that leads nowhere, or to another family, lets the packet pass to the next rule.
    fn rewrite(&self, side: Nat, ipv6: bool, fields: &[Field], map: &SetName) -> Next<'a> {
        let Some(to) = self.lead_to(fields, map) else { return Next::Rule };
        let (addr, port) = match to.as_slice() {
            [Value::Ipv4(addr), Value::Port(port)] => (IpAddr::V4(*addr), *port),
            [Value::Ipv6(addr), Value::Port(port)] => (IpAddr::V6(*addr), *port),
            _ => return Next::Rule,
        };
        let same_family = matches!(self.packet.field(Field::Nfproto, self.surroundings),
            Some(Value::Number(family)) if (family == super::NFPROTO_IPV6) == ipv6);
        if !same_family || addr.is_ipv6() != ipv6 {
            return Next::Rule;
        }
        Next::End(End::Rewrite(Rewrite::To { side, addr, port }))
    }

    /// What a dynamic map has room for is not asked: there is always room.
    fn learn(&mut self, op: DynamicOp, map: &SetName, key: &[Field], data: &[Field]) -> Next<'a> {
        let Some((key, data)) = self.values(key).zip(self.values(data)) else { return Next::Rule };
        let (key, data) = ((map.clone(), key.into()), data.into());
        match op {
            DynamicOp::Update => {
                self.learned.entry(key).or_insert(data);
            }
            DynamicOp::Delete => {
                self.learned.remove(&key);
            }
        }
        Next::Statement
    }

    /// The values that `fields` lead to in `map`, written there by the plan or by packets.
    fn lead_to(&self, fields: &[Field], map: &SetName) -> Option<Vec<Value>> {
        if let Some(Data::Values(values)) = self.lead(fields, map) {
            return Some(values.to_vec());
        }
        let key = (map.clone(), self.values(fields)?.into());
        self.learned.get(&key).map(super::Values::to_vec)
    }

    fn lead(&self, fields: &[Field], map: &SetName) -> Option<&'a Data> {
        self.element(map, self.values(fields)?)?.as_ref()
    }

    /// The values of `fields`; `None` when the packet lacks one of them.
    fn values(&self, fields: &[Field]) -> Option<Vec<Value>> {
        fields.iter().map(|field| self.value(*field)).collect()
    }

    fn value(&self, field: Field) -> Option<Value> {
        if let Field::Random(modulus) = field {
            self.chances.set(least_common_multiple(self.chances.get(), modulus.max(1)));
        }
        self.packet.field(field, self.surroundings)
    }

    /// The element that `values` meet: the equal one, or the one whose last field is a prefix that
    /// holds theirs; or one that is no row and leads to nothing that stands here.
    fn element(&self, set: &SetName, values: Vec<Value>) -> Option<&'a Option<Data>> {
        let (last, first) = values.split_last()?;
        let within = |net| first.iter().cloned().chain([Value::Prefix(net)]).collect();
        for key in
            std::iter::once(values.iter().cloned().collect()).chain(prefixes(last).map(within))
        {
            let row = self.table.get(&Key::Element(self.family, set.clone(), key));
            if let Some(Row::Element(data)) = row {
                return Some(data);
            }
        }
        let learned = (set.clone(), values.into_iter().collect());
        self.learned.contains_key(&learned).then_some(&None)
    }
}

/// Every prefix that holds an address, longest first; none for anything else.
fn prefixes(value: &Value) -> impl Iterator<Item = IpNet> + use<> {
    let addr = match value {
        Value::Ipv4(addr) => Some(IpNet::from(IpAddr::V4(*addr))),
        Value::Ipv6(addr) => Some(IpNet::from(IpAddr::V6(*addr))),
        Value::Prefix(_)
        | Value::Ether(_)
        | Value::Name(_)
        | Value::Number(_)
        | Value::Port(_)
        | Value::Mark(_)
        | Value::ClassId(_) => None,
    };
    std::iter::successors(addr, IpNet::supernet)
}

fn least_common_multiple(a: u32, b: u32) -> u32 {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (a / divisor).saturating_mul(b)
}

fn when<'a>(matched: bool) -> Next<'a> {
    if matched { Next::Statement } else { Next::Rule }
}

fn matches(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Ipv4(addr), Value::Prefix(net)) => net.contains(&IpAddr::V4(*addr)),
        (Value::Ipv6(addr), Value::Prefix(net)) => net.contains(&IpAddr::V6(*addr)),
        (Value::Name(name), Value::Name(wanted)) => match wanted.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == wanted,
        },
        _ => found == wanted,
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
