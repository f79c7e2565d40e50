//! The forms of names, labels and annotation keys.
//!
//! Each function returns what is wrong, or nothing. Source: k8s.io/apimachinery
//! `util/validation`, whose sentences these are.

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
    characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
    'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters \
    or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', \
    regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or \
    '-', start with an alphabetic character, and end with an alphanumeric character (e.g. \
    'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and \
    must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
    '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, \
    '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
    'my_value',  or '12345', regex used for validation is \
    '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// What is wrong with a name, if anything.
pub(crate) type Form = fn(&str) -> Option<String>;

/// A DNS label, as namespaces and containers are named.
pub(crate) fn label(name: &str) -> Option<String> {
    too_long(name, 63).or_else(|| (!is_label(name)).then(|| LABEL.to_owned()))
}

/// A DNS label that starts with a letter, as services are named.
pub(crate) fn label_1035(name: &str) -> Option<String> {
    let good = is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase());
    too_long(name, 63).or_else(|| (!good).then(|| LABEL_1035.to_owned()))
}

/// A DNS subdomain, as most objects are named.
pub(crate) fn subdomain(name: &str) -> Option<String> {
    let good = name.split('.').all(is_label);
    too_long(name, 253).or_else(|| (!good).then(|| SUBDOMAIN.to_owned()))
}

/// A label or annotation key: `prefix/name` or `name`.
pub(crate) fn qualified_name(key: &str) -> Option<String> {
    let name = match key.split_once('/') {
        Some(("", _)) => return Some("prefix part must be non-empty".to_owned()),
        Some((prefix, name)) => {
            if let Some(problem) = subdomain(prefix) {
                return Some(format!("prefix part {problem}"));
            }
            name
        }
        None => key,
    };
    if name.is_empty() {
        return Some(format!("name part must be non-empty; {QUALIFIED}"));
    }
    if name.len() > 63 {
        return Some("name part must be no more than 63 bytes".to_owned());
    }
    (!is_word(name)).then(|| QUALIFIED.to_owned())
}

/// The value of a label.
pub(crate) fn label_value(value: &str) -> Option<String> {
    too_long(value, 63).or_else(|| (!value.is_empty() && !is_word(value)).then(|| VALUE.to_owned()))
}

/// The name of a port of a container or service.
///
/// Source: RFC 6335 §5.1 (IANA service name).
pub(crate) fn port_name(name: &str) -> Option<String> {
    let problem = if name.len() > 15 {
        "must be no more than 15 characters"
    } else if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    } else if !name.bytes().any(|b| b.is_ascii_lowercase()) {
        "must contain at least one letter (a-z)"
    } else if name.contains("--") {
        "must not contain consecutive hyphens"
    } else if name.starts_with('-') || name.ends_with('-') {
        "must not begin or end with a hyphen"
    } else {
        return None;
    };
    Some(problem.to_owned())
}

/// The key of a `ConfigMap` or `Secret`.
pub(crate) fn file_key(key: &str) -> Option<String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let problem = if key.is_empty() || !key.bytes().all(good) {
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
         'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
         '[-._a-zA-Z0-9]+')"
    } else if key == "." || key == ".." || key.starts_with("..") {
        "must not be '.', '..' or start with '..'"
    } else {
        return too_long(key, 253);
    };
    Some(problem.to_owned())
}

/// The name of an environment variable: printable, without `=`.
///
/// Source: KEP-4369 (relaxed environment variable names, on since 1.32).
pub(crate) fn env_name(name: &str) -> Option<String> {
    let good = !name.is_empty() && name.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=');
    (!good).then(|| {
        "a valid environment variable name must consist only of printable ASCII characters other \
         than '='"
            .to_owned()
    })
}

fn too_long(text: &str, limit: usize) -> Option<String> {
    (text.len() > limit).then(|| format!("must be no more than {limit} bytes"))
}

fn is_label(part: &str) -> bool {
    !part.is_empty()
        && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !part.starts_with('-')
        && !part.ends_with('-')
}

fn is_word(word: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    edge(word.bytes().next()) && edge(word.bytes().last()) && word.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_rfc_1123_allows() {
        for good in ["a", "a-1", "1", "a.b-c.d"] {
            assert_eq!(subdomain(good), None, "{good}");
        }
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", ".a", "a."] {
            assert!(subdomain(bad).is_some(), "{bad}");
        }
        assert!(label("a.b").is_some() && label(&"a".repeat(64)).is_some());
        assert!(label_1035("1a").is_some() && label_1035("a1").is_none());
        assert!(port_name("http").is_none() && port_name("80").is_some());
        assert!(qualified_name("example.com/a_b").is_none() && qualified_name("/a").is_some());
    }
}
