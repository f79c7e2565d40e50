//! Roles and bindings: what they allow to whom.
//!
//! Source: Kubernetes `plugin/pkg/auth/authorizer/rbac`, `pkg/apis/rbac/v1/evaluation_helpers.go`,
//! `pkg/controller/clusterroleaggregation`.
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Ask, MASTERS, Question, User};
use crate::crd::words;
use crate::http::Api;
use crate::selector::LabelSelector;
use crate::server::signalled;
use crate::store::{Key, Object};
use crate::strategy::Part;

/// The group of roles and bindings.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// A rule of a role, and how it came to apply, in words.
struct Granted {
    rule: Value,
    by: String,
}

impl Api {
    /// By what `user` may do what `question` asks; nothing, if by nothing.
    pub(crate) fn allows(&self, user: &User, question: &Question) -> Option<String> {
        if user.is_in(MASTERS) {
            return Some(String::new());
        }
        let mut reason = None;
        self.visit_rules(user, question.namespace(), &mut |granted| {
            if allows(&granted.rule, question) {
                reason = Some(format!("RBAC: allowed by {}", granted.by));
            }
            reason.is_none()
        });
        reason
    }

    /// Every rule that applies to `user` in `namespace` (empty: the cluster), as a review lists
    /// them: those about objects, and those about paths.
    pub(crate) fn rules_of(&self, user: &User, namespace: &str) -> (Vec<Value>, Vec<Value>) {
        let (mut resources, mut paths) = (Vec::new(), Vec::new());
        if user.is_in(MASTERS) {
            resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
            paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
        }
        self.visit_rules(user, namespace, &mut |granted| {
            let about_paths = granted.rule["nonResourceURLs"].is_array();
            let list = if about_paths { &mut paths } else { &mut resources };
            if !list.contains(&granted.rule) {
                list.push(granted.rule);
            }
            true
        });
        (resources, paths)
    }

    /// Shows `each` rule that applies to `user`, until it has seen enough.
    fn visit_rules(&self, user: &User, namespace: &str, each: &mut dyn FnMut(Granted) -> bool) {
        let mut bindings = self.objects_of("clusterrolebindings", None);
        if !namespace.is_empty() {
            bindings.extend(self.objects_of("rolebindings", Some(namespace)));
        }
        for (key, binding) in bindings {
            let subjects = binding.value["subjects"].as_array().map_or(&[][..], Vec::as_slice);
            let subject = subjects.iter().find(|subject| is(subject, user, &key.namespace));
            let Some(subject) = subject else { continue };
            let role = &binding.value["roleRef"];
            let kind = binding.value["kind"].as_str().unwrap_or("");
            let slash = if key.namespace.is_empty() { "" } else { "/" };
            let named = format!("{kind} \"{}{slash}{}\"", key.name, key.namespace);
            let by = format!("{named} of {} to {}", title(role), title(subject));
            for rule in self.rules(role, &key.namespace).unwrap_or_default() {
                if !each(Granted { rule, by: by.clone() }) {
                    return;
                }
            }
        }
    }

    /// The rules of the role that `reference` names, if it is there.
    pub(super) fn rules(&self, reference: &Value, namespace: &str) -> Option<Vec<Value>> {
        let name = reference["name"].as_str().unwrap_or("");
        let (plural, key) = match reference["kind"].as_str() {
            Some("ClusterRole") => ("clusterroles", Key::new("", name)),
            _ => ("roles", Key::new(namespace, name)),
        };
        let role = self.store.get(&self.builtin(GROUP, plural).shelf, &key);
        role.map(|role| role.value["rules"].as_array().cloned().unwrap_or_default())
    }

    fn objects_of(&self, plural: &str, namespace: Option<&str>) -> Vec<(Key, Arc<Object>)> {
        let shelf = &self.builtin(GROUP, plural).shelf;
        // Only an old version can be forgotten; this asks for the current one.
        self.store.snapshot(shelf, namespace, None).map_or_else(|_| Vec::new(), |s| s.objects)
    }
}

/// Kind and name of a reference.
fn title(reference: &Value) -> String {
    let text = |field: &str| reference[field].as_str().unwrap_or("");
    format!("{} {:?}", text("kind"), text("name"))
}

/// Whether `subject` of a binding in `namespace` is `user`.
fn is(subject: &Value, user: &User, namespace: &str) -> bool {
    let text = |field: &str| subject[field].as_str().unwrap_or("");
    match text("kind") {
        "User" => text("name") == user.name,
        "Group" => user.is_in(text("name")),
        "ServiceAccount" => {
            let own = text("namespace");
            let namespace = if own.is_empty() { namespace } else { own };
            user.name == format!("system:serviceaccount:{namespace}:{}", text("name"))
        }
        _ => false,
    }
}

/// Whether a rule allows what is asked.
fn allows(rule: &Value, question: &Question) -> bool {
    let has = |field: &str, word: &str| words(&rule[field]).iter().any(|w| w == "*" || w == word);
    if !has("verbs", &question.verb) {
        return false;
    }
    match &question.ask {
        Ask::Path(path) => words(&rule["nonResourceURLs"]).iter().any(|url| {
            url == path || url.strip_suffix('*').is_some_and(|start| path.starts_with(start))
        }),
        Ask::Resource { group, resource, subresource, name, .. } => {
            let whole = match subresource.as_str() {
                "" => resource.clone(),
                subresource => format!("{resource}/{subresource}"),
            };
            let any = format!("*/{subresource}");
            let of_kind = words(&rule["resources"])
                .iter()
                .any(|own| own == "*" || *own == whole || (!subresource.is_empty() && *own == any));
            let names = words(&rule["resourceNames"]);
            has("apiGroups", group) && of_kind && (names.is_empty() || names.contains(name))
        }
    }
}

/// Keeps the rules of cluster roles true that gather those of others, until the server stops.
pub(crate) async fn run(api: Arc<Api>, mut stopped: tokio::sync::watch::Receiver<bool>) {
    let shelf = api.builtin(GROUP, "clusterroles").shelf.clone();
    loop {
        let mut cursor = api.store.cursor(&shelf, api.store.version());
        gather(&api);
        tokio::select! {
            () = signalled(&mut stopped) => return,
            () = cursor.moved() => {}
        }
    }
}

/// Gives every cluster role that gathers others the rules of those it selects.
pub(crate) fn gather(api: &Api) {
    let resource = api.builtin(GROUP, "clusterroles");
    // A role may gather from one that gathers: as often as there are roles is enough.
    for _ in 0..=api.objects_of("clusterroles", None).len() {
        let roles = api.objects_of("clusterroles", None);
        let stale = roles.iter().filter_map(|(key, role)| {
            let rules = gathered(role, &roles)?;
            (role.value["rules"] != rules).then(|| (key.clone(), rules))
        });
        let stale: Vec<(Key, Value)> = stale.collect();
        if stale.is_empty() {
            return;
        }
        for (key, rules) in stale {
            let change = |old: &Value| {
                let mut new = old.clone();
                new["rules"] = rules.clone();
                new
            };
            if let Err(refusal) = api.amend(&resource, &key, Part::Main, change) {
                tracing::debug!(?refusal, role = key.name, "gather rules");
            }
        }
    }
}

/// The rules that a role gathers, if it does.
fn gathered(role: &Object, roles: &[(Key, Arc<Object>)]) -> Option<Value> {
    let selectors = role.value["aggregationRule"]["clusterRoleSelectors"].as_array()?;
    let selectors: Vec<LabelSelector> = selectors.iter().map(LabelSelector::of).collect();
    let mut rules: Vec<Value> = Vec::new();
    for (_, other) in roles {
        let selected = selectors.iter().any(|selector| selector.matches(other.metadata("labels")));
        if selected && other.metadata("name") != role.metadata("name") {
            let own = other.value["rules"].as_array().into_iter().flatten();
            let new: Vec<Value> = own.filter(|rule| !rules.contains(rule)).cloned().collect();
            rules.extend(new);
        }
    }
    Some(Value::Array(rules))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_allows_what_it_names() {
        let rule = json!({"verbs": ["get", "list"], "apiGroups": ["", "apps"],
            "resources": ["pods", "pods/log", "*/scale"]});
        let named = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
            "resourceNames": ["a"]});
        let cases = [
            (&rule, "get", "", ("pods", ""), "x", true),
            (&rule, "get", "", ("pods", "log"), "x", true),
            (&rule, "get", "", ("pods", "exec"), "x", false),
            (&rule, "get", "apps", ("deployments", "scale"), "x", true),
            (&rule, "get", "apps", ("deployments", ""), "x", false),
            (&rule, "delete", "", ("pods", ""), "x", false),
            (&rule, "get", "batch", ("pods", ""), "x", false),
            (&named, "delete", "batch", ("jobs", "status"), "a", true),
            (&named, "delete", "batch", ("jobs", ""), "b", false),
            (&named, "list", "batch", ("jobs", ""), "", false),
        ];
        for (rule, verb, group, kind, name, expected) in cases {
            let question = Question::resource(verb, group, kind, "n", name);
            assert_eq!(allows(rule, &question), expected, "{question} {name}");
        }
        let paths = json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]});
        let cases = [("/healthz", true), ("/healthz/x", false), ("/api/v1", true), ("/api", false)];
        for (path, expected) in cases {
            let question = Question { verb: "get".to_owned(), ask: Ask::Path(path.to_owned()) };
            assert_eq!(allows(&paths, &question), expected, "{path}");
        }
    }

    #[test]
    fn subjects_are_users_groups_and_service_accounts() {
        let user = User::service_account("a", "robot");
        let cases = [
            (json!({"kind": "User", "name": "system:serviceaccount:a:robot"}), true),
            (json!({"kind": "ServiceAccount", "name": "robot", "namespace": "a"}), true),
            (json!({"kind": "ServiceAccount", "name": "robot", "namespace": "b"}), false),
            (json!({"kind": "Group", "name": "system:serviceaccounts:a"}), true),
            (json!({"kind": "Group", "name": "system:authenticated"}), true),
            (json!({"kind": "Group", "name": "robot"}), false),
        ];
        for (subject, expected) in cases {
            assert_eq!(is(&subject, &user, "x"), expected, "{subject}");
        }
    }
}
