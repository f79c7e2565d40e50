//! Whatever configurations two appliers write in turns, each is answered, and what the first applies
//! again is taken without a conflict when it forces. A line with `---` parts them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaway_fuzz::{Asked, answer};

const PATHS: [&str; 3] = [
    "/apis/apps/v1/namespaces/default/deployments/fuzz",
    "/api/v1/namespaces/default/services/fuzz",
    "/api/v1/namespaces/default/pods/fuzz",
];

fuzz_target!(|input: &[u8]| {
    let Some((path, rest)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let path = PATHS[usize::from(*path) % PATHS.len()];
    let (first, second) = text.split_once("\n---\n").unwrap_or((text, text));
    let by = |who: &str| format!("{path}?fieldManager={who}");
    let (one, other, forced) = (by("one"), by("other"), by("one") + "&force=true");
    let media_type = "application/apply-patch+yaml";
    let (first, second) = (first.as_bytes(), second.as_bytes());
    let codes = answer(&[
        Asked { method: "PATCH", target: &one, media_type, body: first },
        Asked { method: "PATCH", target: &other, media_type, body: second },
        Asked { method: "PATCH", target: &forced, media_type, body: first },
        Asked { method: "DELETE", target: path, media_type: "application/json", body: b"" },
    ]);
    assert_ne!(codes[2], 409, "forced, and refused for a conflict");
});
