//! Chains and sets that pods share, each as long as somebody needs it.

use std::collections::BTreeMap;

use model::{Family, fnv1a};
use plan::Table;
use plan::nft::{ChainName, Key, Row, TableFamily};

use super::super::SetKey;
use crate::ruleset::name;

/// Chains and sets, by their names, which follow from what they stand for.
#[derive(Debug, Default, Clone)]
pub(super) struct Parts {
    by_name: BTreeMap<String, Part>,
    selected: BTreeMap<(SetKey, Family), String>,
}

/// One of them.
#[derive(Debug, Clone)]
struct Part {
    /// What it stands for.
    text: String,
    /// How many need it, and how many of those deny or pass by it.
    users: Uses,
    /// Whose members it has.
    of: Option<(SetKey, Family)>,
}

/// How many need something, and how many of those for a rule that denies or passes.
#[derive(Debug, Default, Clone, Copy)]
struct Uses {
    all: usize,
    narrowing: usize,
}

/// The parts that one group needs, and whether a rule that denies or passes goes by them.
pub(super) type Needs = BTreeMap<String, bool>;

impl Parts {
    /// The name of what `text` says: `KIND-` and 16 hex digits. Who finds two texts with one hash gets two
    /// names for them all the same.
    pub(super) fn name(&self, kind: &str, text: &str) -> String {
        let hash = fnv1a(text.as_bytes());
        let mut name = format!("{kind}-{hash:016x}");
        while self.by_name.get(&name).is_some_and(|other| other.text != text) {
            name.push('x');
        }
        name
    }

    /// Remembers what `name` stands for, until nobody needs it; whether it is new.
    pub(super) fn declare(
        &mut self,
        name: &str,
        text: String,
        of: Option<(SetKey, Family)>,
    ) -> bool {
        if self.by_name.contains_key(name) {
            return false;
        }
        if let Some(of) = &of {
            self.selected.insert(of.clone(), name.to_owned());
        }
        self.by_name.insert(name.to_owned(), Part { text, users: Uses::default(), of });
        true
    }

    /// Somebody needs these, all of which are declared.
    pub(super) fn need(&mut self, needs: &Needs) {
        for (name, narrows) in needs {
            if let Some(part) = self.by_name.get_mut(name) {
                part.users.all += 1;
                part.users.narrowing += usize::from(*narrows);
            }
        }
    }

    /// Nobody needs these any more who has needed them. What nobody else needs is taken out of `rows`.
    pub(super) fn release(&mut self, needs: &Needs, rows: &mut Table<Key, Row>) {
        for (name, narrows) in needs {
            let Some(part) = self.by_name.get_mut(name) else { continue };
            part.users.all -= 1;
            part.users.narrowing -= usize::from(*narrows);
            if part.users.all > 0 {
                continue;
            }
            if let Some(part) = self.by_name.remove(name)
                && let Some(of) = part.of
            {
                self.selected.remove(&of);
            }
            remove(name, rows);
        }
    }

    /// The name of the set with these members of one family, if anybody needs it.
    pub(super) fn selected(&self, key: &SetKey, family: Family) -> Option<&str> {
        self.selected.get(&(key.clone(), family)).map(String::as_str)
    }

    /// Whether nothing but rules that accept go by the elements of this set.
    pub(super) fn only_accepts(&self, set: &str) -> bool {
        self.by_name.get(set).is_some_and(|part| part.users.narrowing == 0)
    }
}

/// Takes a chain, or a set with its elements, out of `rows`.
fn remove(part: &str, rows: &mut Table<Key, Row>) {
    let inet = TableFamily::Inet;
    rows.remove(&Key::Chain(inet, ChainName(part.into())));
    if rows.remove(&Key::Set(inet, name(part))).is_none() {
        return;
    }
    let first = Key::Element(inet, name(part), [].into());
    let is_of = |key: &&Key| matches!(key, Key::Element(_, set, _) if *set.0 == *part);
    let elements: Vec<Key> = rows.keys_from(&first).take_while(is_of).cloned().collect();
    elements.iter().for_each(|key| drop(rows.remove(key)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_equal_names_and_no_others_do() {
        let mut parts = Parts::default();
        let first = parts.name("pods4", "a");
        assert_eq!(first, "pods4-af63dc4c8601ec8c");
        assert!(parts.declare(&first, "another text of the same hash".to_owned(), None));
        assert_eq!(parts.name("pods4", "a"), format!("{first}x"));
        let needs = Needs::from([(first.clone(), false)]);
        parts.need(&needs);
        parts.release(&needs, &mut Table::default());
        assert_eq!(parts.name("pods4", "a"), first, "nobody needs the other any more");
    }
}
