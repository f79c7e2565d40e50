//! Which state of what an object asks for is meant, and which of them a node goes by.

use std::collections::BTreeSet;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::Arc;

use crate::NodeName;
use crate::net::fnv1a;

/// Annotation of a node's Lease that holds a [`Realised`].
pub const REALISED: &str = "seaway.io/policies";

/// What a node tells in its Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTold {
    /// The node.
    pub node: NodeName,
    /// What its kernel goes by.
    pub realised: Realised,
}

/// What an object asks for as of some time: which object, and how often that had changed by then. Another
/// object of the same name is another one, and a change of labels, annotations or status is none.
///
/// Source: `metadata.uid`, `metadata.generation`.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edition {
    /// `metadata.uid`; empty where the API server has given none.
    pub uid: Arc<str>,
    /// `metadata.generation`; 0 where the API server counts none.
    pub generation: i64,
}

impl Edition {
    /// A number that two editions of one object never share, and those of two objects once in 2^64.
    fn number(&self) -> u64 {
        fnv1a(format!("{}/{}", self.uid, self.generation).as_bytes())
    }
}

/// The editions of policies that the kernel of a node goes by, as the node tells it: a number for each, in
/// order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Realised(BTreeSet<u64>);

impl Realised {
    /// Whether `edition` is one of them.
    pub fn has(&self, edition: &Edition) -> bool {
        self.0.contains(&edition.number())
    }
}

impl<'a> FromIterator<&'a Edition> for Realised {
    fn from_iter<I: IntoIterator<Item = &'a Edition>>(editions: I) -> Self {
        Realised(editions.into_iter().map(Edition::number).collect())
    }
}

/// Sixteen hex digits for each, with spaces between them.
impl fmt::Display for Realised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, number) in self.0.iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            write!(f, "{space}{number:016x}")?;
        }
        Ok(())
    }
}

impl FromStr for Realised {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split_whitespace().map(|word| u64::from_str_radix(word, 16));
        numbers.collect::<Result<_, _>>().map(Realised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edition(uid: &str, generation: i64) -> Edition {
        Edition { uid: uid.into(), generation }
    }

    #[test]
    fn npc12_a_node_tells_editions_and_not_names() {
        let told = [edition("a", 1), edition("b", 11)];
        let read: Realised = told.iter().collect::<Realised>().to_string().parse().unwrap();
        assert_eq!(read, told.iter().collect());
        for (uid, generation, has) in [
            ("a", 1, true),
            ("a", 2, false),
            ("b", 11, true),
            ("b", 1, false),
            ("c", 1, false),
            ("", 0, false),
        ] {
            assert_eq!(read.has(&edition(uid, generation)), has, "{uid} {generation}");
        }
    }

    #[test]
    fn nothing_is_told_of_nothing() {
        assert_eq!(Realised::default().to_string(), "");
        assert_eq!("".parse(), Ok(Realised::default()));
        assert!("x".parse::<Realised>().is_err());
    }
}
