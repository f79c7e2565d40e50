//! Custom kinds as the `kube` crate meets them: found by discovery, without types.
use futures_util::TryStreamExt;
use kube_rs::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube_rs::api::{WatchEvent, WatchParams};
use kube_rs::core::GroupVersionKind;
use kube_rs::discovery::{Scope, pinned_kind};
use kube_rs::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::http::send;
use crate::{code, config};

/// A kind in two versions, with a scale and a field to select by.
fn widgets() -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "replicas": {"type": "integer"}, "color": {"type": "string"},
            "parts": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object",
                "required": ["name"], "properties": {
                    "name": {"type": "string"}, "size": {"type": "integer"}}}},
        }},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
    }}});
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage, "schema": schema,
            "selectableFields": [{"jsonPath": ".spec.color"}],
            "subresources": {"status": {}, "scale": {
                "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [version("v1alpha1", false), version("v1", true)],
        },
    })
}

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A client of a server that serves widgets, and their interface.
async fn served() -> (Client, Api<DynamicObject>) {
    let client = Client::try_from(config().await).unwrap();
    let json = ("content-type", "application/json");
    let body = widgets().to_string().into_bytes();
    let (code, said) = send(&client, &format!("POST {DEFINITIONS}"), &[json], body).await;
    assert_eq!(code, 201, "{said}");
    for _ in 0..200 {
        let kind = GroupVersionKind::gvk("example.com", "v1", "Widget");
        if let Ok((resource, capabilities)) = pinned_kind(&client, &kind).await {
            assert_eq!(
                (resource.plural.as_str(), capabilities.scope),
                ("widgets", Scope::Namespaced)
            );
            return (client.clone(), Api::default_namespaced_with(client, &resource));
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the kind is not served");
}

fn widget(name: &str, color: &str) -> DynamicObject {
    let object = json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name},
        "spec": {"color": color, "replicas": 2, "parts": [{"name": "a", "size": 1}]},
    });
    serde_json::from_value(object).unwrap()
}

#[tokio::test]
async fn a_kind_found_by_discovery_can_be_written_selected_and_scaled() {
    let (client, widgets) = served().await;
    let (_, group) = send(&client, "GET /apis/example.com", &[], vec![]).await;
    assert_eq!(group["preferredVersion"]["version"], "v1");
    for (name, color) in [("a", "red"), ("b", "green")] {
        widgets.create(&PostParams::default(), &widget(name, color)).await.unwrap();
    }
    let red = widgets.list(&ListParams::default().fields("spec.color=red")).await.unwrap();
    assert_eq!(red.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["a"]);
    assert_eq!(code(widgets.list(&ListParams::default().fields("spec.replicas=2")).await), 400);
    let scale = widgets.get_scale("a").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(2));
    let five = Patch::Merge(json!({"spec": {"replicas": 5}}));
    widgets.patch_scale("a", &PatchParams::default(), &five).await.unwrap();
    assert_eq!(widgets.get("a").await.unwrap().data["spec"]["replicas"], 5);
    let strategic = Patch::Strategic(json!({"spec": {"replicas": 6}}));
    assert_eq!(code(widgets.patch("a", &PatchParams::default(), &strategic).await), 415);
}

#[tokio::test]
async fn lists_are_applied_by_the_keys_of_their_schema() {
    let (_, widgets) = served().await;
    let apply = |manager: &str, part: &str| {
        let object = json!({
            "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"},
            "spec": {"parts": [{"name": part, "size": 1}]},
        });
        (PatchParams::apply(manager), Patch::Apply(object))
    };
    for (manager, part) in [("one", "x"), ("two", "y")] {
        let (params, patch) = apply(manager, part);
        widgets.patch("a", &params, &patch).await.unwrap();
    }
    let both = widgets.get("a").await.unwrap();
    let names: Vec<_> =
        both.data["spec"]["parts"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
    assert_eq!(names, ["x", "y"]);
    assert_eq!(both.managed_fields().len(), 2);
}

#[tokio::test]
async fn a_watch_tells_of_the_last_object_and_ends_with_its_kind() {
    let (client, widgets) = served().await;
    let version = widgets.list(&ListParams::default()).await.unwrap().metadata.resource_version;
    widgets.create(&PostParams::default(), &widget("a", "red")).await.unwrap();
    let events = widgets.watch(&WatchParams::default(), &version.unwrap()).await.unwrap();
    let gone = format!("DELETE {DEFINITIONS}/widgets.example.com");
    assert_eq!(send(&client, &gone, &[], vec![]).await.0, 200);
    let events: Vec<_> = events.try_collect().await.unwrap();
    assert!(matches!(&events[..], [WatchEvent::Added(_), WatchEvent::Deleted(_)]), "{events:?}");
    assert_eq!(code(widgets.delete("a", &DeleteParams::default()).await), 404);
}

#[tokio::test]
async fn documents_that_did_not_change_are_not_sent_again() {
    let (client, _) = served().await;
    let (_, index) = send(&client, "GET /openapi/v3", &[], vec![]).await;
    let url = index["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str().unwrap();
    let hash = url.split_once("hash=").unwrap().1;
    let (code, document) = send(&client, &format!("GET {url}"), &[], vec![]).await;
    let schema = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(
        (code, &schema["x-kubernetes-group-version-kind"][0]["kind"]),
        (200, &json!("Widget"))
    );
    let parts = &schema["properties"]["spec"]["properties"]["parts"];
    assert_eq!(parts["x-kubernetes-list-map-keys"], json!(["name"]));
    let known = format!("\"{hash}\"");
    let (code, _) =
        send(&client, &format!("GET {url}"), &[("if-none-match", &known)], vec![]).await;
    assert_eq!(code, 304);
}
