//! Regular expressions as Kubernetes reads them, by Go's `regexp`.
//!
//! The `regex` crate matches in the same linear time and reads nearly the same syntax. What
//! differs is translated: `\d`, `\w`, `\s` and `\b` are ASCII in Go, `\Q…\E` quotes, and inside
//! brackets `[`, `&&`, `--` and `~~` have no meaning.
//! Source: pkg.go.dev/regexp/syntax; docs.rs/regex "Syntax".
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use regex::Regex;

/// How many bytes one compiled expression may take.
const COMPILED: usize = 2 << 20;
/// How many compiled expressions are kept.
const KEPT: usize = 512;

static COMPILED_BEFORE: LazyLock<Mutex<HashMap<String, Arc<Regex>>>> =
    LazyLock::new(Mutex::default);

/// The expression `pattern`, compiled now or before.
///
/// # Errors
/// A sentence about what is wrong with it.
pub(super) fn compile(pattern: &str) -> Result<Arc<Regex>, String> {
    let lock = || COMPILED_BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lock().get(pattern) {
        return Ok(known.clone());
    }
    let regex = regex::RegexBuilder::new(&translate(pattern)).size_limit(COMPILED).build();
    let regex = Arc::new(regex.map_err(|error| sentence(&error))?);
    let mut kept = lock();
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(pattern.to_owned(), regex.clone());
    Ok(regex)
}

/// The last line of the error: the ones before draw the expression.
fn sentence(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// Go's syntax in that of the `regex` crate.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut letters = pattern.chars().peekable();
    let mut in_class = false;
    // Where a `]` would be literal: right after `[` or `[^`.
    let mut at_start = false;
    while let Some(letter) = letters.next() {
        let first = std::mem::take(&mut at_start);
        match letter {
            '\\' => match letters.next() {
                Some('Q') if !in_class => quote(&mut letters, &mut out),
                Some(escaped) => escape(escaped, in_class, &mut out),
                None => out.push('\\'),
            },
            '[' if in_class && letters.peek() == Some(&':') => {
                out.push('[');
                for inner in letters.by_ref() {
                    out.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            '[' if in_class => out.push_str("\\["),
            '[' => {
                in_class = true;
                at_start = true;
                out.push('[');
                if letters.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            ']' if in_class && first => out.push_str("\\]"),
            ']' => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => out.extend(['\\', letter]),
            '-' if in_class && letters.peek() == Some(&'-') => out.push_str("\\-"),
            _ => out.push(letter),
        }
    }
    out
}

fn escape(letter: char, in_class: bool, out: &mut String) {
    match letter {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str("[\\t\\n\\x0C\\r ]"),
        'S' => out.push_str("[^\\t\\n\\x0C\\r ]"),
        'b' if !in_class => out.push_str("(?-u:\\b)"),
        'B' if !in_class => out.push_str("(?-u:\\B)"),
        _ => out.extend(['\\', letter]),
    }
}

/// Takes the letters up to `\E` for what they are.
fn quote(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        if letter == '\\' && letters.next_if_eq(&'E').is_some() {
            break;
        }
        text.push(letter);
    }
    out.push_str(&regex::escape(&text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_as_go_has_it() {
        let cases = [
            (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "a-b", true),
            (r"^\d+$", "12", true),
            (r"^\d+$", "١٢", false),
            (r"^[\w.]+$", "a_1.b", true),
            (r"^[\w.]+$", "ä", false),
            (r"^[[]$", "[", true),
            (r"^[a&&b]+$", "a&b", true),
            (r"^[]a]+$", "a]", true),
            (r"^[[:alpha:]-]+$", "a-b", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^[!#$%&'*+\-.^_\x60|~]+$", "a", false),
            (r"^[!#$%&'*+\-.^_\x60|~]+$", "&~`", true),
            ("a$", "a\n", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(compile(pattern).unwrap().is_match(text), expected, "{pattern} {text:?}");
        }
        for bad in ["(", "[a", r"\", "a{2,1}", "(?=a)", "(a{1000}){1000}"] {
            assert!(compile(bad).is_err(), "{bad}");
        }
    }
}
