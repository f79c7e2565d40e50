//! What could be wrong in the rows that the table is lowered to.

use plan::nft::{Data, Field, Key, NatSource, Row, Rule, Statement, Value};

use super::Mistake::{Row as InRow, Rules};
use super::Named;

/// Bit of the mark that asks for masquerading.
const MASQUERADE: u32 = 0x0200_0000;

pub(super) fn mistakes() -> Vec<Named> {
    vec![
        ("S-18: one slot too many", Rules(|rules| each_random(rules, |of| of + 1))),
        ("S-18: the first slot alone", Rules(|rules| each_random(rules, |_| 1))),
        ("S-18: a slot leads nowhere", InRow(|key, row| unless(is_first_slot(key), row))),
        ("S-21: closed to processes", InRow(|key, row| unless(is_chain(key, "services_out"), row))),
        ("S-21: closed to all others", InRow(|key, row| unless(is_chain(key, "services_in"), row))),
        ("S-23: node ports at any address", Rules(|rules| anywhere(rules))),
        ("S-41: unused ports pass", InRow(|key, row| unless(is_in(key, "service_ips"), row))),
        ("S-46, S-47: no bit to masquerade by", Rules(|rules| unmarked(rules))),
        ("S-46, S-47: no rule that masquerades", Rules(unmasqueraded)),
        ("S-51: a pod sees itself", InRow(|key, row| unless(is_chain(key, "hairpin"), row))),
        ("S-54: affinity by the client's port", Rules(|rules| each_client(rules, by_port))),
        ("S-54: affinity of all clients", Rules(|rules| each_client(rules, of_all))),
        ("S-54: affinity by frontend", InRow(|key, row| Some(number_by_frontend(key, row)))),
        (
            "S-56: no way to who is remembered",
            InRow(|key, row| unless(is_in(key, "cluster_members"), row)),
        ),
    ]
}

fn unless(is_left_out: bool, row: Row) -> Option<Row> {
    (!is_left_out).then_some(row)
}

fn is_chain(key: &Key, chain: &str) -> bool {
    matches!(key, Key::Chain(_, name) if *name.0 == *chain)
}

/// Whether it is an element of a set whose name begins so.
fn is_in(key: &Key, set: &str) -> bool {
    matches!(key, Key::Element(_, name, _) if name.0.starts_with(set))
}

fn is_first_slot(key: &Key) -> bool {
    let Key::Element(_, name, values) = key else { return false };
    name.0.contains("slots") && values.iter().last() == Some(Value::Mark(0))
}

fn each_random(rules: &mut [Rule], change: impl Fn(u32) -> u32) {
    for statement in rules.iter_mut().flat_map(|rule| &mut rule.statements) {
        let (Statement::SetFrom(_, fields, _) | Statement::Nat(_, NatSource::Map { fields, .. })) =
            statement
        else {
            continue;
        };
        for field in fields {
            if let Field::Random(of) = field {
                *of = change(*of);
            }
        }
    }
}

fn anywhere(rules: &mut [Rule]) {
    let asks = |statement: &Statement| matches!(statement, Statement::Lookup(_, _, set) if set.0.starts_with("node_port_addrs"));
    rules.iter_mut().for_each(|rule| rule.statements.retain(|statement| !asks(statement)));
}

fn unmarked(rules: &mut [Rule]) {
    let mark = Statement::SetMarkBits(MASQUERADE);
    rules.iter_mut().for_each(|rule| rule.statements.retain(|statement| *statement != mark));
}

fn unmasqueraded(rules: &mut Vec<Rule>) {
    rules.retain(|rule| !rule.statements.contains(&Statement::MarkBits(MASQUERADE)));
}

/// The keys by which clients are remembered: address and number of the port.
fn each_client(rules: &mut [Rule], change: impl Fn(&mut Vec<Field>)) {
    for statement in rules.iter_mut().flat_map(|rule| &mut rule.statements) {
        let (Statement::SetFrom(_, key, map) | Statement::Dynamic { key, map, .. }) = statement
        else {
            continue;
        };
        if map.0.starts_with("clients_") {
            change(key);
        }
    }
}

fn by_port(key: &mut Vec<Field>) {
    key.push(Field::Sport);
}

fn of_all(key: &mut Vec<Field>) {
    key.retain(|field| *field == Field::Mark);
}

fn number_by_frontend(key: &Key, row: Row) -> Row {
    let Key::Element(_, name, values) = key else { return row };
    match values.iter().last() {
        Some(Value::Port(port)) if name.0.contains("service_port") => {
            Row::Element(Some(Data::Values([Value::Mark(u32::from(port))].into())))
        }
        Some(_) | None => row,
    }
}
