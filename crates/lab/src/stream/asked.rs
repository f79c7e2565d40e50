//! A request about a pod, taken apart.

use http::Uri;

use super::refusal::Refusal;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Log,
    Exec,
    Attach,
    PortForward,
}

/// A request: what, of which container, how.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) what: What,
    pub(super) namespace: String,
    pub(super) pod: String,
    /// Empty where the whole pod is meant.
    pub(super) container: String,
    query: Vec<(String, String)>,
}

impl Asked {
    /// Reads the kubelet's paths.
    ///
    /// # Errors
    /// The refusal of a path that names nothing.
    pub(super) fn parse(uri: &Uri) -> Result<Self, Refusal> {
        let parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        let (what, namespace, pod, container) = match parts.as_slice() {
            ["containerLogs", namespace, pod, container] => (What::Log, namespace, pod, *container),
            ["attach", namespace, pod, container] => (What::Attach, namespace, pod, *container),
            ["exec", namespace, pod, container] => (What::Exec, namespace, pod, *container),
            ["portForward", namespace, pod] => (What::PortForward, namespace, pod, ""),
            _ => return Err(Refusal::not_found("404 page not found")),
        };
        let query = form_urlencoded::parse(uri.query().unwrap_or("").as_bytes());
        Ok(Self {
            what,
            namespace: (*namespace).to_owned(),
            pod: (*pod).to_owned(),
            container: container.to_owned(),
            query: query.into_owned().collect(),
        })
    }

    /// The first value of a parameter, unless it is empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Every value of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is set: to anything but nothing, `0` and `false`.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| !matches!(value, "0" | "false"))
    }

    /// A parameter that is a number, 0 or more.
    ///
    /// # Errors
    /// The refusal that names it.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let number = self.text(name).map(str::parse).transpose();
        number.map_err(|error| Refusal::bad_request(format!("{name}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_kubelets_and_queries_decode() {
        let read = |uri: &'static str| Asked::parse(&Uri::from_static(uri));
        let asked = read("/exec/ns/web/main?command=sh&command=-c&command=a+%26%20b&tty=1&stdin=0");
        let asked = asked.unwrap();
        assert_eq!((asked.what, asked.namespace.as_str()), (What::Exec, "ns"));
        assert_eq!((asked.pod.as_str(), asked.container.as_str()), ("web", "main"));
        assert_eq!(asked.all("command").collect::<Vec<_>>(), ["sh", "-c", "a & b"]);
        assert_eq!(
            (asked.flag("tty"), asked.flag("stdin"), asked.flag("stderr")),
            (true, false, false)
        );
        assert_eq!(read("/exec/ns/web").unwrap_err().code, 404);
        assert!(read("/containerLogs/a/b/c?tailLines=-1").unwrap().number("tailLines").is_err());
    }
}
