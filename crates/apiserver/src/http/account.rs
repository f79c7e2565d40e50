//! Pods and their service accounts: every pod has one, and finds its credentials where client
//! libraries look for them.
//!
//! Source: Kubernetes' admission plugin `ServiceAccount`.
use serde_json::{Value, json};

use super::Api;
use crate::store::Key;
use crate::time;

/// Where client libraries look for a pod's credentials.
const PLACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What the volume with them is called, before five letters of its own.
const VOLUME: &str = "kube-api-access-";

/// How long a token is asked to last, in seconds. The odd seven say who asked.
const SECONDS: u64 = 3607;

impl Api {
    /// Gives a new pod its account, and its containers the account's credentials unless the pod or
    /// the account is against it.
    ///
    /// # Errors
    /// A sentence about the account that is missing. A namespace's `default` is not: the pod may
    /// just be faster than those who furnish namespaces.
    pub(super) fn give_account(&self, namespace: &str, spec: &mut Value) -> Result<(), String> {
        if spec["serviceAccountName"].as_str().unwrap_or("").is_empty() {
            spec["serviceAccountName"] = json!("default");
            spec["serviceAccount"] = json!("default");
        }
        let name = spec["serviceAccountName"].as_str().unwrap_or("").to_owned();
        let accounts = self.builtin("", "serviceaccounts");
        let account = self.store.get(&accounts.shelf, &Key::new(namespace, &name));
        if account.is_none() && name != "default" {
            return Err(format!(
                "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" \
                 not found"
            ));
        }
        let account = account.map_or(Value::Null, |account| account.value.clone());
        let wish = |value: &Value| value["automountServiceAccountToken"].as_bool();
        if wish(spec).or(wish(&account)).unwrap_or(true) {
            mount_credentials(spec);
        }
        let none = spec["imagePullSecrets"].as_array().is_none_or(Vec::is_empty);
        if none && account["imagePullSecrets"].is_array() {
            spec["imagePullSecrets"] = account["imagePullSecrets"].clone();
        }
        Ok(())
    }
}

/// Adds the volume with the credentials, and mounts it in every container that has nothing else
/// in its place.
fn mount_credentials(spec: &mut Value) {
    let mut volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
    let is_ours = |volume: &&Value| volume["name"].as_str().is_some_and(|n| n.starts_with(VOLUME));
    let found = volumes.iter().find(is_ours).map(|volume| volume["name"].clone());
    let name = found.clone().unwrap_or_else(|| json!(format!("{VOLUME}{}", time::suffix())));
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            let mut mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
            if mounts.iter().all(|mount| mount["mountPath"] != PLACE) {
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": PLACE}));
                mounted = true;
            }
            container["volumeMounts"] = json!(mounts);
        }
    }
    if mounted && found.is_none() {
        volumes.push(credentials(&name));
        spec["volumes"] = json!(volumes);
    }
}

/// The volume: a token, the authority that signed the server's certificate, and the namespace.
fn credentials(name: &Value) -> Value {
    let token = json!({"expirationSeconds": SECONDS, "path": "token"});
    let authority =
        json!({"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]});
    let field = json!({"apiVersion": "v1", "fieldPath": "metadata.namespace"});
    let namespace = json!({"items": [{"path": "namespace", "fieldRef": field}]});
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": token}, {"configMap": authority}, {"downwardAPI": namespace},
    ]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_mounted_where_nothing_else_is() {
        let elsewhere = json!([{"name": "own", "mountPath": PLACE}]);
        let mut spec =
            json!({"containers": [{"name": "a"}, {"name": "b", "volumeMounts": elsewhere}]});
        mount_credentials(&mut spec);
        let name = spec["volumes"][0]["name"].clone();
        assert!(name.as_str().unwrap().starts_with(VOLUME));
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], name);
        assert_eq!(spec["containers"][1]["volumeMounts"], elsewhere);
        let once = spec.clone();
        mount_credentials(&mut spec);
        assert_eq!(spec, once);
    }
}
