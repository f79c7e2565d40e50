//! What someone wants to do, as authorization sees it.
//!
//! Source: k8s.io/apiserver `endpoints/request/requestinfo.go`.
use std::fmt;

use http::Method;

/// A verb and what it is to be done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) verb: String,
    pub(crate) ask: Ask,
}

/// What something is to be done to. Empty texts: everything, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    Resource {
        group: String,
        /// The plural.
        resource: String,
        subresource: String,
        namespace: String,
        name: String,
    },
    Path(String),
}

impl Question {
    /// The question that a request puts. `query` has its decoded parameters.
    pub(crate) fn of(method: &Method, path: &str, query: &[(String, String)]) -> Self {
        let asked = |key: &str| query.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        let verb = match method.as_str() {
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "get",
        };
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, mut rest) = match parts.as_slice() {
            ["api", _, rest @ ..] if !rest.is_empty() => ("", rest),
            ["apis", group, _, rest @ ..] if !rest.is_empty() => (*group, rest),
            _ => {
                let verb = if method == Method::HEAD { "head" } else { verb };
                return Self { verb: verb.to_owned(), ask: Ask::Path(path.to_owned()) };
            }
        };
        let old_watch = rest.first() == Some(&"watch") && rest.len() > 1;
        if old_watch {
            rest = &rest[1..];
        }
        let mut namespace = "";
        if let ["namespaces", inner, below @ ..] = rest {
            namespace = inner;
            if below.first().is_some_and(|kind| !matches!(*kind, "status" | "finalize")) {
                rest = below;
            }
        }
        let at = |n: usize| rest.get(n).copied().unwrap_or("");
        let selected = asked("fieldSelector").and_then(|text| text.strip_prefix("metadata.name="));
        let name = if at(1).is_empty() { selected.unwrap_or("") } else { at(1) };
        let watched = asked("watch").is_some_and(|text| !matches!(text, "false" | "0"));
        let verb = match verb {
            "get" if old_watch => "watch",
            "get" if at(1).is_empty() && watched => "watch",
            "get" if at(1).is_empty() => "list",
            "delete" if at(1).is_empty() => "deletecollection",
            verb => verb,
        };
        Self::resource(verb, group, (at(0), at(2)), namespace, name)
    }

    /// A question about objects: `kind` is their plural and the subresource.
    pub(crate) fn resource(
        verb: &str,
        group: &str,
        kind: (&str, &str),
        namespace: &str,
        name: &str,
    ) -> Self {
        let ask = Ask::Resource {
            group: group.to_owned(),
            resource: kind.0.to_owned(),
            subresource: kind.1.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        Self { verb: verb.to_owned(), ask }
    }

    /// The namespace it is about; empty for the whole cluster.
    pub(crate) fn namespace(&self) -> &str {
        match &self.ask {
            Ask::Resource { namespace, .. } => namespace,
            Ask::Path(_) => "",
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = &self.verb;
        match &self.ask {
            Ask::Path(path) => write!(f, "{verb} path {path:?}"),
            Ask::Resource { group, resource, subresource, namespace, .. } => {
                let slash = if subresource.is_empty() { "" } else { "/" };
                let what = format!("{resource}{slash}{subresource}");
                write!(f, "{verb} resource {what:?} in API group {group:?} ")?;
                if namespace.is_empty() {
                    f.write_str("at the cluster scope")
                } else {
                    write!(f, "in the namespace {namespace:?}")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_put_these_questions() {
        let cases = [
            (
                "GET",
                "/api/v1/pods",
                "list resource \"pods\" in API group \"\" at the cluster scope",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods?watch=true",
                "watch resource \"pods\" in API group \"\" in the namespace \"a\"",
            ),
            (
                "GET",
                "/api/v1/watch/namespaces/a/pods",
                "watch resource \"pods\" in API group \"\" in the namespace \"a\"",
            ),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/a/deployments",
                "deletecollection resource \"deployments\" in API group \"apps\" in the namespace \"a\"",
            ),
            (
                "PUT",
                "/api/v1/namespaces/a/pods/p/status",
                "update resource \"pods/status\" in API group \"\" in the namespace \"a\"",
            ),
            (
                "PUT",
                "/api/v1/namespaces/a/status",
                "update resource \"namespaces/status\" in API group \"\" in the namespace \"a\"",
            ),
            (
                "GET",
                "/api/v1/namespaces/a",
                "get resource \"namespaces\" in API group \"\" in the namespace \"a\"",
            ),
            (
                "POST",
                "/api/v1/nodes",
                "create resource \"nodes\" in API group \"\" at the cluster scope",
            ),
            ("GET", "/api/v1", "get path \"/api/v1\""),
            ("GET", "/apis/apps/v1", "get path \"/apis/apps/v1\""),
            ("GET", "/version", "get path \"/version\""),
        ];
        for (method, uri, expected) in cases {
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let query: Vec<(String, String)> = query
                .split_once('=')
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into_iter()
                .collect();
            let question = Question::of(&method.parse().unwrap(), path, &query);
            assert_eq!(question.to_string(), expected, "{method} {uri}");
        }
    }
}
