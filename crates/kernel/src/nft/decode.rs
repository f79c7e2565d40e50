//! What the kernel holds of Seaway's tables, as rows.

use std::collections::BTreeMap;
use std::io;

use plan::Table;
use plan::nft::{
    Chain, ChainKind, ChainName, Hook, HookPoint, Key, Row, Rule, Set, SetName, Statement, TABLE,
    TableFamily,
};

use super::abi::{self, msg};
use super::expression::Expression;
use super::raise::raise;
use super::set::{Element, Elements, read_declaration};
use super::socket::Socket;
use super::wire::{Attrs, Writer};

/// `NF_ACCEPT`.
const ACCEPT: u32 = 1;

/// Adds everything that `family`'s table holds to `rows`; nothing if there is none.
pub(super) fn read_table(
    socket: &mut Socket,
    family: TableFamily,
    rows: &mut Table<Key, Row>,
) -> io::Result<()> {
    let mut exists = false;
    socket.dump(
        msg::GETTABLE,
        super::nfproto(family),
        |_| {},
        |message| {
            exists |= message.attrs().text(abi::table::NAME) == Some(TABLE);
        },
    )?;
    if !exists {
        return Ok(());
    }
    rows.insert(Key::Table(family), Row::Table);
    read_sets(socket, family, rows)?;
    let chains = read_chains(socket, family)?;
    rows.extend(
        chains.into_iter().map(|(name, chain)| (Key::Chain(family, name), Row::Chain(chain))),
    );
    Ok(())
}

fn read_sets(
    socket: &mut Socket,
    family: TableFamily,
    rows: &mut Table<Key, Row>,
) -> io::Result<()> {
    let mut sets = Vec::new();
    let filter = |out: &mut Writer| out.text(abi::set::TABLE, TABLE);
    socket.dump(msg::GETSET, super::nfproto(family), filter, |message| {
        sets.extend(named_set(message.attrs()));
    })?;
    for (name, declared) in sets {
        let elements = match &declared {
            // What packets or DNS wrote is theirs.
            Some(Set { dynamic: Some(_), .. }) => Some(Vec::new()),
            Some(declared) => read_elements(socket, family, &name, declared)?,
            None => None,
        };
        let Some((declared, elements)) = declared.zip(elements) else {
            let foreign =
                Set { key: Vec::new(), data: None, interval: false, size: None, dynamic: None };
            rows.insert(Key::Set(family, name), Row::Set(foreign.into()));
            continue;
        };
        rows.extend(
            elements
                .into_iter()
                .map(|(key, data)| (Key::Element(family, name.clone(), key), Row::Element(data))),
        );
        rows.insert(Key::Set(family, name), Row::Set(declared.into()));
    }
    Ok(())
}

/// Name and declaration of a set; `None` for an anonymous one, which belongs to its rule.
pub(super) fn named_set(attrs: Attrs<'_>) -> Option<(SetName, Option<Set>)> {
    let flags = attrs.be32(abi::set::FLAGS).unwrap_or_default();
    let ours = attrs.text(abi::set::TABLE) == Some(TABLE) && flags & abi::set::F_ANONYMOUS == 0;
    let name = attrs.text(abi::set::NAME).filter(|_| ours)?;
    Some((SetName(name.into()), read_declaration(attrs)))
}

/// `None` when there is one among them that Seaway does not write.
fn read_elements(
    socket: &mut Socket,
    family: TableFamily,
    name: &SetName,
    declared: &Set,
) -> io::Result<Option<Vec<Element>>> {
    let mut elements = Elements::of(declared);
    let mut outcome = Ok(());
    let filter = |out: &mut Writer| {
        out.text(abi::element::LIST_TABLE, TABLE);
        out.text(abi::element::LIST_SET, &name.0);
    };
    socket.dump(msg::GETSETELEM, super::nfproto(family), filter, |message| {
        outcome = outcome.and_then(|()| elements.read(message.attrs()));
    })?;
    Ok(outcome.and_then(|()| elements.finish()).ok())
}

fn read_chains(socket: &mut Socket, family: TableFamily) -> io::Result<BTreeMap<ChainName, Chain>> {
    let mut chains = BTreeMap::new();
    socket.dump(
        msg::GETCHAIN,
        super::nfproto(family),
        |_| {},
        |message| {
            chains.extend(read_chain(message.attrs()));
        },
    )?;
    let filter = |out: &mut Writer| out.text(abi::rule::TABLE, TABLE);
    socket.dump(msg::GETRULE, super::nfproto(family), filter, |message| {
        if let Some((name, rule)) = read_rule(family, message.attrs()) {
            chains.entry(name).or_default().rules.push(rule);
        }
    })?;
    Ok(chains)
}

/// Name and hook of a chain of Seaway's. A hook or a policy that Seaway does not write shows as a
/// foreign rule.
pub(super) fn read_chain(attrs: Attrs<'_>) -> Option<(ChainName, Chain)> {
    let name = attrs.text(abi::chain::NAME)?;
    (attrs.text(abi::chain::TABLE) == Some(TABLE)).then_some(())?;
    let hook = attrs.nested(abi::chain::HOOK);
    let known = hook.and_then(|hook| read_hook(hook, attrs.text(abi::chain::TYPE)?));
    let accepts = attrs.be32(abi::chain::POLICY).is_none_or(|policy| policy == ACCEPT);
    let is_ours = accepts && hook.is_some() == known.is_some();
    let rules = if is_ours { vec![] } else { vec![foreign_rule()] };
    Some((ChainName(name.into()), Chain { hook: known, rules }))
}

fn foreign_rule() -> Rule {
    Rule { statements: vec![Statement::Foreign], comment: None }
}

fn read_hook(attrs: Attrs<'_>, kind: &str) -> Option<Hook> {
    let kind = match kind {
        "filter" => ChainKind::Filter,
        "nat" => ChainKind::Nat,
        _ => return None,
    };
    let point = hook_point(attrs.be32(abi::chain::HOOK_NUM)?)?;
    let priority = attrs.be32(abi::chain::HOOK_PRIORITY)?.cast_signed();
    Some(Hook { kind, point, priority })
}

/// `enum nf_inet_hooks`; those of a bridge have the same numbers.
pub(super) fn hook_point(number: u32) -> Option<HookPoint> {
    let points = [
        HookPoint::Prerouting,
        HookPoint::Input,
        HookPoint::Forward,
        HookPoint::Output,
        HookPoint::Postrouting,
    ];
    points.into_iter().find(|point| super::encode::hook_number(*point) == number)
}

/// Chain and meaning of a rule of Seaway's table.
pub(super) fn read_rule(family: TableFamily, attrs: Attrs<'_>) -> Option<(ChainName, Rule)> {
    (attrs.text(abi::rule::TABLE) == Some(TABLE)).then_some(())?;
    let chain = ChainName(attrs.text(abi::rule::CHAIN)?.into());
    let list = attrs.nested(abi::rule::EXPRESSIONS).unwrap_or(Attrs(&[]));
    let expressions: Vec<_> = list.map(|(_, element)| Expression::read(Attrs(element))).collect();
    let mut rule = raise(family, &expressions);
    rule.comment = attrs.get(abi::rule::USERDATA).and_then(comment);
    Some((chain, rule))
}

/// The comment among the type, length, value triples of libnftnl.
pub(super) fn comment(mut userdata: &[u8]) -> Option<String> {
    while let [kind, len, rest @ ..] = userdata {
        let value = rest.get(..usize::from(*len))?;
        if *kind == abi::rule::UDATA_COMMENT {
            let text = value.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        userdata = &rest[value.len()..];
    }
    None
}
