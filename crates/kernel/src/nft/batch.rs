//! Changes as one transaction.
//!
//! The order makes every name exist before it is used and unused before it goes: sets and chains,
//! old rules and elements out, new rules and elements in, then sets, chains and tables out.

use std::collections::BTreeSet;

use plan::nft::{Chain, Data, Key, Row, Set, TableFamily};
use plan::{Changes, Put};

use super::abi::{self, msg};
use super::bytes;
use super::encode::{self, Lowered, Named};
use super::lower::Inexpressible;
use super::set::{check_declaration, write_element};
use super::socket::ACK;
use super::wire::{Head, Writer};

/// `NLM_F_CREATE`.
const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`, in a new rule.
const APPEND: u16 = 0x800;
/// Size in bytes at which a message of elements ends: their list's length is 16 bits.
const CHUNK: usize = 60_000;

/// Rows still to be written, by kind.
#[derive(Debug, Default)]
pub(super) struct Todo<'a> {
    /// Tables to delete before all else, to make them anew.
    pub(super) resets: BTreeSet<TableFamily>,
    pub(super) tables: Vec<&'a Key>,
    pub(super) sets: Vec<(&'a Key, &'a Set)>,
    pub(super) chains: Vec<(&'a Key, &'a Chain, Vec<Lowered>)>,
    pub(super) elements: Vec<NewElement<'a>>,
    /// Keys to remove, last first.
    pub(super) deletes: Vec<&'a Key>,
}

/// An element to write.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewElement<'a> {
    pub(super) key: &'a Key,
    pub(super) data: Option<&'a Data>,
    /// One with this key is there already.
    pub(super) replaces: bool,
}

impl<'a> Todo<'a> {
    /// What `changes` ask for, and the rows that can't be written at all.
    pub(super) fn new(changes: &'a Changes<Key, Row>) -> (Self, Vec<(&'a Key, Inexpressible)>) {
        Self::of(changes, |_| true)
    }

    /// The same for a `part` of the keys.
    pub(super) fn of(
        changes: &'a Changes<Key, Row>,
        part: impl Fn(&Key) -> bool,
    ) -> (Self, Vec<(&'a Key, Inexpressible)>) {
        let deletes = changes.deletes.iter().rev().filter(|key| part(key)).collect();
        let mut todo = Todo { deletes, ..Todo::default() };
        let mut refused = Vec::new();
        for (key, put) in changes.puts.iter().filter(|(key, _)| part(key)) {
            if let Err(why) = todo.put(key, put) {
                refused.push((key, why));
            }
        }
        (todo, refused)
    }

    fn put(&mut self, key: &'a Key, put: &'a Put<Row>) -> Result<(), Inexpressible> {
        match (key, &put.row) {
            (Key::Table(_), Row::Table) => self.tables.push(key),
            (Key::Set(..), Row::Set(set)) => {
                check_declaration(set)?;
                self.sets.push((key, set));
            }
            (Key::Chain(family, _), Row::Chain(chain)) => {
                let rules = encode::lower_all(*family, &chain.rules)?;
                self.chains.push((key, chain, rules));
            }
            (Key::Element(_, _, values), Row::Element(data)) => {
                if let Some(value) = values.iter().find(|value| bytes::encode(value).is_none()) {
                    return Err(Inexpressible(format!("{value} is longer than a name can be")));
                }
                let (data, replaces) = (data.as_ref(), put.old.is_some());
                self.elements.push(NewElement { key, data, replaces });
            }
            (Key::Table(_) | Key::Set(..) | Key::Chain(..) | Key::Element(..), _) => {
                return Err(Inexpressible("row and key are of different kinds".to_owned()));
            }
        }
        Ok(())
    }

    /// Whether nothing is left to do.
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
            && self.sets.is_empty()
            && self.chains.is_empty()
            && self.elements.is_empty()
            && self.deletes.is_empty()
            && self.resets.is_empty()
    }

    /// Families whose tables go, with all that is in them.
    fn deleted_tables(&self) -> BTreeSet<TableFamily> {
        let tables = self.deletes.iter().filter(|key| matches!(key, Key::Table(_)));
        tables.map(|key| encode::family(key)).collect()
    }

    /// Leaves the rows of `keys` out.
    pub(super) fn skip(&mut self, keys: &BTreeSet<&Key>) {
        self.tables.retain(|key| !keys.contains(key));
        self.sets.retain(|(key, _)| !keys.contains(key));
        self.chains.retain(|(key, ..)| !keys.contains(key));
        self.elements.retain(|element| !keys.contains(element.key));
        self.deletes.retain(|key| !keys.contains(key));
    }

    /// Takes note that `keys` are gone already.
    pub(super) fn gone(&mut self, keys: &BTreeSet<&Key>) {
        for element in self.elements.iter_mut().filter(|element| keys.contains(element.key)) {
            element.replaces = false;
        }
        self.deletes.retain(|key| !keys.contains(key));
    }
}

/// A transaction as bytes.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    table: Named,
    out: Writer,
    operations: Vec<Operation<'a>>,
    last: usize,
}

/// What one message of a transaction is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation<'a> {
    /// The row; the first of several in a message of elements. `None` when a table is made anew.
    pub(super) key: Option<&'a Key>,
    /// Whether it only removes.
    pub(super) removes: bool,
    /// The rule of the chain that it adds.
    pub(super) rule: Option<usize>,
}

impl<'a> Batch<'a> {
    /// The transaction for `todo` in `table`. When `precise`, every element has a message of its own, so that
    /// a refusal names its row.
    pub(super) fn new(todo: &Todo<'a>, table: Named, precise: bool) -> Self {
        let mut batch = Batch { table, out: Writer::default(), operations: Vec::new(), last: 0 };
        batch.edge(msg::BATCH_BEGIN);
        for family in &todo.resets {
            let (operation, removes) =
                (Operation { key: None, removes: true, rule: None }, *family);
            batch.operation(operation, removes, msg::DELTABLE, 0, |out| table.write_name(out));
        }
        batch.declare(todo);
        batch.clear(todo, precise);
        batch.fill(todo, precise);
        batch.drop_names(todo);
        batch.out.add_flags(batch.last, ACK);
        batch.edge(msg::BATCH_END);
        batch
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.out.bytes
    }

    /// What the message with this number was about; `None` for the transaction as a whole.
    pub(super) fn operation_of(&self, seq: u32) -> Option<Operation<'a>> {
        let at = usize::try_from(seq).ok()?.checked_sub(1)?;
        self.operations.get(at).copied()
    }

    fn declare(&mut self, todo: &Todo<'a>) {
        let table = self.table;
        for key in &todo.tables {
            self.put(key, msg::NEWTABLE, CREATE, |out| table.write(out));
        }
        for (key, set) in &todo.sets {
            self.put(key, msg::NEWSET, CREATE, |out| encode::write_set(out, table, key, set));
        }
        for (key, chain, _) in &todo.chains {
            self.put(key, msg::NEWCHAIN, CREATE, |out| encode::write_chain(out, table, key, chain));
        }
    }

    /// Takes out what is replaced or goes: rules of changed chains, elements.
    fn clear(&mut self, todo: &Todo<'a>, precise: bool) {
        let table = self.table;
        for (key, ..) in &todo.chains {
            self.remove(key, msg::DELRULE, |out| encode::write_rules_of(out, table, key));
        }
        let tables = todo.deleted_tables();
        let kept = |key: &&&Key| !tables.contains(&encode::family(key));
        for key in todo.deletes.iter().filter(kept) {
            if let Key::Chain(..) = key {
                self.remove(key, msg::DELRULE, |out| encode::write_rules_of(out, table, key));
            }
        }
        let sets = todo.deletes.iter().filter(|key| matches!(key, Key::Set(..)));
        let sets: BTreeSet<_> = sets.filter_map(|key| set_of(key)).collect();
        let replaced = todo.elements.iter().filter(|element| element.replaces);
        let removed = todo.deletes.iter().filter(kept).copied().filter(|key| {
            matches!(key, Key::Element(family, set, _) if !sets.contains(&(*family, &*set.0)))
        });
        let old = replaced.map(|element| element.key).chain(removed);
        self.elements(old.map(|key| (key, None)), true, precise);
    }

    fn fill(&mut self, todo: &Todo<'a>, precise: bool) {
        let table = self.table;
        for (key, _, rules) in &todo.chains {
            for (at, rule) in rules.iter().enumerate() {
                let operation = Operation { key: Some(key), removes: false, rule: Some(at) };
                let family = encode::family(key);
                let write = |out: &mut Writer| encode::write_rule(out, table, key, rule);
                self.operation(operation, family, msg::NEWRULE, CREATE | APPEND, write);
            }
        }
        let new = todo.elements.iter().map(|element| (element.key, element.data));
        self.elements(new, false, precise);
    }

    /// Sets before chains: a map that goes may lead to a chain that goes, too, and no rule looks there
    /// any more.
    fn drop_names(&mut self, todo: &Todo<'a>) {
        let table = self.table;
        let tables = todo.deleted_tables();
        let stays = |key: &&&Key| !tables.contains(&encode::family(key));
        for key in todo.deletes.iter().filter(stays) {
            if let Key::Set(..) = key {
                self.remove(key, msg::DELSET, |out| encode::write_set_name(out, table, key));
            }
        }
        for key in todo.deletes.iter().filter(stays) {
            if let Key::Chain(..) = key {
                self.remove(key, msg::DELCHAIN, |out| encode::write_chain_name(out, table, key));
            }
        }
        for key in &todo.deletes {
            if let Key::Table(_) = key {
                self.remove(key, msg::DELTABLE, |out| table.write_name(out));
            }
        }
    }

    /// Elements of one set after the other, as many in a message as fit.
    fn elements(
        &mut self,
        elements: impl Iterator<Item = (&'a Key, Option<&'a Data>)>,
        removes: bool,
        precise: bool,
    ) {
        let (kind, flags) = if removes { (msg::DELSETELEM, 0) } else { (msg::NEWSETELEM, CREATE) };
        let mut open: Option<OpenList<'a>> = None;
        for (key, data) in elements {
            let Key::Element(_, _, values) = key else { continue };
            let full = |list: &OpenList<'_>| {
                precise
                    || set_of(list.key) != set_of(key)
                    || self.out.bytes.len() - list.message > CHUNK
            };
            if open.as_ref().is_none_or(full) {
                self.close_list(open.take());
                open = Some(self.open_list(key, removes, kind, flags));
            }
            write_element(&mut self.out, &values.to_vec(), data);
        }
        self.close_list(open);
    }

    fn open_list(&mut self, key: &'a Key, removes: bool, kind: u16, flags: u16) -> OpenList<'a> {
        let operation = Operation { key: Some(key), removes, rule: None };
        let message = self.begin(operation, encode::family(key), kind, flags);
        self.out.text(abi::element::LIST_TABLE, self.table.name);
        self.out.text(abi::element::LIST_SET, encode::name(key));
        OpenList { key, message, list: self.out.open_nest(abi::element::LIST_ELEMENTS) }
    }

    fn close_list(&mut self, list: Option<OpenList<'a>>) {
        if let Some(list) = list {
            self.out.close_attr(list.list);
            self.out.close(list.message);
        }
    }

    fn put(&mut self, key: &'a Key, kind: u16, flags: u16, body: impl FnOnce(&mut Writer)) {
        let operation = Operation { key: Some(key), removes: false, rule: None };
        self.operation(operation, encode::family(key), kind, flags, body);
    }

    fn remove(&mut self, key: &'a Key, kind: u16, body: impl FnOnce(&mut Writer)) {
        let operation = Operation { key: Some(key), removes: true, rule: None };
        self.operation(operation, encode::family(key), kind, 0, body);
    }

    fn operation(
        &mut self,
        operation: Operation<'a>,
        family: TableFamily,
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut Writer),
    ) {
        let start = self.begin(operation, family, kind, flags);
        body(&mut self.out);
        self.out.close(start);
    }

    /// Begins a message; its number is its place among the operations, from 1.
    fn begin(
        &mut self,
        operation: Operation<'a>,
        family: TableFamily,
        kind: u16,
        flags: u16,
    ) -> usize {
        self.operations.push(operation);
        let seq = u32::try_from(self.operations.len()).expect("fewer operations than bytes");
        let kind = msg::SUBSYSTEM << 8 | kind;
        let family = super::nfproto(family);
        self.last = self.out.open(Head { kind, flags, seq, family, res_id: 0 });
        self.last
    }

    fn edge(&mut self, kind: u16) {
        let head = Head { kind, flags: 0, seq: 0, family: 0, res_id: msg::SUBSYSTEM };
        self.out.message(head, |_| {});
    }
}

/// A message of elements that is being written.
struct OpenList<'a> {
    key: &'a Key,
    message: usize,
    list: usize,
}

/// The set that a key is, or is in.
fn set_of(key: &Key) -> Option<(TableFamily, &str)> {
    match key {
        Key::Set(family, set) | Key::Element(family, set, _) => Some((*family, &set.0)),
        Key::Table(_) | Key::Chain(..) => None,
    }
}
