//! The texts of other people's licenses, which go with what is theirs.

use std::collections::BTreeMap;

use super::parts::{Id, Part};
use crate::run::Result;

/// Who has which license, and every text once, with the names of those it came with.
///
/// # Errors
/// A text that can't be read.
pub(crate) fn notices<'a>(parts: impl Iterator<Item = (&'a Id, &'a Part)>) -> Result<String> {
    let mut list = String::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ((name, version), part) in parts.filter(|(_, part)| part.purl.is_some()) {
        list.push_str(&format!("{name} {version}: {}\n", part.license));
        for path in &part.texts {
            let text = std::fs::read(path).map_err(|e| format!("read {}: {e}", path.display()))?;
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            texts.entry(text).or_default().push(format!("{name} {version}, {file}"));
        }
    }
    let mut texts: Vec<(Vec<String>, String)> =
        texts.into_iter().map(|(text, of)| (of, text)).collect();
    texts.sort();
    let texts = texts
        .iter()
        .map(|(of, text)| format!("\n{}\n{}\n\n{text}\n", "=".repeat(79), of.join("\n")));
    Ok(format!(
        "Others' work in this image, and its licenses:\n\n{list}{}",
        texts.collect::<String>()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_there_once_and_says_whose_it_is() {
        let folder = std::env::temp_dir().join(format!("seaway-notices-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let part = |purl: &str, texts| Part {
            license: "MIT".to_owned(),
            purl: (!purl.is_empty()).then(|| purl.to_owned()),
            texts,
            ..Part::default()
        };
        let id = |name: &str| (name.to_owned(), "1".to_owned());
        let parts = [
            (id("a"), part("pkg:a", vec![file("LICENSE-a", "one\n")])),
            (id("b"), part("pkg:b", vec![file("COPYING", "one"), file("NOTICE", "two")])),
            (id("ours"), part("", Vec::new())),
        ];
        let text = notices(parts.iter().map(|(id, part)| (id, part))).unwrap();
        assert!(text.contains("\n\na 1: MIT\nb 1: MIT\n\n"), "{text}");
        assert!(text.contains("\na 1, LICENSE-a\nb 1, COPYING\n\none\n"), "{text}");
        assert!(text.contains("\nb 1, NOTICE\n\ntwo\n") && !text.contains("ours"), "{text}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
