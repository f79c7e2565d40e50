//! Label selectors in their string form.
use std::fmt;

use serde_json::Value;

/// Requirements on labels, all of which must hold.
///
/// Source: Kubernetes "Labels and Selectors"; grammar of k8s.io/apimachinery `labels.Parse`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    /// Also true where the label is missing.
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

impl LabelSelector {
    /// Reads `a=b,c in (d,e),f,!g,h!=i,j notin (k),l>1,m<2`.
    ///
    /// # Errors
    /// A sentence about the part that can't be read.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parts = split(text)?;
        let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
        parts.map(Requirement::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether nothing is required.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The selector that a `meta/v1 LabelSelector` writes as an object. What validation would have
    /// refused selects nothing.
    pub(crate) fn of(selector: &Value) -> Self {
        let equal = |(key, value): (&String, &Value)| Requirement {
            key: key.clone(),
            test: Test::In(vec![value.as_str().unwrap_or("").to_owned()]),
        };
        let labels = selector["matchLabels"].as_object().into_iter().flatten();
        let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
        let mut all: Vec<Requirement> =
            labels.map(equal).chain(expressions.map(Requirement::of)).collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        Self(all)
    }

    /// Whether `labels`, a JSON object or null, meets every requirement.
    pub(crate) fn matches(&self, labels: &Value) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Requirement { key, test }) in self.0.iter().enumerate() {
            if n > 0 {
                out.write_str(",")?;
            }
            match test {
                Test::Exists => write!(out, "{key}"),
                Test::Missing => write!(out, "!{key}"),
                Test::In(values) if values.len() == 1 => write!(out, "{key}={}", values[0]),
                Test::In(values) => write!(out, "{key} in ({})", sorted(values)),
                Test::NotIn(values) => write!(out, "{key} notin ({})", sorted(values)),
                Test::Above(limit) => write!(out, "{key}>{limit}"),
                Test::Below(limit) => write!(out, "{key}<{limit}"),
            }?;
        }
        Ok(())
    }
}

fn sorted(values: &[String]) -> String {
    let mut values = values.to_vec();
    values.sort();
    values.join(",")
}

/// The parts between the commas that are not inside parentheses.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut start, mut open) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' if !open => open = true,
            ')' if open => open = false,
            '(' | ')' => return Err(format!("unbalanced parenthesis in {text:?}")),
            ',' if !open => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if open {
        return Err(format!("unbalanced parenthesis in {text:?}"));
    }
    parts.push(&text[start..]);
    Ok(parts)
}

impl Requirement {
    fn parse(part: &str) -> Result<Self, String> {
        if let Some(key) = part.strip_prefix('!') {
            return Self::new(key, Test::Missing);
        }
        let single = |value: &str| -> Result<Vec<String>, String> { Ok(vec![value_of(value)?]) };
        let number = |value: &str| {
            value.trim().parse().map_err(|_| {
                format!("{value:?}: for 'Gt', 'Lt' operators, the value must be an integer")
            })
        };
        if let Some((key, value)) = part.split_once("!=") {
            return Self::new(key, Test::NotIn(single(value)?));
        }
        if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            return Self::new(key, Test::In(single(value)?));
        }
        if let Some((key, value)) = part.split_once('>') {
            return Self::new(key, Test::Above(number(value)?));
        }
        if let Some((key, value)) = part.split_once('<') {
            return Self::new(key, Test::Below(number(value)?));
        }
        let Some((key, rest)) = part.split_once(char::is_whitespace) else {
            return Self::new(part, Test::Exists);
        };
        let rest = rest.trim();
        if let Some(list) = rest.strip_prefix("notin") {
            return Self::new(key, Test::NotIn(values(list)?));
        }
        match rest.strip_prefix("in") {
            Some(list) => Self::new(key, Test::In(values(list)?)),
            None => Err(format!("found '{rest}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn new(key: &str, test: Test) -> Result<Self, String> {
        let key = key.trim();
        match crate::validate::name::qualified_name(key) {
            None => Ok(Self { key: key.to_owned(), test }),
            Some(problem) => Err(format!("key: Invalid value: {key:?}: {problem}")),
        }
    }

    /// A `meta/v1 LabelSelectorRequirement`.
    fn of(expression: &Value) -> Self {
        let values = expression["values"].as_array().into_iter().flatten();
        let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
        let test = match expression["operator"].as_str() {
            Some("Exists") => Test::Exists,
            Some("DoesNotExist") => Test::Missing,
            Some("NotIn") => Test::NotIn(values),
            _ => Test::In(values),
        };
        Self { key: expression["key"].as_str().unwrap_or("").to_owned(), test }
    }

    fn holds(&self, labels: &Value) -> bool {
        let value = labels.get(&self.key).and_then(Value::as_str);
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
            Test::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
            Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
            Test::Above(limit) => number().is_some_and(|number| number > *limit),
            Test::Below(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

/// The values in `(a, b)`.
fn values(list: &str) -> Result<Vec<String>, String> {
    let inside = list.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let inside = inside.ok_or_else(|| format!("found '{list}', expected: '('"))?;
    inside.split(',').map(value_of).collect()
}

fn value_of(text: &str) -> Result<String, String> {
    let text = text.trim();
    match crate::validate::name::label_value(text) {
        None => Ok(text.to_owned()),
        Some(problem) => Err(format!("values: Invalid value: {text:?}: {problem}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_matches_what_kubernetes_says_it_matches() {
        let labels = json!({"app": "web", "tier": "front", "rank": "7", "empty": ""});
        let cases = "
            app=web | yes
            app==web,tier=front | yes
            app = web , tier = front | yes
            app=db | no
            app!=db | yes
            app!=web | no
            missing!=x | yes
            app in (web,db) | yes
            app in (db, web) | yes
            app notin (web) | no
            missing notin (web) | yes
            missing in (web) | no
            app | yes
            !app | no
            !missing | yes
            rank>6 | yes
            rank>7 | no
            rank<8 | yes
            app<8 | no
            empty= | yes
            app= | no
             | yes";
        for line in cases.lines().skip(1) {
            let (text, verdict) = line.rsplit_once('|').unwrap();
            let selector = LabelSelector::parse(text).unwrap();
            assert_eq!(selector.matches(&labels), verdict.trim() == "yes", "{text}");
        }
    }

    #[test]
    fn a_selector_written_as_an_object_reads_like_one() {
        let cases = [
            (json!({}), ""),
            (json!({"matchLabels": {"b": "1", "a": "2"}}), "a=2,b=1"),
            (
                json!({"matchLabels": {"b": "1"}, "matchExpressions": [
                    {"key": "a", "operator": "In", "values": ["y", "x"]},
                    {"key": "c", "operator": "NotIn", "values": ["z"]},
                    {"key": "d", "operator": "Exists"}, {"key": "e", "operator": "DoesNotExist"},
                ]}),
                "a in (x,y),b=1,c notin (z),d,!e",
            ),
        ];
        for (object, text) in cases {
            assert_eq!(LabelSelector::of(&object).to_string(), text);
        }
    }

    #[test]
    fn a_selector_that_can_not_be_read_is_refused() {
        for text in ["a in web", "a in (b", "a)b", "a b c", "-x=y", "a=b c", "a>b", "a=((b)"] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
    }
}
