//! Names that follow from what they stand for.

use std::collections::BTreeMap;

use model::fnv1a;

/// How long a comment may be; nft takes no longer ones.
const COMMENT: usize = 128;

/// The names given so far, with what they stand for.
#[derive(Debug, Default)]
pub(super) struct Names {
    given: BTreeMap<String, String>,
}

impl Names {
    /// The name of what `text` says: `KIND-` and 16 hex digits. Who finds two texts with one hash gets two
    /// names for them all the same.
    pub(super) fn of(&mut self, kind: &str, text: String) -> String {
        let hash = fnv1a(text.as_bytes());
        let mut name = format!("{kind}-{hash:016x}");
        while self.given.get(&name).is_some_and(|other| *other != text) {
            name.push('x');
        }
        self.given.entry(name.clone()).or_insert(text);
        name
    }
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
    fn equal_texts_have_equal_names_and_no_others_do() {
        let mut names = Names::default();
        let first = names.of("pods4", "a".to_owned());
        assert_eq!(first, "pods4-af63dc4c8601ec8c");
        assert_eq!(names.of("pods4", "a".to_owned()), first);
        names.given.insert(first.clone(), "another text of the same hash".to_owned());
        assert_eq!(names.of("pods4", "a".to_owned()), format!("{first}x"));
    }

    #[test]
    fn a_comment_is_as_long_as_nft_takes_it_and_tells_long_names_apart() {
        assert_eq!(comment("short".to_owned()), "short");
        let [one, other] = ["a", "b"].map(|end| comment("é".repeat(200) + end));
        assert!(one.len() < COMMENT && other.len() < COMMENT, "{}", one.len());
        assert_ne!(one, other);
    }
}
