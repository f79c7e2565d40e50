//! Evictions: deletions of pods that ask their disruption budget first.
//!
//! Source: Kubernetes pkg/registry/core/pod/storage/eviction.go.
use http::StatusCode;
use serde_json::{Value, json};

use super::request::Call;
use super::subresource::success;
use super::{Answer, Api};
use crate::refusal::Refusal;
use crate::resource::Resource;
use crate::selector::LabelSelector;
use crate::store::{Key, Object};
use crate::strategy::Part;
use crate::time;

/// The most evicted pods a budget remembers whose end its controller has not seen yet.
const UNCONFIRMED: usize = 2000;

/// After how many seconds a client may try again while a budget's controller is behind.
const RETRY_SECONDS: u64 = 10;

const DENIED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

impl Api {
    /// Deletes a pod by way of the eviction API.
    pub(super) fn evict(&self, call: &Call, name: &str) -> Answer {
        let eviction = call.object()?;
        let given = eviction["metadata"]["name"].as_str().unwrap_or("");
        if given != name {
            let why = "name in URL does not match name in Eviction object";
            return Err(Refusal::bad_request(why));
        }
        let options = &eviction["deleteOptions"];
        let dry_run =
            call.dry_run()? || options["dryRun"].as_array().is_some_and(|d| !d.is_empty());
        let pod = self.existing(call, name)?;
        if !is_over(&pod.value) {
            self.ask_budget(call, &pod, dry_run)?;
        }
        if !dry_run {
            let pods = &call.target.resource;
            let key = Key::new(&call.target.namespace, name);
            self.rewrite(pods, &key, Part::Status, false, None, |old| Ok(targeted(old)))?;
            self.delete_object(pods, &key, options)?;
        }
        Ok(success(StatusCode::CREATED))
    }

    /// Takes one disruption from the budget that covers `pod`, if there is one.
    fn ask_budget(&self, call: &Call, pod: &Object, dry_run: bool) -> Result<(), Refusal> {
        let budgets = self.builtin("policy", "poddisruptionbudgets");
        let namespace = call.target.namespace.as_str();
        // Only an old version can be forgotten; this asks for the current one.
        let all = self.store.snapshot(&budgets.shelf, Some(namespace), None);
        let all = all.map_or_else(|_| Vec::new(), |snapshot| snapshot.objects);
        let covers = |budget: &Object| {
            let selector = &budget.value["spec"]["selector"];
            selector.is_object() && LabelSelector::of(selector).matches(pod.metadata("labels"))
        };
        let mut covering = all.into_iter().filter(|(_, budget)| covers(budget));
        let Some((key, budget)) = covering.next() else { return Ok(()) };
        if covering.next().is_some() {
            return Err(Refusal::internal_plain(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource \
                 does not support.",
            ));
        }
        if !is_ready(&pod.value) && spares_the_unready(&budget.value) {
            return Ok(());
        }
        let name = pod.metadata("name").as_str().unwrap_or("");
        self.rewrite(&budgets, &key, Part::Status, dry_run, None, |old| {
            spend(&budgets, old, name)
        })?;
        Ok(())
    }
}

/// A pod that is not up disrupts nothing by going.
fn is_over(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or("");
    matches!(phase, "Succeeded" | "Failed" | "Pending")
        || pod["metadata"]["deletionTimestamp"].is_string()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Whether a budget lets pods go that are not ready, since they don't count.
fn spares_the_unready(budget: &Value) -> bool {
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let desired = number("desiredHealthy");
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        || (desired > 0 && number("currentHealthy") >= desired)
}

/// `budget` with one disruption less, and `pod` among those on their way out.
fn spend(budgets: &Resource, budget: &Value, pod: &str) -> Result<Value, Refusal> {
    let name = budget["metadata"]["name"].as_str().unwrap_or("");
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let generation = budget["metadata"]["generation"].as_i64().unwrap_or(0);
    if number("observedGeneration") < generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(Refusal::too_many_requests(DENIED, RETRY_SECONDS, "DisruptionBudget", &why));
    }
    if number("disruptionsAllowed") < 0 {
        return Err(Refusal::forbidden(budgets, name, "pdb disruptions allowed is negative"));
    }
    if budget["status"]["disruptedPods"].as_object().map_or(0, |pods| pods.len()) > UNCONFIRMED {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Refusal::forbidden(budgets, name, why));
    }
    if number("disruptionsAllowed") == 0 {
        let why = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("desiredHealthy"),
            number("currentHealthy")
        );
        return Err(Refusal::too_many_requests(DENIED, 0, "DisruptionBudget", &why));
    }
    let mut spent = budget.clone();
    let left = number("disruptionsAllowed") - 1;
    spent["status"]["disruptionsAllowed"] = json!(left);
    spent["status"]["disruptedPods"][pod] = json!(time::rfc3339(time::now()));
    if left == 0 {
        let condition = json!({
            "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods",
            "message": "", "observedGeneration": number("observedGeneration"),
            "lastTransitionTime": time::rfc3339(time::now()),
        });
        set_condition(&mut spent["status"], condition);
    }
    Ok(spent)
}

/// `pod` with the condition that says why it goes.
fn targeted(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": time::rfc3339(time::now()),
    });
    set_condition(&mut pod["status"], condition);
    pod
}

fn set_condition(status: &mut Value, condition: Value) {
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|other| other["type"] != condition["type"]);
    conditions.push(condition);
    status["conditions"] = json!(conditions);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Registry;

    #[test]
    fn a_budget_is_spent_until_nothing_is_left() {
        let registry = Registry::builtin();
        let budgets = registry.get("policy", "v1", "poddisruptionbudgets").unwrap();
        let cases = [
            (json!({"disruptionsAllowed": 2, "observedGeneration": 1}), Ok(1)),
            (json!({"disruptionsAllowed": 1, "observedGeneration": 1}), Ok(0)),
            (json!({"disruptionsAllowed": 0, "observedGeneration": 1}), Err(429)),
            (json!({"disruptionsAllowed": 2, "observedGeneration": 0}), Err(429)),
            (json!({"disruptionsAllowed": -1, "observedGeneration": 1}), Err(403)),
        ];
        for (status, expected) in cases {
            let budget = json!({"metadata": {"name": "b", "generation": 1}, "status": status});
            let spent = spend(budgets, &budget, "web");
            let left = spent.as_ref().map(|spent| spent["status"]["disruptionsAllowed"].as_i64());
            let left = left.map(Option::unwrap).map_err(|refusal| refusal.code);
            assert_eq!(left, expected, "{budget}");
            if expected == Err(429) {
                let cause = spent.as_ref().unwrap_err().status()["details"]["causes"][0].clone();
                assert_eq!(cause["reason"], "DisruptionBudget");
            }
            if let Ok(spent) = spent {
                assert!(spent["status"]["disruptedPods"]["web"].is_string());
                assert_eq!(spent["status"]["conditions"].is_array(), left == Ok(0));
            }
        }
    }
}
