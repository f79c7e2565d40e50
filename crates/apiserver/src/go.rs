//! Values as Go prints them: some of Kubernetes' messages hold such.
use serde_json::Value;

/// A value as `%v` prints it.
pub(crate) fn plain(value: &Value) -> String {
    print(value, &|text| text.to_owned())
}

/// A value as `%v` prints it, strings in quotes.
pub(crate) fn quoted(value: &Value) -> String {
    print(value, &|text| format!("{text:?}"))
}

fn print(value: &Value, text: &dyn Fn(&str) -> String) -> String {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| format!("{name}:{}", print(value, text));
            format!("map[{}]", fields.iter().map(field).collect::<Vec<_>>().join(" "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| print(item, text)).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Null => "<nil>".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(content) => text(content),
    }
}

/// The name of a value's type, decoded from JSON.
pub(crate) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
