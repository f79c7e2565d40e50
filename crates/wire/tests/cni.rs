//! CNI requests and results, held to the text of the specification.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use seaway_wire::cni::{
    AddResult, Environment, Interface, Ip, Operation, Request, Route, Version, decode_call, parse,
};
use serde_json::{Value, json};

fn environment(command: &str) -> Environment {
    Environment {
        command: command.into(),
        container_id: "c0ffee".into(),
        netns: "/run/netns/blue".into(),
        ifname: "eth0".into(),
        args: String::new(),
    }
}

fn ask(command: &str, conf: &Value) -> Result<Request, seaway_wire::cni::Error> {
    parse(&environment(command), conf.to_string().as_bytes())
}

/// The `tuning` request of the specification's appendix, with our type.
fn chained() -> Value {
    json!({
      "cniVersion": "1.1.0",
      "name": "dbnet",
      "type": "seaway-cni",
      "runtimeConfig": { "mac": "00:11:22:33:44:66" },
      "prevResult": {
        "ips": [{ "address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 2 }],
        "routes": [{ "dst": "0.0.0.0/0" }],
        "interfaces": [
            { "name": "cni0", "mac": "00:11:22:33:44:55" },
            { "name": "veth3243", "mac": "55:44:33:22:11:11" },
            { "name": "net1", "mac": "99:88:77:66:55:44", "sandbox": "/run/netns/blue" }
        ],
        "dns": { "nameservers": [ "10.1.0.1" ] }
      }
    })
}

fn our_result() -> AddResult {
    let interface = |name: &str, sandbox: Option<&str>| Interface {
        name: name.into(),
        mac: Some("02:00:00:00:00:01".into()),
        mtu: Some(1450),
        sandbox: sandbox.map(str::to_owned),
        ..Interface::default()
    };
    let ip = |address: &str, gateway: &str| Ip {
        address: address.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
        interface: Some(1),
    };
    let route = |dst: &str, gw: &str| Route {
        dst: dst.parse().unwrap(),
        gw: Some(gw.parse().unwrap()),
        mtu: None,
        advmss: None,
        priority: None,
        table: None,
        scope: None,
    };
    AddResult {
        interfaces: vec![interface("swdead", None), interface("eth0", Some("/run/netns/blue"))],
        ips: vec![ip("10.244.1.2/32", "169.254.1.1"), ip("fd00::2/128", "fe80::1")],
        routes: vec![route("0.0.0.0/0", "169.254.1.1"), route("::/0", "fe80::1")],
        ..AddResult::default()
    }
}

#[test]
fn each_version_has_its_own_shape_of_a_result() {
    for version in Version::ALL {
        let mut expected = json!({
            "cniVersion": version.as_str(),
            "interfaces": [
                { "name": "swdead", "mac": "02:00:00:00:00:01" },
                { "name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/blue" }
            ],
            "ips": [
                { "address": "10.244.1.2/32", "gateway": "169.254.1.1", "interface": 1 },
                { "address": "fd00::2/128", "gateway": "fe80::1", "interface": 1 }
            ],
            "routes": [
                { "dst": "0.0.0.0/0", "gw": "169.254.1.1" },
                { "dst": "::/0", "gw": "fe80::1" }
            ]
        });
        if version < Version::V1_0_0 {
            expected["ips"][0]["version"] = json!("4");
            expected["ips"][1]["version"] = json!("6");
        }
        if version >= Version::V1_1_0 {
            expected["interfaces"][0]["mtu"] = json!(1450);
            expected["interfaces"][1]["mtu"] = json!(1450);
        }
        let found: Value = serde_json::from_str(&our_result().to_json(version)).unwrap();
        assert_eq!(found, expected, "{version}");
    }
}

#[test]
fn a_chained_add_keeps_what_came_before_and_points_at_its_own_interface() {
    let Ok(Request { operation: Operation::Add(add), .. }) = ask("ADD", &chained()) else {
        panic!("no ADD");
    };
    let result = our_result().after(add.previous.unwrap());
    let names: Vec<_> = result.interfaces.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["cni0", "veth3243", "net1", "swdead", "eth0"]);
    let ips: Vec<_> = result.ips.iter().map(|ip| (ip.address.to_string(), ip.interface)).collect();
    assert_eq!(ips[0], ("10.1.0.5/16".to_owned(), Some(2)));
    assert_eq!(ips[1], ("10.244.1.2/32".to_owned(), Some(4)));
    assert_eq!(result.dns.nameservers, ["10.1.0.1"]);
}

#[test]
fn a_result_reads_back_as_it_was_printed() {
    for version in [Version::V0_4_0, Version::V1_0_0, Version::V1_1_0] {
        let previous: Value = serde_json::from_str(&our_result().to_json(version)).unwrap();
        let conf = json!({"cniVersion": version.as_str(), "name": "n", "prevResult": previous});
        let Ok(Request { operation: Operation::Check(check), .. }) = ask("CHECK", &conf) else {
            panic!("no CHECK");
        };
        assert_eq!(check.previous.to_json(version), our_result().to_json(version));
    }
}

#[test]
fn what_containerd_and_multus_send_is_understood() {
    let conf = json!({
        "cniVersion": "1.0.0", "name": "seaway", "type": "seaway-cni", "runDir": "/run/other",
        "capabilities": {"portMappings": true}, "unknown": {"key": 1}, "ipam": {}, "prevResult": null,
        "runtimeConfig": {
            "portMappings": [
                {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "192.0.2.7"},
                {"hostPort": 9999, "containerPort": 9999, "protocol": "SCTP", "hostIP": "0.0.0.0"},
                {"hostPort": 0, "containerPort": 81, "protocol": "udp", "hostIP": ""},
                {"HostPort": 53, "ContainerPort": 5353, "Protocol": "udp", "HostIP": ""}
            ],
            "bandwidth": {"ingressRate": 2048},
            "ips": ["10.244.1.9/24", "fd00::9"],
            "io.kubernetes.cri.pod-annotations": {"a": "b"},
            "dns": {
                "Servers": ["10.96.0.10"], "Options": ["ndots:5"],
                "Searches": ["ns.svc.cluster.local", "svc.cluster.local", "cluster.local"]
            },
            "mac": ""
        }
    });
    let mut environment = environment("ADD");
    environment.args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web;K8S_POD_UID=u".into();
    let request = parse(&environment, conf.to_string().as_bytes()).unwrap();
    assert_eq!(request.paths.socket().to_str(), Some("/run/other/cni.sock"));
    let Operation::Add(add) = request.operation else { panic!("no ADD") };
    assert_eq!(add.pod.unwrap().to_string(), "ns/web");
    assert_eq!(
        add.addrs,
        ["10.244.1.9".parse::<std::net::IpAddr>().unwrap(), "fd00::9".parse().unwrap()]
    );
    let search = add.search.expect("a search list");
    let domains: Vec<_> = search.domains().iter().map(ToString::to_string).collect();
    assert_eq!(domains, ["ns.svc.cluster.local.", "svc.cluster.local.", "cluster.local."]);
    assert_eq!(search.ndots(), 5);
    let mappings: Vec<_> = add
        .port_mappings
        .iter()
        .map(|m| {
            let host = m.host_ip.map_or("*".to_owned(), |ip| ip.to_string());
            format!("{host}:{}/{} -> {}", m.host_port, m.protocol, m.container_port)
        })
        .collect();
    assert_eq!(mappings, ["192.0.2.7:8080/tcp -> 80", "*:9999/sctp -> 9999", "*:53/udp -> 5353"]);
}

/// Each line: command, what to change in a good configuration, the error.
#[test]
fn wrong_requests_are_refused_with_the_code_of_the_specification() {
    let cases = r#"
        ADD    | {"cniVersion": "0.2.0"} | 1 incompatible CNI version
        ADD    | {"cniVersion": null} | 1 incompatible CNI version
        CHECK  | {"cniVersion": "0.3.1"} | 1 cniVersion 0.3.1 has no CHECK: it came with 0.4.0
        GC     | {"cniVersion": "1.0.0"} | 1 cniVersion 1.0.0 has no GC: it came with 1.1.0
        STATUS | {"cniVersion": "0.4.0"} | 1 cniVersion 0.4.0 has no STATUS: it came with 1.1.0
        ADD    | {"ipam": {"type": "host-local"}} | 2 ipam: {"type":"host-local"} is not supported
        BOOM   | {} | 4 CNI_COMMAND: "BOOM" is not ADD, DEL, CHECK, GC, STATUS or VERSION
        ADD    | {"name": null} | 7 name: the network's name is missing
        ADD    | {"name": "../etc"} | 7 name: "../etc" is not a letter or digit followed by letters, digits, '_', '.' and '-'
        ADD    | {"name": 5} | 7 name: 5 is not a string
        ADD    | {"type": "../../bin/sh"} | 7 type: "../../bin/sh" is not the name of an executable, without '/'
        ADD    | {"runDir": "run"} | 7 runDir: "run" is not an absolute path
        ADD    | {"runtimeConfig": []} | 7 runtimeConfig: [] is not an object
        ADD    | {"runtimeConfig": {"mac": "x"}} | 7 runtimeConfig.mac: "x" is not a hardware address
        ADD    | {"runtimeConfig": {"dns": {"searches": "corp"}}} | 7 runtimeConfig.dns.searches: "corp" is not a list
        ADD    | {"runtimeConfig": {"ips": ["x"]}} | 7 runtimeConfig.ips[0]: "x" is not an IP address
        ADD    | {"runtimeConfig": {"portMappings": [{"hostPort": 70000}]}} | 7 runtimeConfig.portMappings[0].hostPort: 70000 is not a port
        ADD    | {"runtimeConfig": {"portMappings": [{"hostPort": 80}]}} | 7 runtimeConfig.portMappings[0]: {"hostPort":80} is not a port mapping: containerPort is missing
        ADD    | {"runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 80, "protocol": "icmp"}]}} | 7 runtimeConfig.portMappings[0].protocol: "icmp" is not TCP, UDP or SCTP
        ADD    | {"prevResult": {"ips": [{"address": "10.0.0.1"}]}} | 7 prevResult.ips[0].address: "10.0.0.1" is not an address with prefix length
        ADD    | {"prevResult": {"interfaces": [{"name": "eth0", "sandbox": "/run/netns/blue"}]}} | 102 interface eth0 of /run/netns/blue exists already
        CHECK  | {} | 7 prevResult: CHECK needs it
        GC     | {} | 7 cni.dev/valid-attachments: GC needs it
        GC     | {"cni.dev/attachments": [{"ifname": "eth0"}]} | 7 cni.dev/attachments[0]: {"ifname":"eth0"} is not an attachment with containerID and ifname
    "#;
    for line in cases.trim().lines() {
        let [command, change, expected] =
            line.splitn(3, '|').map(str::trim).collect::<Vec<_>>()[..]
        else {
            panic!("{line}");
        };
        let mut conf = json!({"cniVersion": "1.1.0", "name": "n", "type": "seaway-cni"});
        let change: serde_json::Map<_, _> = serde_json::from_str(change).unwrap();
        conf.as_object_mut().unwrap().extend(change);
        let error = ask(command, &conf).expect_err(line);
        assert_eq!(format!("{} {}", error.code.number(), error.msg), expected, "{line}");
    }
}

#[test]
fn wrong_environments_are_refused_by_name() {
    type Break = fn(&mut Environment);
    let cases: [(&str, Break, &str); 7] = [
        ("ADD", |e| e.container_id.clear(), "environment variables are missing: CNI_CONTAINERID"),
        ("ADD", |e| e.netns.clear(), "environment variables are missing: CNI_NETNS"),
        ("CHECK", |e| e.ifname.clear(), "environment variables are missing: CNI_IFNAME"),
        ("DEL", |e| e.ifname.clear(), "environment variables are missing: CNI_IFNAME"),
        (
            "DEL",
            |e| e.container_id = "../x".into(),
            "CNI_CONTAINERID: \"../x\" is not a letter or digit followed by letters, digits, '_', \
             '.' and '-'",
        ),
        (
            "ADD",
            |e| e.ifname = "a/b".into(),
            "CNI_IFNAME: interface name \"a/b\": 1 to 15 bytes without '/', ':' or spaces are \
             allowed",
        ),
        ("ADD", |e| e.netns = "proc".into(), "CNI_NETNS: \"proc\" is not an absolute path"),
    ];
    for (command, change, expected) in cases {
        let mut environment = environment(command);
        change(&mut environment);
        let conf = json!({"cniVersion": "1.1.0", "name": "n", "prevResult": {}}).to_string();
        let error = parse(&environment, conf.as_bytes()).expect_err(expected);
        assert_eq!((error.code.number(), error.msg.as_str()), (4, expected));
    }
}

#[test]
fn a_del_is_understood_whatever_became_of_its_configuration() {
    let confs = [
        "",
        "{",
        "[]",
        "null",
        r#"{"cniVersion":"9.9.9"}"#,
        r#"{"name":"/"}"#,
        r#"{"cniVersion":"1.0.0","name":"n","prevResult":5,"ipam":{"type":"x"}}"#,
    ];
    for conf in confs {
        let mut environment = environment("DEL");
        environment.netns.clear();
        environment.args = "broken".into();
        let request = parse(&environment, conf.as_bytes()).expect(conf);
        let Operation::Del(key) = request.operation else { panic!("{conf}") };
        assert_eq!(key.to_string(), "c0ffee/eth0");
    }
}

#[test]
fn a_del_finds_the_agent_by_a_configuration_that_is_otherwise_broken() {
    let request = parse(&environment("DEL"), br#"{"name":7,"runDir":"/run/x"}"#).unwrap();
    assert_eq!(request.paths.socket().to_str(), Some("/run/x/cni.sock"));
    assert_eq!(request.paths.pending().to_str(), Some("/var/lib/seaway/pending"));
}

#[test]
fn gc_keeps_what_either_key_lists_and_null_is_an_empty_list() {
    let keep = |conf: Value| {
        let mut whole = json!({"cniVersion": "1.1.0", "name": "n"});
        whole.as_object_mut().unwrap().extend(conf.as_object().unwrap().clone());
        let Operation::Gc(keep) = ask("GC", &whole).unwrap().operation else { panic!("no GC") };
        keep.map(|keys| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    let entry = |id: &str, ifname: &str| json!({"containerID": id, "ifname": ifname});
    let list = json!({
        "cni.dev/valid-attachments": [entry("a", "eth0"), entry("b", "not/ours")],
        "cni.dev/attachments": [entry("c", "net1"), entry("a", "eth0")]
    });
    assert_eq!(keep(list).as_deref(), Some("a/eth0 c/net1"));
    assert_eq!(keep(json!({"cni.dev/valid-attachments": null})).as_deref(), Some(""));
    assert_eq!(keep(json!({"cni.dev/valid-attachments": []})).as_deref(), Some(""));
    assert_eq!(keep(json!({"disableGC": true})), None);
}

/// JSON of any shape, with the keys a configuration has.
fn any_conf() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("cniVersion".to_owned()),
        Just("name".into()),
        Just("type".into()),
        Just("ipam".into()),
        Just("runDir".into()),
        Just("runtimeConfig".into()),
        Just("portMappings".into()),
        Just("hostPort".into()),
        Just("containerPort".into()),
        Just("prevResult".into()),
        Just("interfaces".into()),
        Just("ips".into()),
        Just("address".into()),
        Just("routes".into()),
        Just("dns".into()),
        Just("args".into()),
        Just("cni".into()),
        Just("mac".into()),
        Just("cni.dev/valid-attachments".into()),
        Just("containerID".into()),
        Just("ifname".into()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u16>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!("1.1.0")),
        Just(json!("10.0.0.1/24")),
        Just(json!("a")),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_configuration_makes_the_parser_panic(
        conf in any_conf(), version in 0..Version::ALL.len(),
        command in prop_oneof![Just("ADD"), Just("DEL"), Just("CHECK"), Just("GC"), Just("STATUS")],
    ) {
        let mut conf = conf;
        if let Some(object) = conf.as_object_mut() {
            object.insert("cniVersion".into(), json!(Version::ALL[version].as_str()));
            object.insert("name".into(), json!("n"));
        }
        if let Ok(request) = ask(command, &conf)
            && let Operation::Add(add) = request.operation
        {
            let result = our_result().after(add.previous.unwrap_or_default());
            let printed = result.to_json(request.version);
            prop_assert!(serde_json::from_str::<Value>(&printed).is_ok());
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok((environment, stdin)) = decode_call(&bytes) {
            drop(parse(&environment, stdin));
        }
        drop(parse(&environment("ADD"), &bytes));
        drop(parse(&environment("DEL"), &bytes));
    }

    #[test]
    fn no_environment_makes_the_parser_panic(
        id in ".*", netns in ".*", ifname in ".{0,20}", args in ".*"
    ) {
        let odd = Environment { command: "ADD".into(), container_id: id, netns, ifname, args };
        drop(parse(&odd, br#"{"cniVersion":"1.1.0","name":"n"}"#));
    }
}
