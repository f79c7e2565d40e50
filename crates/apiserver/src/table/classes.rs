//! Rows for roles, classes, volumes and limits.
use serde_json::{Value, json};

use super::{AGE, Column, NAME, age, items, name, text_or};

const TEXT: &str = "string";

pub(super) const ROLE: &[Column] = &[NAME, ("Created At", TEXT, false)];

/// Also for limit ranges: their rules are for `kubectl describe`.
pub(super) fn role(object: &Value) -> Vec<Value> {
    vec![name(object), object["metadata"]["creationTimestamp"].clone()]
}

pub(super) const ROLE_BINDING: &[Column] = &[
    NAME,
    ("Role", TEXT, false),
    AGE,
    ("Users", TEXT, true),
    ("Groups", TEXT, true),
    ("ServiceAccounts", TEXT, true),
];

pub(super) fn role_binding(object: &Value) -> Vec<Value> {
    let role = &object["roleRef"];
    let subjects = |kind: &str| {
        let of_kind = items(&object["subjects"]).iter().filter(|subject| subject["kind"] == kind);
        let words: Vec<String> = of_kind
            .map(|subject| match subject["namespace"].as_str() {
                Some(namespace) => format!("{namespace}/{}", text_or(&subject["name"], "")),
                None => text_or(&subject["name"], ""),
            })
            .collect();
        json!(words.join(", "))
    };
    vec![
        name(object),
        json!(format!("{}/{}", text_or(&role["kind"], ""), text_or(&role["name"], ""))),
        age(object),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

pub(super) const PRIORITY_CLASS: &[Column] = &[
    NAME,
    ("Value", "integer", false),
    ("Global-Default", "boolean", false),
    AGE,
    ("PreemptionPolicy", TEXT, false),
];

pub(super) fn priority_class(object: &Value) -> Vec<Value> {
    vec![
        name(object),
        json!(object["value"].as_i64().unwrap_or(0)),
        json!(object["globalDefault"] == true),
        age(object),
        json!(text_or(&object["preemptionPolicy"], "")),
    ]
}

pub(super) const STORAGE_CLASS: &[Column] = &[
    NAME,
    ("Provisioner", TEXT, false),
    ("ReclaimPolicy", TEXT, false),
    ("VolumeBindingMode", TEXT, false),
    ("AllowVolumeExpansion", "boolean", false),
    AGE,
];

pub(super) fn storage_class(object: &Value) -> Vec<Value> {
    let mark = "storageclass.kubernetes.io/is-default-class";
    let default = object["metadata"]["annotations"][mark] == "true";
    let shown = text_or(&object["metadata"]["name"], "");
    vec![
        json!(if default { format!("{shown} (default)") } else { shown }),
        json!(text_or(&object["provisioner"], "")),
        json!(text_or(&object["reclaimPolicy"], "Delete")),
        json!(text_or(&object["volumeBindingMode"], "Immediate")),
        json!(object["allowVolumeExpansion"] == true),
        age(object),
    ]
}

pub(super) const RUNTIME_CLASS: &[Column] = &[NAME, ("Handler", TEXT, false), AGE];

pub(super) fn runtime_class(object: &Value) -> Vec<Value> {
    vec![name(object), json!(text_or(&object["handler"], "")), age(object)]
}

pub(super) const VOLUME: &[Column] = &[
    NAME,
    ("Capacity", TEXT, false),
    ("Access Modes", TEXT, false),
    ("Reclaim Policy", TEXT, false),
    ("Status", TEXT, false),
    ("Claim", TEXT, false),
    ("StorageClass", TEXT, false),
    ("VolumeAttributesClass", TEXT, false),
    ("Reason", TEXT, false),
    AGE,
    ("VolumeMode", TEXT, true),
];

pub(super) fn volume(object: &Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let claim = &spec["claimRef"];
    let claim = match claim["name"].as_str() {
        Some(name) => format!("{}/{name}", text_or(&claim["namespace"], "")),
        None => String::new(),
    };
    vec![
        name(object),
        json!(text_or(&spec["capacity"]["storage"], "0")),
        json!(modes(&spec["accessModes"])),
        json!(text_or(&spec["persistentVolumeReclaimPolicy"], "")),
        json!(phase(object)),
        json!(claim),
        json!(text_or(&spec["storageClassName"], "")),
        json!(text_or(&spec["volumeAttributesClassName"], "<unset>")),
        json!(text_or(&status["reason"], "")),
        age(object),
        json!(text_or(&spec["volumeMode"], "<unset>")),
    ]
}

pub(super) const CLAIM: &[Column] = &[
    NAME,
    ("Status", TEXT, false),
    ("Volume", TEXT, false),
    ("Capacity", TEXT, false),
    ("Access Modes", TEXT, false),
    ("StorageClass", TEXT, false),
    ("VolumeAttributesClass", TEXT, false),
    AGE,
    ("VolumeMode", TEXT, true),
];

pub(super) fn claim(object: &Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let volume = text_or(&spec["volumeName"], "");
    let bound = !volume.is_empty();
    let capacity = if bound { text_or(&status["capacity"]["storage"], "0") } else { String::new() };
    vec![
        name(object),
        json!(phase(object)),
        json!(volume),
        json!(capacity),
        json!(if bound { modes(&status["accessModes"]) } else { String::new() }),
        json!(text_or(&spec["storageClassName"], "")),
        json!(text_or(&spec["volumeAttributesClassName"], "<unset>")),
        age(object),
        json!(text_or(&spec["volumeMode"], "<unset>")),
    ]
}

fn phase(object: &Value) -> String {
    if object["metadata"]["deletionTimestamp"].is_string() {
        return "Terminating".to_owned();
    }
    text_or(&object["status"]["phase"], "")
}

/// Access modes by their initials.
fn modes(modes: &Value) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| items(modes).iter().any(|given| given == mode);
    let words: Vec<&str> =
        SHORT.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect();
    words.join(",")
}

pub(super) const QUOTA: &[Column] = &[NAME, ("Request", TEXT, false), ("Limit", TEXT, false), AGE];

pub(super) fn quota(object: &Value) -> Vec<Value> {
    let status = &object["status"];
    let column = |limits: bool| {
        let hard = status["hard"].as_object().into_iter().flatten();
        let words: Vec<String> = hard
            .filter(|(resource, _)| resource.starts_with("limits.") == limits)
            .map(|(resource, hard)| {
                let used = text_or(&status["used"][resource], "0");
                format!("{resource}: {used}/{}", text_or(hard, "0"))
            })
            .collect();
        json!(words.join(", "))
    };
    vec![name(object), column(false), column(true), age(object)]
}

pub(super) const WEBHOOKS: &[Column] = &[NAME, ("Webhooks", "integer", false), AGE];

pub(super) fn webhooks(object: &Value) -> Vec<Value> {
    vec![name(object), json!(items(&object["webhooks"]).len()), age(object)]
}

pub(super) const ADMISSION_POLICY: &[Column] =
    &[NAME, ("Validations", "integer", false), ("ParamKind", TEXT, false), AGE];

pub(super) fn admission_policy(object: &Value) -> Vec<Value> {
    let of = &object["spec"]["paramKind"];
    let shown = match of["kind"].as_str() {
        Some(kind) => format!("{}/{kind}", text_or(&of["apiVersion"], "")),
        None => "<unset>".to_owned(),
    };
    vec![
        name(object),
        json!(items(&object["spec"]["validations"]).len()),
        json!(shown),
        age(object),
    ]
}

pub(super) const ADMISSION_BINDING: &[Column] =
    &[NAME, ("PolicyName", TEXT, false), ("ParamRef", TEXT, false), AGE];

pub(super) fn admission_binding(object: &Value) -> Vec<Value> {
    let of = &object["spec"]["paramRef"];
    let shown = match of["name"].as_str() {
        Some(name) => format!("{}/{name}", text_or(&of["namespace"], "*")),
        None => "<unset>".to_owned(),
    };
    let policy = text_or(&object["spec"]["policyName"], "");
    vec![name(object), json!(policy), json!(shown), age(object)]
}

pub(super) const SERVICE_CIDR: &[Column] = &[NAME, ("CIDRs", TEXT, false), AGE];

pub(super) fn service_cidr(object: &Value) -> Vec<Value> {
    let cidrs: Vec<&str> =
        items(&object["spec"]["cidrs"]).iter().filter_map(Value::as_str).collect();
    vec![name(object), json!(cidrs.join(",")), age(object)]
}

pub(super) const IP_ADDRESS: &[Column] = &[NAME, ("ParentRef", TEXT, false), AGE];

pub(super) fn ip_address(object: &Value) -> Vec<Value> {
    let parent = &object["spec"]["parentRef"];
    let mut shown = text_or(&parent["resource"], "<none>");
    if let Some(group) = parent["group"].as_str().filter(|group| !group.is_empty()) {
        shown = format!("{shown}.{group}");
    }
    for field in ["namespace", "name"] {
        if let Some(part) = parent[field].as_str().filter(|part| !part.is_empty()) {
            shown = format!("{shown}/{part}");
        }
    }
    vec![name(object), json!(shown), age(object)]
}
