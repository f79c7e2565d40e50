//! What Kubernetes says about its types and their fields.
//!
//! `build.rs` gathers the sentences and says where from. They stay packed until somebody asks for a
//! document of OpenAPI.
use std::collections::HashMap;
use std::io::Read;
use std::sync::LazyLock;

use flate2::read::DeflateDecoder;

use super::custom;

static TEXT: LazyLock<String> = LazyLock::new(|| {
    let packed: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions"));
    let mut text = String::new();
    DeflateDecoder::new(packed).read_to_string(&mut text).expect("the build packed text");
    text
});

/// Descriptions by type, the type's own under the empty name.
static ALL: LazyLock<HashMap<&'static str, HashMap<&'static str, &'static str>>> =
    LazyLock::new(|| {
        let mut all: HashMap<&str, HashMap<&str, &str>> = HashMap::new();
        let mut of = "";
        for line in TEXT.lines() {
            let field_line = line.strip_prefix('\t');
            let Some((name, text)) = field_line.unwrap_or(line).split_once('\t') else { continue };
            let field = if field_line.is_some() { name } else { "" };
            if field_line.is_none() {
                of = name;
            }
            all.entry(of).or_default().insert(field, text);
        }
        all
    });

/// What is said about a type, by its full name, or about a field of it.
pub(super) fn of(name: &str, field: &str) -> Option<String> {
    let of = ALL.get(name)?;
    match (of.get(field).filter(|text| !text.is_empty()), field) {
        (Some(text), _) => Some(text.replace("\\n", "\n")),
        // The crate's kinds have them as constants.
        (None, "apiVersion") => Some(custom::API_VERSION.to_owned()),
        (None, "kind") => Some(custom::KIND.to_owned()),
        (None, _) => None,
    }
}
