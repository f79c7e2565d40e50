//! Whatever a person writes into a manifest is answered with objects, problems or both.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| drop(lab::manifest::parse("fuzz.yaml", text)));
