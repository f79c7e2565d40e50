//! Flags as they are read: what follows from them, and what is said of wrong ones.

use clap::Parser;
use model::PodRecords;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn read(line: &str) -> anyhow::Result<Settings> {
    settings(Cli::try_parse_from(line.split_whitespace())?.args.run)
}

#[test]
fn every_bad_value_is_named_with_its_flag() {
    let cases = [
        ("agent", "--node-name"),
        ("agent --node-name a --api-server 192.0.2.1:6443", "an address like https://"),
        ("agent --node-name a --mtu 1279", "--mtu 1279"),
        ("agent --node-name a --pod-link bridged", "--pod-link"),
        ("agent --node-name a --routing ipsec", "auto, direct, vxlan"),
        ("agent --node-name a --vxlan-vni 16777216", "--vxlan-vni 16777216"),
        ("agent --node-name a --vxlan-port 0", "--vxlan-port 0"),
        ("agent --node-name a --non-masquerade-cidrs 10.0.0.0/8,10.0.0/8", "10.0.0/8"),
        ("agent --node-name a --metrics-bind everywhere", "--metrics-bind"),
        ("agent --node-name a --healthz-bind 10256", "--healthz-bind"),
        ("agent --node-name a --nodeport-addresses localhost", "primary, all or a CIDR"),
        ("agent --node-name a --external-ips 203.0.113.7/33", "--external-ips"),
        ("agent --node-name a --cluster-domain cluster..local", "--cluster-domain"),
        ("agent --node-name a --cluster-domain .", "at least one label"),
        (
            "agent --node-name a --cluster-domain a.cluster.with-a-name.that-is.longer-than.any-one.needs.example",
            "at most 57 letters",
        ),
        (
            "agent --node-name a --pod-cidrs 10.0.0.0/8,fd00::",
            "auto, none, or a CIDR for each family",
        ),
        ("agent --node-name a --dns-service kube-dns", "NAMESPACE/NAME"),
        ("agent --node-name a --dns-node-port 0", "--dns-node-port 0"),
        ("agent --node-name a --dns-ttl 3601", "--dns-ttl 3601"),
        ("agent --node-name a --dns-pods yes", "--dns-pods"),
        ("agent --node-name a --dns-local-addresses fe80::1", "--dns-local-addresses"),
        ("agent --node-name a --dns-clients 10.0.0.0/33", "--dns-clients"),
        ("agent --node-name a --conntrack-tcp-timeout-established 5d", "a time like 24h"),
    ];
    for (line, named) in cases {
        let error = format!("{:#}", read(line).unwrap_err());
        assert!(error.contains(named), "{line}: {error}");
    }
}

#[test]
fn settings_follow_from_flags() {
    let line = "agent --node-name a --pod-link bridge --routing vxlan --no-masquerade \
                --non-masquerade-cidrs 192.0.2.0/24,2001:db8::/32 --metrics-bind none --mtu 1400";
    let settings = read(line).unwrap();
    assert_eq!(settings.config.pod_link, PodLinkMode::Bridge);
    assert_eq!(settings.config.non_masquerade_cidrs.len(), 2);
    assert_eq!((settings.config.masquerade, settings.metrics), (false, None));
    assert!(matches!(settings.access, Access::InCluster(_)));
    assert_eq!(settings.config.node_port_addrs, [NodePortAddrs::Primary]);
    assert_eq!(settings.config.external_ips, []);
    let services = "agent --node-name a --nodeport-addresses primary,192.0.2.0/24 \
                    --external-ips 203.0.113.0/24 --masquerade-all";
    let config = read(services).unwrap().config;
    let cidr = NodePortAddrs::Cidr("192.0.2.0/24".parse().unwrap());
    assert_eq!(config.node_port_addrs, [NodePortAddrs::Primary, cidr]);
    assert_eq!((config.external_ips.len(), config.masquerade_all), (1, true));
    assert!(config.conntrack.tcp_be_liberal && config.conntrack.tcp_strict);
    assert!(config.conntrack.max >= Some(131_072));
    let names = "agent --node-name a --cluster-domain K8s.Example --dns-service dns/names --no-dns \
                 --dns-local-addresses none --dns-clients 192.0.2.0/24 --dns-pods insecure";
    let dns = read(names).unwrap().config.dns;
    assert_eq!((dns.domain.to_string(), dns.is_served), ("k8s.example.".to_owned(), false));
    assert_eq!((dns.service.to_string(), dns.local_addrs.len()), ("dns/names".to_owned(), 0));
    assert_eq!((dns.clients.len(), dns.pods), (1, PodRecords::Insecure));
    assert_eq!(read("agent --node-name a").unwrap().config.dns, Config::default().dns);
    let left = "agent --node-name a --conntrack-max-per-core 0 --conntrack-tcp-be-liberal false --conntrack-tcp-strict false \
                --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0s";
    let conntrack = read(left).unwrap().config.conntrack;
    assert_eq!(conntrack.max, None);
    assert!(!conntrack.tcp_be_liberal && !conntrack.tcp_strict);
    assert_eq!((conntrack.tcp_established, conntrack.tcp_close_wait), (None, None));
}
