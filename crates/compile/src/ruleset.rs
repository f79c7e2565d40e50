//! Words to write nftables rows with. Every subsystem adds its own sets and chains to the tables
//! named `seaway`; rules are few and constant, and what varies is elements.

use std::time::Duration;

use model::Family;
use plan::Table;
use plan::nft::{
    Chain, ChainKind, ChainName, Data, DataType, Dynamic, Hook, HookPoint, Key, Row, Rule, Set,
    SetName, Statement, TableFamily, Type, Value, Verdict, fib_type,
};

/// `fib daddr type local`.
pub(crate) const FIB_LOCAL: Value = Value::Number(fib_type::LOCAL);

/// `fib daddr oif missing`.
pub(crate) const FIB_MISSING: Value = Value::Number(0);

/// Bit of the mark of a packet whose source is to be rewritten when it leaves.
pub(crate) const MASQUERADE: u32 = 0x0200_0000;

/// One nftables table, being written.
pub(crate) struct Ruleset<'a> {
    rows: &'a mut Table<Key, Row>,
    family: TableFamily,
}

impl<'a> Ruleset<'a> {
    /// The table of `family` in `rows`.
    pub(crate) fn new(rows: &'a mut Table<Key, Row>, family: TableFamily) -> Self {
        rows.insert(Key::Table(family), Row::Table);
        Ruleset { rows, family }
    }

    /// Declares a set of exact keys.
    pub(crate) fn set(&mut self, name: &str, key: &[Type]) {
        self.declare(name, of_exact(key));
    }

    /// Declares a set of at most so many exact keys.
    pub(crate) fn small_set(&mut self, name: &str, key: &[Type], size: u32) {
        self.declare(name, Set { size: Some(size), ..of_exact(key) });
    }

    /// Declares a set of at most so many exact keys that others than the plan put into it, where each stays for
    /// so long.
    pub(crate) fn learned(&mut self, name: &str, key: &[Type], (size, timeout): (u32, Duration)) {
        let dynamic = Some(Dynamic { timeout });
        self.declare(name, Set { size: Some(size), dynamic, ..of_exact(key) });
    }

    /// Declares a set of prefixes.
    pub(crate) fn prefixes(&mut self, name: &str, key: Type) {
        self.declare(
            name,
            Set { key: vec![key], data: None, interval: true, size: None, dynamic: None },
        );
    }

    /// Declares a map from exact keys to values.
    pub(crate) fn map(&mut self, name: &str, key: &[Type], values: &[Type]) {
        let data = Some(DataType::Values(values.to_vec()));
        self.declare(name, Set { data, ..of_exact(key) });
    }

    /// Declares a map from exact keys to verdicts.
    pub(crate) fn verdicts(&mut self, name: &str, key: &[Type]) {
        let data = Some(DataType::Verdict);
        self.declare(name, Set { data, ..of_exact(key) });
    }

    /// Puts an element into a set.
    pub(crate) fn element(&mut self, set: &str, key: Vec<Value>) {
        self.rows.insert(Key::Element(self.family, name(set), key.into()), Row::Element(None));
    }

    /// Puts elements into a set, which share its name.
    pub(crate) fn elements(&mut self, set: &str, keys: impl IntoIterator<Item = Vec<Value>>) {
        let set = name(set);
        let rows = keys
            .into_iter()
            .map(|key| (Key::Element(self.family, set.clone(), key.into()), Row::Element(None)));
        self.rows.extend(rows);
    }

    /// Takes an element out of a set or map.
    pub(crate) fn remove(&mut self, set: &str, key: Vec<Value>) {
        self.rows.remove(&Key::Element(self.family, name(set), key.into()));
    }

    /// Puts an element into a map.
    pub(crate) fn entry(&mut self, map: &str, key: Vec<Value>, values: Vec<Value>) {
        let row = Row::Element(Some(Data::Values(values.into())));
        self.rows.insert(Key::Element(self.family, name(map), key.into()), row);
    }

    /// Puts an element into a map to verdicts.
    pub(crate) fn verdict(&mut self, map: &str, key: Vec<Value>, verdict: Verdict) {
        let row = Row::Element(Some(Data::Verdict(verdict)));
        self.rows.insert(Key::Element(self.family, name(map), key.into()), row);
    }

    /// A chain that the kernel calls.
    pub(crate) fn base_chain(&mut self, chain: &str, hook: Hook, rules: Vec<Rule>) {
        self.put_chain(chain, Chain { hook: Some(hook), rules });
    }

    /// A chain that others call.
    pub(crate) fn chain(&mut self, chain: &str, rules: Vec<Rule>) {
        self.put_chain(chain, Chain { hook: None, rules });
    }

    fn declare(&mut self, set: &str, row: Set) {
        self.rows.insert(Key::Set(self.family, name(set)), Row::Set(row.into()));
    }

    fn put_chain(&mut self, chain: &str, row: Chain) {
        let key = Key::Chain(self.family, ChainName(chain.into()));
        self.rows.insert(key, Row::Chain(row));
    }
}

/// A set of exact keys.
fn of_exact(key: &[Type]) -> Set {
    Set { key: key.to_vec(), data: None, interval: false, size: None, dynamic: None }
}

/// Before conntrack, so that what is dropped leaves no entry (`raw`, -300).
pub(crate) fn before_conntrack(point: HookPoint) -> Hook {
    Hook { kind: ChainKind::Filter, point, priority: -300 }
}

/// Where destinations are rewritten (`dstnat`, -100).
pub(crate) fn destination_nat(point: HookPoint) -> Hook {
    Hook { kind: ChainKind::Nat, point, priority: -100 }
}

/// Where sources are rewritten (`srcnat`, 100).
pub(crate) fn source_nat() -> Hook {
    Hook { kind: ChainKind::Nat, point: HookPoint::Postrouting, priority: 100 }
}

/// A rule with its reason.
pub(crate) fn rule(statements: Vec<Statement>, comment: &str) -> Rule {
    Rule { statements, comment: Some(comment.to_owned()) }
}

/// A rule that counts and drops.
pub(crate) fn drop(mut statements: Vec<Statement>, comment: &str) -> Rule {
    statements.extend([Statement::Counter, Statement::Verdict(Verdict::Drop)]);
    rule(statements, comment)
}

/// `field . field [!=] @set`.
pub(crate) fn lookup(fields: &[plan::nft::Field], op: plan::nft::Op, set: &str) -> Statement {
    Statement::Lookup(fields.to_vec(), op, name(set))
}

/// The one of two names that is for `family`.
pub(crate) fn by_family<T>(family: Family, v4: T, v6: T) -> T {
    match family {
        Family::V4 => v4,
        Family::V6 => v6,
    }
}

/// A set's name.
pub(crate) fn name(set: &str) -> SetName {
    SetName(set.into())
}
