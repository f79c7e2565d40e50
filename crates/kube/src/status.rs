//! Conditions of policies of the cluster, told where their authors look.
//!
//! Source: `policy.networking.k8s.io`, `status.conditions`, a list by type; KEP-555, server-side apply.

use kube_rs::api::{DynamicObject, Patch, PatchParams};
use kube_rs::{Api, Client, Error};
use model::{Condition, PolicyState, encode};
use serde_json::json;

use crate::kind::cluster_policies;

/// Who has written the conditions.
const MANAGER: &str = "seaway-policies";

/// A policy's conditions could not be written.
#[derive(Debug, thiserror::Error)]
#[error("tell the conditions of {object}")]
pub struct StatusError {
    /// Kind and name of the policy.
    pub object: String,
    /// What the API server said, or that it could not be asked.
    #[source]
    pub cause: Box<Error>,
}

/// Writes all `conditions` that are ours of `policy`. Those that others have written stay. A policy of the
/// same name that has taken its place is left alone.
///
/// # Errors
/// [`StatusError`].
pub async fn tell_policy(
    client: &Client,
    policy: &PolicyState,
    conditions: &[Condition],
) -> Result<(), StatusError> {
    let resource = cluster_policies(policy.name.kind).resource;
    let (name, uid) = (&*policy.name.name, &*policy.edition.uid);
    let conditions: Vec<_> = conditions.iter().map(encode::condition).collect();
    let object = json!({
        "apiVersion": resource.api_version, "kind": resource.kind,
        "metadata": { "name": name, "uid": uid },
        "status": { "conditions": conditions },
    });
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let params = PatchParams::apply(MANAGER).force();
    let told = api.patch_status(name, &params, &Patch::Apply(object)).await;
    let object = || policy.name.to_string();
    told.map(drop).map_err(|cause| StatusError { object: object(), cause: Box::new(cause) })
}
