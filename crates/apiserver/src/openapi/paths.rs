//! Paths and operations as OpenAPI describes them.
use serde_json::{Map, Value, json};

use super::Dialect;
use super::definition::{identity, list_name};
use crate::resource::{Resource, Rules, Subresource};
use crate::schema;

/// The media types of patches; the last only where lists have merge keys, in built-in kinds.
const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
/// What may follow the `?` of a write.
const WRITE: [&str; 4] = ["dryRun", "fieldManager", "fieldValidation", "pretty"];
/// What may follow the `?` of a list or watch.
const LIST: [&str; 10] = [
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];
/// What may follow the `?` of a deletion.
const DELETE: [&str; 3] = ["dryRun", "gracePeriodSeconds", "propagationPolicy"];

/// Where the paths of a group's version begin, without slashes at the ends.
pub(super) fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The paths of `resources`.
pub(super) fn paths<'r>(
    dialect: Dialect,
    resources: impl Iterator<Item = &'r Resource>,
) -> Map<String, Value> {
    let mut paths = Map::new();
    for resource in resources {
        let root = root(&resource.group, &resource.version);
        let plural = &resource.plural;
        let collection = if resource.is_namespaced() {
            format!("/{root}/namespaces/{{namespace}}/{plural}")
        } else {
            format!("/{root}/{plural}")
        };
        let one = Operations { dialect, resource, namespaced: resource.is_namespaced() };
        if resource.rules == Rules::Review {
            paths.insert(collection, one.item(&[("post", "post", &WRITE)], false));
            continue;
        }
        if resource.is_namespaced() {
            let everywhere = Operations { dialect, resource, namespaced: false };
            let item = everywhere.item(&[("get", "list", &LIST)], false);
            paths.insert(format!("/{root}/{plural}"), item);
        }
        let verbs: [Verb; 3] = [
            ("get", "list", &LIST),
            ("post", "post", &WRITE),
            ("delete", "deletecollection", &LIST),
        ];
        paths.insert(collection.clone(), one.item(&verbs, false));
        let verbs: [Verb; 4] = [
            ("get", "get", &[]),
            ("put", "put", &WRITE),
            ("patch", "patch", &WRITE),
            ("delete", "delete", &DELETE),
        ];
        paths.insert(format!("{collection}/{{name}}"), one.item(&verbs, true));
        if resource.has(Subresource::Status) {
            paths.insert(format!("{collection}/{{name}}/status"), one.item(&verbs[..3], true));
        }
    }
    paths
}

/// An HTTP method, what Kubernetes calls it, and its query parameters.
type Verb = (&'static str, &'static str, &'static [&'static str]);

struct Operations<'r> {
    dialect: Dialect,
    resource: &'r Resource,
    namespaced: bool,
}

impl Operations<'_> {
    fn item(&self, verbs: &[Verb], named: bool) -> Value {
        let mut item = Map::new();
        for verb in verbs {
            item.insert(verb.0.to_owned(), self.operation(*verb));
        }
        let mut parameters = Vec::new();
        if named {
            parameters.push(self.parameter("name", "path"));
        }
        if self.namespaced {
            parameters.push(self.parameter("namespace", "path"));
        }
        item.insert("parameters".to_owned(), json!(parameters));
        Value::Object(item)
    }

    fn operation(&self, (method, action, query): Verb) -> Value {
        let name = schema::definition_name(self.resource);
        let answer = match action {
            "list" => list_name(self.resource, &name),
            _ => name.clone(),
        };
        let answer = self.dialect.reference(&answer);
        let mut parameters: Vec<Value> =
            query.iter().map(|name| self.parameter(name, "query")).collect();
        let mut operation = json!({
            "responses": {"200": self.content("schema", &answer, &["application/json"], "OK")},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": identity(self.resource, &self.resource.kind),
        });
        let takes: &[&str] = match method {
            "post" | "put" => &["application/json"],
            "patch" if self.resource.custom.is_some() => &PATCHES[..PATCHES.len() - 1],
            "patch" => &PATCHES,
            _ => &[],
        };
        let body = if method == "patch" {
            json!({"type": "object"})
        } else {
            self.dialect.reference(&name)
        };
        match self.dialect {
            _ if takes.is_empty() => {}
            Dialect::V2 => {
                operation["consumes"] = json!(takes);
                parameters
                    .push(json!({"name": "body", "in": "body", "required": true, "schema": body}));
            }
            Dialect::V3 => {
                operation["requestBody"] = self.content("schema", &body, takes, "");
                operation["requestBody"]["required"] = json!(true);
            }
        }
        operation["parameters"] = json!(parameters);
        operation
    }

    /// A body of one schema in several media types.
    fn content(&self, field: &str, schema: &Value, types: &[&str], description: &str) -> Value {
        let mut body = Map::new();
        if !description.is_empty() {
            body.insert("description".to_owned(), json!(description));
        }
        match self.dialect {
            Dialect::V2 => {
                body.insert(field.to_owned(), schema.clone());
            }
            Dialect::V3 => {
                let content: Map<String, Value> =
                    types.iter().map(|of| ((*of).to_owned(), json!({ field: schema }))).collect();
                body.insert("content".to_owned(), Value::Object(content));
            }
        }
        Value::Object(body)
    }

    fn parameter(&self, name: &str, place: &str) -> Value {
        let of = match name {
            "allowWatchBookmarks" | "sendInitialEvents" | "watch" => "boolean",
            "gracePeriodSeconds" | "limit" | "timeoutSeconds" => "integer",
            _ => "string",
        };
        let mut parameter = json!({"name": name, "in": place});
        if place == "path" {
            parameter["required"] = json!(true);
        }
        match self.dialect {
            Dialect::V2 => parameter["type"] = json!(of),
            Dialect::V3 => parameter["schema"] = json!({"type": of}),
        }
        parameter
    }
}
