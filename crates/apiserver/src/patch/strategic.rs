//! Strategic merge patch: a merge patch that knows which lists are sets and which are keyed.
//!
//! Source: Kubernetes "Update API Objects in Place Using kubectl patch" and
//! k8s.io/apimachinery `strategicpatch`. Directives: `$patch: replace|delete|merge`,
//! `$retainKeys`, `$deleteFromPrimitiveList/<field>`, `$setElementOrder/<field>`.
use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::go;
use crate::refusal::Refusal;
use crate::schema::{Field, Merge, Struct, Type};

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Merges `patch` into `target`, an object of type `of` (unknown types merge like JSON).
///
/// # Errors
/// The refusal of a directive that can't be followed.
pub(super) fn apply(target: &mut Value, patch: &Value, of: Option<&Struct>) -> Result<(), Refusal> {
    let Some(fields) = patch.as_object() else {
        target.clone_from(patch);
        return Ok(());
    };
    match fields.get(DIRECTIVE).map(Value::as_str) {
        None | Some(Some("merge")) => {}
        Some(Some("replace")) => {
            let mut replaced = fields.clone();
            replaced.remove(DIRECTIVE);
            *target = Value::Object(replaced);
            return Ok(());
        }
        Some(Some("delete")) => {
            *target = json!({});
            return Ok(());
        }
        Some(_) => {
            let shown = go::plain(patch);
            let why = format!("Unknown patch type found in: {shown}");
            return Err(Refusal::unforeseen(why));
        }
    }
    if !target.is_object() {
        *target = json!({});
    }
    let Some(object) = target.as_object_mut() else { return Ok(()) };
    retain(object, fields)?;
    let before = ordered(object, fields);
    for (name, value) in fields {
        if name.starts_with(ORDER) && !value.is_array() {
            return Err(malformed("setElementOrder list"));
        }
        if name == DIRECTIVE || name == RETAIN || name.starts_with(ORDER) {
            continue;
        }
        if let Some(list) = name.strip_prefix(DELETE) {
            remove_values(object, list, value)?;
            continue;
        }
        if value.is_null() {
            object.remove(name);
            continue;
        }
        let field = of.and_then(|of| of.fields.get(name));
        merge_field(object.entry(name.clone()).or_insert(Value::Null), value, field)?;
    }
    for (list, before) in before {
        let field = of.and_then(|of| of.fields.get(list));
        let order = fields[&format!("{ORDER}{list}")].as_array();
        if let (Some(items), Some(order)) = (object.get_mut(list), order)
            && let Some(merged) = items.as_array_mut()
        {
            let server = before.as_array().map_or(&[][..], Vec::as_slice);
            *merged = arrange(std::mem::take(merged), order, server, key_of(field));
        }
    }
    Ok(())
}

/// The lists whose order the patch names, as they are before it.
fn ordered<'p>(
    object: &Map<String, Value>,
    patch: &'p Map<String, Value>,
) -> Vec<(&'p str, Value)> {
    let lists = patch.keys().filter_map(|name| name.strip_prefix(ORDER));
    lists.map(|list| (list, object.get(list).cloned().unwrap_or_default())).collect()
}

/// The refusal of a directive that isn't in its form.
///
/// Source: k8s.io/apimachinery `mergepatch/errors.go`.
fn malformed(what: &str) -> Refusal {
    Refusal::bad_request(format!("invalid patch format of {what}"))
}

/// Drops the fields that `$retainKeys` does not name; it must name those that the patch sets.
fn retain(object: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), Refusal> {
    let Some(keys) = patch.get(RETAIN) else { return Ok(()) };
    let keys = keys.as_array().ok_or_else(|| malformed("retainKeys"))?;
    let stays = |name: &str| keys.iter().any(|key| key == name);
    let sets = |(name, value): (&String, &Value)| {
        !value.is_null() && name != RETAIN && !name.starts_with(DELETE) && !name.starts_with(ORDER)
    };
    if !patch.iter().filter(|field| sets(*field)).all(|(name, _)| stays(name)) {
        return Err(malformed("retainKeys"));
    }
    object.retain(|name, _| stays(name));
    Ok(())
}

fn remove_values(
    object: &mut Map<String, Value>,
    list: &str,
    values: &Value,
) -> Result<(), Refusal> {
    let values = values.as_array().ok_or_else(|| malformed("primitive list"))?;
    if let Some(items) = object.get_mut(list).and_then(Value::as_array_mut) {
        items.retain(|item| !values.contains(item));
    }
    Ok(())
}

fn merge_field(target: &mut Value, patch: &Value, field: Option<&Field>) -> Result<(), Refusal> {
    let of = field.map(|field| &field.of);
    if let Some(items) = patch.as_array() {
        let Some(Type::List(inner, merge)) = of else {
            target.clone_from(patch);
            return Ok(());
        };
        return match merge {
            _ if field.is_some_and(|field| field.replace) => {
                target.clone_from(patch);
                Ok(())
            }
            Merge::Atomic => {
                target.clone_from(patch);
                Ok(())
            }
            Merge::Set => {
                add_values(target, items);
                Ok(())
            }
            Merge::Keys(keys) => merge_items(target, items, &keys[0], inner.named()),
        };
    }
    if let Some(Type::Map(inner)) = of
        && patch.is_object()
        && inner.named().is_some()
    {
        return merge_entries(target, patch, inner.named());
    }
    apply(target, patch, of.and_then(Type::named))
}

/// Merges a map whose values are objects of one type.
fn merge_entries(target: &mut Value, patch: &Value, of: Option<&Struct>) -> Result<(), Refusal> {
    for (key, value) in patch.as_object().into_iter().flatten() {
        if value.is_null() {
            if let Some(entries) = target.as_object_mut() {
                entries.remove(key);
            }
        } else {
            apply(&mut target[key.as_str()], value, of)?;
        }
    }
    Ok(())
}

fn add_values(target: &mut Value, items: &[Value]) {
    let server = target.as_array().cloned().unwrap_or_default();
    let mut values = server.clone();
    for item in items {
        if !values.contains(item) {
            values.push(item.clone());
        }
    }
    *target = Value::Array(arrange(values, items, &server, None));
}

/// Merges each item with the one of the same key, or adds it.
fn merge_items(
    target: &mut Value,
    items: &[Value],
    key: &str,
    of: Option<&Struct>,
) -> Result<(), Refusal> {
    let directive = |item: &Value| item[DIRECTIVE].as_str().map(str::to_owned);
    if items.iter().any(|item| directive(item).as_deref() == Some("replace")) {
        let kept = items.iter().filter(|item| directive(item).is_none());
        *target = Value::Array(kept.cloned().collect());
        return Ok(());
    }
    let mut merged = target.as_array().cloned().unwrap_or_default();
    for item in items {
        let id = &item[key];
        if id.is_null() {
            let item = go::plain(item);
            let why = format!("map: {item} does not contain declared merge key: {key}");
            return Err(Refusal::unforeseen(why));
        }
        let place = merged.iter().position(|other| other[key] == *id);
        match (directive(item).as_deref(), place) {
            (Some("delete"), _) => merged.retain(|other| other[key] != *id),
            (_, Some(place)) => apply(&mut merged[place], item, of)?,
            (_, None) => {
                let mut added = json!({});
                apply(&mut added, item, of)?;
                merged.push(added);
            }
        }
    }
    let server = target.as_array().map_or(&[][..], Vec::as_slice);
    *target = Value::Array(arrange(merged, items, server, Some(key)));
    Ok(())
}

/// The key by which a strategic merge pairs a field's items, if it has one.
fn key_of(field: Option<&Field>) -> Option<&str> {
    match field.map(|field| &field.of) {
        Some(Type::List(_, Merge::Keys(keys))) => Some(keys[0].as_str()),
        _ => None,
    }
}

/// Puts `merged` in the order that `order` names. Items it does not name are the server's: each
/// stands before the first named one that came after it in `server`.
///
/// Source: strategicpatch `normalizeElementOrder`, `mergeSortedSlice`.
fn arrange(merged: Vec<Value>, order: &[Value], server: &[Value], key: Option<&str>) -> Vec<Value> {
    let id = |item: &Value| key.map_or_else(|| item.clone(), |key| item[key].clone()).to_string();
    let ranks = |items: &[Value]| -> HashMap<String, usize> {
        items.iter().enumerate().map(|(n, item)| (id(item), n)).collect()
    };
    let (order, server) = (ranks(order), ranks(server));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| order.contains_key(&id(item)));
    named.sort_by_key(|item| order.get(&id(item)).copied());
    others.sort_by_key(|item| server.get(&id(item)).copied());
    let mut others = others.into_iter().peekable();
    let mut arranged = Vec::new();
    for item in named {
        let rank = server.get(&id(&item));
        let stands_before = |other: &Value| {
            rank.zip(server.get(&id(other))).is_some_and(|(rank, other)| other < rank)
        };
        while let Some(other) = others.next_if(stands_before) {
            arranged.push(other);
        }
        arranged.push(item);
    }
    arranged.extend(others);
    arranged
}

#[cfg(test)]
mod tests;
