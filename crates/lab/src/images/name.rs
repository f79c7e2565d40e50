//! Names of images, as people write them and as they are meant.
//!
//! Source: github.com/distribution/reference, `ParseNormalizedNamed`.

use std::fmt;

/// The registry that is meant when none is named.
const REGISTRY: &str = "docker.io";
/// The part of it that is meant when the name has no part.
const LIBRARY: &str = "library";
/// The tag that is meant when there is neither tag nor digest.
const LATEST: &str = "latest";

/// An image's name in full: `nginx` is `docker.io/library/nginx:latest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// Registry and path.
    pub repository: String,
    /// The tag; `None` if only a digest is named.
    pub tag: Option<String>,
    /// The digest, like `sha256:…`.
    pub digest: Option<String>,
}

impl Name {
    /// The name that `text` stands for; `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return None,
            None => (text, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            // A colon before a slash belongs to a registry's port.
            Some((path, tag)) if is_tag(tag) => (path, Some(tag.to_owned())),
            Some((_, tag)) if !tag.contains('/') => return None,
            _ => (rest, None),
        };
        let (registry, path) = match path.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest.to_owned()),
            Some(_) => (REGISTRY, path.to_owned()),
            None => (REGISTRY, format!("{LIBRARY}/{path}")),
        };
        let registry = if registry == "index.docker.io" { REGISTRY } else { registry };
        if !path.split('/').all(is_part) {
            return None;
        }
        let tag = tag.or_else(|| digest.is_none().then(|| LATEST.to_owned()));
        Some(Self { repository: format!("{registry}/{path}"), tag, digest })
    }

    /// Repository and tag, or digest: what an image is kept under.
    pub(crate) fn key(&self) -> String {
        match (&self.tag, &self.digest) {
            (_, Some(digest)) => format!("{}@{digest}", self.repository),
            (Some(tag), None) => format!("{}:{tag}", self.repository),
            (None, None) => self.repository.clone(),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key())
    }
}

/// Whether the first part of a path is a registry: those have a dot or a port.
fn is_registry(part: &str) -> bool {
    part == "localhost"
        || (part.contains(['.', ':']) && part.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

fn is_part(part: &str) -> bool {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(inside)
        && part.ends_with(inside)
        && part.chars().all(|c| inside(c) || "._-".contains(c))
}

fn is_tag(tag: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128
        && tag.starts_with(first)
        && tag.chars().all(|c| first(c) || c == '.' || c == '-')
}

fn is_digest(digest: &str) -> bool {
    let hex = digest.strip_prefix("sha256:");
    hex.is_some_and(|hex| hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_stand_for_long_ones() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let with_digest = format!("nginx:1@{digest}");
        let by_digest = format!("docker.io/library/nginx@{digest}");
        let cases = [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("library/nginx", "docker.io/library/nginx:latest"),
            ("bitnami/redis", "docker.io/bitnami/redis:latest"),
            ("docker.io/nginx", "docker.io/nginx:latest"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("r.io:5000/a/b:1", "r.io:5000/a/b:1"),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
            (&with_digest, &by_digest),
            ("", ""),
            ("Nginx", ""),
            ("nginx:", ""),
            ("nginx@sha256:00", ""),
            ("a//b", ""),
            ("../x", ""),
        ];
        for (text, expected) in cases {
            let name = Name::parse(text).map(|name| name.to_string()).unwrap_or_default();
            assert_eq!(name, expected, "{text}");
        }
    }
}
