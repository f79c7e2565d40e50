//! Subresources other than `status`: requests that are answered and not stored as they are.
use http::StatusCode;
use serde_json::{Value, json};

use super::request::Call;
use super::{Answer, Api, respond};
use crate::refusal::Refusal;
use crate::resource::Subresource;
use crate::store::Key;
use crate::strategy::Part;
use crate::time;

impl Api {
    /// Answers a call about a subresource.
    pub(super) fn subresource(&self, call: &Call) -> Answer {
        let (Some(subresource), Some(name)) = (call.target.subresource, &call.target.name) else {
            return Err(Refusal::method_not_allowed());
        };
        if call.target.resource.is_namespaced() && call.target.namespace.is_empty() {
            return Err(Refusal::no_such_path());
        }
        match (subresource, call.method.as_str()) {
            (Subresource::Status | Subresource::EphemeralContainers, "GET") => self.get(call, name),
            (
                Subresource::Status | Subresource::Finalize | Subresource::EphemeralContainers,
                "PUT",
            ) => self.update(call, name),
            (Subresource::Scale, _) => self.scale(call, name),
            (Subresource::Status | Subresource::EphemeralContainers, "PATCH") => {
                self.patch(call, name)
            }
            (Subresource::Binding, "POST") => self.bind(call, name),
            (Subresource::Eviction, "POST") => self.evict(call, name),
            (Subresource::Token, "POST") => self.issue_token(call, name),
            _ => Err(Refusal::method_not_allowed()),
        }
    }

    /// Puts a pod on a node, once.
    fn bind(&self, call: &Call, name: &str) -> Answer {
        let resource = &call.target.resource;
        let binding = call.object()?;
        let Some(node) = binding["target"]["name"].as_str().filter(|node| !node.is_empty()) else {
            return Err(Refusal::bad_request("binding: target.name: Required value"));
        };
        let key = Key::new(&call.target.namespace, name);
        let dry_run = call.dry_run()?;
        self.rewrite(resource, &key, Part::Binding, dry_run, None, |old| {
            if !old["metadata"]["deletionTimestamp"].is_null() {
                let why = format!("pod {name} is being deleted, cannot be assigned to a host");
                return Err(Refusal::conflict(resource, name, &why));
            }
            if let Some(taken) = old["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
                let why = format!("pod {name} is already assigned to node \"{taken}\"");
                return Err(Refusal::conflict(resource, name, &why));
            }
            let mut new = old.clone();
            new["spec"]["nodeName"] = json!(node);
            scheduled(&mut new["status"]);
            Ok(new)
        })?;
        Ok(success(StatusCode::CREATED))
    }

    /// A token for a service account.
    fn issue_token(&self, call: &Call, name: &str) -> Answer {
        let account = self.existing(call, name)?;
        let request = self.request_token(&account, call.object()?)?;
        Ok(respond::json(StatusCode::CREATED, &request))
    }
}

/// Notes in a pod's status that it has a node.
fn scheduled(status: &mut Value) {
    let condition = json!({
        "type": "PodScheduled", "status": "True",
        "lastTransitionTime": time::rfc3339(time::now()),
    });
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| condition["type"] != "PodScheduled");
    conditions.push(condition);
    status["conditions"] = json!(conditions);
}

pub(super) fn success(code: StatusCode) -> http::Response<super::Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "code": code.as_u16(),
    });
    respond::json(code, &status)
}
