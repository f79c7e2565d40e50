//! What every cluster and every namespace comes with.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube_rs::api::PostParams;
use kube_rs::{Api, Client};
use serde_json::json;

use super::is_overtaken;
use super::level::Level;

/// Namespaces of every cluster.
const FIRST: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Makes the namespaces of every cluster.
///
/// # Errors
/// When the API server is away or refuses.
pub(super) async fn make_first(client: &Client) -> Result<(), kube_rs::Error> {
    let api = Api::<Namespace>::all(client.clone());
    for name in FIRST {
        let namespace = object(json!({ "metadata": { "name": name } }))?;
        make(&api, &namespace).await?;
    }
    Ok(())
}

/// Gives every namespace its `default` service account and the cluster's root certificate.
///
/// Source: Kubernetes, serviceaccount and root-ca-cert-publisher controllers.
pub(super) async fn run(client: Client, mut namespaces: Level<Namespace>, ca: String) {
    let mut furnished = BTreeSet::new();
    loop {
        let level = namespaces.borrow_and_update().clone();
        for (name, namespace) in level.iter().flat_map(|level| level.iter()) {
            let uid = namespace.metadata.uid.clone().unwrap_or_default();
            if namespace.metadata.deletion_timestamp.is_some() || furnished.contains(&uid) {
                continue;
            }
            match furnish(&client, name, &ca).await {
                Ok(()) => drop(furnished.insert(uid)),
                Err(error) => tracing::warn!("furnish namespace {name}: {error}"),
            }
        }
        if namespaces.changed().await.is_err() {
            return;
        }
    }
}

async fn furnish(client: &Client, namespace: &str, ca: &str) -> Result<(), kube_rs::Error> {
    let account = object(json!({ "metadata": { "name": "default" } }))?;
    make(&Api::<ServiceAccount>::namespaced(client.clone(), namespace), &account).await?;
    let certificate = object(json!({
        "metadata": { "name": "kube-root-ca.crt" },
        "data": { "ca.crt": ca },
    }))?;
    make(&Api::<ConfigMap>::namespaced(client.clone(), namespace), &certificate).await
}

fn object<K: serde::de::DeserializeOwned>(json: serde_json::Value) -> Result<K, kube_rs::Error> {
    serde_json::from_value(json).map_err(kube_rs::Error::SerdeError)
}

async fn make<K>(api: &Api<K>, object: &K) -> Result<(), kube_rs::Error>
where
    K: Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    match api.create(&PostParams::default(), object).await {
        Err(error) if !is_overtaken(&error) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}
