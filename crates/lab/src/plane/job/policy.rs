//! What a Job says about failures and success of its pods.
//!
//! Source: KEP-3329 (pod failure policy), KEP-3998 (success policy).

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicy,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::indexes::Indexes;
use crate::plane::runtime::key;

/// What a pod's failure means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It counts towards the backoff limit.
    Counts,
    /// It does not count.
    Ignored,
    /// The pod's index has failed for good.
    FailsIndex,
    /// The Job has failed, for this reason.
    FailsJob(String),
}

/// What the failure of `pod` means: the first rule that fits says.
pub(super) fn meaning(spec: &JobSpec, pod: &Pod) -> Meaning {
    let rules = spec.pod_failure_policy.as_ref().map(|policy| &policy.rules);
    for (index, rule) in rules.into_iter().flatten().enumerate() {
        let Some(why) = fits(rule, pod) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Meaning::Ignored,
            "FailIndex" => Meaning::FailsIndex,
            "FailJob" => Meaning::FailsJob(format!("{why} matching FailJob rule at index {index}")),
            _ => Meaning::Counts,
        };
    }
    Meaning::Counts
}

fn fits(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    if let Some(codes) = &rule.on_exit_codes {
        let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let (container, code) = all.filter_map(|container| exit(container, codes)).next()?;
        return Some(format!(
            "Container {container} for pod {} failed with exit code {code}",
            key(pod)
        ));
    }
    let patterns = || rule.on_pod_conditions.iter().flatten();
    let mut conditions = status.conditions.iter().flatten();
    let found = conditions.find(|condition| {
        patterns().any(|pattern| {
            (&pattern.type_, &pattern.status) == (&condition.type_, &condition.status)
        })
    })?;
    Some(format!("Pod {} has condition {}", key(pod), found.type_))
}

fn exit<'a>(
    container: &'a ContainerStatus,
    codes: &PodFailurePolicyOnExitCodesRequirement,
) -> Option<(&'a str, i32)> {
    let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
    let is_meant = codes.container_name.as_ref().is_none_or(|name| *name == container.name);
    let fits = match codes.operator.as_str() {
        "In" => codes.values.contains(&code),
        "NotIn" => !codes.values.contains(&code),
        _ => false,
    };
    (is_meant && code != 0 && fits).then_some((&container.name, code))
}

/// Why the indexes that succeeded are enough, if they are.
pub(super) fn is_enough(
    policy: &SuccessPolicy,
    succeeded: &Indexes,
    completions: i32,
) -> Option<String> {
    for (place, rule) in policy.rules.iter().enumerate() {
        let meant = rule.succeeded_indexes.as_ref().map(|text| Indexes::parse(text, completions));
        let count = match &meant {
            Some(meant) => succeeded.0.intersection(&meant.0).count(),
            None => succeeded.0.len(),
        };
        let needed = match (rule.succeeded_count, &meant) {
            (Some(count), _) => usize::try_from(count).unwrap_or(0),
            (None, Some(meant)) => meant.0.len(),
            (None, None) => continue,
        };
        if count >= needed {
            return Some(format!("Matched rules at index {place}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_rule_that_fits_says_what_a_failure_means() {
        let spec: JobSpec = serde_json::from_value(json!({
            "template": {},
            "podFailurePolicy": { "rules": [
                { "action": "FailJob", "onExitCodes": { "containerName": "main", "operator": "In", "values": [42] } },
                { "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] },
                { "action": "FailIndex", "onExitCodes": { "operator": "NotIn", "values": [1, 2] } },
            ] },
        }))
        .unwrap();
        let pod = |container: &str, code: i32, condition: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": { "name": "p", "namespace": "ns" },
                "status": {
                    "containerStatuses": [{ "name": container, "image": "", "imageID": "", "ready": false,
                        "restartCount": 0, "state": { "terminated": { "exitCode": code } } }],
                    "conditions": [{ "type": condition, "status": "True" }],
                },
            }))
            .unwrap()
        };
        let fails =
            "Container main for pod ns/p failed with exit code 42 matching FailJob rule at index 0";
        assert_eq!(meaning(&spec, &pod("main", 42, "x")), Meaning::FailsJob(fails.to_owned()));
        assert_eq!(meaning(&spec, &pod("side", 42, "DisruptionTarget")), Meaning::Ignored);
        assert_eq!(meaning(&spec, &pod("side", 42, "x")), Meaning::FailsIndex);
        assert_eq!(meaning(&spec, &pod("side", 1, "x")), Meaning::Counts);
        assert_eq!(meaning(&spec, &pod("side", 0, "x")), Meaning::Counts);
    }
}
