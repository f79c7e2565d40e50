//! The annotation that definitions in Kubernetes' own groups must bear.
//!
//! Source: KEP-1111; apiextensions-apiserver `pkg/apihelpers` `GetAPIApprovalState`.
use serde_json::Value;

use crate::refusal::Cause;

const ANNOTATION: &str = "api-approved.kubernetes.io";

/// How a definition in a protected group stands.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) conforms: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// How a definition stands; none if its group is not protected.
pub(crate) fn state(definition: &Value) -> Option<State> {
    let group = definition["spec"]["group"].as_str()?;
    let protected =
        |suffix: &str| group.strip_suffix(suffix).is_some_and(|g| g.is_empty() || g.ends_with('.'));
    if !protected("k8s.io") && !protected("kubernetes.io") {
        return None;
    }
    let given = definition["metadata"]["annotations"][ANNOTATION].as_str().unwrap_or("");
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    let is_url = given.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && !rest.is_empty() && !rest.starts_with('/')
    });
    let (conforms, reason, message) = if given.is_empty() {
        let message =
            format!("protected groups must have approval annotation \"{ANNOTATION}\", {see}");
        (false, "MissingAnnotation", message)
    } else if given.starts_with("unapproved") {
        (false, "UnapprovedAnnotation", format!("not approved: {given:?}"))
    } else if is_url {
        (true, "ApprovedAnnotation", format!("approved in {given}"))
    } else {
        let message = format!(
            "protected groups must have approval annotation \"{ANNOTATION}\" with either a URL or \
             a reason starting with \"unapproved\", {see}"
        );
        (false, "InvalidAnnotation", message)
    };
    Some(State { conforms, reason, message })
}

/// What is wrong with the annotation.
pub(super) fn causes(definition: &Value) -> Option<Cause> {
    let now = state(definition)?;
    let path = format!("metadata.annotations[{ANNOTATION}]");
    match now.reason {
        "MissingAnnotation" => Some(Cause::required(path, &now.message)),
        "InvalidAnnotation" => {
            let given = &definition["metadata"]["annotations"][ANNOTATION];
            Some(Cause::invalid(path, given, &now.message))
        }
        _ => None,
    }
}
