//! Autoscalers in a cluster where nobody measures: sizes are kept within their bounds, and the status says
//! why no metric moves them.
//!
//! Source: Kubernetes, `pkg/controller/podautoscaler`; its clients of the metrics APIs, when those are not
//! served.

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, MetricSpec};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::runtime::{Action, Change, Cluster, Controller, Keys, Kind, Note, Plan, Turn, Write};

/// How often sizes are looked at.
///
/// Source: kube-controller-manager, `--horizontal-pod-autoscaler-sync-period`.
const PERIOD: SignedDuration = SignedDuration::from_secs(15);

/// The controller of autoscalers.
pub(super) struct Autoscalers;

impl Controller for Autoscalers {
    fn name(&self) -> &'static str {
        "horizontal-pod-autoscaler"
    }

    fn concerns(&mut self, _cluster: &Cluster, change: &Change, keys: &mut Keys) {
        if let Change::HorizontalPodAutoscaler(changed) = change
            && let Some(new) = &changed.new
            && changed.old.as_ref().is_none_or(|old| old.spec != new.spec)
        {
            keys.add(changed.key.clone());
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, turn: &Turn<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let Some(scaler) = cluster.autoscalers.get(key) else { return plan };
        plan.again_at(turn.now + PERIOD);
        let mut status = Status::of(scaler, turn.now);
        match target(cluster, scaler) {
            Err(why) => {
                plan.events.push(Note::warning(&**scaler, "FailedGetScale", why.clone()));
                let unable = "the HPA controller was unable to get the target's current scale";
                status.says("AbleToScale", "False", "FailedGetScale", &format!("{unable}: {why}"));
            }
            Ok(target) => judge(scaler, &target, &mut status, &mut plan),
        }
        plan.writes.extend(status.write(scaler));
        plan
    }
}

/// What is scaled.
struct Target {
    replicas: i32,
    /// Sets the size; refused when somebody else has changed the object.
    resize: Box<dyn Fn(i32) -> Write>,
}

/// The target of `scaler`, or why there is none.
fn target(cluster: &Cluster, scaler: &HorizontalPodAutoscaler) -> Result<Target, String> {
    let Some(spec) = &scaler.spec else { return Err("there is no spec".to_owned()) };
    let (wanted, namespace) = (&spec.scale_target_ref, scaler.metadata.namespace.as_deref());
    let (name, namespace) = (wanted.name.as_str(), namespace.unwrap_or_default());
    let version = wanted.api_version.as_deref().unwrap_or_default();
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let missing = |plural: &str| format!("{plural}.apps \"{name}\" not found");
    match (group, wanted.kind.as_str()) {
        ("apps", "Deployment") => {
            let found = cluster.deployments.named(namespace, name);
            let size = |spec: &k8s_openapi::api::apps::v1::DeploymentSpec| spec.replicas;
            let found = found.ok_or_else(|| missing("deployments"))?;
            Ok(Target::of(&**found, found.spec.as_ref().and_then(size)))
        }
        ("apps", "ReplicaSet") => {
            let found = cluster.replica_sets.named(namespace, name);
            let found = found.ok_or_else(|| missing("replicasets"))?;
            Ok(Target::of(&**found, found.spec.as_ref().and_then(|spec| spec.replicas)))
        }
        ("apps", "StatefulSet") => {
            let found = cluster.stateful_sets.named(namespace, name);
            let found = found.ok_or_else(|| missing("statefulsets"))?;
            Ok(Target::of(&**found, found.spec.as_ref().and_then(|spec| spec.replicas)))
        }
        (group, kind) => Err(format!("no matches for kind {kind:?} in group {group:?}")),
    }
}

impl Target {
    fn of<K: Kind>(object: &K, replicas: Option<i32>) -> Self {
        let object = object.clone();
        let version = object.meta().resource_version.clone();
        let resize = move |replicas: i32| {
            let patch = json!({
                "metadata": { "resourceVersion": version }, "spec": { "replicas": replicas },
            });
            Write::new(Action::Patch(patch), object.clone())
        };
        Self { replicas: replicas.unwrap_or(1), resize: Box::new(resize) }
    }
}

fn judge(scaler: &HorizontalPodAutoscaler, target: &Target, status: &mut Status, plan: &mut Plan) {
    const ABLE: &str = "the HPA controller was able to get the target's current scale";
    let Some(spec) = &scaler.spec else { return };
    status.says("AbleToScale", "True", "SucceededGetScale", ABLE);
    status.current = target.replicas;
    let (least, most) = (spec.min_replicas.unwrap_or(1), spec.max_replicas);
    let (size, why) = match target.replicas {
        0 if least != 0 => {
            const ZERO: &str = "scaling is disabled since the replica count of the target is zero";
            status.desired = 0;
            status.says("ScalingActive", "False", "ScalingDisabled", ZERO);
            return;
        }
        current if current > most => (most, "Current number of replicas above Spec.MaxReplicas"),
        current if current < least => (least, "Current number of replicas below Spec.MinReplicas"),
        _ => {
            let unknown = Unknown::of(scaler, spec.metrics.as_deref().unwrap_or_default());
            let unable =
                format!("the HPA was unable to compute the replica count: {}", unknown.why);
            status.says("ScalingActive", "False", unknown.reason, &unable);
            plan.events.push(Note::warning(scaler, unknown.reason, unknown.why));
            plan.events.push(Note::warning(scaler, "FailedComputeMetricsReplicas", unknown.sum));
            return;
        }
    };
    let sized = format!("New size: {size}; reason: {why}");
    let failed = Note::warning(scaler, "FailedRescale", format!("{sized}; error: {{error}}"));
    let write = (target.resize)(size).failed(failed);
    plan.writes.push(write.done(Note::normal(scaler, "SuccessfulRescale", sized)));
    let able = format!("the HPA controller was able to update the target scale to {size}");
    status.says("AbleToScale", "True", "SucceededRescale", &able);
    (status.desired, status.rescaled) = (size, true);
}

/// Why no metric has a value.
struct Unknown {
    reason: &'static str,
    /// Of the first metric.
    why: String,
    /// Of all.
    sum: String,
}

impl Unknown {
    fn of(scaler: &HorizontalPodAutoscaler, metrics: &[MetricSpec]) -> Self {
        let namespace = scaler.metadata.namespace.as_deref().unwrap_or_default();
        let first = metrics.first().map(|metric| no_value(metric, namespace));
        let (reason, why, of) = first.unwrap_or_else(|| {
            let why = "there is no metric".to_owned();
            ("InvalidMetricSourceType", why.clone(), why)
        });
        let all = metrics.len();
        let sum = format!("invalid metrics ({all} invalid out of {all}), first error is: {of}");
        Self { reason, why, sum }
    }
}

/// Reason, message and, with what it was wanted for, message again.
fn no_value(metric: &MetricSpec, namespace: &str) -> (&'static str, String, String) {
    const CUSTOM: &str = "unable to fetch metrics from custom metrics API: no custom metrics API \
                          (custom.metrics.k8s.io) registered";
    let usage = |name: &str, target: &k8s_openapi::api::autoscaling::v2::MetricTarget| {
        let what = if target.average_value.is_some() { "usage" } else { "utilization" };
        format!(
            "failed to get {name} {what}: unable to get metrics for resource {name}: unable to fetch \
             metrics from resource metrics API: the server could not find the requested resource \
             (get pods.metrics.k8s.io)"
        )
    };
    if let Some(resource) = &metric.resource {
        let why = usage(&resource.name, &resource.target);
        let sum = format!("failed to get {} resource metric value: {why}", resource.name);
        return ("FailedGetResourceMetric", why, sum);
    }
    if let Some(resource) = &metric.container_resource {
        let why = usage(&resource.name, &resource.target);
        let sum = format!("failed to get {} container metric value: {why}", resource.container);
        return ("FailedGetContainerResourceMetric", why, sum);
    }
    if let Some(pods) = &metric.pods {
        let why = format!("unable to get metric {}: {CUSTOM}", pods.metric.name);
        let sum = format!("failed to get pods metric value: {why}");
        return ("FailedGetPodsMetric", why, sum);
    }
    if let Some(object) = &metric.object {
        let (kind, name) = (&object.described_object.kind, &object.described_object.name);
        let metric = &object.metric.name;
        let why = format!("unable to get metric {metric}: {kind} on {namespace} {name}/{CUSTOM}");
        let sum = format!("failed to get object metric value: {why}");
        return ("FailedGetObjectMetric", why, sum);
    }
    let name = metric.external.as_ref().map_or("", |external| external.metric.name.as_str());
    let why = format!(
        "unable to get external metric {namespace}/{name}: unable to fetch metrics from external \
         metrics API: the server could not find the requested resource (get \
         {name}.external.metrics.k8s.io)"
    );
    let sum = format!("failed to get {name} external metric value: {why}");
    ("FailedGetExternalMetric", why, sum)
}

/// The status as it is to be.
struct Status {
    current: i32,
    desired: i32,
    rescaled: bool,
    conditions: Vec<Value>,
    now: Timestamp,
}

impl Status {
    fn of(scaler: &HorizontalPodAutoscaler, now: Timestamp) -> Self {
        let old = scaler.status.as_ref();
        let conditions = old.and_then(|old| serde_json::to_value(&old.conditions).ok());
        Self {
            current: old.and_then(|old| old.current_replicas).unwrap_or(0),
            desired: old.map_or(0, |old| old.desired_replicas),
            rescaled: false,
            conditions: conditions.and_then(|all| all.as_array().cloned()).unwrap_or_default(),
            now,
        }
    }

    fn says(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let old = self.conditions.iter().position(|condition| condition["type"] == kind);
        let old = old.map(|place| self.conditions.remove(place));
        let since = old.filter(|old| old["status"] == status);
        let since = since.map_or(json!(stamp(self.now)), |old| old["lastTransitionTime"].clone());
        self.conditions.push(json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": since,
        }));
        self.conditions.sort_by_key(|condition| condition["type"].to_string());
    }

    fn write(self, scaler: &HorizontalPodAutoscaler) -> Option<Write> {
        let mut status = json!({
            "currentReplicas": self.current, "desiredReplicas": self.desired,
            "conditions": self.conditions,
        });
        let old = serde_json::to_value(&scaler.status).unwrap_or_default();
        let is_same = |field: &str| old[field] == status[field];
        if !self.rescaled
            && ["currentReplicas", "desiredReplicas", "conditions"].into_iter().all(is_same)
        {
            return None;
        }
        if self.rescaled {
            status["lastScaleTime"] = json!(stamp(self.now));
        }
        Some(Write::new(Action::PatchStatus(json!({ "status": status })), scaler.clone()))
    }
}

fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;

    use super::*;
    use crate::plane::runtime::testing::World;

    fn world(replicas: Option<i32>, kind: &str, metrics: &Value) -> World {
        let mut world = World::new();
        if let Some(replicas) = replicas {
            world.put::<Deployment>(&json!({ "metadata": { "name": "web" }, "spec": {
                "replicas": replicas, "selector": {}, "template": {} } }));
        }
        world.put::<HorizontalPodAutoscaler>(&json!({ "metadata": { "name": "h" }, "spec": {
            "minReplicas": 2, "maxReplicas": 4, "metrics": metrics,
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": kind, "name": "web" } } }));
        world
    }

    fn cpu() -> Value {
        json!([{ "type": "Resource", "resource": {
            "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } } }])
    }

    /// What is done, the conditions' reasons, current and desired size.
    fn told(world: &mut World) -> String {
        let mut done = Vec::new();
        for write in world.decide(&mut Autoscalers, "ns/h").writes {
            done.push(crate::plane::runtime::testing::told(&write));
            world.obey(write);
        }
        let status = world.cluster.autoscalers.get("ns/h").unwrap().status.clone().unwrap();
        let conditions = status.conditions.iter().flatten();
        let reasons: Vec<_> = conditions
            .map(|it| format!("{} {}", it.status, it.reason.as_deref().unwrap()))
            .collect();
        let sizes = format!("{:?} {}", status.current_replicas, status.desired_replicas);
        format!("{}; {}; {sizes}", done.join(", "), reasons.join(", "))
    }

    #[test]
    fn sizes_stay_within_bounds_and_nothing_else_moves_them() {
        let status = "status HorizontalPodAutoscaler h";
        let resized =
            "patch Deployment web, status HorizontalPodAutoscaler h; True SucceededRescale";
        let cases = [
            (
                Some(3),
                "Deployment",
                format!(
                    "{status}; True SucceededGetScale, False FailedGetResourceMetric; Some(3) 0"
                ),
            ),
            (Some(9), "Deployment", format!("{resized}; Some(9) 4")),
            (Some(1), "Deployment", format!("{resized}; Some(1) 2")),
            (
                Some(0),
                "Deployment",
                format!("{status}; True SucceededGetScale, False ScalingDisabled; Some(0) 0"),
            ),
            (None, "Deployment", format!("{status}; False FailedGetScale; Some(0) 0")),
            (Some(3), "Knative", format!("{status}; False FailedGetScale; Some(0) 0")),
        ];
        for (replicas, kind, expect) in cases {
            assert_eq!(told(&mut world(replicas, kind, &cpu())), expect, "{replicas:?} {kind}");
        }
    }

    #[test]
    fn what_is_told_already_is_not_written_again() {
        let mut world = world(Some(3), "Deployment", &cpu());
        told(&mut world);
        let plan = world.decide(&mut Autoscalers, "ns/h");
        assert_eq!((plan.writes.len(), plan.again), (0, Some(world.now + PERIOD)));
        let reasons: Vec<_> = plan.events.iter().map(|note| note.reason).collect();
        assert_eq!(reasons, ["FailedGetResourceMetric", "FailedComputeMetricsReplicas"]);
        assert_eq!(
            plan.events[1].message,
            "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric \
             value: failed to get cpu utilization: unable to get metrics for resource cpu: unable to \
             fetch metrics from resource metrics API: the server could not find the requested resource \
             (get pods.metrics.k8s.io)"
        );
    }

    #[test]
    fn every_source_says_what_is_not_served() {
        let metric = json!({ "name": "m" });
        let value = json!({ "type": "AverageValue", "averageValue": "1" });
        let cases = [
            (
                json!({ "type": "Pods", "pods": { "metric": metric, "target": value } }),
                "FailedGetPodsMetric",
            ),
            (
                json!({ "type": "External", "external": { "metric": metric, "target": value } }),
                "FailedGetExternalMetric",
            ),
            (
                json!({ "type": "Object", "object": { "metric": metric, "target": value,
                "describedObject": { "kind": "Ingress", "name": "i" } } }),
                "FailedGetObjectMetric",
            ),
            (
                json!({ "type": "ContainerResource", "containerResource": { "name": "cpu", "container": "c", "target": value } }),
                "FailedGetContainerResourceMetric",
            ),
        ];
        for (metric, reason) in cases {
            let world = world(Some(3), "Deployment", &json!([metric]));
            let plan = world.decide(&mut Autoscalers, "ns/h");
            assert_eq!(plan.events[0].reason, reason, "{metric}");
        }
    }
}
