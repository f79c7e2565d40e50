//! What goes wrong under a mechanism's feet, and how it recovers.

use plan::{Mechanism, Setting, SysctlKey, Table, converge};
use seaway_kernel::place::{Links, Pods, Sysctls};

use super::node::name;
use super::pods::{PodNetns, bridged, key, routed};
use super::suite::{fresh, run, settle};

#[test]
fn a_pod_whose_namespace_is_gone_fails_alone_and_goes_away() {
    fresh();
    let (gone, here) = (PodNetns::new(), PodNetns::new());
    let mut place = Pods::open().unwrap();
    let mut want: Table<_, _> = [
        (key("gone"), routed(gone.path(), "gone", 5, 1500)),
        (key("here"), routed(here.path(), "here", 6, 1500)),
    ]
    .into_iter()
    .collect();
    settle(&mut place, &want);
    drop(gone);
    want.insert(key("here"), routed(here.path(), "here", 6, 1400));
    let (_, failures) = converge(&mut place, &want).unwrap();
    assert_eq!(failures.iter().map(|failure| &failure.key).collect::<Vec<_>>(), [&key("gone")]);
    assert_eq!(failures[0].attempt, "put pod link gone/eth0");
    assert!(failures[0].cause.to_string().starts_with("open netns /proc/"));
    let have = place.observe().unwrap();
    assert_eq!(have.get(&key("here")), want.get(&key("here")));
    want.remove(&key("gone"));
    settle(&mut place, &want);
    assert_eq!(place.observe().unwrap(), want);
}

#[test]
fn an_interface_of_the_wanted_name_is_a_clear_error() {
    fresh();
    let pod = PodNetns::new();
    pod.run("ip link add eth0 type veth peer name other");
    let mut place = Pods::open().unwrap();
    let want: Table<_, _> = [(key("a"), routed(pod.path(), "a", 5, 1500))].into_iter().collect();
    let (_, failures) = converge(&mut place, &want).unwrap();
    let cause = failures[0].cause.to_string();
    assert!(
        cause.ends_with("has an interface eth0 already that is not this attachment's"),
        "{cause}"
    );
    assert_eq!(place.observe().unwrap(), Table::default());
    assert!(run("ip -o link").lines().all(|line| line.contains(": lo")), "nothing is left behind");
}

#[test]
fn whatever_breaks_a_pods_link_is_seen_and_repaired() {
    let breakages = [
        "ip link del HOST",
        "ip link set HOST alias someone",
        "ip link set HOST mtu 1300",
        "ip link set HOST down",
        "ip link set HOST nomaster",
        "ip link set HOST address 02:00:00:00:00:99",
        "bridge link set dev HOST hairpin off",
        "bridge link set dev HOST learning on",
        "sysctl -q net/ipv4/conf/HOST/rp_filter=0",
        "sysctl -q net/ipv4/conf/HOST/route_localnet=1",
        "sysctl -q net/ipv6/conf/HOST/accept_ra=2",
        "POD ip link set eth0 down",
        "POD ip link set eth0 mtu 1300",
        "POD ip link set eth0 name eth9",
        "POD ip link set eth0 address 02:00:00:00:00:99",
        "POD ip addr flush dev eth0",
        "POD ip route del default",
        "POD ip -6 route del default",
    ];
    for make in [routed, bridged] {
        fresh();
        run("ip link add seaway0 type bridge");
        run("ip link set seaway0 up");
        let pod = PodNetns::new();
        let mut place = Pods::open().unwrap();
        let row = make(pod.path(), "a", 5, 1500);
        let want: Table<_, _> = [(key("a"), row.clone())].into_iter().collect();
        let host = key("a").host_link();
        for breakage in breakages.iter().chain(["POD ip neigh flush dev eth0 nud all"].iter()) {
            settle(&mut place, &want);
            let is_for_ports = breakage.contains("master") || breakage.starts_with("bridge");
            let is_for_routed = breakage.contains("neigh");
            if is_for_ports && row.master.is_none() || is_for_routed && row.gateway_mac.is_none() {
                continue;
            }
            match breakage.strip_prefix("POD ") {
                Some(inside) => drop(pod.run(inside)),
                None => drop(run(&breakage.replace("HOST", host.as_str()))),
            }
            assert_ne!(place.observe().unwrap(), want, "{breakage}: not seen");
            settle(&mut place, &want);
            assert_eq!(place.observe().unwrap(), want, "{breakage}: not repaired");
            assert_eq!(place.observe_only(&[host.clone()].into()).unwrap(), want);
        }
    }
}

#[test]
fn a_live_pod_changes_mtu_and_mode_without_a_new_link() {
    fresh();
    run("ip link add seaway0 type bridge");
    run("ip link set seaway0 up");
    let pod = PodNetns::new();
    let mut place = Pods::open().unwrap();
    let show = || pod.run("ip -o link show dev eth0").split(':').next().unwrap().to_owned();
    settle(&mut place, &[(key("a"), routed(pod.path(), "a", 5, 1500))].into_iter().collect());
    let before = show();
    for row in [
        routed(pod.path(), "a", 5, 1400),
        bridged(pod.path(), "a", 5, 1450),
        routed(pod.path(), "a", 6, 1450),
    ] {
        settle(&mut place, &[(key("a"), row)].into_iter().collect());
        assert_eq!(show(), before);
    }
}

#[test]
fn what_a_pod_adds_for_itself_stays() {
    fresh();
    let pod = PodNetns::new();
    let mut place = Pods::open().unwrap();
    let want: Table<_, _> = [(key("a"), routed(pod.path(), "a", 5, 1500))].into_iter().collect();
    settle(&mut place, &want);
    pod.run("ip addr add 172.16.0.1/24 dev eth0");
    pod.run("ip route add 172.17.0.0/16 via 172.16.0.9");
    assert!(settle(&mut place, &want).is_empty());
    let row = routed(pod.path(), "a", 6, 1400);
    settle(&mut place, &[(key("a"), row)].into_iter().collect());
    assert!(pod.run("ip -o addr show dev eth0").contains("172.16.0.1/24"));
    assert!(pod.run("ip route").contains("172.17.0.0/16"));
}

#[test]
fn a_bridge_that_others_changed_is_seen_and_repaired() {
    fresh();
    let mut place = Links::open().unwrap();
    let row =
        plan::Link { kind: plan::LinkKind::Bridge, mtu: 1500, mac: model::Mac::derive("bridge") };
    let want: Table<_, _> = [(name("seaway0"), row)].into_iter().collect();
    for breakage in [
        "ip link set seaway0 down",
        "ip link set seaway0 type bridge stp_state 1",
        "ip link set seaway0 mtu 1400",
        "ip link set seaway0 address 02:00:00:00:00:99",
        "sysctl -q net/ipv4/conf/seaway0/forwarding=0",
        "sysctl -q net/ipv6/conf/seaway0/accept_redirects=1",
        "ip link del seaway0",
    ] {
        settle(&mut place, &want);
        run(breakage);
        assert_ne!(place.observe().unwrap(), want, "{breakage}: not seen");
        settle(&mut place, &want);
        assert_eq!(place.observe().unwrap(), want, "{breakage}: not repaired");
    }
    run("ip link set seaway0 alias theirs");
    let (_, failures) = converge(&mut place, &want).unwrap();
    let cause = failures[0].cause.to_string();
    assert!(cause.starts_with("link seaway0 is there already and not Seaway's"), "{cause}");
}

#[test]
fn settings_die_with_their_link_and_are_forgotten() {
    fresh();
    let record = std::env::temp_dir().join(format!("seaway-vanished-{}", std::process::id()));
    let mut place = Sysctls::open(&record).unwrap();
    let row = |key: &str| (SysctlKey(key.to_owned()), Setting::from("2"));
    let (gone, all) = ("net/ipv4/conf/a=b/rp_filter", "net/ipv4/conf/all/rp_filter");
    run("ip link add a=b type veth peer name c");
    settle(&mut place, &[row(gone), row(all)].into_iter().collect());
    run("ip link del a=b");
    let want: Table<_, _> = [row(all)].into_iter().collect();
    assert_eq!(place.observe().unwrap(), want);
    settle(&mut place, &Table::default());
    assert_eq!(std::fs::read_to_string(&record).unwrap(), "");
    let (_, failures) = converge(&mut place, &[row(gone), row(all)].into_iter().collect()).unwrap();
    let attempts: Vec<_> = failures.iter().map(|failure| failure.attempt.as_str()).collect();
    assert_eq!(attempts, ["put sysctl net.ipv4.conf.a=b.rp_filter = 2"]);
    std::fs::remove_file(&record).unwrap();
}

#[test]
fn without_a_record_no_setting_is_changed() {
    fresh();
    let mut place = Sysctls::open("/proc/no/such/place").unwrap();
    let key = "net/ipv4/conf/all/rp_filter";
    let before = run(&format!("cat /proc/sys/{key}"));
    let want = [(SysctlKey(key.to_owned()), "2".into())].into_iter().collect();
    let (_, failures) = converge(&mut place, &want).unwrap();
    assert_eq!(failures[0].cause.to_string(), "keep the original values in /proc/no/such/place");
    assert_eq!(run(&format!("cat /proc/sys/{key}")), before);
}
