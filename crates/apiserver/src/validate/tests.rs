//! Wrong objects, and the words in which Kubernetes refuses them.
use serde_json::{Value, json};

use super::*;
use crate::resource::Registry;
use crate::strategy;

/// A kind; a good object of it; then changes to it with what is said about each. A change is a
/// JSON pointer and a value, null to remove; `fine` is nothing wrong.
const NEW: &str = r#"
apps deployments {"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "b"}]}}}}
  /spec/replicas -1 -> spec.replicas: Invalid value: -1: must be greater than or equal to 0
  /spec/selector null -> spec.selector: Required value
  /spec/selector {} -> spec.selector: Invalid value: {}: empty selector is invalid for deployment
  /spec/selector/matchLabels {"app":"b"} -> spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`
  /spec/strategy {"type":"Recreate","rollingUpdate":{}} -> spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'
  /spec/strategy {"type":"Often"} -> spec.strategy.type: Unsupported value: "Often": supported values: "Recreate", "RollingUpdate"
  /spec/strategy {"rollingUpdate":{"maxUnavailable":0,"maxSurge":0}} -> spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0
  /spec/progressDeadlineSeconds 0 -> spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds
  /spec/template/spec/restartPolicy "Never" -> spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"
  /spec/template/spec/containers [] -> spec.template.spec.containers: Required value
  /spec/template/spec/containers/0/image "" -> spec.template.spec.containers[0].image: Required value
  /spec/template/spec/containers/0/ports [{"containerPort":70000}] -> spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive
apps statefulsets {"spec": {"selector": {"matchLabels": {"app": "a"}}, "volumeClaimTemplates": [{"metadata": {"name": "v"}}], "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "b", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}}}}
  /spec/serviceName "A" -> spec.serviceName: Invalid value: "A": a lowercase RFC 1123 label
  /spec/volumeClaimTemplates null -> spec.template.spec.containers[0].volumeMounts[0].name: Not found: "v"
apps daemonsets {"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "b"}]}}}}
  /spec/updateStrategy {"rollingUpdate":{"maxSurge":1}} -> spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero
  /spec/template/spec/activeDeadlineSeconds 5 -> spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported
batch jobs {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}}}
  /spec/backoffLimit -1 -> spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0
  /spec/template/spec/restartPolicy null -> spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"
  /spec/completionMode "Indexed" -> fine
  /spec/backoffLimitPerIndex 1 -> spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode
batch cronjobs {"spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}}}}}
  /spec/schedule "* * *" -> spec.schedule: Invalid value: "* * *": expected exactly 5 fields, found 3: [* * *]
  /spec/schedule "TZ=UTC * * * * *" -> spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead
policy poddisruptionbudgets {"spec": {"minAvailable": 1, "selector": {}}}
  /spec/maxUnavailable 1 -> spec: Invalid value: {"maxUnavailable":1,"minAvailable":1,"selector":{}}: minAvailable and maxUnavailable cannot be both set
  /spec/minAvailable "150%" -> spec.minAvailable: Invalid value: "150%": must not be greater than 100%
 services {"spec": {"ports": [{"port": 80}]}}
  /spec/ports null -> spec.ports: Required value
  /spec/ports/0/port 0 -> spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
  /spec/ports/0/targetPort "Web" -> spec.ports[0].targetPort: Invalid value: "Web": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
  /spec/ports/0/nodePort 30000 -> spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'
  /spec/ports [{"port":80,"name":"a"},{"port":80,"name":"b"}] -> spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}
  /spec/ports [{"port":80},{"port":81,"name":"b"}] -> spec.ports[0].name: Required value
  /spec/type "External" -> spec.type: Unsupported value: "External": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"
  /spec/type "ExternalName" -> spec.externalName: Required value
  /spec/clusterIP "10.0.0" -> spec.clusterIPs[0]: Invalid value: "10.0.0": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
  /spec/clusterIP "None" -> fine
  /spec/clusterIPs ["10.96.0.1"] -> spec.clusterIPs: Invalid value: ["10.96.0.1"]: must be empty when `clusterIP` is not specified
  /spec/ipFamilies ["IPv5"] -> spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"
  /spec/externalTrafficPolicy "Local" -> spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services
  /spec/healthCheckNodePort 30000 -> spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'
  /spec/loadBalancerClass "a" -> spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'
  /spec/externalIPs ["127.0.0.1"] -> spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)
  /spec/sessionAffinity "Cookie" -> spec.sessionAffinity: Unsupported value: "Cookie": supported values: "ClientIP", "None"
  /spec/trafficDistribution "Near" -> spec.trafficDistribution: Unsupported value: "Near": supported values: "PreferClose", "PreferSameZone", "PreferSameNode"
 endpoints {"subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]}
  /subsets/0/addresses null -> subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`
  /subsets/0/addresses/0/ip "169.254.1.1" -> subsets[0].addresses[0].ip: Invalid value: "169.254.1.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)
discovery.k8s.io endpointslices {"addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}], "ports": [{"port": 80}]}
  /addressType "IPv5" -> addressType: Unsupported value: "IPv5": supported values: "FQDN", "IPv4", "IPv6"
  /endpoints/0/addresses ["fd00::1"] -> endpoints[0].addresses: Invalid value: "fd00::1": must be an IPv4 address
  /endpoints/0/addresses [] -> endpoints[0].addresses: Required value
  /ports [{"port":80},{"port":81}] -> ports[1].name: Duplicate value: ""
networking.k8s.io networkpolicies {"spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "ports": [{"port": 80, "endPort": 90}]}]}}
  /spec/ingress/0/from/0 {} -> spec.ingress[0].from[0]: Required value: must specify a peer
  /spec/ingress/0/from/0/podSelector {} -> spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer
  /spec/ingress/0/from/0/ipBlock/cidr "10.0.0.0" -> spec.ingress[0].from[0].ipBlock.cidr: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
  /spec/ingress/0/from/0/ipBlock/except/0 "10.0.0.0/8" -> spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`
  /spec/ingress/0/ports/0/endPort 70 -> spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`
  /spec/ingress/0/ports/0/port "web" -> spec.ingress[0].ports[0].endPort: Invalid value: 90: may not be specified when `port` is non-numeric
  /spec/ingress/0/ports/0/port null -> spec.ingress[0].ports[0].endPort: Invalid value: 90: may not be specified when `port` is not specified
  /spec/policyTypes ["Egres"] -> spec.policyTypes[0]: Unsupported value: "Egres": supported values: "Ingress", "Egress"
  /spec/podSelector/matchExpressions [{"key":"a","operator":"In"}] -> spec.podSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'
networking.k8s.io ingresses {"spec": {"rules": [{"host": "a.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "a", "port": {"number": 80}}}}]}}]}}
  /spec/rules null -> spec: Invalid value: []: either `defaultBackend` or `rules` must be specified
  /spec/rules/0/host "10.0.0.1" -> spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address
  /spec/rules/0/host "*.example.com" -> fine
  /spec/rules/0/host "a.*.com" -> spec.rules[0].host: Invalid value: "a.*.com": a wildcard DNS-1123 subdomain must start with '*.'
  /spec/rules/0/http/paths/0/pathType null -> spec.rules[0].http.paths[0].pathType: Required value
  /spec/rules/0/http/paths/0/path "a" -> spec.rules[0].http.paths[0].path: Invalid value: "a": must be an absolute path
  /spec/rules/0/http/paths/0/path "/a//b" -> spec.rules[0].http.paths[0].path: Invalid value: "/a//b": must not contain '//'
  /spec/rules/0/http/paths/0/backend {} -> spec.rules[0].http.paths[0].backend: Invalid value: "": resource or service backend is required
  /spec/rules/0/http/paths/0/backend/service/port {} -> spec.rules[0].http.paths[0].backend: Required value: port name or number is required
networking.k8s.io servicecidrs {"spec": {"cidrs": ["10.0.0.0/24"]}}
  /spec/cidrs ["10.0.0.0/24","10.1.0.0/24"] -> spec.cidrs: Invalid value: ["10.0.0.0/24","10.1.0.0/24"]: may specify no more than one IP for each IP family
networking.k8s.io ipaddresses {"metadata": {"name": "10.96.0.1"}, "spec": {"parentRef": {"resource": "services", "name": "a"}}}
  /metadata/name "10.96.0.01" -> metadata.name: Invalid value: "10.96.0.01": must be an IP address in canonical form
  /spec/parentRef null -> spec.parentRef: Required value
rbac.authorization.k8s.io rolebindings {"metadata": {"name": "x", "namespace": "default"}, "roleRef": {"kind": "Role", "name": "a"}, "subjects": [{"kind": "User", "name": "a"}]}
  /roleRef/kind "Rule" -> roleRef.kind: Unsupported value: "Rule": supported values: "Role", "ClusterRole"
  /subjects/0/kind "Robot" -> subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"
 pods {"spec": {"volumes": [{"name": "v", "emptyDir": {}}], "containers": [{"name": "a", "image": "b", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}}
  /spec/containers/0/readinessProbe {} -> spec.containers[0].readinessProbe: Required value: must specify a handler type
  /spec/containers/0/livenessProbe {"tcpSocket":{"port":80},"successThreshold":2} -> spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1
  /spec/containers/0/livenessProbe {"httpGet":{"port":0}} -> spec.containers[0].livenessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive
  /spec/containers/0/lifecycle {"preStop":{"exec":{}}} -> spec.containers[0].lifecycle.preStop.exec.command: Required value
  /spec/containers/0/resources {"requests":{"cpu":"2"},"limits":{"cpu":"1"}} -> spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1
  /spec/containers/0/securityContext {"runAsUser":-1} -> spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive
  /spec/containers/0/volumeMounts/0/name "w" -> spec.containers[0].volumeMounts[0].name: Not found: "w"
  /spec/containers/0/volumeMounts/0/subPath "../a" -> spec.containers[0].volumeMounts[0].subPath: Invalid value: "../a": must not contain '..'
  /spec/volumes/0 {"name":"v"} -> spec.volumes[0]: Required value: must specify a volume type
  /spec/initContainers [{"name":"i","image":"b","livenessProbe":{"tcpSocket":{"port":80}}}] -> spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always
  /spec/initContainers [{"name":"a","image":"b"}] -> spec.containers[0].name: Duplicate value: "a"
  /spec/ephemeralContainers [{"name":"e","image":"b"}] -> spec.ephemeralContainers: Forbidden: cannot be set on create
  /spec/securityContext {"sysctls":[{"name":"net..x"}]} -> spec.securityContext.sysctls[0].name: Invalid value: "net..x": must have at most 253 characters
  /spec/tolerations [{"operator":"Equal"}] -> spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty
  /spec/topologySpreadConstraints [{"maxSkew":0,"topologyKey":"a","whenUnsatisfiable":"DoNotSchedule"}] -> spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero
  /spec/affinity {"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a","operator":"Gt"}]}]}}} -> spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'
  /spec/hostAliases [{"ip":"1.2.3"}] -> spec.hostAliases[0].ip: Invalid value: "1.2.3": must be a valid IP address
"#;

/// As [`NEW`], but each change is an update of the good object.
const CHANGED: &str = r#"
apps deployments {"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a", "b": "c"}}, "spec": {"containers": [{"name": "a", "image": "b"}]}}}}
  /spec/replicas 3 -> fine
  /spec/selector/matchLabels {"b":"c"} -> spec.selector: Invalid value: {"matchLabels":{"b":"c"}}: field is immutable
apps statefulsets {"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "b"}]}}}}
  /spec/replicas 3 -> fine
  /spec/serviceName "a" -> spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals'
batch jobs {"spec": {"completions": 1, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}}}
  /spec/parallelism 3 -> fine
  /spec/completions 3 -> spec.completions: Invalid value: 3: field is immutable
  /spec/template/spec/containers/0/image "c" -> spec.template: Invalid value:
 services {"spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"], "ports": [{"port": 80}], "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"}}
  /spec/ports/0/port 81 -> fine
  /spec/clusterIP "10.96.0.8" -> spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set
  /spec/clusterIPs ["10.96.0.9"] -> spec.ipFamilyPolicy: Invalid value: "RequireDualStack": must be set to 'SingleStack' when releasing the secondary clusterIP
networking.k8s.io servicecidrs {"spec": {"cidrs": ["10.0.0.0/24"]}}
  /spec/cidrs ["10.0.0.0/24","fd00::/112"] -> fine
  /spec/cidrs ["10.0.1.0/24"] -> spec.cidrs[0]: Invalid value: "10.0.1.0/24": field is immutable
rbac.authorization.k8s.io rolebindings {"metadata": {"name": "x", "namespace": "default"}, "roleRef": {"kind": "Role", "name": "a"}}
  /roleRef/name "b" -> roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"b"}: cannot change roleRef
scheduling.k8s.io priorityclasses {"value": 5}
  /value 6 -> value: Forbidden: may not be changed in an update.
"#;

/// Goes through a table and holds what `judge` says of good and changed objects against it.
fn go_through(table: &str, judge: impl Fn(&Resource, &Value, &Value) -> Vec<Cause>) {
    let registry = Registry::builtin();
    let mut wrong_cases = Vec::new();
    let (mut resource, mut good) = (registry.get("", "v1", "pods").unwrap(), Value::Null);
    for line in table.lines().skip(1) {
        let Some(case) = line.strip_prefix("  ") else {
            let mut words = line.splitn(3, ' ');
            let (group, plural) = (words.next().unwrap(), words.next().unwrap());
            resource = registry.get(group, "v1", plural).unwrap();
            good = serde_json::from_str(words.next().unwrap()).unwrap();
            if good["metadata"].is_null() {
                good["metadata"] = json!({"name": "x"});
            }
            assert_eq!(judge(resource, &good, &good), [], "{line}");
            continue;
        };
        let (path, rest) = case.split_once(' ').unwrap();
        let (value, said) = rest.split_once(" -> ").unwrap();
        let mut wrong = good.clone();
        let (parent, name) = path.rsplit_once('/').unwrap();
        let place = wrong.pointer_mut(parent).unwrap();
        let value: Value = serde_json::from_str(value).unwrap();
        match name.parse::<usize>() {
            Ok(n) => place[n] = value,
            Err(_) => place[name] = value,
        }
        let found: Vec<String> = judge(resource, &wrong, &good).iter().map(Cause::line).collect();
        let as_said = if said == "fine" {
            found.is_empty()
        } else {
            found.iter().any(|line| line.starts_with(said))
        };
        if !as_said {
            wrong_cases.push(format!("{case}\n{found:#?}"));
        }
    }
    assert!(wrong_cases.is_empty(), "{}", wrong_cases.join("\n"));
}

/// An object as it would be stored.
fn complete(resource: &Resource, value: &Value) -> Value {
    let mut value = value.clone();
    schema::check(resource, &mut value).unwrap();
    value["metadata"]["uid"] = json!("u");
    strategy::prepare_create(resource, &mut value);
    value
}

#[test]
fn wrong_objects_are_refused_in_kubernetes_words() {
    go_through(NEW, |resource, value, _| create(resource, &complete(resource, value)));
}

#[test]
fn what_is_given_once_stays() {
    go_through(CHANGED, |resource, value, good| {
        let old = complete(resource, good);
        let mut new = value.clone();
        schema::check(resource, &mut new).unwrap();
        // A client sends back what the server had added.
        for field in ["selector", "template"] {
            if resource.rules == Rules::Job && new["spec"][field] == good["spec"][field] {
                new["spec"][field] = old["spec"][field].clone();
            }
        }
        strategy::prepare_update(resource, Part::Main, &mut new, &old);
        update(resource, Part::Main, &new, &old)
    });
}
