//! Rows for what makes pods, and what watches over them.
use serde_json::{Value, json};

use super::{AGE, Column, NAME, age, items, name, pairs, selector, since, text_or};
use crate::time;

const TEXT: &str = "string";
const NUMBER: &str = "integer";

const CONTAINERS: Column = ("Containers", TEXT, true);
const IMAGES: Column = ("Images", TEXT, true);
const SELECTOR: Column = ("Selector", TEXT, true);

pub(super) const DEPLOYMENT: &[Column] = &[
    NAME,
    ("Ready", TEXT, false),
    ("Up-to-date", NUMBER, false),
    ("Available", NUMBER, false),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) fn deployment(object: &Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut cells = vec![
        name(object),
        json!(format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]))),
        json!(number(&status["updatedReplicas"])),
        json!(number(&status["availableReplicas"])),
        age(object),
    ];
    cells.extend(containers(&spec["template"]));
    cells.push(json!(selector(&spec["selector"])));
    cells
}

pub(super) const REPLICA_SET: &[Column] = &[
    NAME,
    ("Desired", NUMBER, false),
    ("Current", NUMBER, false),
    ("Ready", NUMBER, false),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

/// Also for replication controllers, whose selector is a map of labels.
pub(super) fn replica_set(object: &Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut cells = vec![
        name(object),
        json!(number(&spec["replicas"])),
        json!(number(&status["replicas"])),
        json!(number(&status["readyReplicas"])),
        age(object),
    ];
    cells.extend(containers(&spec["template"]));
    let of_labels = object["kind"] == "ReplicationController";
    let chosen = &spec["selector"];
    cells.push(json!(if of_labels { pairs(chosen) } else { selector(chosen) }));
    cells
}

pub(super) const STATEFUL_SET: &[Column] = &[NAME, ("Ready", TEXT, false), AGE, CONTAINERS, IMAGES];

pub(super) fn stateful_set(object: &Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let ready = format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]));
    let mut cells = vec![name(object), json!(ready), age(object)];
    cells.extend(containers(&spec["template"]));
    cells
}

pub(super) const DAEMON_SET: &[Column] = &[
    NAME,
    ("Desired", NUMBER, false),
    ("Current", NUMBER, false),
    ("Ready", NUMBER, false),
    ("Up-to-date", NUMBER, false),
    ("Available", NUMBER, false),
    ("Node Selector", TEXT, false),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) fn daemon_set(object: &Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let counts = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    let mut cells = vec![name(object)];
    cells.extend(counts.iter().map(|count| json!(number(&status[*count]))));
    cells.push(json!(pairs(&spec["template"]["spec"]["nodeSelector"])));
    cells.push(age(object));
    cells.extend(containers(&spec["template"]));
    cells.push(json!(selector(&spec["selector"])));
    cells
}

pub(super) const JOB: &[Column] = &[
    NAME,
    ("Status", TEXT, false),
    ("Completions", TEXT, false),
    ("Duration", TEXT, false),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) fn job(object: &Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let done = number(&status["succeeded"]);
    let completions = match (spec["completions"].as_i64(), number(&spec["parallelism"])) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, at_once) if at_once > 1 => format!("{done}/1 of {at_once}"),
        (None, _) => format!("{done}/1"),
    };
    let mut cells = vec![
        name(object),
        json!(job_state(object)),
        json!(completions),
        json!(job_duration(status)),
        age(object),
    ];
    cells.extend(containers(&spec["template"]));
    cells.push(json!(selector(&spec["selector"])));
    cells
}

fn job_state(object: &Value) -> &'static str {
    let holds = |of: &str| {
        let mut conditions = items(&object["status"]["conditions"]).iter();
        conditions.any(|c| c["type"] == of && c["status"] == "True")
    };
    let deleted = object["metadata"]["deletionTimestamp"].is_string();
    let states = [
        ("Complete", holds("Complete")),
        ("Failed", holds("Failed")),
        ("Terminating", deleted),
        ("Suspended", holds("Suspended")),
        ("FailureTarget", holds("FailureTarget")),
        ("SuccessCriteriaMet", holds("SuccessCriteriaMet")),
    ];
    states.iter().find(|(_, is)| *is).map_or("Running", |(state, _)| state)
}

/// How long a job has taken, or takes so far; nothing before it starts.
fn job_duration(status: &Value) -> String {
    let at = |field: &str| status[field].as_str().and_then(time::parse_rfc3339);
    let Some(start) = at("startTime") else { return String::new() };
    let end = at("completionTime").unwrap_or_else(time::now);
    time::human(end.saturating_sub(start))
}

pub(super) const CRON_JOB: &[Column] = &[
    NAME,
    ("Schedule", TEXT, false),
    ("Timezone", TEXT, false),
    ("Suspend", "boolean", false),
    ("Active", NUMBER, false),
    ("Last Schedule", TEXT, false),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) fn cron_job(object: &Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let last = &status["lastScheduleTime"];
    let suspended = if spec["suspend"] == true { "True" } else { "False" };
    let mut cells = vec![
        name(object),
        spec["schedule"].clone(),
        json!(text_or(&spec["timeZone"], "<none>")),
        json!(suspended),
        json!(items(&status["active"]).len()),
        json!(if last.is_string() { since(last) } else { "<none>".to_owned() }),
        age(object),
    ];
    let job = &spec["jobTemplate"]["spec"];
    cells.extend(containers(&job["template"]));
    cells.push(json!(selector(&job["selector"])));
    cells
}

pub(super) const POD_TEMPLATE: &[Column] =
    &[NAME, ("Containers", TEXT, false), ("Images", TEXT, false), ("Pod Labels", TEXT, false)];

pub(super) fn pod_template(object: &Value) -> Vec<Value> {
    let mut cells = vec![name(object)];
    cells.extend(containers(&object["template"]));
    cells.push(json!(pairs(&object["template"]["metadata"]["labels"])));
    cells
}

pub(super) const CONTROLLER_REVISION: &[Column] =
    &[NAME, ("Controller", TEXT, false), ("Revision", NUMBER, false), AGE];

pub(super) fn controller_revision(object: &Value) -> Vec<Value> {
    let owners = items(&object["metadata"]["ownerReferences"]);
    let controller = owners.iter().find(|owner| owner["controller"] == true).map(|owner| {
        let kind = text_or(&owner["kind"], "").to_lowercase();
        let version = text_or(&owner["apiVersion"], "");
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let dot = if group.is_empty() { "" } else { "." };
        format!("{kind}{dot}{group}/{}", text_or(&owner["name"], ""))
    });
    vec![
        name(object),
        json!(controller.unwrap_or_else(|| "<none>".to_owned())),
        json!(number(&object["revision"])),
        age(object),
    ]
}

pub(super) const DISRUPTION_BUDGET: &[Column] = &[
    NAME,
    ("Min Available", TEXT, false),
    ("Max Unavailable", TEXT, false),
    ("Allowed Disruptions", NUMBER, false),
    AGE,
];

pub(super) fn disruption_budget(object: &Value) -> Vec<Value> {
    let amount = |value: &Value| match value.as_i64() {
        Some(number) => number.to_string(),
        None => text_or(value, "N/A"),
    };
    vec![
        name(object),
        json!(amount(&object["spec"]["minAvailable"])),
        json!(amount(&object["spec"]["maxUnavailable"])),
        json!(number(&object["status"]["disruptionsAllowed"])),
        age(object),
    ]
}

pub(super) const AUTOSCALER: &[Column] = &[
    NAME,
    ("Reference", TEXT, false),
    ("Targets", TEXT, false),
    ("MinPods", TEXT, false),
    ("MaxPods", NUMBER, false),
    ("Replicas", NUMBER, false),
    AGE,
];

pub(super) fn autoscaler(object: &Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let of = &spec["scaleTargetRef"];
    vec![
        name(object),
        json!(format!("{}/{}", text_or(&of["kind"], ""), text_or(&of["name"], ""))),
        json!(targets(items(&spec["metrics"]))),
        json!(spec["minReplicas"].as_i64().map_or_else(|| "<unset>".to_owned(), |n| n.to_string())),
        json!(number(&spec["maxReplicas"])),
        json!(number(&status["currentReplicas"])),
        age(object),
    ]
}

/// What an autoscaler aims at. Nobody measures in a lab, so what is so is unknown.
fn targets(metrics: &[Value]) -> String {
    let target = |metric: &Value| {
        let of = ["resource", "containerResource", "pods", "object", "external"];
        let source = of.iter().map(|of| &metric[*of]).find(|source| source.is_object())?;
        let what = text_or(&source["name"], "");
        let prefix = if what.is_empty() { String::new() } else { format!("{what}: ") };
        let aim = &source["target"];
        let aim = match aim["averageUtilization"].as_i64() {
            Some(percent) => format!("{percent}%"),
            None => text_or(&aim["averageValue"], &text_or(&aim["value"], "<auto>")),
        };
        Some(format!("{prefix}<unknown>/{aim}"))
    };
    let words: Vec<String> = metrics.iter().filter_map(target).collect();
    match words.len() {
        0 => "<none>".to_owned(),
        1 | 2 => words.join(", "),
        more => format!("{} + {} more...", words[..2].join(", "), more - 2),
    }
}

/// The names and images of a template's containers.
fn containers(template: &Value) -> [Value; 2] {
    let containers = items(&template["spec"]["containers"]);
    ["name", "image"].map(|field| {
        let words: Vec<&str> = containers.iter().filter_map(|c| c[field].as_str()).collect();
        json!(words.join(","))
    })
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_state_and_completions_are_what_kubectl_users_know() {
        let cases = r#"
            {"completions":3} | {"succeeded":1} | Running 1/3
            {"parallelism":2} | {} | Running 0/1 of 2
            {} | {"conditions":[{"type":"Suspended","status":"True"}]} | Suspended 0/1
            {"completions":1} | {"succeeded":1,"conditions":[{"type":"SuccessCriteriaMet","status":"True"},{"type":"Complete","status":"True"}]} | Complete 1/1
            {"completions":1} | {"conditions":[{"type":"Failed","status":"True"}]} | Failed 0/1"#;
        for line in cases.lines().skip(1) {
            let parts: Vec<&str> = line.trim().split(" | ").collect();
            let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            let cells = job(&json!({"spec": json(parts[0]), "status": json(parts[1])}));
            let shown = format!("{} {}", cells[1].as_str().unwrap(), cells[2].as_str().unwrap());
            assert_eq!(shown, parts[2], "{line}");
        }
    }
}
