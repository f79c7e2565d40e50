//! Requests that are nearly right: taken from lists of good and bad parts, with bodies that are good
//! but for some places.
use std::fmt;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

/// A request of which all parts were made up.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) method: &'static str,
    pub(crate) target: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Made {
    /// The request, by whoever has `token`; none if no client could write it.
    pub(crate) fn request(&self, token: &str) -> Option<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(self.method).uri(&self.target);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.header("authorization", format!("Bearer {token}"));
        request.body(Full::new(Bytes::from(self.body.clone()))).ok()
    }
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?} ", self.method, self.target, self.headers)?;
        f.write_str(&String::from_utf8_lossy(&self.body))
    }
}

const METHODS: &[&str] =
    &["GET", "POST", "PUT", "PATCH", "DELETE", "PATCH", "PUT", "POST", "HEAD", "OPTIONS", "BREW"];

/// Where requests go: collections, objects that are there, and what is near them.
const PATHS: &[&str] = &[
    "/api/v1/namespaces/default/pods",
    "/api/v1/namespaces/default/pods/web",
    "/api/v1/namespaces/default/pods/web/status",
    "/api/v1/namespaces/default/pods/web/binding",
    "/api/v1/namespaces/default/pods/web/eviction",
    "/api/v1/namespaces/default/pods/web/ephemeralcontainers",
    "/api/v1/namespaces/default/pods/web/log",
    "/api/v1/namespaces/default/pods/web/exec",
    "/api/v1/namespaces/default/services",
    "/api/v1/namespaces/default/services/web",
    "/api/v1/namespaces/default/configmaps/web",
    "/api/v1/namespaces/default/secrets",
    "/api/v1/namespaces/default/serviceaccounts/default/token",
    "/api/v1/namespaces/default/events",
    "/api/v1/namespaces/default/endpoints",
    "/api/v1/namespaces/default",
    "/api/v1/namespaces/default/finalize",
    "/api/v1/namespaces",
    "/api/v1/nodes",
    "/api/v1/watch/pods",
    "/apis/apps/v1/namespaces/default/deployments",
    "/apis/apps/v1/namespaces/default/deployments/web",
    "/apis/apps/v1/namespaces/default/deployments/web/scale",
    "/apis/apps/v1/namespaces/default/deployments/web/status",
    "/apis/apps/v1/namespaces/default/statefulsets",
    "/apis/apps/v1/deployments",
    "/apis/batch/v1/namespaces/default/jobs",
    "/apis/batch/v1/namespaces/default/cronjobs",
    "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
    "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
    "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
    "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.seaway.test",
    "/apis/seaway.test/v1/namespaces/default/things",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/apis/authentication.k8s.io/v1/tokenreviews",
    "/apis",
    "/openapi/v3",
    "/version",
];

const KEYS: &[&str] = &[
    "labelSelector",
    "fieldSelector",
    "limit",
    "continue",
    "resourceVersion",
    "resourceVersionMatch",
    "watch",
    "timeoutSeconds",
    "allowWatchBookmarks",
    "sendInitialEvents",
    "dryRun",
    "fieldManager",
    "fieldValidation",
    "force",
    "gracePeriodSeconds",
    "propagationPolicy",
    "includeObject",
    "container",
    "tailLines",
    "sinceTime",
];

const VALUES: &[&str] = &[
    "",
    "1",
    "0",
    "-1",
    "true",
    "18446744073709551615",
    "99999999999999999999",
    "All",
    "Strict",
    "Ignore",
    "Exact",
    "NotOlderThan",
    "Orphan",
    "app%3Dweb",
    "app+in+(a,b),!c",
    "a%20notin%20(",
    "metadata.name%3Dweb",
    "spec.nodeName!%3D",
    "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0",
    "%00%ff%zz",
    "\u{e9}",
];

const MEDIA_TYPES: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/vnd.kubernetes.protobuf",
    "text/plain",
    "",
];

const FORMS: &[&str] = &[
    "*/*",
    "application/json",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf",
    "application/json;as=;=;;,",
];

/// Texts that stand where others are expected.
const TEXTS: &[&str] = &[
    "",
    "a",
    "Web_1",
    "10.0.0.1",
    "fd00::/8",
    "1Gi",
    "-1",
    "1e400",
    "* * * * *",
    "None",
    "2026-01-01T00:00:00Z",
    "\u{0}",
    "\u{1f6a2}",
    "$patch",
    "a/b/c",
    "self.spec > 1",
];

/// Names of fields that mean something somewhere.
const FIELDS: &[&str] = &[
    "metadata",
    "name",
    "spec",
    "status",
    "type",
    "ports",
    "finalizers",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "$patch",
    "$retainKeys",
    "$setElementOrder/ports",
    "$deleteFromPrimitiveList/finalizers",
    "",
    "nonsense",
];

/// Any JSON, small.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2i64..3).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(TEXTS).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((select(FIELDS), inner), 0..4).prop_map(|fields| {
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

/// What is done to one place of a document.
#[derive(Debug, Clone)]
enum Wound {
    Replace(Value),
    Remove,
    Add(&'static str, Value),
}

fn wound() -> impl Strategy<Value = Wound> {
    prop_oneof![
        value().prop_map(Wound::Replace),
        Just(Wound::Remove),
        (select(FIELDS), value()).prop_map(|(name, value)| Wound::Add(name, value)),
    ]
}

/// A document with wounds at some of its places.
fn wounded(seeds: Vec<Value>) -> impl Strategy<Value = Value> {
    (select(seeds), vec((any::<Index>(), wound()), 0..3)).prop_map(|(mut document, wounds)| {
        for (place, wound) in wounds {
            let mut places = Vec::new();
            visit(&document, &mut String::new(), &mut places);
            hurt(&mut document, &places[place.index(places.len())], wound);
        }
        document
    })
}

/// The pointers of all places in a document.
fn visit(value: &Value, path: &mut String, places: &mut Vec<String>) {
    places.push(path.clone());
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.replace('~', "~0").replace('/', "~1"), value))
            .collect(),
        Value::Array(items) => items.iter().enumerate().map(|(n, v)| (n.to_string(), v)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (step, child) in children {
        let length = path.len();
        path.push('/');
        path.push_str(&step);
        visit(child, path, places);
        path.truncate(length);
    }
}

fn hurt(document: &mut Value, place: &str, wound: Wound) {
    let (parent, last) = place.rsplit_once('/').unwrap_or_default();
    let last = last.replace("~1", "/").replace("~0", "~");
    match wound {
        Wound::Replace(value) => *document.pointer_mut(place).unwrap() = value,
        Wound::Add(name, value) => {
            let found = document.pointer_mut(place).unwrap();
            if let Some(items) = found.as_array_mut() {
                items.push(value);
            } else if let Some(fields) = found.as_object_mut() {
                fields.insert(name.to_owned(), value);
            } else {
                *found = json!({name: value});
            }
        }
        Wound::Remove if place.is_empty() => *document = Value::Null,
        Wound::Remove => {
            let found = document.pointer_mut(parent).unwrap();
            if let Some(items) = found.as_array_mut() {
                items.remove(last.parse().unwrap());
            } else if let Some(fields) = found.as_object_mut() {
                fields.remove(&last);
            }
        }
    }
}

/// A body: mostly a wounded document, sometimes a list of changes, sometimes noise.
fn body(seeds: Vec<Value>) -> impl Strategy<Value = Vec<u8>> {
    let change = (select(&["add", "remove", "replace", "move", "copy", "test", "x"][..]), value());
    let pointer = vec(select(FIELDS), 0..4).prop_map(|steps| {
        steps.iter().map(|step| format!("/{}", step.replace('/', "~1"))).collect::<String>()
    });
    let changes = vec((change, pointer.clone(), pointer), 0..4).prop_map(|changes| {
        let change = |((op, value), path, from)| json!({"op": op, "path": path, "from": from, "value": value});
        Value::from(changes.into_iter().map(change).collect::<Vec<_>>())
    });
    prop_oneof![
        8 => wounded(seeds).prop_map(|document| document.to_string().into_bytes()),
        2 => changes.prop_map(|changes| changes.to_string().into_bytes()),
        1 => vec(any::<u8>(), 0..40),
        1 => "[ -~\n]{0,60}".prop_map(String::into_bytes),
    ]
}

fn target() -> impl Strategy<Value = String> {
    let step = prop_oneof![
        Just(""),
        Just("web"),
        Just("status"),
        Just("%2e%2e"),
        Just("%00"),
        Just("\u{e9}"),
        Just("namespaces")
    ];
    let path = prop_oneof![
        9 => select(PATHS).prop_map(str::to_owned),
        1 => (select(PATHS), vec(step, 1..4))
            .prop_map(|(path, steps)| format!("{path}/{}", steps.join("/"))),
    ];
    let pair = (select(KEYS), select(VALUES)).prop_map(|(key, value)| format!("{key}={value}"));
    (path, vec(pair, 0..3)).prop_map(|(path, pairs)| match pairs.as_slice() {
        [] => path,
        pairs => format!("{path}?{}", pairs.join("&")),
    })
}

/// A request, its body grown from one of `seeds`.
pub(crate) fn made(seeds: Vec<Value>) -> impl Strategy<Value = Made> {
    let headers = (select(MEDIA_TYPES), select(FORMS)).prop_map(|(content, accept)| {
        vec![("content-type", content.to_owned()), ("accept", accept.to_owned())]
    });
    (select(METHODS), target(), headers, body(seeds))
        .prop_map(|(method, target, headers, body)| Made { method, target, headers, body })
}

/// The object `seed` written to where it belongs, wounded.
pub(crate) fn aimed(seeds: Vec<(String, Value)>) -> impl Strategy<Value = Made> {
    let seed = select(seeds).prop_flat_map(|(path, seed)| (Just(path), wounded(vec![seed])));
    (seed, select(&["POST", "PUT", "merge", "strategic", "apply"][..]), any::<bool>()).prop_map(
        |((path, document), how, dry)| {
            let (method, media_type) = match how {
                "merge" => ("PATCH", "application/merge-patch+json"),
                "strategic" => ("PATCH", "application/strategic-merge-patch+json"),
                "apply" => ("PATCH", "application/apply-patch+yaml"),
                method => (method, "application/json"),
            };
            let collection = path.rsplit_once('/').unwrap().0.to_owned();
            let mut target = if how == "POST" { collection } else { path };
            target.push_str("?fieldManager=hostile");
            if dry {
                target.push_str("&dryRun=All");
            }
            let headers = vec![("content-type", media_type.to_owned())];
            Made { method, target, headers, body: document.to_string().into_bytes() }
        },
    )
}
