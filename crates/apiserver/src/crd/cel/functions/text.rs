//! Functions of text.
use super::{made, shown};
use crate::crd::cel::eval::{Failure, Outcome, Scope, error};
use crate::crd::cel::value::Val;
use crate::crd::{format, pattern};
use crate::validate;

/// Calls a function of text; none if there is no such.
pub(super) fn call<'v>(scope: &mut Scope<'v>, name: &str, args: &[Val<'v>]) -> Option<Outcome<'v>> {
    if let Some(format) = name.strip_prefix("format.") {
        return named_format(format, args);
    }
    let (Val::String(text), rest) = args.split_first()? else {
        return match (name, args) {
            ("validate", [Val::Format(format), Val::String(text)]) => Some(validate(format, text)),
            _ => None,
        };
    };
    let text = text.as_ref();
    Some(match (name, rest) {
        ("size", []) => Ok(Val::Int(length(text))),
        ("startsWith", [Val::String(part)]) => Ok(Val::Bool(text.starts_with(part.as_ref()))),
        ("endsWith", [Val::String(part)]) => Ok(Val::Bool(text.ends_with(part.as_ref()))),
        ("contains", [Val::String(part)]) => Ok(Val::Bool(text.contains(part.as_ref()))),
        ("matches" | "find" | "findAll", [Val::String(expression), rest @ ..]) => {
            search(scope, name, text, expression, rest)?
        }
        ("lowerAscii", []) => made(text.to_ascii_lowercase()),
        ("upperAscii", []) => made(text.to_ascii_uppercase()),
        ("trim", []) => made(text.trim()),
        ("reverse", []) => made(text.chars().rev().collect::<String>()),
        ("strings.quote", []) => made(format!("{text:?}")),
        ("charAt", [Val::Int(at)]) => char_at(text, *at),
        ("indexOf" | "lastIndexOf", [Val::String(part), rest @ ..]) => {
            position(name, text, part, rest)?
        }
        ("substring", [Val::Int(from)]) => substring(text, *from, length(text)),
        ("substring", [Val::Int(from), Val::Int(to)]) => substring(text, *from, *to),
        ("replace", [Val::String(old), Val::String(new), rest @ ..]) => {
            replace(scope, text, old, new, rest)?
        }
        ("split", [Val::String(part), rest @ ..]) => split(text, part, rest)?,
        ("format", [Val::List(values)]) => {
            let values: Vec<Val<'v>> = values.iter().collect();
            formatted(scope, text, &values)
        }
        _ => return None,
    })
}

fn length(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

/// Matches are linear in the text; an expression costs by its length.
fn search<'v>(
    scope: &mut Scope<'v>,
    name: &str,
    text: &str,
    expression: &str,
    rest: &[Val<'v>],
) -> Option<Outcome<'v>> {
    let limit = match rest {
        [] => -1,
        [Val::Int(limit)] if name == "findAll" => *limit,
        _ => return None,
    };
    if let Err(cost) = scope.pay((text.len() as u64 / 8 + 1) * (expression.len() as u64 / 4 + 1)) {
        return Some(Err(cost));
    }
    let regex = match pattern::compile(expression) {
        Ok(regex) => regex,
        Err(problem) => return Some(error(format!("error parsing regexp: {problem}"))),
    };
    let found = |count: usize| regex.find_iter(text).take(count).map(|found| found.as_str());
    Some(match name {
        "matches" => Ok(Val::Bool(regex.is_match(text))),
        "find" => made(found(1).next().unwrap_or_default()),
        _ => {
            let count = usize::try_from(limit).unwrap_or(usize::MAX);
            Ok(Val::list(found(count).map(Val::string).collect()))
        }
    })
}

fn char_at<'v>(text: &str, at: i64) -> Outcome<'v> {
    if at == length(text) {
        return made("");
    }
    let letter = usize::try_from(at).ok().and_then(|at| text.chars().nth(at));
    letter.map_or_else(|| error(format!("index out of range: {at}")), made)
}

fn position<'v>(name: &str, text: &str, part: &str, rest: &[Val<'v>]) -> Option<Outcome<'v>> {
    let from = match rest {
        [] => None,
        [Val::Int(from)] => Some(*from),
        _ => return None,
    };
    if let Some(from) = from.filter(|from| !(0..=length(text)).contains(from)) {
        return Some(error(format!("index out of range: {from}")));
    }
    // Positions count letters, not bytes.
    let byte = |letters: i64| {
        let letters = usize::try_from(letters).unwrap_or(0);
        text.char_indices().nth(letters).map_or(text.len(), |(at, _)| at)
    };
    let found = if name == "indexOf" {
        let start = byte(from.unwrap_or(0));
        text[start..].find(part).map(|at| start + at)
    } else {
        let end = from.map_or(text.len(), |from| (byte(from) + part.len()).min(text.len()));
        let end = (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(end);
        text[..end].rfind(part)
    };
    Some(Ok(Val::Int(found.map_or(-1, |at| length(&text[..at])))))
}

fn substring<'v>(text: &str, from: i64, to: i64) -> Outcome<'v> {
    if from < 0 || to > length(text) || from > to {
        return error(format!("invalid substring range. start: {from}, end: {to}"));
    }
    let (from, count) = (usize::try_from(from), usize::try_from(to - from));
    made(text.chars().skip(from.unwrap_or(0)).take(count.unwrap_or(0)).collect::<String>())
}

/// What is made can be much longer than what it is made from, and is paid for first.
fn replace<'v>(
    scope: &mut Scope<'v>,
    text: &str,
    old: &str,
    new: &str,
    rest: &[Val<'v>],
) -> Option<Outcome<'v>> {
    let limit = match rest {
        [] => -1,
        [Val::Int(limit)] => *limit,
        _ => return None,
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let count = text.matches(old).take(limit).count() as u64;
    if let Err(cost) = scope.pay(text.len() as u64 / 8 + count * (1 + new.len() as u64 / 8)) {
        return Some(Err(cost));
    }
    Some(made(text.replacen(old, new, limit)))
}

fn split<'v>(text: &str, part: &str, rest: &[Val<'v>]) -> Option<Outcome<'v>> {
    let limit = match rest {
        [] => -1,
        [Val::Int(limit)] => *limit,
        _ => return None,
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let parts: Vec<String> = match part {
        _ if limit == 0 => Vec::new(),
        "" => {
            let letters: Vec<char> = text.chars().collect();
            let (alone, last) = letters.split_at(letters.len().min(limit.saturating_sub(1)));
            let rest: String = last.iter().collect();
            let alone = alone.iter().map(char::to_string);
            alone.chain(Some(rest).filter(|rest| !rest.is_empty())).collect()
        }
        _ => text.splitn(limit, part).map(str::to_owned).collect(),
    };
    Some(Ok(Val::list(parts.into_iter().map(Val::string).collect())))
}

/// `"%s and %d".format([…])`.
fn formatted<'v>(scope: &mut Scope<'v>, text: &str, values: &[Val<'v>]) -> Outcome<'v> {
    let (mut out, mut values) = (String::new(), values.iter());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut verb = letters.next();
        if verb == Some('%') {
            out.push('%');
            continue;
        }
        let mut digits = String::new();
        if verb == Some('.') {
            verb = letters.next();
            while let Some(digit) = verb.filter(char::is_ascii_digit) {
                digits.push(digit);
                verb = letters.next();
            }
        }
        let Some(value) = values.next() else { return error("index out of range: format") };
        // No number has more digits that mean anything.
        let digits = digits.parse::<usize>().ok().map_or(6, |digits| digits.min(64));
        let piece = match (verb, value) {
            (Some('d'), Val::Int(n)) => n.to_string(),
            (Some('d'), Val::Uint(n)) => n.to_string(),
            (Some('f'), Val::Double(n)) => format!("{n:.digits$}"),
            (Some('e'), Val::Double(n)) => format!("{n:.digits$e}"),
            (Some('b'), Val::Int(n)) => format!("{n:b}"),
            (Some('b'), Val::Bool(truth)) => u8::from(*truth).to_string(),
            (Some('o'), Val::Int(n)) => format!("{n:o}"),
            (Some('x'), Val::Int(n)) => format!("{n:x}"),
            (Some('X'), Val::Int(n)) => format!("{n:X}"),
            (Some('x'), Val::String(text)) => text.bytes().map(|b| format!("{b:02x}")).collect(),
            (Some('s'), value) => printed(value),
            (Some(verb), other) => {
                return error(format!("%{verb} can't show a {}", other.type_name()));
            }
            (None, _) => return error("unexpected end of the format"),
        };
        scope.pay(1 + piece.len() as u64 / 8)?;
        out.push_str(&piece);
    }
    made(out)
}

/// Any value as text.
fn printed(value: &Val<'_>) -> String {
    match value {
        Val::List(list) => {
            let items: Vec<String> = list.iter().map(|item| printed(&item)).collect();
            format!("[{}]", items.join(", "))
        }
        Val::Map(map) => {
            let pair = |key: &Val<'_>| {
                let value = map.get(key).as_ref().map(printed).unwrap_or_default();
                format!("{}: {value}", printed(key))
            };
            let entries: Vec<String> = map.keys().iter().map(pair).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Val::Null => "null".to_owned(),
        Val::Bytes(bytes) => super::base64_text(bytes),
        other => shown(other).unwrap_or_default(),
    }
}

/// The named formats: `format.dns1123Label()` or `format.named("dns1123Label")`.
const FORMATS: [&str; 13] = [
    "byte",
    "date",
    "datetime",
    "dns1035Label",
    "dns1035LabelPrefix",
    "dns1123Label",
    "dns1123LabelPrefix",
    "dns1123Subdomain",
    "dns1123SubdomainPrefix",
    "labelValue",
    "qualifiedName",
    "uri",
    "uuid",
];

fn named_format<'v>(name: &str, args: &[Val<'v>]) -> Option<Outcome<'v>> {
    let find = |name: &str| FORMATS.into_iter().find(|known| *known == name);
    match (name, args) {
        ("named", [Val::String(given)]) => {
            let format = find(given).map(Val::Format);
            Some(Ok(format.map_or(Val::Optional(None), Val::some)))
        }
        (name, []) => find(name).map(|format| Ok(Val::Format(format))),
        _ => None,
    }
}

/// What is wrong with `text`, as an optional list of sentences.
fn validate<'v>(format: &str, text: &str) -> Outcome<'v> {
    let prefix = text.trim_end_matches('-');
    let problem = match format {
        "dns1123Label" => validate::name::label(text),
        "dns1123Subdomain" => validate::name::subdomain(text),
        "dns1035Label" => validate::name::label_1035(text),
        "dns1123LabelPrefix" => validate::name::label(prefix),
        "dns1123SubdomainPrefix" => validate::name::subdomain(prefix),
        "dns1035LabelPrefix" => validate::name::label_1035(prefix),
        "qualifiedName" => validate::name::qualified_name(text),
        "labelValue" => validate::name::label_value(text),
        other => {
            let known = format::is_good(other, text);
            (!known).then(|| format!("does not match the format {other}"))
        }
    };
    let sentences = problem.map(|problem| Val::list(vec![Val::string(problem)]));
    Ok(sentences.map_or(Val::Optional(None), Val::some))
}

/// Text of a list of texts, with `between` them.
pub(super) fn joined<'v>(
    scope: &mut Scope<'v>,
    items: impl Iterator<Item = Val<'v>>,
    between: &str,
) -> Outcome<'v> {
    let mut out = String::new();
    for (n, item) in items.enumerate() {
        let Val::String(text) = item else {
            return Err(Failure::Error("no such overload: join of what is not text".to_owned()));
        };
        scope.pay(1 + (text.len() + between.len()) as u64 / 8)?;
        if n > 0 {
            out.push_str(between);
        }
        out.push_str(&text);
    }
    made(out)
}
