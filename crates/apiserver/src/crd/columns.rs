//! The columns of custom kinds: what `kubectl get` prints.
//!
//! Source: apiextensions-apiserver `pkg/registry/customresource/tableconvertor`.
use serde_json::{Value, json};

use super::path::Path;
use crate::{table, time};

/// The columns a definition asks for, besides the name.
#[derive(Debug, Default)]
pub(crate) struct Columns(Vec<Column>);

#[derive(Debug)]
struct Column {
    heading: Value,
    path: Path,
    kind: String,
}

impl Columns {
    /// Reads `additionalPrinterColumns`; without any, there is the age.
    pub(crate) fn read(list: &Value) -> Self {
        let age =
            json!([{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]);
        let given = list.as_array().filter(|list| !list.is_empty());
        let columns = given.or(age.as_array()).into_iter().flatten();
        // A path that can't be read does not get into a definition.
        Self(columns.filter_map(Column::read).collect())
    }

    /// The headings, the name's first.
    pub(crate) fn headings(&self) -> Vec<Value> {
        let name = json!({
            "name": "Name", "type": "string", "format": "name", "description": "", "priority": 0,
        });
        [name].into_iter().chain(self.0.iter().map(|column| column.heading.clone())).collect()
    }

    /// The cells of one object.
    pub(crate) fn cells(&self, object: &Value) -> Vec<Value> {
        let name = object["metadata"]["name"].clone();
        [name].into_iter().chain(self.0.iter().map(|column| column.cell(object))).collect()
    }
}

impl Column {
    fn read(column: &Value) -> Option<Self> {
        let text = |field: &str| column[field].as_str().unwrap_or("").to_owned();
        let path = Path::parse(&text("jsonPath")).ok()?;
        let description = match text("description") {
            none if none.is_empty() => format!(
                "Custom resource definition column (in JSONPath format): {}",
                text("jsonPath")
            ),
            given => given,
        };
        let heading = json!({
            "name": column["name"], "type": column["type"], "format": text("format"),
            "description": description, "priority": column["priority"].as_i64().unwrap_or(0),
        });
        Some(Self { heading, path, kind: text("type") })
    }

    /// The first value at the column's path, as its type shows it; what does not fit is empty.
    fn cell(&self, object: &Value) -> Value {
        let Some(value) = self.path.find(object).first().copied() else { return Value::Null };
        match (self.kind.as_str(), value) {
            ("string", Value::String(text)) => json!(text),
            ("string", Value::Null) => json!(""),
            ("string", other) => json!(other.to_string()),
            ("date", Value::String(text)) => match time::parse_rfc3339(text) {
                Some(_) => json!(table::since(value)),
                None => json!("<invalid>"),
            },
            ("integer", Value::Number(number)) => {
                #[expect(clippy::cast_possible_truncation, reason = "as Kubernetes shows it")]
                let whole = || number.as_f64().map(|number| json!(number as i64));
                number.as_i64().map(Value::from).or_else(whole).unwrap_or_default()
            }
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
            _ => Value::Null,
        }
    }
}
