//! Whatever the API server sends as a policy or a Pod is read or refused, and a rule that is not read says so.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::decode;

fuzz_target!(|json: &[u8]| {
    drop(decode::pod(json));
    if let Ok(policy) = decode::network_policy(json) {
        let rules = policy.ingress.iter().chain(&policy.egress).flatten();
        let closed = rules.filter(|rule| rule.peers.as_ref().is_some_and(Vec::is_empty));
        assert_eq!(closed.count(), policy.faults.len());
    }
    for read in [decode::cluster_policy, decode::admin_policy, decode::baseline_policy] {
        if let Ok(policy) = read(json) {
            let rules = policy.ingress.iter().chain(&policy.egress);
            let closed = rules.filter(|rule| rule.rule.peers.as_ref().is_none_or(Vec::is_empty));
            assert_eq!(closed.count(), policy.faults.len());
        }
    }
});
