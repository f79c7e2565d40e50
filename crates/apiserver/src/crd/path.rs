//! The simple JSON paths of columns, selectable fields and the scale subresource.
//!
//! Read are names after dots, names in brackets, numbers and `*` in brackets, and filters:
//! `.status.conditions[?(@.type=="Ready")].status`.
//! Source: Kubernetes "JSONPath Support"; k8s.io/client-go `util/jsonpath`.
use serde_json::Value;

/// A path, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    /// An item; from the end if negative.
    Item(i64),
    All,
    Filter {
        path: Vec<Step>,
        test: Test,
        value: Value,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    Exists,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The tests of a filter, those first that begin with another.
const TESTS: [(&str, Test); 6] = [
    ("==", Test::Equal),
    ("!=", Test::NotEqual),
    ("<=", Test::LessOrEqual),
    (">=", Test::GreaterOrEqual),
    ("<", Test::Less),
    (">", Test::Greater),
];

impl Path {
    /// Reads a path that begins with a dot.
    ///
    /// # Errors
    /// A sentence about what can't be read.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        steps(text).map(Self)
    }

    /// All values at the path, in order.
    pub(crate) fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        follow(&self.0, value)
    }
}

fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (inside, after) = bracket(inner).ok_or("unterminated array")?;
            steps.push(subscript(inside)?);
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('.') {
            let end = name_end(inner);
            let name = inner[..end].replace("\\.", ".");
            match name.as_str() {
                "*" => steps.push(Step::All),
                "" => {}
                _ => steps.push(Step::Field(name)),
            }
            rest = &inner[end..];
        } else {
            return Err(format!("unrecognized character in path: {rest:?}"));
        }
    }
    Ok(steps)
}

/// Where a name ends; a dot after a backslash is part of it.
fn name_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '\\' => escaped = !escaped,
            '.' | '[' if !escaped => return at,
            _ => escaped = false,
        }
    }
    text.len()
}

/// What stands before the bracket's end, and what after it; quotes may hold brackets.
fn bracket(text: &str) -> Option<(&str, &str)> {
    let (mut depth, mut quote) = (0, None);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some((&text[..at], &text[at + 1..])),
            (None, ']') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

fn subscript(inside: &str) -> Result<Step, String> {
    let inside = inside.trim();
    if let Some(filter) = inside.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return self::filter(filter);
    }
    if inside == "*" || inside == ":" {
        return Ok(Step::All);
    }
    if let Some(name) = quoted(inside) {
        return Ok(Step::Field(name));
    }
    inside.parse().map(Step::Item).map_err(|_| format!("invalid array index {inside}"))
}

fn quoted(text: &str) -> Option<String> {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).map(str::to_owned)
}

fn filter(text: &str) -> Result<Step, String> {
    let found = TESTS.iter().filter_map(|(sign, test)| Some((text.find(sign)?, sign, *test)));
    // The first sign counts, and of two at one place the longer.
    let first = found.min_by_key(|(at, sign, _)| (*at, 2 - sign.len()));
    let (left, test, right) = match first {
        Some((at, sign, test)) => (&text[..at], test, text[at + sign.len()..].trim()),
        None => (text, Test::Exists, ""),
    };
    let path = left.trim().strip_prefix('@').ok_or("a filter begins with @")?;
    let value = match quoted(right) {
        Some(text) => Value::String(text),
        None if test == Test::Exists => Value::Null,
        None => serde_json::from_str(right).map_err(|_| format!("can't compare with {right}"))?,
    };
    Ok(Step::Filter { path: steps(path)?, test, value })
}

fn follow<'v>(steps: &[Step], value: &'v Value) -> Vec<&'v Value> {
    let mut found = vec![value];
    for step in steps {
        found = found.into_iter().flat_map(|value| step.of(value)).collect();
    }
    found
}

impl Step {
    fn of<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let items = value.as_array().map_or(&[][..], Vec::as_slice);
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Item(n) => {
                let from_end = items.len().checked_add_signed(isize::try_from(*n).unwrap_or(0));
                let at = if *n < 0 { from_end } else { usize::try_from(*n).ok() };
                at.and_then(|at| items.get(at)).into_iter().collect()
            }
            Self::All => match value.as_object() {
                Some(fields) => fields.values().collect(),
                None => items.iter().collect(),
            },
            Self::Filter { path, test, value } => {
                items.iter().filter(|item| test.holds(follow(path, item).first(), value)).collect()
            }
        }
    }
}

impl Test {
    fn holds(self, left: Option<&&Value>, right: &Value) -> bool {
        let Some(left) = left else { return false };
        let order = match (left, right) {
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            _ => left.as_f64().zip(right.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)),
        };
        match self {
            Self::Exists => true,
            Self::Equal => *left == right || order.is_some_and(std::cmp::Ordering::is_eq),
            Self::NotEqual => *left != right && !order.is_some_and(std::cmp::Ordering::is_eq),
            Self::Less => order.is_some_and(std::cmp::Ordering::is_lt),
            Self::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
            Self::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
            Self::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_finds_what_kubernetes_finds() {
        let object = json!({
            "metadata": {"annotations": {"a.b/c": "x"}},
            "spec": {"replicas": 3, "hosts": ["a", "b"]},
            "status": {"conditions": [
                {"type": "Ready", "status": "True", "n": 2}, {"type": "Old", "status": "False"},
            ]},
        });
        let cases = [
            (".spec.replicas", json!([3])),
            (".spec.hosts", json!([["a", "b"]])),
            (".spec.hosts[0]", json!(["a"])),
            (".spec.hosts[-1]", json!(["b"])),
            (".spec.hosts[*]", json!(["a", "b"])),
            (".spec.hosts[9]", json!([])),
            (".spec.none.deeper", json!([])),
            (r".metadata.annotations.a\.b/c", json!(["x"])),
            (".metadata.annotations['a.b/c']", json!(["x"])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (".status.conditions[?(@.type=='Ready')].status", json!(["True"])),
            (r#".status.conditions[?(@.type != "Ready")].status"#, json!(["False"])),
            (".status.conditions[?(@.n>=2)].type", json!(["Ready"])),
            (".status.conditions[?(@.n)].type", json!(["Ready"])),
        ];
        for (path, expected) in cases {
            assert_eq!(json!(Path::parse(path).unwrap().find(&object)), expected, "{path}");
        }
        for bad in ["a", ".a[", ".a[x]", ".a[?(type)]", ".a[?(@.b==c)]"] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }
}
