//! Text that many objects have in common, in memory once.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::NodeName;

/// How much it knows before it looks for the first time what of it is still in use.
const SMALL: usize = 1024;

/// The namespaces, nodes and names of ports that objects of one kind name over and over: of fifty
/// thousand pods there are a thousand nodes.
#[derive(Debug, Clone)]
pub struct Interner {
    known: BTreeSet<Arc<str>>,
    /// Beyond how many it looks for what nobody has any more.
    enough: usize,
}

impl Default for Interner {
    fn default() -> Self {
        Interner { known: BTreeSet::new(), enough: SMALL }
    }
}

impl Interner {
    /// Has `text` be the same memory as every other that says the same and came by here.
    pub fn share(&mut self, text: &mut Arc<str>) {
        if let Some(known) = self.known.get(text) {
            *text = Arc::clone(known);
            return;
        }
        if self.known.len() >= self.enough {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.enough = SMALL.max(2 * self.known.len());
        }
        self.known.insert(Arc::clone(text));
    }

    /// The same for the name of a node, if there is one.
    pub fn share_node(&mut self, node: &mut Option<NodeName>) {
        if let Some(NodeName(name)) = node {
            self.share(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_in_memory_once_and_what_nobody_has_is_forgotten() {
        let mut interner = Interner::default();
        let [mut one, mut other]: [Arc<str>; 2] = ["a".into(), "a".into()];
        interner.share(&mut one);
        interner.share(&mut other);
        assert!(Arc::ptr_eq(&one, &other));
        for number in 0..10 * SMALL {
            interner.share(&mut number.to_string().into());
        }
        assert!(interner.known.len() <= SMALL);
        let mut again = "a".into();
        interner.share(&mut again);
        assert!(Arc::ptr_eq(&one, &again));
    }
}
