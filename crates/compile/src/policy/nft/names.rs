//! Names that follow from what they stand for.

use model::{DomainPattern, Family, fnv1a};
use plan::nft::SetName;

use crate::ruleset::by_family;

/// How long a comment may be; nft takes no longer ones.
const COMMENT: usize = 128;

/// How long a name may be that says its pattern: the kernel takes 255 bytes, nearly as many as a name of the
/// DNS has.
const READABLE: usize = 200;

/// The set of the addresses of `family` that names like `pattern` stand for. It follows from the pattern
/// alone, so one agent after another fills the same.
pub fn name_set(pattern: &DomainPattern, family: Family) -> SetName {
    let kind = match pattern.is_below() {
        true => by_family(family, "below4", "below6"),
        false => by_family(family, "names4", "names6"),
    };
    let name = pattern.name().to_string();
    let name = name.trim_end_matches('.');
    let name = match name.len() <= READABLE {
        true => format!("{kind}-{name}"),
        false => format!("{kind}-{:016x}", fnv1a(name.as_bytes())),
    };
    SetName(name.into())
}

/// `text` as a comment: where it is too long, its end is left out and its hash put in the place.
pub(super) fn comment(text: String) -> String {
    if text.len() < COMMENT {
        return text;
    }
    let hash = fnv1a(text.as_bytes());
    let fits = |end: &usize| text.is_char_boundary(*end);
    let end = (0..COMMENT - 20).rev().find(fits).unwrap_or_default();
    format!("{}… {hash:016x}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_names_says_of_which_where_that_fits() {
        let name = |pattern: &str| name_set(&pattern.parse().unwrap(), Family::V4).to_string();
        assert_eq!(name("www.Example.org"), "names4-www.example.org");
        assert_eq!(name("*.example.org"), "below4-example.org");
        let long = |last: &str| format!("{}{last}.example", "a.".repeat(110));
        assert_eq!(name(&long("b")).len(), 23);
        assert_ne!(name(&long("b")), name(&long("c")));
    }

    #[test]
    fn a_comment_is_as_long_as_nft_takes_it_and_tells_long_names_apart() {
        assert_eq!(comment("short".to_owned()), "short");
        let [one, other] = ["a", "b"].map(|end| comment("é".repeat(200) + end));
        assert!(one.len() < COMMENT && other.len() < COMMENT, "{}", one.len());
        assert_ne!(one, other);
    }
}
