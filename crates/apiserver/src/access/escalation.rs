//! Nobody gives away what they don't have: who writes a role or a binding must hold every right in it,
//! or be allowed to `escalate` the role or `bind` to it.
//!
//! Source: Kubernetes `pkg/registry/rbac/*/policybased`, `pkg/registry/rbac/validation`,
//! `k8s.io/component-helpers/auth/rbac/validation`.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::rbac::GROUP;
use super::{MASTERS, Question, User};
use crate::crd::words;
use crate::http::Api;
use crate::refusal::Refusal;
use crate::resource::{Resource, Rules};

/// One right of a rule: a verb, and the one thing it may be done to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Right {
    verb: String,
    thing: Thing,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Resource {
        group: String,
        resource: String,
        /// Of one object only.
        name: Option<String>,
    },
    Path(String),
}

impl Api {
    /// Whether `user` may write `new` over `old`. Of kinds that grant nothing, anything goes.
    ///
    /// # Errors
    /// The refusal that names the rights they lack.
    pub(crate) fn may_grant(
        &self,
        user: &User,
        resource: &Resource,
        new: &Value,
        old: Option<&Value>,
    ) -> Result<(), Refusal> {
        let grants = matches!(resource.rules, Rules::Role | Rules::RoleBinding);
        let same = |old: &Value| says_the_same(new, old);
        if !grants || user.is_in(MASTERS) || old.is_some_and(same) {
            return Ok(());
        }
        let name = new["metadata"]["name"].as_str().unwrap_or("");
        let namespace = new["metadata"]["namespace"].as_str().unwrap_or("");
        if resource.rules == Rules::RoleBinding {
            let role = &new["roleRef"];
            let of = role["name"].as_str().unwrap_or("");
            let plural = if role["kind"] == "Role" { "roles" } else { "clusterroles" };
            let bind = Question::resource("bind", GROUP, (plural, ""), namespace, of);
            if self.allows(user, &bind).is_some() {
                return Ok(());
            }
            let rules = self.rules(role, namespace);
            let rules =
                rules.ok_or_else(|| Refusal::not_found(&self.builtin(GROUP, plural), of))?;
            return self
                .holds(user, namespace, &rules)
                .map_err(|why| Refusal::forbidden(resource, name, &why));
        }
        let asked = if old.is_some() { name } else { "" };
        let of = (resource.plural.as_str(), "");
        let escalate = Question::resource("escalate", GROUP, of, namespace, asked);
        if self.allows(user, &escalate).is_some() {
            return Ok(());
        }
        let rules = new["rules"].as_array().cloned().unwrap_or_default();
        let held = self.holds(user, namespace, &rules);
        held.map_err(|why| Refusal::forbidden(resource, name, &why))?;
        if gathers(new) || old.is_some_and(gathers) {
            let everything = [
                json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
                json!({"verbs": ["*"], "nonResourceURLs": ["*"]}),
            ];
            let why = "must have cluster-admin privileges to use the aggregationRule";
            let held = self.holds(user, namespace, &everything);
            held.map_err(|_| Refusal::forbidden(resource, name, why))?;
        }
        Ok(())
    }

    /// Whether `user` has every right in `rules`.
    ///
    /// # Errors
    /// A sentence with those that are missing.
    fn holds(&self, user: &User, namespace: &str, rules: &[Value]) -> Result<(), String> {
        let (resources, paths) = self.rules_of(user, namespace);
        let own: Vec<&Value> = resources.iter().chain(&paths).collect();
        let missing: Vec<Right> = rules
            .iter()
            .flat_map(rights)
            .filter(|right| !own.iter().any(|rule| covers(rule, right)))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let list = shown(missing).join("\n");
        let groups: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
        Err(format!(
            "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n\
             {list}",
            user.name,
            groups.join(" ")
        ))
    }
}

/// Whether nothing changes but who owns the object and what holds it back from deletion.
fn says_the_same(new: &Value, old: &Value) -> bool {
    let plain = |value: &Value| {
        let mut value = value.clone();
        if let Some(metadata) = value["metadata"].as_object_mut() {
            for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
                metadata.remove(field);
            }
        }
        value
    };
    plain(new) == plain(old)
}

/// Whether a cluster role gathers the rules of others.
fn gathers(role: &Value) -> bool {
    let selectors = &role["aggregationRule"]["clusterRoleSelectors"];
    selectors.as_array().is_some_and(|selectors| !selectors.is_empty())
}

/// The rights of a rule, one by one.
fn rights(rule: &Value) -> Vec<Right> {
    let names = words(&rule["resourceNames"]);
    let names: Vec<Option<String>> =
        if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
    let mut things = Vec::new();
    for group in words(&rule["apiGroups"]) {
        for resource in words(&rule["resources"]) {
            for name in &names {
                let (group, resource) = (group.clone(), resource.clone());
                things.push(Thing::Resource { group, resource, name: name.clone() });
            }
        }
    }
    things.extend(words(&rule["nonResourceURLs"]).into_iter().map(Thing::Path));
    let verbs = words(&rule["verbs"]);
    let of = |thing: Thing| {
        let right = move |verb: &String| Right { verb: verb.clone(), thing: thing.clone() };
        verbs.iter().map(right).collect::<Vec<_>>()
    };
    things.into_iter().flat_map(of).collect()
}

/// Whether a rule gives a right.
fn covers(rule: &Value, right: &Right) -> bool {
    let has = |field: &str, word: &str| words(&rule[field]).iter().any(|w| w == "*" || w == word);
    let names = words(&rule["resourceNames"]);
    let thing = match &right.thing {
        Thing::Path(path) => {
            let covers = |own: &String| {
                let start = own.strip_suffix('*').map(|start| start.trim_end_matches('*'));
                own == path || start.is_some_and(|start| path.starts_with(start))
            };
            names.is_empty() && words(&rule["nonResourceURLs"]).iter().any(covers)
        }
        Thing::Resource { group, resource, name } => {
            let below = resource.split_once('/').map(|(_, below)| format!("*/{below}"));
            let of_kind = has("resources", resource)
                || below.is_some_and(|any| words(&rule["resources"]).contains(&any));
            let named = name.as_ref().is_some_and(|name| names.contains(name));
            has("apiGroups", group) && of_kind && (names.is_empty() || named)
        }
    };
    has("verbs", &right.verb) && thing
}

/// Rights as Kubernetes lists them: those to one thing together, in order.
fn shown(rights: Vec<Right>) -> Vec<String> {
    let mut by_thing: BTreeMap<Thing, Vec<String>> = BTreeMap::new();
    let mut lines = Vec::new();
    for Right { verb, thing } in rights {
        match thing {
            Thing::Path(path) => {
                lines.push(format!("{{NonResourceURLs:[{path:?}], Verbs:[{verb:?}]}}"));
            }
            Thing::Resource { .. } => by_thing.entry(thing).or_default().push(format!("{verb:?}")),
        }
    }
    for (thing, verbs) in by_thing {
        let Thing::Resource { group, resource, name } = thing else { continue };
        let name = name.map(|name| format!("ResourceNames:[{name:?}], ")).unwrap_or_default();
        let verbs = verbs.join(" ");
        lines.push(format!(
            "{{APIGroups:[{group:?}], Resources:[{resource:?}], {name}Verbs:[{verbs}]}}"
        ));
    }
    lines.sort();
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_covers_the_rights_in_it_and_no_others() {
        let own = [
            json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "*/scale"]}),
            json!({"verbs": ["*"], "apiGroups": ["apps"], "resources": ["*"],
                "resourceNames": ["a"]}),
            json!({"verbs": ["get"], "nonResourceURLs": ["/api/*"]}),
        ];
        let cases = [
            (json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}), ""),
            (
                json!({"verbs": ["get", "watch", "delete"], "apiGroups": [""], "resources": ["pods"]}),
                "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"watch\" \"delete\"]}",
            ),
            (json!({"verbs": ["get"], "apiGroups": [""], "resources": ["x/scale"]}), ""),
            (
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]}),
                "{APIGroups:[\"\"], Resources:[\"pods/log\"], Verbs:[\"get\"]}",
            ),
            (
                json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["x"],
                    "resourceNames": ["a", "b"]}),
                "{APIGroups:[\"apps\"], Resources:[\"x\"], ResourceNames:[\"b\"], Verbs:[\"get\"]}",
            ),
            (
                json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["x"]}),
                "{APIGroups:[\"apps\"], Resources:[\"x\"], Verbs:[\"get\"]}",
            ),
            (json!({"verbs": ["get"], "nonResourceURLs": ["/api/v1"]}), ""),
            (
                json!({"verbs": ["get"], "nonResourceURLs": ["/healthz"]}),
                "{NonResourceURLs:[\"/healthz\"], Verbs:[\"get\"]}",
            ),
        ];
        for (rule, expected) in cases {
            let missing = rights(&rule).into_iter();
            let missing = missing.filter(|right| !own.iter().any(|own| covers(own, right)));
            assert_eq!(shown(missing.collect()).join("\n"), expected, "{rule}");
        }
    }
}
