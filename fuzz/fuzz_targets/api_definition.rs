//! Whatever schema and rules somebody gives a kind of theirs, and whatever object of it follows, both
//! are answered. A line with `---` parts them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaway_fuzz::{Asked, answer};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const OBJECTS: &str = "/apis/fuzz.test/v1/namespaces/default/things";

fuzz_target!(|input: &str| {
    let (schema, object) = input.split_once("\n---\n").unwrap_or((input, "{}"));
    let definition = format!(
        "{{\"metadata\":{{\"name\":\"things.fuzz.test\"}},\"spec\":{{\"group\":\"fuzz.test\",\"scope\":\"Namespaced\",\
         \"names\":{{\"kind\":\"Thing\",\"plural\":\"things\"}},\"versions\":[{{\"name\":\"v1\",\"served\":true,\
         \"storage\":true,\"schema\":{{\"openAPIV3Schema\":{schema}}}}}]}}}}"
    );
    let named = format!("{OBJECTS}/a?fieldManager=fuzz&force=true");
    let definitions = format!("{DEFINITIONS}/things.fuzz.test");
    let (merge, apply) = ("application/merge-patch+json", "application/apply-patch+yaml");
    let steps = [
        ("POST", DEFINITIONS, "application/json", definition.as_str()),
        ("POST", OBJECTS, "application/json", object),
        ("PATCH", &named, merge, object),
        ("PATCH", &named, apply, object),
        ("DELETE", OBJECTS, "application/json", ""),
        ("DELETE", &definitions, "application/json", ""),
    ];
    answer(&steps.map(|(method, target, media_type, body)| Asked {
        method,
        target,
        media_type,
        body: body.as_bytes(),
    }));
});
