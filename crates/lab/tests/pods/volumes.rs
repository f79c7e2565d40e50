//! Volumes: files in a container's own mount namespace.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube_rs::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::bench::{Lab, container, level, phase, shell_pod, waits};

fn mount(name: &str, path: &str) -> Value {
    json!({"name": name, "mountPath": path})
}

pub(crate) async fn files_show_objects_and_follow_them(lab: &Lab) {
    let map = json!({"metadata": {"name": "shown"}, "data": {"a": "1", "b": "2"}});
    lab.create::<ConfigMap>(map).await;
    let secret = json!({"metadata": {"name": "hidden"}, "stringData": {"key": "s3cret"}});
    lab.create::<Secret>(secret).await;
    let script = "cd /vol; echo $(cat map/a) $(cat map/b) $(cat pod/name) $(cat secret/key) $(cat sub); ls -l map/; \
        stat -L -c '%a %g' secret/key; stat -c %a empty; (echo x > map/a) 2>/dev/null || echo read-only; \
        while [ $(cat map/a) = 1 ]; do sleep 0.1; done; echo now $(cat map/a) $(ls map) sub $(cat sub)";
    let mut spec = shell_pod(script);
    spec["securityContext"] = json!({"fsGroup": 4000});
    spec["volumes"] = json!([
        {"name": "map", "configMap": {"name": "shown"}},
        {"name": "secret", "secret": {"secretName": "hidden", "defaultMode": 0o400}},
        {"name": "pod", "downwardAPI": {"items": [
            {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "empty", "emptyDir": {}}]);
    let mut sub = mount("map", "/vol/sub");
    sub["subPath"] = json!("a");
    spec["containers"][0]["volumeMounts"] = json!([
        mount("map", "/vol/map"),
        mount("secret", "/vol/secret"),
        mount("pod", "/vol/pod"),
        mount("empty", "/vol/empty"),
        sub
    ]);
    lab.run("files", spec).await;
    lab.eventually("files", |pod| container(pod).ready).await;
    let found = lab.runner.find("default", "files", None).await.unwrap();
    level("it has looked", || {
        std::fs::read_to_string(&found.log).is_ok_and(|text| text.contains("read-only"))
    })
    .await;
    let change = json!({"data": {"a": "changed", "b": null, "c": "3"}});
    let maps: Api<ConfigMap> = Api::namespaced(lab.client.clone(), "default");
    maps.patch("shown", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    lab.eventually("files", |pod| phase(pod) == "Succeeded").await;
    let log = lab.log("files").await;
    assert_eq!(log[0], "1 2 files s3cret 1", "{log:?}");
    assert!(log.iter().any(|line| line.ends_with("a -> ..data/a")), "{log:?}");
    assert!(log.contains(&"440 4000".to_owned()), "{log:?}");
    assert!(log.contains(&"2777".to_owned()), "{log:?}");
    assert_eq!(log.last().unwrap(), "now changed a c sub 1", "{log:?}");
}

pub(crate) async fn a_volume_that_cannot_be_made_holds_the_pod_back_until_it_can(lab: &Lab) {
    let mut spec = shell_pod("cat /late/k");
    spec["volumes"] = json!([{"name": "late", "configMap": {"name": "late"}}]);
    spec["containers"][0]["volumeMounts"] = json!([mount("late", "/late")]);
    lab.run("late", spec).await;
    let why =
        "FailedMount: MountVolume.SetUp failed for volume \"late\" : configmap \"late\" not found";
    lab.told("late", why).await;
    // The event may be seen before the status that says the same.
    lab.eventually("late", |pod| waits(pod).as_deref() == Some("ContainerCreating")).await;
    let map = json!({"metadata": {"name": "late"}, "data": {"k": "here"}});
    lab.create::<ConfigMap>(map).await;
    lab.eventually("late", |pod| phase(pod) == "Succeeded").await;
    assert_eq!(lab.log("late").await, ["here"]);

    let mut spec = shell_pod("true");
    spec["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    lab.run("claim", spec).await;
    lab.told("claim", "a lab has no persistent storage: claim \"data\" is never bound").await;
}

pub(crate) async fn empty_directories_are_shared_and_bounded(lab: &Lab) {
    let script = "while [ ! -e /shared/word ]; do sleep 0.1; done; cat /shared/word; \
        head -c 2000000 /dev/zero > /small/x 2>/dev/null || echo full; stat -f -c %T /small; \
        touch /locked/x 2>/dev/null || echo locked; touch /x 2>/dev/null || echo no root";
    let mut spec = shell_pod(script);
    spec["volumes"] = json!([
        {"name": "shared", "emptyDir": {}},
        {"name": "small", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]);
    let mut locked = mount("shared", "/locked");
    locked["readOnly"] = json!(true);
    spec["containers"][0]["volumeMounts"] =
        json!([mount("shared", "/shared"), mount("small", "/small"), locked]);
    spec["containers"][0]["securityContext"] = json!({"readOnlyRootFilesystem": true});
    let script = "echo hello > /deep/er/word";
    let writer = json!({"name": "writer", "image": "any", "command": ["sh", "-c", script],
        "volumeMounts": [mount("shared", "/deep/er")]});
    spec["containers"].as_array_mut().unwrap().push(writer);
    lab.run("empty", spec).await;
    lab.eventually("empty", |pod| phase(pod) == "Succeeded").await;
    let log = lab.log_of("empty", Some("main")).await;
    assert_eq!(log, ["hello", "full", "tmpfs", "locked", "no root"]);
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    level("the mount is gone", || !mounts().contains("/volumes/small")).await;
}

pub(crate) async fn no_subpath_leads_out_of_its_volume(lab: &Lab) {
    let mut spec = shell_pod("ls -A /sub /made; stat -c %a /made");
    spec["volumes"] = json!([{"name": "shared", "emptyDir": {}}]);
    let links = "cd /v; mkdir in; touch in/file; ln -s in inside; ln -s / outside; ln -s ../.. up";
    spec["initContainers"] = json!([{"name": "links", "image": "any",
        "command": ["sh", "-c", links], "volumeMounts": [mount("shared", "/v")]}]);
    let with = |path: &str| {
        let mut spec = spec.clone();
        let sub = json!({"name": "shared", "mountPath": "/sub", "subPath": path});
        let made = json!({"name": "shared", "mountPath": "/made", "subPathExpr": "new/$(POD)"});
        spec["containers"][0]["volumeMounts"] = json!([sub, made]);
        spec["containers"][0]["env"] =
            json!([{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
        spec
    };
    lab.run("inside", with("inside")).await;
    lab.eventually("inside", |pod| phase(pod) == "Succeeded").await;
    assert_eq!(lab.log("inside").await, ["/made:", "", "/sub:", "file", "777"]);
    for path in ["outside", "outside/etc", "up"] {
        let name = path.replace('/', "-");
        lab.run(&name, with(path)).await;
        let pod = lab.eventually(&name, |pod| phase(pod) == "Failed").await;
        let why = container(&pod).state.unwrap().terminated.unwrap().message.unwrap();
        assert!(why.contains("must stay inside the volume"), "{path}: {why}");
    }
}

pub(crate) async fn tokens_are_projected(lab: &Lab) {
    let script = "cd /var/run/secrets/kubernetes.io/serviceaccount; cat namespace; echo; \
        head -1 ca.crt; test -s token && echo token; stat -L -c '%a %u' token";
    let mut spec = shell_pod(script);
    spec["serviceAccountName"] = json!("default");
    spec["securityContext"] = json!({"runAsUser": 1000});
    spec["volumes"] = json!([{"name": "access", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}}]);
    let path = "/var/run/secrets/kubernetes.io/serviceaccount";
    let mut access = mount("access", path);
    access["readOnly"] = json!(true);
    spec["containers"][0]["volumeMounts"] = json!([access]);
    lab.run("access", spec).await;
    lab.eventually("access", |pod| phase(pod) == "Succeeded").await;
    let expected = ["default", "-----BEGIN CERTIFICATE-----", "token", "600 1000"];
    assert_eq!(lab.log("access").await, expected);
}

pub(crate) async fn the_environment_tells_of_resources(lab: &Lab) {
    let mut spec = shell_pod("echo $CPU $MEMORY");
    let main = &mut spec["containers"][0];
    main["resources"] = json!({"limits": {"cpu": "1500m", "memory": "64Mi"}});
    let variable = |name: &str, resource: &str, divisor: &str| {
        json!({"name": name, "valueFrom":
            {"resourceFieldRef": {"resource": resource, "divisor": divisor}}})
    };
    main["env"] =
        json!([variable("CPU", "limits.cpu", "1m"), variable("MEMORY", "requests.memory", "1Mi")]);
    lab.run("resources", spec).await;
    lab.eventually("resources", |pod| phase(pod) == "Succeeded").await;
    assert_eq!(lab.log("resources").await, ["1500 64"]);
}
