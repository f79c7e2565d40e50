//! JSON merge patch.
use serde_json::{Value, json};

/// Merges `patch` into `target`: null removes, objects merge, all else replaces.
///
/// Source: RFC 7386 §2.
pub(super) fn apply(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(object) = target.as_object_mut() else { return };
    for (name, value) in fields {
        if value.is_null() {
            object.remove(name);
        } else {
            apply(object.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_7386_hold() {
        let cases = r#"
            {"a":"b"}           | {"a":"c"}              | {"a":"c"}
            {"a":"b"}           | {"b":"c"}              | {"a":"b","b":"c"}
            {"a":"b"}           | {"a":null}             | {}
            {"a":"b","b":"c"}   | {"a":null}             | {"b":"c"}
            {"a":["b"]}         | {"a":"c"}              | {"a":"c"}
            {"a":"c"}           | {"a":["b"]}            | {"a":["b"]}
            {"a":{"b":"c"}}     | {"a":{"b":"d","c":null}} | {"a":{"b":"d"}}
            {"a":[{"b":"c"}]}   | {"a":[1]}              | {"a":[1]}
            ["a","b"]           | ["c","d"]              | ["c","d"]
            {"a":"b"}           | ["c"]                  | ["c"]
            {"e":null}          | {"a":1}                | {"e":null,"a":1}
            [1,2]               | {"a":"b","c":null}     | {"a":"b"}
            {}                  | {"a":{"bb":{"ccc":null}}} | {"a":{"bb":{}}}"#;
        for line in cases.lines().skip(1) {
            let mut parts =
                line.split('|').map(|part| serde_json::from_str::<Value>(part).unwrap());
            let (mut target, patch) = (parts.next().unwrap(), parts.next().unwrap());
            apply(&mut target, &patch);
            assert_eq!(target, parts.next().unwrap(), "{line}");
        }
    }
}
