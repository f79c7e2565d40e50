//! JSON patch.
//!
//! Source: RFC 6902; pointers of RFC 6901.
use serde_json::Value;

/// The most operations one patch may have, as the Kubernetes API server limits it.
const MOST: usize = 10_000;

/// One step of a patch.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Add(Pointer, Value),
    Remove(Pointer),
    Replace(Pointer, Value),
    Move { from: Pointer, to: Pointer },
    Copy { from: Pointer, to: Pointer },
    Test(Pointer, Value),
}

/// A path into a document, its parts unescaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer(Vec<String>);

impl std::fmt::Display for Pointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|part| write!(f, "/{part}"))
    }
}

/// Reads a patch document.
///
/// # Errors
/// A sentence about the operation that can't be read.
pub(super) fn parse(document: Value) -> Result<Vec<Operation>, String> {
    let Value::Array(steps) = document else {
        return Err("error decoding patch: must be a JSON array of operations".to_owned());
    };
    if steps.len() > MOST {
        return Err(format!("the allowed maximum operations in a JSON patch is {MOST}"));
    }
    steps
        .iter()
        .enumerate()
        .map(|(n, step)| operation(step).map_err(|e| format!("operation {n}: {e}")))
        .collect()
}

fn operation(step: &Value) -> Result<Operation, String> {
    let pointer = |field: &str| {
        let text = step[field].as_str().ok_or_else(|| format!("{field} is missing"))?;
        pointer(text)
    };
    let value = || step.get("value").cloned().ok_or_else(|| "value is missing".to_owned());
    match step["op"].as_str() {
        Some("add") => Ok(Operation::Add(pointer("path")?, value()?)),
        Some("remove") => Ok(Operation::Remove(pointer("path")?)),
        Some("replace") => Ok(Operation::Replace(pointer("path")?, value()?)),
        Some("move") => Ok(Operation::Move { from: pointer("from")?, to: pointer("path")? }),
        Some("copy") => Ok(Operation::Copy { from: pointer("from")?, to: pointer("path")? }),
        Some("test") => Ok(Operation::Test(pointer("path")?, value()?)),
        Some(other) => Err(format!("unknown operation {other:?}")),
        None => Err("op is missing".to_owned()),
    }
}

fn pointer(text: &str) -> Result<Pointer, String> {
    if text.is_empty() {
        return Ok(Pointer(Vec::new()));
    }
    let rest = text.strip_prefix('/').ok_or_else(|| format!("path {text:?} must start with /"))?;
    Ok(Pointer(rest.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect()))
}

/// Does all operations in order; `target` is not to be used if one fails.
///
/// # Errors
/// A sentence about the operation that can't be done.
pub(super) fn apply(target: &mut Value, operations: &[Operation]) -> Result<(), String> {
    operations.iter().try_for_each(|operation| step(target, operation))
}

fn step(target: &mut Value, operation: &Operation) -> Result<(), String> {
    match operation {
        Operation::Add(path, value) => add(target, path, value.clone()),
        Operation::Remove(path) => remove(target, path).map(drop),
        Operation::Replace(path, value) => {
            let place = get(target, path).ok_or_else(|| missing("replace", path))?;
            place.clone_from(value);
            Ok(())
        }
        Operation::Move { from, to } => {
            if to.0.len() > from.0.len() && to.0.starts_with(&from.0) {
                return Err(format!("move operation: {from} can't be moved into itself"));
            }
            let value = remove(target, from)?;
            add(target, to, value)
        }
        Operation::Copy { from, to } => {
            let value = get(target, from).ok_or_else(|| missing("copy", from))?.clone();
            add(target, to, value)
        }
        Operation::Test(path, value) => {
            let same = get(target, path).is_some_and(|place| place == value);
            if same { Ok(()) } else { Err(format!("testing value {path} failed: test failed")) }
        }
    }
}

fn missing(operation: &str, path: &Pointer) -> String {
    format!("{operation} operation does not apply: doc is missing path: {path}")
}

fn get<'v>(target: &'v mut Value, path: &Pointer) -> Option<&'v mut Value> {
    path.0.iter().try_fold(target, |value, part| child(value, part))
}

fn child<'v>(value: &'v mut Value, part: &str) -> Option<&'v mut Value> {
    if value.is_array() { value.get_mut(index(part)?) } else { value.get_mut(part) }
}

/// An index of a list: digits without a leading zero.
fn index(part: &str) -> Option<usize> {
    let good = part == "0" || (!part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit()));
    part.parse().ok().filter(|_| good)
}

fn add(target: &mut Value, path: &Pointer, value: Value) -> Result<(), String> {
    let Some((last, parents)) = path.0.split_last() else {
        *target = value;
        return Ok(());
    };
    let parent = Pointer(parents.to_vec());
    let parent = get(target, &parent).ok_or_else(|| missing("add", path))?;
    if let Some(object) = parent.as_object_mut() {
        object.insert(last.clone(), value);
        return Ok(());
    }
    let list = parent.as_array_mut().ok_or_else(|| missing("add", path))?;
    let at = if last == "-" { Some(list.len()) } else { index(last) };
    let at = at.filter(|at| *at <= list.len());
    list.insert(at.ok_or_else(|| format!("add operation: {path}: index out of bounds"))?, value);
    Ok(())
}

fn remove(target: &mut Value, path: &Pointer) -> Result<Value, String> {
    let (last, parents) = path.0.split_last().ok_or("remove operation: the whole document")?;
    let parent = get(target, &Pointer(parents.to_vec()));
    let parent = parent.ok_or_else(|| missing("remove", path))?;
    let removed = if let Some(object) = parent.as_object_mut() {
        object.remove(last)
    } else {
        let list = parent.as_array_mut().ok_or_else(|| missing("remove", path))?;
        index(last).filter(|at| *at < list.len()).map(|at| list.remove(at))
    };
    removed.ok_or_else(|| missing("remove", path))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(target: &Value, patch: Value) -> Result<Value, String> {
        let mut target = target.clone();
        apply(&mut target, &parse(patch)?)?;
        Ok(target)
    }

    #[test]
    fn operations_do_what_rfc_6902_says() {
        let target = json!({"a": {"b": [1, 2]}, "c/d": 0});
        let cases = [
            (
                json!([{"op": "add", "path": "/a/b/1", "value": 9}]),
                json!({"a": {"b": [1, 9, 2]}, "c/d": 0}),
            ),
            (
                json!([{"op": "add", "path": "/a/b/-", "value": 9}]),
                json!({"a": {"b": [1, 2, 9]}, "c/d": 0}),
            ),
            (json!([{"op": "remove", "path": "/a/b/0"}]), json!({"a": {"b": [2]}, "c/d": 0})),
            (
                json!([{"op": "replace", "path": "/c~1d", "value": 5}]),
                json!({"a": {"b": [1, 2]}, "c/d": 5}),
            ),
            (
                json!([{"op": "move", "from": "/a/b", "path": "/e"}]),
                json!({"a": {}, "e": [1, 2], "c/d": 0}),
            ),
            (
                json!([{"op": "copy", "from": "/a/b/0", "path": "/e"}]),
                json!({"a": {"b": [1, 2]}, "e": 1, "c/d": 0}),
            ),
            (json!([{"op": "test", "path": "/a/b/0", "value": 1}]), target.clone()),
        ];
        for (patch, expected) in cases {
            assert_eq!(run(&target, patch.clone()), Ok(expected), "{patch}");
        }
    }

    #[test]
    fn an_operation_that_does_not_fit_is_refused() {
        let target = json!({"a": [1]});
        for patch in [
            json!([{"op": "add", "path": "/x/y", "value": 1}]),
            json!([{"op": "add", "path": "/a/2", "value": 1}]),
            json!([{"op": "remove", "path": "/a/1"}]),
            json!([{"op": "remove", "path": "/a/00"}]),
            json!([{"op": "remove", "path": ""}]),
            json!([{"op": "replace", "path": "/b", "value": 1}]),
            json!([{"op": "test", "path": "/a/0", "value": 2}]),
            json!([{"op": "move", "from": "/a", "path": "/a/0"}]),
            json!([{"op": "nope", "path": "/a"}]),
            json!([{"op": "add", "path": "/a/0"}]),
            json!([{"op": "add", "path": "a", "value": 1}]),
            json!({}),
        ] {
            assert!(run(&target, patch.clone()).is_err(), "{patch}");
        }
    }
}
