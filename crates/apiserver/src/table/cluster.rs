//! Rows for nodes, namespaces and the other built-in kinds.
use serde_json::{Value, json};

use super::{AGE, Column, NAME, age, items, listed, name, pairs, selector, since, text_or};

const TEXT: &str = "string";

pub(super) const NODE: &[Column] = &[
    NAME,
    ("Status", TEXT, false),
    ("Roles", TEXT, false),
    AGE,
    ("Version", TEXT, false),
    ("Internal-IP", TEXT, true),
    ("External-IP", TEXT, true),
    ("OS-Image", TEXT, true),
    ("Kernel-Version", TEXT, true),
    ("Container-Runtime", TEXT, true),
];

pub(super) fn node(node: &Value) -> Vec<Value> {
    let status = &node["status"];
    let ready = items(&status["conditions"]).iter().find(|c| c["type"] == "Ready");
    let mut word = match ready.map(|condition| condition["status"] == "True") {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node["spec"]["unschedulable"] == true {
        word.push_str(",SchedulingDisabled");
    }
    let labels = node["metadata"]["labels"].as_object();
    let role = |key: &String| key.strip_prefix("node-role.kubernetes.io/").map(str::to_owned);
    let roles: Vec<String> =
        labels.into_iter().flatten().filter_map(|(key, _)| role(key)).collect();
    let address = |of: &str| {
        let found = items(&status["addresses"]).iter().find(|address| address["type"] == of);
        json!(found.and_then(|address| address["address"].as_str()).unwrap_or("<none>"))
    };
    let system = &status["nodeInfo"];
    vec![
        name(node),
        json!(word),
        json!(listed(&roles)),
        age(node),
        json!(text_or(&system["kubeletVersion"], "<unknown>")),
        address("InternalIP"),
        address("ExternalIP"),
        json!(text_or(&system["osImage"], "<unknown>")),
        json!(text_or(&system["kernelVersion"], "<unknown>")),
        json!(text_or(&system["containerRuntimeVersion"], "<unknown>")),
    ]
}

pub(super) const NAMESPACE: &[Column] = &[NAME, ("Status", TEXT, false), AGE];

pub(super) fn namespace(object: &Value) -> Vec<Value> {
    vec![name(object), object["status"]["phase"].clone(), age(object)]
}

pub(super) const CONFIG_MAP: &[Column] = &[NAME, ("Data", TEXT, false), AGE];

pub(super) fn config_map(object: &Value) -> Vec<Value> {
    let count = |field: &str| object[field].as_object().map_or(0, serde_json::Map::len);
    vec![name(object), json!((count("data") + count("binaryData")).to_string()), age(object)]
}

pub(super) const SECRET: &[Column] = &[NAME, ("Type", TEXT, false), ("Data", TEXT, false), AGE];

pub(super) fn secret(object: &Value) -> Vec<Value> {
    let count = object["data"].as_object().map_or(0, serde_json::Map::len);
    vec![name(object), object["type"].clone(), json!(count.to_string()), age(object)]
}

pub(super) const SERVICE_ACCOUNT: &[Column] = &[NAME, ("Secrets", TEXT, false), AGE];

pub(super) fn service_account(object: &Value) -> Vec<Value> {
    vec![name(object), json!(items(&object["secrets"]).len().to_string()), age(object)]
}

pub(super) const EVENT: &[Column] = &[
    ("Last Seen", TEXT, false),
    ("Type", TEXT, false),
    ("Reason", TEXT, false),
    ("Object", TEXT, false),
    ("Subobject", TEXT, true),
    ("Source", TEXT, true),
    ("Message", TEXT, false),
    ("First Seen", TEXT, true),
    ("Count", TEXT, true),
    ("Name", TEXT, true),
];

pub(super) fn event(object: &Value) -> Vec<Value> {
    let first_of = |fields: [&str; 3]| {
        let stamp = fields.iter().map(|field| &object[field]).find(|stamp| stamp.is_string());
        json!(since(stamp.unwrap_or(&object["metadata"]["creationTimestamp"])))
    };
    let about = &object["involvedObject"];
    let kind = text_or(&about["kind"], "").to_lowercase();
    let source = [&object["source"]["component"], &object["source"]["host"]];
    let source: Vec<String> =
        source.iter().filter_map(|part| part.as_str()).map(str::to_owned).collect();
    let source = if source.is_empty() {
        text_or(&object["reportingComponent"], "")
    } else {
        source.join(", ")
    };
    vec![
        first_of(["lastTimestamp", "eventTime", "firstTimestamp"]),
        json!(text_or(&object["type"], "")),
        json!(text_or(&object["reason"], "")),
        json!(format!("{kind}/{}", text_or(&about["name"], ""))),
        json!(text_or(&about["fieldPath"], "")),
        json!(source),
        json!(text_or(&object["message"], "").trim()),
        first_of(["firstTimestamp", "eventTime", "lastTimestamp"]),
        json!(object["count"].as_u64().unwrap_or(1).to_string()),
        name(object),
    ]
}

pub(super) const SERVICE: &[Column] = &[
    NAME,
    ("Type", TEXT, false),
    ("Cluster-IP", TEXT, false),
    ("External-IP", TEXT, false),
    ("Port(s)", TEXT, false),
    AGE,
    ("Selector", TEXT, true),
];

pub(super) fn service(object: &Value) -> Vec<Value> {
    let spec = &object["spec"];
    let port = |port: &Value| {
        let number = port["port"].as_u64().unwrap_or(0);
        let protocol = text_or(&port["protocol"], "TCP");
        match port["nodePort"].as_u64().filter(|node_port| *node_port > 0) {
            Some(node_port) => format!("{number}:{node_port}/{protocol}"),
            None => format!("{number}/{protocol}"),
        }
    };
    let ports: Vec<String> = items(&spec["ports"]).iter().map(port).collect();
    vec![
        name(object),
        spec["type"].clone(),
        json!(text_or(&spec["clusterIP"], "<none>")),
        json!(external(object)),
        json!(listed(&ports)),
        age(object),
        json!(pairs(&spec["selector"])),
    ]
}

fn external(service: &Value) -> String {
    let spec = &service["spec"];
    let words = |list: &Value| -> Vec<String> {
        items(list).iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut addresses = words(&spec["externalIPs"]);
    match spec["type"].as_str() {
        Some("ExternalName") => text_or(&spec["externalName"], "<none>"),
        Some("LoadBalancer") => {
            let ingress = items(&service["status"]["loadBalancer"]["ingress"]);
            let granted =
                ingress.iter().filter_map(|i| i["ip"].as_str().or(i["hostname"].as_str()));
            addresses.splice(0..0, granted.map(str::to_owned));
            if addresses.is_empty() { "<pending>".to_owned() } else { addresses.join(",") }
        }
        _ => listed(&addresses),
    }
}

pub(super) const ENDPOINT_SLICE: &[Column] =
    &[NAME, ("AddressType", TEXT, false), ("Ports", TEXT, false), ("Endpoints", TEXT, false), AGE];

pub(super) fn endpoint_slice(object: &Value) -> Vec<Value> {
    let ports: Vec<String> = items(&object["ports"])
        .iter()
        .map(|port| port["port"].as_u64().map_or_else(|| "*".to_owned(), |port| port.to_string()))
        .collect();
    let addresses: Vec<&str> = items(&object["endpoints"])
        .iter()
        .flat_map(|endpoint| items(&endpoint["addresses"]))
        .filter_map(Value::as_str)
        .collect();
    vec![
        name(object),
        object["addressType"].clone(),
        json!(if ports.is_empty() { "<unset>".to_owned() } else { short(&ports) }),
        json!(if addresses.is_empty() { "<unset>".to_owned() } else { short(&addresses) }),
        age(object),
    ]
}

/// The first three words, and how many there are besides.
fn short<T: AsRef<str>>(words: &[T]) -> String {
    let shown: Vec<&str> = words.iter().take(3).map(AsRef::as_ref).collect();
    match words.len().saturating_sub(3) {
        0 => shown.join(","),
        more => format!("{} + {more} more...", shown.join(",")),
    }
}

pub(super) const ENDPOINTS: &[Column] = &[NAME, ("Endpoints", TEXT, false), AGE];

pub(super) fn endpoints(object: &Value) -> Vec<Value> {
    let mut words = Vec::new();
    for subset in items(&object["subsets"]) {
        for address in items(&subset["addresses"]) {
            let ip = text_or(&address["ip"], "");
            for port in items(&subset["ports"]) {
                words.push(format!("{ip}:{}", port["port"].as_u64().unwrap_or(0)));
            }
            if items(&subset["ports"]).is_empty() {
                words.push(ip);
            }
        }
    }
    vec![
        name(object),
        json!(if words.is_empty() { "<none>".to_owned() } else { short(&words) }),
        age(object),
    ]
}

pub(super) const LEASE: &[Column] = &[NAME, ("Holder", TEXT, false), AGE];

pub(super) fn lease(object: &Value) -> Vec<Value> {
    vec![name(object), json!(text_or(&object["spec"]["holderIdentity"], "")), age(object)]
}

pub(super) const NETWORK_POLICY: &[Column] = &[NAME, ("Pod-Selector", TEXT, false), AGE];

pub(super) fn network_policy(object: &Value) -> Vec<Value> {
    vec![name(object), json!(selector(&object["spec"]["podSelector"])), age(object)]
}

pub(super) const INGRESS: &[Column] = &[
    NAME,
    ("Class", TEXT, false),
    ("Hosts", TEXT, false),
    ("Address", TEXT, false),
    ("Ports", TEXT, false),
    AGE,
];

pub(super) fn ingress(object: &Value) -> Vec<Value> {
    let spec = &object["spec"];
    let hosts: Vec<String> =
        items(&spec["rules"]).iter().map(|rule| text_or(&rule["host"], "*")).collect();
    let granted = items(&object["status"]["loadBalancer"]["ingress"]);
    let addresses: Vec<&str> =
        granted.iter().filter_map(|i| i["ip"].as_str().or(i["hostname"].as_str())).collect();
    vec![
        name(object),
        json!(text_or(&spec["ingressClassName"], "<none>")),
        json!(if hosts.is_empty() { "*".to_owned() } else { short(&hosts) }),
        json!(addresses.join(",")),
        json!(if items(&spec["tls"]).is_empty() { "80" } else { "80, 443" }),
        age(object),
    ]
}

pub(super) const DEFINITION: &[Column] = &[NAME, ("Created At", "date", false)];

pub(super) fn definition(object: &Value) -> Vec<Value> {
    vec![name(object), object["metadata"]["creationTimestamp"].clone()]
}

pub(super) const INGRESS_CLASS: &[Column] =
    &[NAME, ("Controller", TEXT, false), ("Parameters", TEXT, false), AGE];

pub(super) fn ingress_class(object: &Value) -> Vec<Value> {
    let parameters = &object["spec"]["parameters"];
    let kind = parameters["apiGroup"].as_str().map_or_else(
        || text_or(&parameters["kind"], ""),
        |group| format!("{}.{group}", text_or(&parameters["kind"], "")),
    );
    let shown = match parameters["name"].as_str() {
        Some(name) => format!("{kind}/{name}"),
        None => "<none>".to_owned(),
    };
    vec![name(object), json!(text_or(&object["spec"]["controller"], "")), json!(shown), age(object)]
}

pub(super) const SCALE: &[Column] =
    &[NAME, ("Desired", "integer", false), ("Available", "integer", false), AGE];

pub(super) fn scale(object: &Value) -> Vec<Value> {
    let number = |part: &str| json!(object[part]["replicas"].as_i64().unwrap_or(0));
    vec![name(object), number("spec"), number("status"), age(object)]
}
