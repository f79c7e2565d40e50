//! Merging what is wanted into what is there.
//!
//! Source: sigs.k8s.io/structured-merge-diff `typed/merge.go`.
use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value};

use super::typing::Typing;
use super::walk::{self, Part};

/// `live`, of type `of`, with everything that `config` mentions as `config` has it. Nothing is
/// removed. A list is in the order of `config` where both name its items.
///
/// # Errors
/// A sentence about items of `config` that can't be told apart.
pub(super) fn merge(of: &dyn Typing, live: &Value, config: &Value) -> Result<Value, String> {
    both(of, Some(live), Some(config)).map(Option::unwrap_or_default)
}

fn both(
    of: &dyn Typing,
    live: Option<&Value>,
    config: Option<&Value>,
) -> Result<Option<Value>, String> {
    let (Some(live), Some(config)) = (live, config) else {
        return Ok(live.or(config).cloned());
    };
    let part = walk::part(of, Some(live), Some(config));
    let hollow = walk::is_hollow(Some(live)) && walk::is_hollow(Some(config));
    match part {
        Part::Leaf => Ok(Some(config.clone())),
        _ if hollow => Ok(Some(config.clone())),
        Part::Members => members(of, live, config),
        Part::Items => items(of, live, config),
    }
}

fn members(of: &dyn Typing, live: &Value, config: &Value) -> Result<Option<Value>, String> {
    let mut out = Map::new();
    for (name, value) in walk::fields(Some(live)) {
        let merged = both(walk::member(of, name), Some(value), config.get(name))?;
        out.extend(merged.map(|merged| (name.clone(), merged)));
    }
    for (name, value) in walk::fields(Some(config)) {
        if live.get(name).is_none() {
            out.insert(name.clone(), value.clone());
        }
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

/// A list's items in order, by name; a name that several bear stands for none of them.
struct Named<'v> {
    order: Vec<String>,
    items: HashMap<String, Option<&'v Value>>,
}

impl<'v> Named<'v> {
    fn of(of: &dyn Typing, list: &'v Value, unique: bool) -> Result<Self, String> {
        let mut named = Self { order: Vec::new(), items: HashMap::new() };
        for (n, item) in walk::items(Some(list)).iter().enumerate() {
            let element = walk::element(of, item).map_err(|e| format!("element {n}: {e}"))?;
            if named.items.contains_key(&element) {
                if unique {
                    let shown = super::set::shown(&element);
                    return Err(format!("duplicate entries for key {shown}"));
                }
                named.items.insert(element.clone(), None);
            } else {
                named.items.insert(element.clone(), Some(item));
            }
            named.order.push(element);
        }
        Ok(named)
    }

    fn has(&self, element: &str) -> bool {
        self.items.contains_key(element)
    }
}

fn items(of: &dyn Typing, live: &Value, config: &Value) -> Result<Option<Value>, String> {
    let wanted = Named::of(of, config, true)?;
    let there = Named::of(of, live, false)?;
    let inner = walk::item(of);
    let take = |element: &str| {
        let here = there.items.get(element).copied().flatten();
        both(inner, here, wanted.items.get(element).copied().flatten())
    };
    let mut shared: VecDeque<&String> =
        wanted.order.iter().filter(|element| there.has(element)).collect();
    let mut next = shared.pop_front();
    let (mut out, mut taken) = (Vec::new(), HashSet::new());
    let (mut l, mut r) = (0, 0);
    while l < there.order.len() || r < wanted.order.len() {
        let (left, right) = (there.order.get(l), wanted.order.get(r));
        if let (Some(left), Some(right)) = (left, right) {
            if left == right {
                taken.insert(left);
                out.extend(take(left)?);
                (l, r) = (l + 1, r + 1);
                next = shared.pop_front();
                continue;
            }
            if wanted.has(left) && next.is_some_and(|next| next != left) {
                // Both have it, but it is not its turn.
                l += 1;
                continue;
            }
        }
        if let Some(left) = left {
            if !wanted.has(left) {
                out.push(walk::items(Some(live))[l].clone());
                l += 1;
                continue;
            }
            if taken.contains(left) {
                l += 1;
            }
        }
        if let Some(right) = right {
            taken.insert(right);
            out.extend(take(right)?);
            r += 1;
            if next == Some(right) {
                next = shared.pop_front();
            }
        }
    }
    Ok((!out.is_empty()).then_some(Value::Array(out)))
}
