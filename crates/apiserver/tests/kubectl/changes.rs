//! The ways kubectl changes objects: edit, replace, patch, set, diff, apply on the client's side.
use std::process::Stdio;

use crate::{Cluster, text};

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: 'shop/main:1', env: [{name: A, value: a}, {name: B, value: b}],
         ports: [{containerPort: 80}, {containerPort: 80, protocol: UDP}]}
      - {name: side, image: 'shop/side:1'}
";

fn get(cluster: &Cluster, path: &str) -> String {
    cluster.kubectl(&format!("get deployment web -o 'jsonpath={path}'"))
}

#[test]
fn an_editor_changes_what_it_changes() {
    let cluster = Cluster::start();
    cluster.kubectl_with("create -f -", WEB);
    let edit = |script: &str| {
        let mut command = cluster.command("edit deployment web");
        command.env("KUBE_EDITOR", script).env("TMPDIR", &cluster.directory);
        command.stdin(Stdio::null());
        command.output().unwrap()
    };
    let edited = edit("sed -i s/replicas:.1/replicas:\\ 3/");
    assert_eq!(text(&edited.stdout), "deployment.apps/web edited\n", "{}", text(&edited.stderr));
    assert_eq!(get(&cluster, "{.spec.replicas}"), "3");
    assert!(text(&edit("true").stderr).contains("Edit cancelled, no changes made."));
    let refused = edit("sed -i s/replicas:.3/replicas:\\ -3/");
    let expected = "error: deployments.apps \"web\" is invalid";
    assert!(text(&refused.stderr).contains(expected), "{}", text(&refused.stderr));
    assert_eq!(get(&cluster, "{.spec.replicas}"), "3");
}

#[test]
fn a_replacement_is_based_on_what_is_there() {
    let cluster = Cluster::start();
    cluster.kubectl_with("create -f -", WEB);
    let whole = cluster.kubectl("get deployment web -o yaml");
    let more = whole.replace("replicas: 1", "replicas: 2");
    assert_eq!(cluster.kubectl_with("replace -f -", &more), "deployment.apps/web replaced\n");
    let stale = cluster.refused("replace -f -", &more.replace("replicas: 2", "replicas: 4"));
    assert_eq!(
        stale,
        "Error from server (Conflict): error when replacing \"STDIN\": Operation cannot be fulfilled \
         on deployments.apps \"web\": the object has been modified; please apply your changes to \
         the latest version and try again\n"
    );
    assert_eq!(get(&cluster, "{.spec.replicas}"), "2");
    cluster.kubectl_with("replace --force -f -", WEB);
    assert_eq!(get(&cluster, "{.spec.replicas}"), "1");
}

#[test]
fn patches_of_all_kinds_merge_as_their_kind_says() {
    let cluster = Cluster::start();
    cluster.kubectl_with("create -f -", WEB);
    let patch = |kind: &str, patch: &str| {
        cluster.kubectl(&format!("patch deployment web --type {kind} -p '{patch}'"));
    };
    let names = "{.spec.template.spec.containers[*].name}";
    let spec = |inner: &str| format!(r#"{{"spec":{{"template":{{"spec":{inner}}}}}}}"#);
    patch("strategic", &spec(r#"{"containers":[{"name":"side","image":"shop/side:2"}]}"#));
    assert_eq!(
        get(&cluster, "{.spec.template.spec.containers[*].image}"),
        "shop/main:1 shop/side:2"
    );
    patch(
        "strategic",
        &spec(
            r#"{"containers":[{"name":"main","env":[{"name":"A","$patch":"delete"},{"name":"C","value":"c"}]}]}"#,
        ),
    );
    let env = "{.spec.template.spec.containers[0].env[*].name}";
    assert_eq!(get(&cluster, env), "C B");
    patch("strategic", &spec(r#"{"containers":[{"name":"side","$patch":"delete"}]}"#));
    assert_eq!(get(&cluster, names), "main");
    patch(
        "strategic",
        &spec(
            r#"{"$setElementOrder/containers":[{"name":"new"},{"name":"main"}],"containers":[{"name":"new","image":"x"}]}"#,
        ),
    );
    assert_eq!(get(&cluster, names), "new main");
    patch("strategic", r#"{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}"#);
    assert_eq!(get(&cluster, "{.spec.strategy}"), r#"{"type":"Recreate"}"#);
    patch("merge", &spec(r#"{"containers":[{"name":"only","image":"y"}]}"#));
    assert_eq!(get(&cluster, names), "only");
    patch(
        "json",
        r#"[{"op":"test","path":"/spec/replicas","value":1},{"op":"replace","path":"/spec/replicas","value":5}]"#,
    );
    assert_eq!(get(&cluster, "{.spec.replicas}"), "5");
    let failed = cluster.refused(
        r#"patch deployment web --type json -p '[{"op":"test","path":"/spec/replicas","value":1}]'"#,
        "",
    );
    assert!(failed.contains("testing value /spec/replicas failed"), "{failed}");
    let unnamed = cluster.refused(
        &format!("patch deployment web -p '{}'", spec(r#"{"containers":[{"image":"x"}]}"#)),
        "",
    );
    assert_eq!(
        unnamed,
        "Error from server: map: map[image:x] does not contain declared merge key: name\n"
    );
}

#[test]
fn set_label_annotate_and_diff_do_as_on_a_cluster() {
    let cluster = Cluster::start();
    cluster.kubectl_with("apply -f -", WEB);
    cluster.kubectl("set image deployment/web main=shop/main:2");
    cluster.kubectl("set env deployment/web -c main A=z");
    cluster.kubectl("set resources deployment/web -c side --limits=cpu=1");
    cluster.kubectl("label deployment web tier=front");
    cluster.kubectl("annotate deployment web note=hello");
    let expected = [
        ("{.spec.template.spec.containers[0].image}", "shop/main:2"),
        ("{.spec.template.spec.containers[0].env[0].value}", "z"),
        ("{.spec.template.spec.containers[1].resources.limits.cpu}", "1"),
        ("{.metadata.labels.tier}", "front"),
        ("{.metadata.annotations.note}", "hello"),
    ];
    for (path, value) in expected {
        assert_eq!(get(&cluster, path), value, "{path}");
    }
    let diff = cluster.run("diff -f -", WEB);
    assert_eq!(diff.status.code(), Some(1), "{}", text(&diff.stderr));
    let shown = text(&diff.stdout);
    assert!(
        shown.contains("-        image: shop/main:2")
            && shown.contains("+        image: shop/main:1")
    );
    assert!(!shown.contains("-    tier"), "what others have added is not touched: {shown}");
    assert_eq!(cluster.kubectl_with("apply -f -", WEB), "deployment.apps/web configured\n");
    assert_eq!(get(&cluster, "{.spec.template.spec.containers[0].image}"), "shop/main:1");
    assert_eq!(get(&cluster, "{.metadata.labels.tier}"), "front");
    let without = WEB.replace("- {name: side, image: 'shop/side:1'}", "");
    cluster.kubectl_with("apply -f -", &without);
    assert_eq!(get(&cluster, "{.spec.template.spec.containers[*].name}"), "main");
    assert_eq!(
        cluster.kubectl_with("apply --dry-run=server -f -", WEB),
        "deployment.apps/web configured (server dry run)\n"
    );
    assert_eq!(get(&cluster, "{.spec.template.spec.containers[*].name}"), "main");
}
