//! Every kind that strangers' manifests contain can be created, listed, described and explained.
use crate::{Cluster, rows};

/// A small object of each kind.
const MANIFESTS: &str = include_str!("kinds.yaml");

/// For each of them, the headings of `kubectl get -o wide` and the start of its row.
const LISTED: &str = "
deployment.apps/web | NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR | web 0/1 0 0
replicaset.apps/web | NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR | web 2 0 0
statefulset.apps/db | NAME READY AGE CONTAINERS IMAGES | db 0/1
daemonset.apps/agent | NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE CONTAINERS IMAGES SELECTOR | agent 0 0 0 0 0 <none>
controllerrevision.apps/db-1 | NAME CONTROLLER REVISION AGE | db-1 <none> 1
job.batch/once | NAME STATUS COMPLETIONS DURATION AGE CONTAINERS IMAGES SELECTOR | once Running 0/1
cronjob.batch/nightly | NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE CONTAINERS IMAGES SELECTOR | nightly 0 3 * * * <none> False 0 <none>
poddisruptionbudget.policy/web | NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE | web 1 N/A 0
horizontalpodautoscaler.autoscaling/web | NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE | web Deployment/web cpu: <unknown>/80% 1 3 0
podtemplate/shape | NAME CONTAINERS IMAGES POD LABELS | shape main seaway/echo:1 <none>
replicationcontroller/old | NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR | old 1 0 0
limitrange/limits | NAME CREATED AT | limits 20
resourcequota/quota | NAME REQUEST LIMIT AGE | quota
persistentvolume/disk | NAME CAPACITY ACCESS MODES RECLAIM POLICY STATUS CLAIM STORAGECLASS VOLUMEATTRIBUTESCLASS REASON AGE VOLUMEMODE | disk 1Gi RWO Retain Pending <unset>
persistentvolumeclaim/claim | NAME STATUS VOLUME CAPACITY ACCESS MODES STORAGECLASS VOLUMEATTRIBUTESCLASS AGE VOLUMEMODE | claim Pending <unset>
service/web | NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR | web ClusterIP <none> <none> 80/TCP
endpoints/outside | NAME ENDPOINTS AGE | outside 192.0.2.1:80
endpointslice.discovery.k8s.io/web-1 | NAME ADDRESSTYPE PORTS ENDPOINTS AGE | web-1 IPv4 80 192.0.2.1
networkpolicy.networking.k8s.io/closed | NAME POD-SELECTOR AGE | closed <none>
ingress.networking.k8s.io/web | NAME CLASS HOSTS ADDRESS PORTS AGE | web <none> web.example.com 80
ingressclass.networking.k8s.io/sea | NAME CONTROLLER PARAMETERS AGE | sea example.com/sea <none>
servicecidr.networking.k8s.io/more | NAME CIDRS AGE | more 10.97.0.0/24
ipaddress.networking.k8s.io/10.97.0.1 | NAME PARENTREF AGE | 10.97.0.1 services/default/web
lease.coordination.k8s.io/leader | NAME HOLDER AGE | leader me
role.rbac.authorization.k8s.io/system:reader | NAME CREATED AT | system:reader 20
clusterrole.rbac.authorization.k8s.io/reader | NAME CREATED AT | reader 20
rolebinding.rbac.authorization.k8s.io/readers | NAME ROLE AGE USERS GROUPS SERVICEACCOUNTS | readers Role/system:reader
clusterrolebinding.rbac.authorization.k8s.io/readers | NAME ROLE AGE USERS GROUPS SERVICEACCOUNTS | readers ClusterRole/reader
priorityclass.scheduling.k8s.io/high | NAME VALUE GLOBAL-DEFAULT AGE PREEMPTIONPOLICY | high 1000 false
storageclass.storage.k8s.io/fast | NAME PROVISIONER RECLAIMPOLICY VOLUMEBINDINGMODE ALLOWVOLUMEEXPANSION AGE | fast example.com/disk Delete Immediate false
runtimeclass.node.k8s.io/sandbox | NAME HANDLER AGE | sandbox sandbox
validatingwebhookconfiguration.admissionregistration.k8s.io/checks | NAME WEBHOOKS AGE | checks 1
mutatingwebhookconfiguration.admissionregistration.k8s.io/changes | NAME WEBHOOKS AGE | changes 1
validatingadmissionpolicy.admissionregistration.k8s.io/policy | NAME VALIDATIONS PARAMKIND AGE | policy 1 <unset>
validatingadmissionpolicybinding.admissionregistration.k8s.io/policy | NAME POLICYNAME PARAMREF AGE | policy policy <unset>
";

#[test]
fn every_kind_can_be_created_listed_described_and_explained() {
    let cluster = Cluster::start();
    let created = cluster.kubectl_with("create -f - -o name", MANIFESTS);
    let expected: Vec<&str> = LISTED.trim().lines().collect();
    assert_eq!(created.lines().count(), expected.len(), "{created}");
    for (object, line) in created.lines().zip(expected) {
        let parts: Vec<&str> = line.split(" | ").collect();
        assert_eq!(object, parts[0]);
        let table = rows(&cluster.kubectl(&format!("get {object} -o wide")));
        assert_eq!(table[0], parts[1], "{object}");
        assert!(table[1].starts_with(parts[2]), "{object}: {}", table[1]);
        let (kind, name) = object.split_once('/').unwrap();
        let described = cluster.kubectl(&format!("describe {object}"));
        let named = described.starts_with("Name:") && described.contains(name);
        assert!(named, "{object}: {described}");
        let kind = kind.split('.').next().unwrap();
        let explained = cluster.kubectl(&format!("explain {kind} --recursive"));
        assert!(explained.contains("metadata\t<ObjectMeta>"), "{kind}: {explained}");
    }
    let again = cluster.kubectl_with("apply -f -", MANIFESTS);
    assert!(again.lines().all(|line| !line.ends_with("created")), "{again}");
}
