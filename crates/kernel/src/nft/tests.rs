//! What is written reads back, and nothing that could be read is too strange.

use plan::nft::{Field, Op, Rule, SetName, Statement, TableFamily};
use proptest::prelude::*;

use super::abi::{NFTA_LIST_ELEM, element, rule as rule_abi, set as set_abi};
use super::decode::{named_set, read_chain, read_rule};
use super::expression::Expression;
use super::lower::lower;
use super::raise::raise;
use super::set::{Elements, read_declaration, write_declaration, write_element};
use super::wire::{Attrs, PREFIX, Writer, messages};
use super::{arbitrary, encode};

fn family() -> impl Strategy<Value = TableFamily> {
    prop_oneof![Just(TableFamily::Inet), Just(TableFamily::Bridge)]
}

fn attrs(writer: &Writer) -> Attrs<'_> {
    Attrs(&writer.bytes)
}

/// Found by the property below: four checks stand before these reads, more than were looked for.
#[test]
fn a_concatenation_reads_back_however_many_checks_it_needs() {
    let fields = vec![Field::Icmpv6Type, Field::EtherSaddr, Field::Ip4Saddr];
    let statements = vec![Statement::Lookup(fields, Op::Eq, SetName("a".into()))];
    let rule = Rule { statements, comment: None };
    let lowered = lower(TableFamily::Inet, &rule).unwrap();
    assert_eq!(raise(TableFamily::Inet, &lowered), rule);
}

proptest! {
    #[test]
    fn a_rule_reads_back_as_it_was_written(
        (family, rule) in family().prop_flat_map(|f| (Just(f), arbitrary::rule(f)))
    ) {
        let key = plan::nft::Key::Chain(family, plan::nft::ChainName("c".into()));
        let lowered = encode::lower_all(family, std::slice::from_ref(&rule)).unwrap();
        let mut out = Writer::default();
        encode::write_rule(&mut out, encode::Named::PLANNED, &key, &lowered[0]);
        let (chain, read) = read_rule(family, attrs(&out)).unwrap();
        prop_assert_eq!((&*chain.0, read), ("c", rule));
    }

    #[test]
    fn a_set_reads_back_as_it_was_declared_with_its_elements((declared, elements) in arbitrary::set()) {
        let mut out = Writer::default();
        write_declaration(&mut out, &declared);
        prop_assert_eq!(read_declaration(attrs(&out)), Some(declared.clone()));
        let mut out = Writer::default();
        out.nest(element::LIST_ELEMENTS, |out| {
            for (key, data) in &elements {
                write_element(out, key, data.as_ref());
            }
        });
        let mut read = Elements::of(&declared);
        read.read(attrs(&out)).unwrap();
        let read = read.finish().unwrap().into_iter().map(|(key, data)| (key.to_vec(), data));
        prop_assert_eq!(read.collect::<Vec<_>>(), elements);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        read_everything(&bytes);
    }

    /// Closer to what the kernel sends: a message of Seaway's with bytes changed.
    #[test]
    fn damaged_messages_never_panic(
        rule in arbitrary::rule(TableFamily::Inet),
        (declared, elements) in arbitrary::set(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..9),
    ) {
        let key = plan::nft::Key::Chain(TableFamily::Inet, plan::nft::ChainName("c".into()));
        let lowered = encode::lower_all(TableFamily::Inet, &[rule]).unwrap();
        let mut rule = Writer::default();
        encode::write_rule(&mut rule, encode::Named::PLANNED, &key, &lowered[0]);
        let mut set = Writer::default();
        set.text(set_abi::TABLE, plan::nft::TABLE);
        set.text(set_abi::NAME, "s");
        write_declaration(&mut set, &declared);
        let mut list = Writer::default();
        list.nest(element::LIST_ELEMENTS, |out| {
            for (key, data) in &elements {
                write_element(out, key, data.as_ref());
            }
        });
        for mut bytes in [rule.bytes, set.bytes, list.bytes] {
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            read_everything(&bytes);
            let mut elements = Elements::of(&declared);
            if elements.read(Attrs(&bytes)).is_ok() {
                drop(elements.finish());
            }
        }
    }
}

/// Reads `bytes` as everything that the kernel sends.
fn read_everything(bytes: &[u8]) {
    for message in messages(bytes) {
        assert!(message.payload.len() <= bytes.len());
        let _family = message.family();
        drop(message.attrs().collect::<Vec<_>>());
    }
    let attrs = Attrs(bytes);
    drop(read_chain(attrs));
    for family in [TableFamily::Inet, TableFamily::Bridge] {
        drop(read_rule(family, attrs));
        let one = Expression::read(attrs);
        drop(raise(family, &[one]));
        let list = attrs.nested(rule_abi::EXPRESSIONS).unwrap_or(attrs);
        let expressions: Vec<_> = list.map(|(_, e)| Expression::read(Attrs(e))).collect();
        let rule = raise(family, &expressions);
        if let Ok(lowered) = lower(family, &rule) {
            assert_eq!(lowered, expressions, "a rule read as another");
        }
    }
    if let Some((_, Some(declared))) = named_set(attrs) {
        let mut elements = Elements::of(&declared);
        if elements.read(attrs).is_ok() {
            drop(elements.finish());
        }
    }
}

#[test]
fn a_message_has_the_lengths_that_its_header_and_attributes_say() {
    let mut out = Writer::default();
    let head = super::wire::Head { kind: 7, flags: 0, seq: 9, family: 1, res_id: 0 };
    out.message(head, |out| {
        out.text(1, "abc");
        out.nest(NFTA_LIST_ELEM, |out| out.be32(2, 5));
    });
    assert_eq!(out.bytes.len(), PREFIX + 8 + 4 + 8);
    let read: Vec<_> = messages(&out.bytes).collect();
    assert_eq!((read.len(), read[0].kind, read[0].seq, read[0].family()), (1, 7, 9, 1));
    let attrs = read[0].attrs();
    assert_eq!(attrs.text(1), Some("abc"));
}
