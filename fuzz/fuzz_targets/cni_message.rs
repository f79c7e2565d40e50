//! Whatever arrives on the agent's socket, or comes back from it, is read or refused; what is read as
//! a call is the same call when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::cni::{Reply, decode_call, encode_call};

fuzz_target!(|bytes: &[u8]| {
    drop(Reply::decode(bytes));
    let Ok((environment, stdin)) = decode_call(bytes) else { return };
    let again = encode_call(&environment, stdin);
    let read = decode_call(&again).expect("what was written reads");
    assert_eq!(read, (environment, stdin));
});
