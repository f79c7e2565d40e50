//! Whatever a client writes, in whatever form and to whatever kind, it is answered. The first line
//! picks where it goes and what it claims to be.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaway_fuzz::{Asked, answer};

/// Method, path below the root.
const WAYS: [(&str, &str); 24] = [
    ("POST", "/api/v1/namespaces/default/pods"),
    ("PUT", "/api/v1/namespaces/default/pods/web"),
    ("PATCH", "/api/v1/namespaces/default/pods/web"),
    ("PATCH", "/api/v1/namespaces/default/pods/web/status"),
    ("PATCH", "/api/v1/namespaces/default/pods/web/ephemeralcontainers"),
    ("POST", "/api/v1/namespaces/default/pods/web/binding"),
    ("POST", "/api/v1/namespaces/default/pods/web/eviction"),
    ("POST", "/api/v1/namespaces/default/services"),
    ("PATCH", "/api/v1/namespaces/default/services/web"),
    ("PATCH", "/api/v1/namespaces/default/configmaps/web"),
    ("PUT", "/api/v1/namespaces/default/finalize"),
    ("POST", "/api/v1/namespaces/default/serviceaccounts/default/token"),
    ("DELETE", "/api/v1/namespaces/default/configmaps"),
    ("POST", "/apis/apps/v1/namespaces/default/deployments"),
    ("PATCH", "/apis/apps/v1/namespaces/default/deployments/web"),
    ("PATCH", "/apis/apps/v1/namespaces/default/deployments/web/scale"),
    ("PUT", "/apis/apps/v1/namespaces/default/deployments/web/scale"),
    ("POST", "/apis/batch/v1/namespaces/default/cronjobs"),
    ("POST", "/apis/networking.k8s.io/v1/namespaces/default/ingresses"),
    ("POST", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"),
    ("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"),
    ("PATCH", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles/web"),
    ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
];

const FORMS: [&str; 7] = [
    "application/json",
    "application/yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/vnd.kubernetes.protobuf",
];

fuzz_target!(|input: &[u8]| {
    let [way, form, options, body @ ..] = input else { return };
    let (method, path) = WAYS[usize::from(*way) % WAYS.len()];
    let media_type = FORMS[usize::from(*form) % FORMS.len()];
    let validation = ["", "&fieldValidation=Strict", "&fieldValidation=Ignore", "&dryRun=All"];
    let force = if media_type.contains("apply") { "&force=true" } else { "" };
    let options = validation[usize::from(*options) % validation.len()];
    let target = format!("{path}?fieldManager=fuzz{force}{options}");
    answer(&[Asked { method, target: &target, media_type, body }]);
});
