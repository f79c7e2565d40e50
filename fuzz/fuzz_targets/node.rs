//! Whatever the API server sends as a Node is read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| drop(model::decode::node(json)));
