//! JSON values as YAML text, as kubectl writes a kubeconfig: fields by name, lists at the field's own
//! depth.

use serde_json::{Map, Value};

/// A mapping as a YAML document.
pub(super) fn write(fields: &Map<String, Value>) -> String {
    let mut out = String::new();
    write_fields(&mut out, fields, 0);
    out
}

/// Writes a mapping's fields where the first one's line has begun.
fn write_fields(out: &mut String, fields: &Map<String, Value>, depth: usize) {
    for (at, (name, value)) in fields.iter().enumerate() {
        if at > 0 {
            indent(out, depth);
        }
        out.push_str(&scalar(name));
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                indent(out, depth + 1);
                write_fields(out, inner, depth + 1);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                indent(out, depth);
                write_list(out, list, depth);
            }
            flat @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_)) => write_flat(out, flat),
        }
    }
}

fn write_list(out: &mut String, list: &[Value], depth: usize) {
    for (at, value) in list.iter().enumerate() {
        if at > 0 {
            indent(out, depth);
        }
        out.push('-');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push(' ');
                write_fields(out, inner, depth + 1);
            }
            Value::Array(inner) if !inner.is_empty() => {
                out.push(' ');
                write_list(out, inner, depth + 1);
            }
            flat @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_)) => write_flat(out, flat),
        }
    }
}

/// Writes what takes no line of its own; collections only when they are empty.
fn write_flat(out: &mut String, value: &Value) {
    out.push(' ');
    match value {
        Value::String(text) => out.push_str(&scalar(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            out.push_str(&value.to_string());
        }
    }
    out.push('\n');
}

fn indent(out: &mut String, depth: usize) {
    out.push_str(&"  ".repeat(depth));
}

/// A string as it is where nobody could take it for anything else, quoted as in JSON elsewhere: that
/// is YAML, too.
fn scalar(text: &str) -> String {
    const OTHERS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.:@+=".contains(c);
    let first = text.chars().next();
    let is_plain = first.is_some_and(|first| first.is_ascii_alphabetic() || first == '/')
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !OTHERS.contains(&text.to_ascii_lowercase().as_str());
    if is_plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kubeconfig_looks_as_kubectl_writes_it() {
        let config = json!({
            "apiVersion": "v1",
            "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:6443"}}],
            "current-context": "", "preferences": {}, "users": [],
        });
        let expected = "apiVersion: v1\nclusters:\n- cluster:\n    server: https://127.0.0.1:6443\n  \
                        name: a\ncurrent-context: \"\"\npreferences: {}\nusers: []\n";
        assert_eq!(write(config.as_object().unwrap()), expected);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[ -~]{0,12}".prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
            prop::sample::select(vec![
                "yes", "1e3", "0x1", "~", "a: b", "- a", "#", "a:", "\n", "=", "<<"
            ])
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-z~:# -]{1,6}", inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(fields in prop::collection::btree_map("[a-z-]{1,8}", value(), 1..6)) {
            let fields: Map<String, Value> = fields.into_iter().collect();
            let text = write(&fields);
            let read = apiserver::yaml::read(&text).map(|document| document.map(|it| it.root.value()));
            prop_assert_eq!(read.unwrap().unwrap(), Value::Object(fields), "{}", text);
        }
    }
}
