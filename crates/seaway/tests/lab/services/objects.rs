//! Services as objects: who gives them addresses and ports, and who tells of their endpoints.

use libtest_mimic::Trial;

use crate::lab::{Lab, eventually, success, test, text};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("a_service_has_its_address_ports_and_endpoints_at_once", exposed),
        test("a_range_of_service_addresses_goes_when_nobody_uses_it", ranges),
    ]
}

/// What one kubectl command prints.
fn kubectl(lab: &Lab, words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    success(&lab.kubectl(&words)).unwrap_or_else(|error| panic!("kubectl {words:?}: {error}"))
}

fn is_soon(lab: &Lab, words: &str, expect: &str) {
    eventually(&format!("kubectl {words} prints {expect}"), || match kubectl(lab, words) {
        got if got == expect => Ok(()),
        got => Err(got),
    });
}

/// A Deployment is exposed, scaled and taken away, as in any tutorial.
fn exposed() {
    let lab = Lab::up(&["--nodes", "2"]);
    kubectl(&lab, "create deployment web --image=seaway/echo --replicas=2 --port=8080");
    kubectl(&lab, "expose deployment web --type=NodePort --port=80 --target-port=8080");
    let field = |path: &str| {
        text(&lab.kubectl(&["get", "service", "web", "-o", &format!("jsonpath={path}")]))
    };
    let address = field("{.spec.clusterIP}");
    assert!(address.starts_with("10.96."), "{address}");
    let port: u16 = field("{.spec.ports[0].nodePort}").parse().expect("a port");
    assert!((30000..=32767).contains(&port), "{port}");
    assert_eq!(field("{.spec.ipFamilies}{.spec.ipFamilyPolicy}"), "[\"IPv4\"]SingleStack");

    kubectl(&lab, "rollout status deployment/web --timeout=30s");
    let slices = "get endpointslices -l kubernetes.io/service-name=web -o \
                  jsonpath={.items[*].endpoints[*].conditions.ready}";
    is_soon(&lab, slices, "true true");
    let pods = text(&lab.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[*].status.podIP}",
    ]));
    let mut pods: Vec<&str> = pods.split(' ').collect();
    pods.sort_unstable();
    let endpoints = kubectl(
        &lab,
        "get endpoints web -o jsonpath={.subsets[0].addresses[*].ip}:{.subsets[0].ports[0].port}",
    );
    assert_eq!(endpoints, format!("{}:8080", pods.join(" ")));
    let parent =
        kubectl(&lab, &format!("get ipaddress {address} -o jsonpath={{.spec.parentRef.name}}"));
    assert_eq!(parent, "web");

    // One that is taken is refused by name, and nothing of the attempt stays.
    let taken = lab.kubectl(&[
        "create",
        "service",
        "clusterip",
        "other",
        "--tcp=80",
        &format!("--clusterip={address}"),
    ]);
    let said = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(said.contains("provided IP is already allocated"), "{said}");

    kubectl(&lab, "scale deployment web --replicas=0");
    is_soon(&lab, slices, "");
    kubectl(&lab, "delete service web");
    is_soon(
        &lab,
        "get endpointslices,endpoints,ipaddresses -A -o jsonpath={.items[*].metadata.name}",
        "kubernetes kube-dns-ipv4 kube-dns-ipv6 kubernetes 10.96.0.1 10.96.0.10 fd00:10:96::a",
    );
    let again = format!("create service clusterip other --tcp=80 --clusterip={address}");
    assert_eq!(kubectl(&lab, &again), "service/other created");
}

/// The range a lab starts with, and one that is added and taken away again.
fn ranges() {
    let lab = Lab::up(&["--nodes", "1", "--service-cidr", "10.50.0.0/24", "--ip-family", "ipv4"]);
    is_soon(&lab, "get service kubernetes -o jsonpath={.spec.clusterIP}", "10.50.0.1");
    let ready = "get servicecidr -o jsonpath={.items[*].status.conditions[0].status}";
    is_soon(&lab, ready, "True");
    let more = "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: more}\n\
                spec: {cidrs: [10.51.0.0/24]}\n";
    let file = crate::manifests::write(&lab.dir().join("files"), more);
    kubectl(&lab, &format!("apply -f {file}"));
    is_soon(&lab, ready, "True True");
    kubectl(&lab, "create service clusterip web --tcp=80 --clusterip=10.51.0.9");
    kubectl(&lab, "delete servicecidr more --wait=false");
    is_soon(&lab, "get servicecidr more -o jsonpath={.status.conditions[0].status}", "False");
    kubectl(&lab, "delete service web");
    is_soon(&lab, "get servicecidr -o name", "servicecidr.networking.k8s.io/kubernetes");
}
