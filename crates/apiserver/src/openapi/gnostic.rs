//! OpenAPI version 2 in protobuf, as kubectl before 1.24 reads it and later ones fall back to.
//!
//! Source: github.com/google/gnostic openapiv2/OpenAPIv2.proto, whose field numbers these are.
use serde_json::Value;

/// A message under construction.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    /// A number in base 128.
    fn varint(&mut self, mut number: u64) {
        loop {
            let low = u8::try_from(number & 0x7f).expect("seven bits fit a byte");
            number >>= 7;
            if number == 0 {
                self.0.push(low);
                return;
            }
            self.0.push(low | 0x80);
        }
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, value: &Value) {
        if let Some(text) = value.as_str() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn texts(&mut self, field: u64, values: &Value) {
        values.as_array().into_iter().flatten().for_each(|value| self.text(field, value));
    }

    fn truth(&mut self, field: u64, value: &Value) {
        if value == true {
            self.varint(field << 3);
            self.varint(1);
        }
    }

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }

    /// One entry of a map: a name (1) and a value (2).
    fn entry(&mut self, field: u64, name: &str, value: &Self) {
        let mut entry = Self::default();
        entry.bytes(1, name.as_bytes());
        entry.message(2, value);
        self.message(field, &entry);
    }

    /// The fields that start with `x-`, as YAML, of which JSON is a part.
    fn extensions(&mut self, field: u64, value: &Value) {
        for (name, value) in entries(value).filter(|(name, _)| name.starts_with("x-")) {
            let mut any = Self::default();
            any.bytes(2, value.to_string().as_bytes());
            self.entry(field, name, &any);
        }
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Encodes an OpenAPI version 2 document.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    let mut title = Message::default();
    title.text(1, &document["info"]["title"]);
    title.text(2, &document["info"]["version"]);
    out.message(2, &title);
    let mut paths = Message::default();
    for (path, item) in entries(&document["paths"]) {
        paths.entry(2, path, &path_item(item));
    }
    out.message(8, &paths);
    let mut definitions = Message::default();
    for (name, definition) in entries(&document["definitions"]) {
        definitions.entry(1, name, &schema(definition));
    }
    out.message(9, &definitions);
    out.0
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(operation) = item.get(method) {
            out.message(field, &self::operation(operation));
        }
    }
    parameters(&mut out, 9, &item["parameters"]);
    out
}

fn operation(operation: &Value) -> Message {
    let mut out = Message::default();
    out.texts(7, &operation["consumes"]);
    parameters(&mut out, 8, &operation["parameters"]);
    let mut responses = Message::default();
    for (code, response) in entries(&operation["responses"]) {
        let mut body = Message::default();
        body.text(1, &response["description"]);
        let mut item = Message::default();
        item.message(1, &schema(&response["schema"]));
        body.message(2, &item);
        let mut value = Message::default();
        value.message(1, &body);
        responses.entry(1, code, &value);
    }
    out.message(9, &responses);
    out.extensions(13, operation);
    out
}

fn parameters(out: &mut Message, field: u64, list: &Value) {
    for parameter in list.as_array().into_iter().flatten() {
        let mut either = Message::default();
        either.message(1, &self::parameter(parameter));
        out.message(field, &either);
    }
}

fn parameter(parameter: &Value) -> Message {
    let mut out = Message::default();
    let mut inner = Message::default();
    if parameter["in"] == "body" {
        inner.text(2, &parameter["name"]);
        inner.text(3, &parameter["in"]);
        inner.truth(4, &parameter["required"]);
        inner.message(5, &schema(&parameter["schema"]));
        out.message(1, &inner);
        return out;
    }
    inner.truth(1, &parameter["required"]);
    inner.text(2, &parameter["in"]);
    inner.text(4, &parameter["name"]);
    let in_path = parameter["in"] == "path";
    // A query's parameter may be empty, so its type comes one field later.
    inner.text(if in_path { 5 } else { 6 }, &parameter["type"]);
    let mut other = Message::default();
    other.message(if in_path { 4 } else { 3 }, &inner);
    out.message(2, &other);
    out
}

fn schema(schema: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &schema["$ref"]);
    out.text(2, &schema["format"]);
    out.text(4, &schema["description"]);
    out.texts(19, &schema["required"]);
    if let Some(inner) = schema.get("additionalProperties") {
        let mut item = Message::default();
        item.message(1, &self::schema(inner));
        out.message(21, &item);
    }
    if let Some(of) = schema.get("type") {
        let mut item = Message::default();
        item.text(1, of);
        out.message(22, &item);
    }
    if let Some(inner) = schema.get("items") {
        let mut item = Message::default();
        item.message(1, &self::schema(inner));
        out.message(23, &item);
    }
    if let Some(properties) = schema.get("properties") {
        let mut all = Message::default();
        for (name, property) in entries(properties) {
            all.entry(1, name, &self::schema(property));
        }
        out.message(25, &all);
    }
    out.extensions(31, schema);
    out
}
