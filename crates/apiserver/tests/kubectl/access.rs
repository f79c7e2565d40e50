//! Who may do what: roles and bindings, impersonation, tokens, client certificates.
use std::time::{Duration, Instant};

use crate::Cluster;

const LISTS_PODS: &str = "Error from server (Forbidden): pods is forbidden: User \"jane\" cannot \
                          list resource \"pods\" in API group \"\" in the namespace \"default\"\n";

/// Waits until `arguments` succeed, which others see to.
fn eventually(cluster: &Cluster, arguments: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while !cluster.run(arguments, "").status.success() {
        assert!(Instant::now() < until, "kubectl {arguments}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn roles_decide_who_may_do_what() {
    let cluster = Cluster::start();
    assert_eq!(cluster.refused("get pods --as jane", ""), LISTS_PODS);
    assert_eq!(cluster.run("auth can-i list pods --as jane", "").stdout, b"no\n");
    cluster.kubectl("create rolebinding viewers --clusterrole=view --user=jane");
    assert_eq!(cluster.kubectl("auth can-i list pods --as jane"), "yes\n");
    assert_eq!(cluster.kubectl("get pods -o name --as jane"), "");
    for refused in [
        "get secrets --as jane",
        "get pods -n kube-system --as jane",
        "delete pod web --as jane",
        "get nodes --as jane",
    ] {
        cluster.refused(refused, "");
    }
    assert!(
        cluster.kubectl("auth can-i --list --as jane").contains("endpointslices.discovery.k8s.io")
    );
    cluster.kubectl("get secrets -A --as jane --as-group system:masters");
    let impostor = cluster.refused("get pods --as jane --as-group x --token=nobody", "");
    assert!(impostor.contains("You must be logged in"), "{impostor}");
    cluster.kubectl(
        "create role talker --verb=create --resource=pods --resource=deployments.apps/scale",
    );
    cluster.kubectl("create rolebinding talkers --role=talker --group=dev");
    assert_eq!(cluster.kubectl("auth can-i create pods --as joe --as-group dev"), "yes\n");
    assert_eq!(cluster.run("auth can-i get pods --as joe --as-group dev", "").stdout, b"no\n");
}

#[test]
fn the_roles_every_cluster_has_gather_those_of_others() {
    let cluster = Cluster::start();
    cluster.kubectl("create clusterrolebinding viewers --clusterrole=view --user=jane");
    assert_eq!(cluster.run("auth can-i get leases --as jane", "").stdout, b"no\n");
    cluster.kubectl("create clusterrole lessor --verb=get --resource=leases");
    cluster.kubectl("label clusterrole lessor rbac.authorization.k8s.io/aggregate-to-view=true");
    eventually(&cluster, "auth can-i get leases --as jane");
    cluster.kubectl("create clusterrolebinding admins --clusterrole=admin --user=joe");
    eventually(&cluster, "auth can-i get leases --as joe");
    eventually(&cluster, "auth can-i create rolebindings --as joe");
    let bound =
        cluster.kubectl("get clusterrolebinding cluster-admin -o 'jsonpath={.subjects[0].name}'");
    assert_eq!(bound, "system:masters");
}

#[test]
fn tokens_of_service_accounts_are_signed_and_end_with_them() {
    let cluster = Cluster::start();
    cluster.kubectl("create serviceaccount robot");
    let token = cluster.kubectl("create token robot --duration=20m");
    let token = token.trim();
    assert_eq!(token.split('.').count(), 3, "{token}");
    let me = cluster.kubectl(&format!("auth whoami --token {token}"));
    assert!(me.contains("system:serviceaccount:default:robot"), "{me}");
    assert!(me.contains("system:serviceaccounts:default"), "{me}");
    let listed = cluster.refused(&format!("get pods --token {token}"), "");
    assert!(
        listed.contains("User \"system:serviceaccount:default:robot\" cannot list"),
        "{listed}"
    );
    cluster.kubectl("create rolebinding robots --clusterrole=view --serviceaccount=default:robot");
    cluster.kubectl(&format!("get pods --token {token}"));
    let short = cluster.refused("create token robot --duration=10s", "");
    assert!(short.contains("may not specify a duration less than 10 minutes"), "{short}");
    let other = cluster.kubectl("create token robot --audience=vault");
    let other = cluster.refused(&format!("get pods --token {}", other.trim()), "");
    assert!(other.contains("You must be logged in"), "{other}");
    assert!(cluster.kubectl("get --raw /openid/v1/jwks").contains("\"alg\":\"ES256\""));
    assert!(cluster.kubectl("get --raw /.well-known/openid-configuration").contains("jwks_uri"));
    cluster.kubectl("delete serviceaccount robot");
    let gone = cluster.refused(&format!("get pods --token {token}"), "");
    assert!(gone.contains("You must be logged in"), "{gone}");
}

#[test]
fn a_token_bound_to_a_pod_ends_with_it() {
    let cluster = Cluster::start();
    cluster.kubectl("run web --image=x");
    let bound = "create token default --bound-object-kind=Pod --bound-object-name=web";
    let token = cluster.kubectl(bound);
    let whoami = format!("auth whoami --token {}", token.trim());
    assert!(cluster.kubectl(&whoami).contains("authentication.kubernetes.io/pod-name"));
    cluster.kubectl("delete pod web --force --grace-period=0");
    assert!(cluster.refused(&whoami, "").contains("You must be logged in"));
    let missing = cluster.refused(bound, "");
    assert!(missing.contains("pods \"web\" not found"), "{missing}");
}

#[test]
fn a_client_certificate_says_who_one_is() {
    let cluster = Cluster::start();
    let directory = cluster.directory.display();
    cluster.kubectl(&format!(
        "config set-credentials jane --client-certificate={directory}/jane.crt --client-key={directory}/jane.key"
    ));
    cluster.kubectl("config set-context jane --cluster=seaway-lab --user=jane");
    let me = cluster.kubectl("auth whoami --context jane");
    assert!(me.contains("jane") && me.contains("dev"), "{me}");
    assert_eq!(cluster.refused("get pods --context jane", ""), LISTS_PODS);
    cluster.kubectl("create rolebinding devs --clusterrole=edit --group=dev");
    cluster.kubectl("create configmap mine --from-literal=a=b --context jane");
}
