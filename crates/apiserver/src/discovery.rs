//! What the server says about itself: its groups, versions and kinds, and its own version.
use serde_json::{Value, json};

use crate::access::accounts::ISSUER;
use crate::resource::{Registry, Resource, Scope};

/// The Kubernetes version whose API this is.
const KUBERNETES: (&str, &str) = ("1", "33");

/// A discovery document with the media type it is in.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) content_type: &'static str,
    pub(crate) value: Value,
}

impl Document {
    fn plain(value: Value) -> Self {
        Self { content_type: "application/json", value }
    }
}

/// What `/.well-known/openid-configuration` says of who signs the tokens of service accounts.
pub(crate) fn issuer() -> Value {
    json!({
        "issuer": ISSUER, "jwks_uri": format!("{ISSUER}/openid/v1/jwks"),
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

/// What `/version` says.
pub(crate) fn version() -> Value {
    let (major, minor) = KUBERNETES;
    json!({
        "major": major, "minor": minor,
        "gitVersion": format!("v{major}.{minor}.0+seaway.{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, go_architecture()),
    })
}

/// The machine's architecture under the name Kubernetes uses.
fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The discovery document at `path`, if there is one.
pub(crate) fn document(registry: &Registry, path: &str, accept: &str) -> Option<Document> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        [""] => Some(Document::plain(paths(registry))),
        [root @ ("api" | "apis")] => {
            if let Some(content_type) = aggregated(accept) {
                let value = group_discovery_list(registry, *root == "api", content_type.1);
                return Some(Document { content_type: content_type.0, value });
            }
            Some(Document::plain(if *root == "api" {
                api_versions()
            } else {
                group_list(registry)
            }))
        }
        ["api", version] => resource_list(registry, "", version),
        ["apis", group] => group_of(registry, group).map(Document::plain),
        ["apis", group, version] => resource_list(registry, group, version),
        _ => None,
    }
}

/// The first aggregated form the client accepts before plain JSON: media type and version.
fn aggregated(accept: &str) -> Option<(&'static str, &'static str)> {
    for clause in accept.split(',') {
        let parts: Vec<&str> = clause.split(';').map(str::trim).collect();
        if parts.first() != Some(&"application/json") {
            continue;
        }
        let has = |part: &str| parts.contains(&part);
        if !has("as=APIGroupDiscoveryList") || !has("g=apidiscovery.k8s.io") {
            return None;
        }
        if has("v=v2") {
            return Some((
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
                "v2",
            ));
        }
        if has("v=v2beta1") {
            let form = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
            return Some((form, "v2beta1"));
        }
    }
    None
}

fn paths(registry: &Registry) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in registry.groups().into_iter().filter(|(group, _)| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    let others = ["/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"];
    paths.extend(others.map(str::to_owned));
    json!({"paths": paths})
}

fn api_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

fn group_list(registry: &Registry) -> Value {
    let groups = registry.groups();
    let named = groups.keys().filter(|group| !group.is_empty());
    let groups: Vec<Value> = named
        .filter_map(|group| group_of(registry, group))
        .map(|mut group| {
            if let Some(fields) = group.as_object_mut() {
                fields.retain(|field, _| field != "kind" && field != "apiVersion");
            }
            group
        })
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn group_of(registry: &Registry, group: &str) -> Option<Value> {
    let groups = registry.groups();
    let versions: Vec<Value> = groups
        .get(group)
        .filter(|_| !group.is_empty())?
        .iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    Some(json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": group,
        "versions": versions, "preferredVersion": versions.first(),
    }))
}

fn resource_list(registry: &Registry, group: &str, version: &str) -> Option<Document> {
    let mut resources = Vec::new();
    for resource in of_version(registry, group, version) {
        resources.push(json!({
            "name": resource.plural, "singularName": resource.singular,
            "namespaced": resource.is_namespaced(), "kind": resource.kind,
            "verbs": resource.verbs(), "shortNames": resource.short_names,
            "categories": resource.categories,
        }));
        for sub in &resource.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", resource.plural, sub.name()), "singularName": "",
                "namespaced": resource.is_namespaced(), "kind": sub.kind(resource),
                "verbs": sub.verbs(),
            });
            if let Some((group, version)) = sub.foreign_version() {
                entry["group"] = json!(group);
                entry["version"] = json!(version);
            }
            resources.push(entry);
        }
    }
    if resources.is_empty() {
        return None;
    }
    let group_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(Document::plain(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
        "resources": resources,
    })))
}

fn of_version<'r>(
    registry: &'r Registry,
    group: &'r str,
    version: &'r str,
) -> impl Iterator<Item = &'r Resource> {
    let resources = registry.iter().map(AsRef::as_ref);
    resources.filter(move |r: &&Resource| r.group == group && r.version == version)
}

fn group_discovery_list(registry: &Registry, core: bool, form: &str) -> Value {
    let mut groups = Vec::new();
    for (group, versions) in registry.groups() {
        if group.is_empty() != core {
            continue;
        }
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| {
                let resources: Vec<Value> =
                    of_version(registry, group, version).map(resource_discovery).collect();
                json!({"version": version, "freshness": "Current", "resources": resources})
            })
            .collect();
        let mut metadata = json!({"creationTimestamp": null});
        if !group.is_empty() {
            metadata["name"] = json!(group);
        }
        groups.push(json!({"metadata": metadata, "versions": versions}));
    }
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{form}"),
        "metadata": {}, "items": groups,
    })
}

fn resource_discovery(resource: &Resource) -> Value {
    let scope = match resource.scope {
        Scope::Cluster => "Cluster",
        Scope::Namespaced => "Namespaced",
    };
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let subresources: Vec<Value> = resource
        .subresources
        .iter()
        .map(|sub| {
            let (group, version) =
                sub.foreign_version().unwrap_or((&resource.group, &resource.version));
            json!({
                "subresource": sub.name(), "verbs": sub.verbs(),
                "responseKind": kind(group, version, sub.kind(resource)),
            })
        })
        .collect();
    json!({
        "resource": resource.plural, "singularResource": resource.singular, "scope": scope,
        "responseKind": kind(&resource.group, &resource.version, &resource.kind),
        "verbs": resource.verbs(), "shortNames": resource.short_names,
        "categories": resource.categories, "subresources": subresources,
    })
}
