//! Which item of the list before is which item of the list now.
use serde_json::Value;

use super::structural::Structural;
use crate::schema::Merge;

/// The items a list held before, if they can be told apart by keys.
#[derive(Debug)]
pub(super) struct Before<'v> {
    keys: &'v [String],
    items: &'v [Value],
}

impl<'v> Before<'v> {
    /// The items of `old`, a list under `schema`: only those of a map list have keys.
    pub(super) fn new(schema: &'v Structural, old: Option<&'v Value>) -> Self {
        let items = old.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        match &schema.merge {
            Some(Merge::Keys(keys)) => Self { keys, items },
            Some(Merge::Atomic | Merge::Set) | None => Self { keys: &[], items: &[] },
        }
    }

    /// What `item` was before.
    pub(super) fn item(&self, item: &Value) -> Option<&'v Value> {
        let same = |old: &&Value| self.keys.iter().all(|key| old.get(key) == item.get(key));
        self.items.iter().find(same)
    }
}
