//! Lines of the plugin `rewrite`.

use super::lines::Line;
use crate::DomainName;
use crate::forwarding::{Pattern, Rewrite};

/// The rules that `line` stands for.
///
/// # Errors
/// Why it stands for none.
pub(super) fn rewrites(line: &Line) -> Result<Vec<Rewrite>, String> {
    let mut words = line.args();
    for inner in &line.block {
        words.extend(inner.words.iter().map(String::as_str));
    }
    if words.first() == Some(&"continue") {
        return Err(
            "the first rewrite that fits is the last one: `continue` has no equivalent".into()
        );
    }
    if words.first() == Some(&"stop") {
        words.remove(0);
    }
    let Some((&"name", words)) = words.split_first() else {
        return Err("only names are rewritten".to_owned());
    };
    let (how, from, to, options) = match *words {
        [from, to] => ("exact", from, to, &[][..]),
        [how, from, to, ref options @ ..] => (how, from, to, options),
        _ => return Err("two names are wanted".to_owned()),
    };
    if !matches!(options, [] | ["answer", "auto"] | ["answer", "name", "auto"]) {
        return Err(
            "answers speak of the name in question, and are not rewritten otherwise".to_owned()
        );
    }
    let name = |text: &str| {
        let text = text.strip_prefix('.').filter(|text| !text.is_empty()).unwrap_or(text);
        let name: DomainName = text.parse().map_err(|error| format!("{error}"))?;
        Ok::<_, String>(name.lowered())
    };
    match how {
        "exact" => Ok(vec![Rewrite { from: Pattern::Exact(name(from)?), to: name(to)? }]),
        "suffix" => {
            let (from_name, to) = (name(from)?, name(to)?);
            let below = Rewrite { from: Pattern::Suffix(from_name), to };
            // With a dot in front CoreDNS means what is below; without, the name too.
            let own = Rewrite { from: Pattern::Exact(from_name), to };
            Ok(if from.starts_with('.') { vec![below] } else { vec![own, below] })
        }
        _ => Err(format!("{how}: names are rewritten as a whole (exact) or by their end (suffix)")),
    }
}
