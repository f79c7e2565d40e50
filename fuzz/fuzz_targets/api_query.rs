//! Whatever a client asks for, by path, selectors, options and continue tokens, it is answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaway_fuzz::{Asked, answer};

/// What the input follows.
const STARTS: [&str; 10] = [
    "/",
    "/api/v1/",
    "/api/v1/pods?",
    "/api/v1/pods?labelSelector=",
    "/api/v1/pods?fieldSelector=",
    "/api/v1/events?fieldSelector=",
    "/api/v1/pods?limit=1&continue=",
    "/api/v1/pods?watch=1&",
    "/api/v1/namespaces/default/pods/web/log?",
    "/apis/apps/v1/namespaces/",
];

fuzz_target!(|input: &[u8]| {
    let Some((start, rest)) = input.split_first() else { return };
    let Ok(rest) = std::str::from_utf8(rest) else { return };
    let target = format!("{}{rest}", STARTS[usize::from(*start) % STARTS.len()]);
    let asked = Asked { method: "GET", target: &target, media_type: "", body: b"" };
    answer(&[asked, Asked { method: "DELETE", target: &format!("{target}&dryRun=All"), ..asked }]);
});
