//! A client of a lab's API that is quick: no process for each object.

use kube_rs::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube_rs::config::{KubeConfigOptions, Kubeconfig};
use kube_rs::core::GroupVersionKind;
use kube_rs::{Client, Config, Error};
use serde_json::{Map, Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::lab::{Lab, eventually};

/// The lab's administrator.
pub(crate) struct Cluster {
    runtime: Runtime,
    client: Client,
}

impl Cluster {
    pub(crate) fn of(lab: &Lab) -> Cluster {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let kubeconfig = Kubeconfig::read_from(lab.dir().join("kubeconfig")).expect("a kubeconfig");
        let client = runtime.block_on(async {
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            Client::try_from(config.expect("a configuration")).expect("a client")
        });
        Cluster { runtime, client }
    }

    /// Has `object` be there, as it is said.
    pub(crate) fn put(&self, object: &Value) {
        let api = self.api(object);
        let mut new: DynamicObject = serde_json::from_value(typed(object)).expect("an object");
        let name = name_of(object);
        let put = async {
            match api.create(&PostParams::default(), &new).await {
                Err(Error::Api(status)) if status.code == 409 => {
                    new.metadata.resource_version = api.get(name).await?.metadata.resource_version;
                    api.replace(name, &PostParams::default(), &new).await
                }
                other => other,
            }
        };
        self.runtime.block_on(put).unwrap_or_else(|error| panic!("put {object}: {error}"));
    }

    /// Has `object` be gone, at once, whatever is in it.
    pub(crate) fn remove(&self, object: &Value) {
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let delete = async { self.api(object).delete(name_of(object), &now).await };
        self.runtime.block_on(delete).unwrap_or_else(|error| panic!("remove {object}: {error}"));
        eventually("it is gone", || match self.find(object) {
            Some(_) => Err(format!("{object} is there")),
            None => Ok(()),
        });
    }

    /// What there is of this kind, namespace and name.
    pub(crate) fn find(&self, object: &Value) -> Option<Value> {
        let found = async { self.api(object).get_opt(name_of(object)).await };
        let found = self.runtime.block_on(found);
        let found = found.unwrap_or_else(|error| panic!("get {object}: {error}"))?;
        Some(serde_json::to_value(found).expect("an object is JSON"))
    }

    /// Has `object` have these labels and no others.
    pub(crate) fn label(&self, object: &Value, labels: &Value) {
        let there = self.find(object).unwrap_or_else(|| panic!("no {object}"));
        let old = there["metadata"]["labels"].as_object().cloned().unwrap_or_default();
        let mut change: Map<String, Value> =
            old.into_iter().map(|(key, _)| (key, Value::Null)).collect();
        change.extend(labels.as_object().expect("labels").clone());
        let patch = Patch::Merge(json!({"metadata": {"labels": change}}));
        let api = self.api(object);
        let patched = async { api.patch(name_of(object), &PatchParams::default(), &patch).await };
        self.runtime.block_on(patched).unwrap_or_else(|error| panic!("label {object}: {error}"));
    }

    fn api(&self, object: &Value) -> Api<DynamicObject> {
        let object = typed(object);
        let text = |value: &Value| value.as_str().expect("a kind of some version").to_owned();
        let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }
}

/// `object` with the version of its kind: that of the core if it says none.
fn typed(object: &Value) -> Value {
    let mut object = object.clone();
    let version = object["apiVersion"].as_str().unwrap_or("v1").to_owned();
    object["apiVersion"] = version.into();
    object
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("a name")
}
