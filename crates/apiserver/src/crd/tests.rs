//! What schemas allow, add and drop, in the words of Kubernetes.
use serde_json::{Value, json};

use super::*;

/// The first cause of `value` under `schema`, as a line; empty if it is good.
fn judged(schema: &Value, value: &Value, old: Option<&Value>) -> String {
    let root = json!({"type": "object", "properties": {"f": schema}});
    let of = Structural::read_whole(&root);
    let old = old.map(|old| json!({"f": old}));
    let mut causes = validate::causes(&of, &json!({"f": value}), old.as_ref());
    causes.extend(lists::causes(&of, &json!({"f": value})));
    causes.extend(embedded::causes(&of, &json!({"f": value})));
    causes.extend(rule::causes(&of, &json!({"f": value}), old.as_ref()));
    causes.iter().map(Cause::line).collect::<Vec<_>>().join(" & ")
}

/// A schema, a value, and what is said about it.
const JUDGED: &str = r#"
{"type": "string"} | "a" |
{"type": "string"} | 1 | f: Invalid value: "integer": f in body must be of type string: "integer"
{"type": "integer"} | 1.5 | f: Invalid value: "number": f in body must be of type integer: "number"
{"type": "integer"} | 2.0 |
{"type": "number"} | 1 |
{"type": "boolean"} | "true" | f: Invalid value: "string": f in body must be of type boolean: "string"
{"type": "object"} | [] | f: Invalid value: "array": f in body must be of type object: "array"
{"type": "array", "items": {"type": "string"}} | ["a", 1] | f[1]: Invalid value: "integer": f[1] in body must be of type string: "integer"
{"type": "string"} | null | f: Invalid value: "null": f in body must be of type string: "null"
{"type": "string", "nullable": true} | null |
{"type": "string", "nullable": true, "enum": ["a"]} | null |
{"x-kubernetes-int-or-string": true} | 1 |
{"x-kubernetes-int-or-string": true} | "1" |
{"x-kubernetes-int-or-string": true} | true | f: Invalid value: "boolean": f in body must be of type integer,string: "boolean"
{"type": "string", "enum": ["a", "b"]} | "c" | f: Unsupported value: "c": supported values: "a", "b"
{"type": "integer", "enum": [1, 2]} | 3 | f: Unsupported value: 3: supported values: "1", "2"
{"type": "string", "maxLength": 2} | "äöü" | f: Too long: may not be more than 2 bytes
{"type": "string", "maxLength": 3} | "äöü" |
{"type": "string", "minLength": 1} | "" | f: Invalid value: "": f in body should be at least 1 chars long
{"type": "string", "pattern": "^a+$"} | "b" | f: Invalid value: "b": f in body should match '^a+$'
{"type": "string", "format": "ipv4"} | "a" | f: Invalid value: "a": f in body must be of type ipv4: "a"
{"type": "string", "format": "date-time"} | "2024-01-01T00:00:00Z" |
{"type": "string", "format": "date-time"} | "now" | f: Invalid value: "now": f in body must be of type date-time: "now"
{"type": "string", "format": "duration"} | "1h30m" |
{"type": "string", "format": "cidr"} | "10.0.0.0/33" | f: Invalid value: "10.0.0.0/33": f in body must be of type cidr: "10.0.0.0/33"
{"type": "string", "format": "hostname"} | "a..b" | f: Invalid value: "a..b": f in body must be of type hostname: "a..b"
{"type": "string", "format": "uuid"} | "12345678-1234-1234-1234-123456789abc" |
{"type": "string", "format": "byte"} | "aGk=" |
{"type": "string", "format": "mac"} | "00:11:22:33:44:55" |
{"type": "string", "format": "nobody-knows"} | "x" |
{"type": "integer", "format": "int32"} | 2147483648 | f: Invalid value: 2147483648: Checked value must be of type integer with format int32 in f
{"type": "integer", "maximum": 9} | 10 | f: Invalid value: 10: f in body should be less than or equal to 9
{"type": "integer", "maximum": 9, "exclusiveMaximum": true} | 9 | f: Invalid value: 9: f in body should be less than 9
{"type": "integer", "minimum": 1} | 0 | f: Invalid value: 0: f in body should be greater than or equal to 1
{"type": "integer", "minimum": 1, "exclusiveMinimum": true} | 1 | f: Invalid value: 1: f in body should be greater than 1
{"type": "integer", "multipleOf": 5} | 7 | f: Invalid value: 7: f in body should be a multiple of 5
{"type": "array", "maxItems": 1, "items": {"type": "integer"}} | [1, 2] | f: Too many: 2: must have at most 1 item
{"type": "array", "minItems": 2, "items": {"type": "integer"}} | [1] | f: Invalid value: 1: f in body should have at least 2 items
{"type": "object", "required": ["a"]} | {} | f.a: Required value
{"type": "object", "minProperties": 1} | {} | f: Invalid value: 0: f in body should have at least 1 properties
{"type": "object", "maxProperties": 1, "additionalProperties": {"type": "string"}} | {"a": "", "b": ""} | f: Too many: 2: must have at most 1 item
{"type": "object", "additionalProperties": {"type": "string"}} | {"a": 1} | f.a: Invalid value: "integer": f.a in body must be of type string: "integer"
{"type": "integer", "oneOf": [{"maximum": 1}, {"minimum": 5}]} | 3 | <nil>: Invalid value: "": "f" must validate one and only one schema (oneOf). Found none valid & f: Invalid value: 3: f in body should be less than or equal to 1
{"type": "integer", "oneOf": [{"maximum": 5}, {"minimum": 1}]} | 3 | <nil>: Invalid value: "": "f" must validate one and only one schema (oneOf). Found 2 valid alternatives
{"type": "integer", "anyOf": [{"maximum": 1}, {"minimum": 5}]} | 3 | <nil>: Invalid value: "": "f" must validate at least one schema (anyOf) & f: Invalid value: 3: f in body should be less than or equal to 1
{"type": "integer", "anyOf": [{"maximum": 1}, {"minimum": 2}]} | 3 |
{"type": "integer", "allOf": [{"maximum": 1}, {"minimum": 2}]} | 3 | f: Invalid value: 3: f in body should be less than or equal to 1 & <nil>: Invalid value: "": "f" must validate all the schemas (allOf)
{"type": "integer", "not": {"minimum": 2}} | 3 | <nil>: Invalid value: "": "f" must not validate the schema (not)
{"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}} | ["a", "b", "a", "a"] | f[2]: Duplicate value: "a"
{"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n", "p"], "items": {"type": "object", "properties": {"n": {"type": "string"}, "p": {"type": "integer"}, "x": {"type": "integer"}}}} | [{"n": "a", "p": 1, "x": 1}, {"n": "a", "p": 2}, {"n": "a", "p": 1}] | f[2]: Duplicate value: {"n":"a","p":1}
{"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true} | {"kind": "Pod"} | f.apiVersion: Required value
{"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true} | {"kind": "Pod", "apiVersion": "v1"} |
{"type": "integer", "x-kubernetes-validations": [{"rule": "self > 3"}]} | 3 | f: Invalid value: 3: failed rule: self > 3
{"type": "integer", "x-kubernetes-validations": [{"rule": "self > 3", "message": "too small"}]} | 3 | f: Invalid value: 3: too small
{"type": "integer", "x-kubernetes-validations": [{"rule": "self > 3", "messageExpression": "'got ' + string(self)"}]} | 3 | f: Invalid value: 3: got 3
{"type": "integer", "x-kubernetes-validations": [{"rule": "self > 3", "reason": "FieldValueForbidden"}]} | 3 | f: Forbidden: failed rule: self > 3
{"type": "object", "properties": {"a": {"type": "integer"}}, "x-kubernetes-validations": [{"rule": "self.a > 3", "fieldPath": ".a", "reason": "FieldValueRequired", "message": "more"}]} | {"a": 1} | f.a: Required value: more
{"type": "object", "properties": {"a": {"type": "integer"}}, "x-kubernetes-validations": [{"rule": "self.a > 3"}]} | {"a": 1} | f: Invalid value: failed rule: self.a > 3
{"type": "object", "properties": {"a": {"type": "integer"}}, "x-kubernetes-validations": [{"rule": "self.a > 3"}]} | {} | f: Invalid value: "object": no such key: a evaluating rule: self.a > 3"#;

#[test]
fn a_value_is_judged_in_the_words_of_kubernetes() {
    for line in JUDGED.trim().lines() {
        let (rest, expected) = line.rsplit_once(" |").unwrap();
        let (schema, value) = rest.split_once("} | ").unwrap();
        let schema: Value = serde_json::from_str(&format!("{schema}}}")).unwrap();
        let value = serde_json::from_str(value).unwrap();
        assert_eq!(judged(&schema, &value, None), expected.trim(), "{line}");
    }
}

#[test]
fn what_did_not_change_is_not_held_against_a_client() {
    let schema = json!({"type": "object", "required": ["gone"], "properties": {
        "a": {"type": "integer", "maximum": 1},
        "list": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "properties": {
                "name": {"type": "string", "maxLength": 1}, "n": {"type": "integer"}}}},
    }});
    let old = json!({"a": 5, "list": [{"name": "long", "n": 1}]});
    assert_eq!(judged(&schema, &old, Some(&old)), "");
    let moved = json!({"a": 5, "list": [{"name": "x"}, {"name": "long", "n": 1}]});
    assert_eq!(judged(&schema, &moved, Some(&old)), "f.gone: Required value");
    let worse = json!({"a": 6, "list": [{"name": "long", "n": 2}]});
    let said = judged(&schema, &worse, Some(&old));
    assert!(said.contains("f.a: Invalid value: 6"), "{said}");
}

#[test]
fn a_rule_may_compare_with_what_was_there() {
    let rules = json!([{"rule": "self >= oldSelf", "message": "may only grow"}]);
    let schema = json!({"type": "integer", "x-kubernetes-validations": rules});
    assert_eq!(judged(&schema, &json!(1), None), "");
    assert_eq!(judged(&schema, &json!(2), Some(&json!(1))), "");
    assert_eq!(judged(&schema, &json!(1), Some(&json!(2))), "f: Invalid value: 1: may only grow");
    let rules = json!([{"rule": "oldSelf.hasValue() || self == 1", "optionalOldSelf": true}]);
    let schema = json!({"type": "integer", "x-kubernetes-validations": rules});
    assert_eq!(judged(&schema, &json!(1), None), "");
    assert!(judged(&schema, &json!(2), None).contains("failed rule"));
    assert_eq!(judged(&schema, &json!(2), Some(&json!(1))), "");
}

/// A schema, a value, what is left of it, and the fields that went.
const PRUNED: &str = r#"
{"properties": {"a": {}}} | {"a": 1, "b": 2} | {"a": 1} | b
{"properties": {"a": {"properties": {"x": {}}}}} | {"a": {"x": 1, "y": {"z": 1}}} | {"a": {"x": 1}} | a.y
{"properties": {"a": {"items": {"properties": {"x": {}}}}}} | {"a": [{"x": 1}, {"y": 2}]} | {"a": [{"x": 1}, {}]} | a[1].y
{"x-kubernetes-preserve-unknown-fields": true} | {"a": {"b": 1}} | {"a": {"b": 1}} |
{"x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"properties": {"x": {}}}}} | {"a": {"x": 1, "y": 2}, "b": 1} | {"a": {"x": 1}, "b": 1} | a.y
{"additionalProperties": {"properties": {"x": {}}}} | {"a": {"x": 1, "y": 2}} | {"a": {"x": 1}} | a.y
{"properties": {"a": {"additionalProperties": true}}} | {"a": {"k": 1}} | {"a": {"k": 1}} |
{"properties": {"a": {"x-kubernetes-embedded-resource": true, "properties": {"spec": {}}}}} | {"a": {"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}, "spec": 1, "x": 1}} | {"a": {"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}, "spec": 1}} | a.x
{"properties": {}} | {"apiVersion": "v1", "kind": "K", "metadata": {"x": 1}, "y": 1} | {"apiVersion": "v1", "kind": "K", "metadata": {"x": 1}} | y"#;

#[test]
fn fields_that_no_schema_names_go() {
    for line in PRUNED.trim().lines() {
        let parts: Vec<&str> = line.split('|').map(str::trim).collect();
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let mut value = json(parts[1]);
        let unknown = prune(&Structural::read_whole(&json(parts[0])), &mut value);
        assert_eq!((value, unknown.join(" ")), (json(parts[2]), parts[3].to_owned()), "{line}");
    }
}

#[test]
fn defaults_fill_what_is_missing_and_what_may_not_be_null() {
    let schema = Structural::read_whole(&json!({"properties": {
        "a": {"type": "string", "default": "x"},
        "b": {"type": "string", "nullable": true, "default": "y"},
        "c": {"type": "string"},
        "d": {"type": "object", "default": {}, "properties": {"e": {"default": 1}}},
        "f": {"type": "array", "items": {"properties": {"g": {"default": true}}}},
        "h": {"type": "object", "additionalProperties": {"properties": {"i": {"default": 2}}}},
    }}));
    let mut value =
        json!({"a": null, "b": null, "c": null, "f": [{}, {"g": false}], "h": {"k": {}}});
    fill(&schema, &mut value);
    let expected = json!({
        "a": "x", "b": null, "d": {"e": 1}, "f": [{"g": true}, {"g": false}], "h": {"k": {"i": 2}},
    });
    assert_eq!(value, expected);
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    /// Some JSON of the words schemas and their values are made of.
    fn json(&mut self, words: &[&str], depth: usize) -> Value {
        match self.roll(if depth == 0 { 6 } else { 12 }) {
            0 => Value::Null,
            1 => json!(self.roll(2) == 0),
            2 => json!(self.roll(9)),
            3 => json!(-1.5),
            4 | 5 => json!(words[self.roll(words.len())]),
            6 => (0..self.roll(3)).map(|_| self.json(words, depth - 1)).collect(),
            _ => {
                let mut fields = serde_json::Map::new();
                for _ in 0..self.roll(5) {
                    let name = words[self.roll(words.len())].to_owned();
                    fields.insert(name, self.json(words, depth - 1));
                }
                Value::Object(fields)
            }
        }
    }
}

/// Words of schemas and their values.
const WORDS: &[&str] = &[
    "type",
    "object",
    "array",
    "string",
    "integer",
    "properties",
    "items",
    "default",
    "a",
    "b",
    "additionalProperties",
    "required",
    "allOf",
    "anyOf",
    "not",
    "pattern",
    "^a+$",
    "(",
    "enum",
    "x-kubernetes-validations",
    "rule",
    "self.a == 1",
    "self",
    "messageExpression",
    "format",
    "x-kubernetes-list-type",
    "map",
    "x-kubernetes-list-map-keys",
    "nullable",
    "minimum",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "multipleOf",
    "x-kubernetes-int-or-string",
    "metadata",
    "fieldPath",
    ".a['b']",
    "date-time",
    "jsonPath",
];

#[test]
fn no_schema_and_no_object_break_the_server() {
    let mut dice = Dice(11);
    for _ in 0..3000 {
        let schema = dice.json(WORDS, 6);
        let definition = json!({
            "metadata": {"name": "as.example.com", "annotations": dice.json(WORDS, 1)},
            "spec": {"group": "example.com", "names": dice.json(WORDS, 2), "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                 "subresources": dice.json(WORDS, 2), "selectableFields": dice.json(WORDS, 2),
                 "additionalPrinterColumns": dice.json(WORDS, 2)}]},
        });
        drop(definition::causes(&definition));
        for kind in resources(&definition) {
            let custom = kind.custom.unwrap();
            let (mut value, old) = (dice.json(WORDS, 5), dice.json(WORDS, 5));
            prune(&custom.schema, &mut value);
            fill(&custom.schema, &mut value);
            drop(causes(&custom, &value, Some(&old)));
            drop(custom.columns.cells(&value));
        }
    }
}
