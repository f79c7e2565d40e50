//! Rules for config maps and secrets.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::name;
use crate::access::secrets;
use crate::refusal::Cause;

/// What is wrong with the keys of a `ConfigMap` or `Secret`.
pub(super) fn keys(value: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for field in ["data", "binaryData"] {
        for key in value[field].as_object().into_iter().flatten().map(|(key, _)| key) {
            if let Some(problem) = name::file_key(key) {
                causes.push(Cause::invalid(format!("{field}[{key}]"), &json!(key), &problem));
            }
            if field == "binaryData" && !value["data"][key].is_null() {
                let detail = "duplicate of key present in data";
                causes.push(Cause::invalid(format!("{field}[{key}]"), &json!(key), detail));
            }
        }
    }
    causes
}

/// The most bytes of all values of a secret together.
const LARGEST_SECRET: usize = 1024 * 1024;

/// What is wrong with a secret: each type has its keys.
///
/// Source: Kubernetes pkg/apis/core/validation, `ValidateSecret`.
pub(super) fn secret(value: &Value) -> Vec<Cause> {
    let mut causes = keys(value);
    let data = &value["data"];
    let bytes = |key: &str| data[key].as_str().and_then(|text| STANDARD.decode(text).ok());
    let sizes = data.as_object().into_iter().flatten();
    let size: usize = sizes.map(|(_, text)| text.as_str().unwrap_or("").len() / 4 * 3).sum();
    if size > LARGEST_SECRET {
        causes.push(Cause::too_long("data", LARGEST_SECRET));
    }
    let mut require = |keys: &[&str]| {
        for key in keys {
            causes.push(Cause::required(format!("data[{key}]"), ""));
        }
    };
    let of = value["type"].as_str().unwrap_or("");
    match of {
        "kubernetes.io/basic-auth" => {
            let both = ["username", "password"];
            if both.iter().all(|key| data[*key].is_null()) {
                require(&both);
            }
        }
        "kubernetes.io/ssh-auth" if bytes("ssh-privatekey").unwrap_or_default().is_empty() => {
            require(&["ssh-privatekey"]);
        }
        "kubernetes.io/tls" => {
            let missing = ["tls.crt", "tls.key"].into_iter().filter(|key| data[*key].is_null());
            require(&missing.collect::<Vec<_>>());
        }
        "kubernetes.io/dockercfg" => causes.extend(registry_login(data, ".dockercfg")),
        "kubernetes.io/dockerconfigjson" => {
            causes.extend(registry_login(data, ".dockerconfigjson"));
        }
        secrets::TYPE => {
            let account = &value["metadata"]["annotations"][secrets::ACCOUNT];
            if account.as_str().unwrap_or("").is_empty() {
                let field = format!("metadata.annotations[{}]", secrets::ACCOUNT);
                causes.push(Cause::required(field, ""));
            }
        }
        _ => {}
    }
    causes
}

/// What is wrong with logins to registries, which are a JSON object below `key`.
fn registry_login(data: &Value, key: &str) -> Option<Cause> {
    let field = format!("data[{key}]");
    let Some(text) = data[key].as_str() else { return Some(Cause::required(field, "")) };
    let bytes = STANDARD.decode(text).unwrap_or_default();
    let read = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes);
    let why = read.err()?.to_string();
    Some(Cause::invalid(field, &json!("<secret contents redacted>"), &why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_of_secret_has_its_keys() {
        let encode = |text: &str| json!(STANDARD.encode(text));
        let cases = [
            (json!({"type": "Opaque"}), ""),
            (
                json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
                "data[tls.key]: Required value",
            ),
            (json!({"type": "kubernetes.io/basic-auth", "data": {"password": ""}}), ""),
            (json!({"type": "kubernetes.io/basic-auth"}), "data[username]: Required value"),
            (json!({"type": "kubernetes.io/ssh-auth"}), "data[ssh-privatekey]: Required value"),
            (json!({"type": "kubernetes.io/dockercfg"}), "data[.dockercfg]: Required value"),
            (
                json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": encode("{}")}}),
                "",
            ),
            (
                json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": encode("x")}}),
                "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": expected value",
            ),
            (
                json!({"type": secrets::TYPE}),
                "metadata.annotations[kubernetes.io/service-account.name]: Required value",
            ),
        ];
        for (value, why) in cases {
            let first = secret(&value).first().map_or(String::new(), Cause::line);
            assert!(
                first.starts_with(why) && first.is_empty() == why.is_empty(),
                "{value}: {first}"
            );
        }
    }
}
