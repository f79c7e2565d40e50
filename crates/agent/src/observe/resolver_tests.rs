//! What is told of a server that has done something.

use wire::dns::Rcode;

use super::*;

#[test]
fn dns150_to_dns153_a_server_shows_under_the_names_of_coredns() {
    let resolver = Resolver::new();
    let mut before = String::new();
    resolver.encode(&mut before).unwrap();
    assert!(before.contains("coredns_build_info{version=\"seaway-"), "{before}");
    assert!(!before.contains("dns_requests"), "no server, no numbers: {before}");
    resolver.serves(&"cluster.local.", done);
    resolver.programmed(&[(Family::V4, Duration::from_millis(3))]);
    let mut text = String::new();
    resolver.encode(&mut text).unwrap();
    for line in [
        "# TYPE coredns_dns_requests counter",
        "# TYPE coredns_dns_responses counter",
        "coredns_dns_request_duration_seconds_bucket{le=\"+Inf\",server=\"dns://:53\",zone=\"cluster.local.\",view=\"\"} 0",
        "coredns_dns_request_size_bytes_count{server=\"dns://:53\",zone=\".\",view=\"\",proto=\"udp\"} 0",
        "coredns_panics_total 0",
        "coredns_autopath_success_total{server=\"dns://:53\"} 0",
        "coredns_dns_excess_packets_total 8",
        "coredns_cache_entries{server=\"dns://:53\",type=\"denial\",zones=\".\",view=\"\"} 6",
        "coredns_cache_hits_total{server=\"dns://:53\",type=\"success\",zones=\".\",view=\"\"} 3",
        "coredns_cache_evictions_total{server=\"dns://:53\",type=\"denial\",zones=\".\",view=\"\"} 7",
        "coredns_cache_requests_total{server=\"dns://:53\",zones=\".\",view=\"\"} 12",
        "coredns_forward_healthcheck_broken_total 9",
        "coredns_proxy_request_duration_seconds_count{proxy_name=\"forward\",to=\"192.0.2.53:53\",rcode=\"NXDOMAIN\"} 1",
        "coredns_proxy_healthcheck_failures_total{proxy_name=\"forward\",to=\"192.0.2.53:53\"} 2",
        "coredns_proxy_conn_cache_hits_total{proxy_name=\"forward\",to=\"192.0.2.53:53\",proto=\"tcp\"} 10",
        "coredns_proxy_conn_cache_misses_total{proxy_name=\"forward\",to=\"192.0.2.53:53\",proto=\"tcp\"} 11",
        "coredns_dns_policy_addresses 3",
        "coredns_dns_policy_failures_total 0",
        "coredns_kubernetes_dns_programming_duration_seconds_count 1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

fn done() -> Option<Done> {
    let mut counts = vec![0; DURATIONS.len() + 1];
    counts[3] = 1;
    let upstream = UpstreamTally {
        to: ([192, 0, 2, 53], 53).into(),
        took: vec![(Rcode::NxDomain, Classes { counts, sum: 300_000 })],
        failed_checks: 2,
        tcp: Connections { reused: 10, made: 11 },
        tls: Connections::default(),
    };
    let tally = Tally {
        success: CacheTally { entries: 5, hits: 3, evictions: 0 },
        denial: CacheTally { entries: 6, hits: 5, evictions: 7 },
        misses: 4,
        stale: 1,
        broken: 9,
        upstreams: vec![upstream],
        ..Tally::default()
    };
    let named = NamedTally { addrs: 3, ..NamedTally::default() };
    Some(Done { counts: Counts::default(), tally, named, excess: Some(8) })
}
