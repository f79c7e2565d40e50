//! Who owns which field: server-side apply and `managedFields`.
use crate::Cluster;

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec:
  selector: {app: web}
  ports: [{port: 80, name: http}]
";

fn owners(cluster: &Cluster, what: &str) -> Vec<String> {
    let path = "jsonpath={range .metadata.managedFields[*]}{.manager}/{.operation}/{.subresource}{\"\\n\"}{end}";
    let listed = cluster.kubectl(&format!("get {what} --show-managed-fields -o '{path}'"));
    listed.lines().map(str::to_owned).collect()
}

fn fields(cluster: &Cluster, what: &str, manager: &str) -> String {
    let path =
        format!("jsonpath={{.metadata.managedFields[?(@.manager==\"{manager}\")].fieldsV1}}");
    cluster.kubectl(&format!("get {what} --show-managed-fields -o '{path}'"))
}

#[test]
fn server_side_apply_makes_changes_and_leaves_alone() {
    let cluster = Cluster::start();
    let apply = |yaml: &str| cluster.kubectl_with("apply --server-side -f -", yaml);
    assert_eq!(apply(SERVICE), "service/web serverside-applied\n");
    let version = "get svc web -o 'jsonpath={.metadata.resourceVersion}'";
    let first = cluster.kubectl(version);
    assert_eq!(apply(SERVICE), "service/web serverside-applied\n");
    assert_eq!(cluster.kubectl(version), first, "nothing was to be changed");
    assert_eq!(owners(&cluster, "svc web"), ["kubectl/Apply/"]);
    assert_eq!(
        fields(&cluster, "svc web", "kubectl"),
        r#"{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{}}},"f:selector":{}}}"#
    );
    let second = SERVICE.replace("ports: [", "ports: [{port: 81, name: more}, ");
    apply(&second);
    let ports = "get svc web -o 'jsonpath={.spec.ports[*].port}'";
    assert_eq!(cluster.kubectl(ports), "81 80");
    apply(SERVICE);
    assert_eq!(cluster.kubectl(ports), "80");
    assert!(!cluster.kubectl("get svc web -o yaml").contains("managedFields"));
}

#[test]
fn what_others_own_is_a_conflict_unless_it_is_forced() {
    let cluster = Cluster::start();
    cluster.kubectl_with("apply --server-side --field-manager=one -f -", SERVICE);
    let other = SERVICE.replace("name: http", "name: web");
    let error = cluster.refused("apply --server-side --field-manager=two -f -", &other);
    assert!(
        error.starts_with(
            "error: Apply failed with 1 conflict: conflict with \"one\": \
             .spec.ports[port=80,protocol=\"TCP\"].name"
        ),
        "{error}"
    );
    let forced = "apply --server-side --force-conflicts --field-manager=two -f -";
    cluster.kubectl_with(forced, &other);
    assert_eq!(owners(&cluster, "svc web"), ["one/Apply/", "two/Apply/"]);
    assert!(!fields(&cluster, "svc web", "one").contains("f:name"));
    cluster.kubectl("label svc web tier=front");
    cluster.kubectl("annotate svc web note=x --field-manager=me");
    let error = cluster.refused(
        "apply --server-side --field-manager=one -f -",
        &SERVICE.replace("{app: web}}", "{app: web, tier: back}}"),
    );
    assert!(error.contains("2 conflicts: conflicts with \"kubectl-label\" using v1:"), "{error}");
    assert!(error.contains("- .metadata.labels.tier"), "{error}");
    assert!(
        error.contains("conflicts with \"two\":\n- .spec.ports[port=80,protocol=\"TCP\"].name")
    );
    let names = owners(&cluster, "svc web");
    assert!(names.contains(&"kubectl-label/Update/".to_owned()), "{names:?}");
    assert!(names.contains(&"me/Update/".to_owned()), "{names:?}");
}

#[test]
fn one_moves_from_client_side_to_server_side_apply_and_back() {
    let cluster = Cluster::start();
    cluster.kubectl_with("apply -f -", SERVICE);
    assert_eq!(owners(&cluster, "svc web"), ["kubectl-client-side-apply/Update/"]);
    let moved = SERVICE.replace("name: http", "name: web");
    cluster.kubectl_with("apply --server-side -f -", &moved);
    // The annotation of client-side apply is kubectl's too, under a name of its own.
    assert_eq!(owners(&cluster, "svc web"), ["kubectl-last-applied/Apply/", "kubectl/Apply/"]);
    assert_eq!(cluster.kubectl("get svc web -o 'jsonpath={.spec.ports[*].name}'"), "web");
    assert_eq!(cluster.kubectl_with("apply -f -", SERVICE), "service/web configured\n");
    assert_eq!(cluster.kubectl_with("apply -f -", SERVICE), "service/web unchanged\n");
    let names = owners(&cluster, "svc web");
    assert!(names.contains(&"kubectl-client-side-apply/Update/".to_owned()), "{names:?}");
}

#[test]
fn a_status_is_owned_apart_and_dry_runs_change_nothing() {
    let cluster = Cluster::start();
    let service = &SERVICE.replace("spec:", "spec:\n  type: LoadBalancer");
    cluster.kubectl_with("apply --server-side -f -", service);
    let status = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}"#;
    cluster.kubectl(&format!("patch svc web --subresource=status --type=merge -p '{status}'"));
    assert_eq!(owners(&cluster, "svc web"), ["kubectl/Apply/", "kubectl-patch/Update/status"]);
    assert_eq!(
        fields(&cluster, "svc web", "kubectl-patch"),
        r#"{"f:status":{"f:loadBalancer":{"f:ingress":{}}}}"#
    );
    let other = service.replace("app: web", "app: other");
    cluster.kubectl_with("apply --server-side --dry-run=server -f -", &other);
    assert_eq!(cluster.kubectl("get svc web -o 'jsonpath={.spec.selector.app}'"), "web");
    assert_eq!(cluster.kubectl_with("diff --server-side -f -", service), "");
    let diff = cluster.run("diff -f -", &other);
    assert_eq!(diff.status.code(), Some(1), "{}", crate::text(&diff.stderr));
    assert!(crate::text(&diff.stdout).contains("+    app: other"));
}

#[test]
fn what_is_not_of_its_kind_is_not_applied() {
    let cluster = Cluster::start();
    let apply = "apply --server-side --validate=false -f -";
    let cases = [
        (SERVICE.replace("selector:", "selektor:"), ".spec.selektor: field not declared in schema"),
        (
            SERVICE.replace("port: 80", "port: http"),
            ".spec.ports[port=\"http\",protocol=\"TCP\"].port: expected numeric (int or float), got string",
        ),
        (
            SERVICE.replace("name: http}", "name: a}, {port: 80, name: b}"),
            ".spec.ports: duplicate entries for key [port=80,protocol=\"TCP\"]",
        ),
    ];
    for (yaml, expected) in cases {
        let error = cluster.refused(apply, &yaml);
        assert!(error.contains(expected), "{error}");
    }
}
