//! A whole table as `nft list table` prints it.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use super::{
    Chain, Data, Dynamic, Key, Row, Set, SetName, TABLE, TableFamily, Type, Values, symbol,
};
use crate::Table;

/// The elements of each set.
type Elements<'a> = BTreeMap<&'a SetName, Vec<(&'a Values, Option<&'a Data>)>>;

/// `family`'s part of `table` as `nft list table FAMILY seaway` prints it, but for the values of
/// counters. Sets, chains and elements come in the order of their keys; nft lists them as they were
/// made.
pub fn list(table: &Table<Key, Row>, family: TableFamily) -> String {
    Listing { table, family }.to_string()
}

struct Listing<'a> {
    table: &'a Table<Key, Row>,
    family: TableFamily,
}

impl Display for Listing<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {TABLE} {{", self.family)?;
        let elements = self.elements();
        let mut between = "";
        for (key, row) in self.table {
            match (key, row) {
                (Key::Set(family, name), Row::Set(set)) if *family == self.family => {
                    f.write_str(between)?;
                    write_set(f, name, set, elements.get(name).map_or(&[], Vec::as_slice))?;
                }
                (Key::Chain(family, name), Row::Chain(chain)) if *family == self.family => {
                    writeln!(f, "{between}\tchain {name} {{")?;
                    write_chain(f, self.family, chain)?;
                }
                (Key::Table(_) | Key::Set(..) | Key::Chain(..) | Key::Element(..), _) => continue,
            }
            between = "\n";
        }
        writeln!(f, "}}")
    }
}

impl<'a> Listing<'a> {
    fn elements(&self) -> Elements<'a> {
        let mut elements = Elements::new();
        for (key, row) in self.table {
            if let (Key::Element(family, set, values), Row::Element(data)) = (key, row)
                && *family == self.family
            {
                elements.entry(set).or_default().push((values, data.as_ref()));
            }
        }
        elements
    }
}

fn write_chain(f: &mut Formatter<'_>, family: TableFamily, chain: &Chain) -> fmt::Result {
    if let Some(hook) = chain.hook {
        let priority = symbol::priority(family, hook.point, hook.priority);
        let (kind, point) = (hook.kind, hook.point);
        writeln!(f, "\t\ttype {kind} hook {point} priority {priority}; policy accept;")?;
    }
    chain.rules.iter().try_for_each(|rule| writeln!(f, "\t\t{rule}"))?;
    writeln!(f, "\t}}")
}

fn write_set(
    f: &mut Formatter<'_>,
    name: &SetName,
    set: &Set,
    elements: &[(&Values, Option<&Data>)],
) -> fmt::Result {
    let kind = if set.data.is_some() { "map" } else { "set" };
    writeln!(f, "\t{kind} {name} {{\n\t\ttype {set}")?;
    if let Some(size) = set.size {
        writeln!(f, "\t\tsize {size}")?;
    }
    if let Some(Dynamic { timeout }) = set.dynamic {
        writeln!(f, "\t\tflags dynamic,timeout")?;
        writeln!(f, "\t\ttimeout {}", symbol::time(timeout.as_secs()))?;
    }
    if set.interval {
        writeln!(f, "\t\tflags interval")?;
    }
    if !elements.is_empty() {
        f.write_str("\t\telements = { ")?;
        write_elements(f, elements, per_line(&set.key))?;
        writeln!(f, " }}")?;
    }
    writeln!(f, "\t}}")
}

fn write_elements(
    f: &mut Formatter<'_>,
    elements: &[(&Values, Option<&Data>)],
    per_line: usize,
) -> fmt::Result {
    for (at, (key, data)) in elements.iter().enumerate() {
        match at {
            0 => {}
            at if at % per_line == 0 => f.write_str(",\n\t\t\t     ")?,
            _ => f.write_str(", ")?,
        }
        key.fmt(f)?;
        if let Some(data) = data {
            write!(f, " : {data}")?;
        }
    }
    Ok(())
}

/// How many elements nft puts on a line.
fn per_line(key: &[Type]) -> usize {
    match key {
        [Type::InetProto | Type::InetService | Type::Mark | Type::ClassId] => 5,
        [Type::Ipv4Addr] => 2,
        _ => 1,
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
