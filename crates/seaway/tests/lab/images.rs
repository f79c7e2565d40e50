//! Images from archives, as people load them.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;

use crate::lab::{Lab, eventually, success, test, text};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("a_loaded_image_runs_on_every_node", loaded),
        test("the_image_of_seaway_runs_as_a_pod", own),
    ]
}

/// The archive of one of our own images, `seaway` or `pause`, which `cargo xtask test lab` has made.
pub(crate) fn ours(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/image/dev");
    let archive = folder.join(format!("{name}-{}.oci.tar", env!("CARGO_PKG_VERSION")));
    assert!(archive.exists(), "no {}: cargo xtask image --dev", archive.display());
    archive
}

const OWN: &str = "
apiVersion: v1
kind: Pod
metadata: {name: version}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: localhost/seaway/seaway:VERSION
    imagePullPolicy: IfNotPresent
    args: [--version]
";

/// A pod of the image that `cargo xtask image` writes: nothing is there but what is in it.
fn own() {
    let lab = Lab::up(&["--nodes", "1"]);
    let load = lab.seaway(&["lab", "load"]).arg(ours("seaway")).output().expect("start lab load");
    assert!(load.status.success(), "{}", lab.told(&load));
    let version = env!("CARGO_PKG_VERSION");
    lab.apply(&OWN.replace("VERSION", version));
    let ended =
        ["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/version", "--timeout=30s"];
    success(&lab.kubectl(&ended)).unwrap_or_else(|why| panic!("{why}\n{}", lab.logs()));
    assert_eq!(text(&lab.kubectl(&["logs", "version"])), format!("seaway {version}"));
}

/// What `docker save` writes, made by tar and sha256sum alone.
const SAVE: &str = r#"
set -e
mkdir -p "$1/root/bin" "$1/root/www"
cp /bin/busybox "$1/root/bin/"
for name in sh httpd wget; do ln -s busybox "$1/root/bin/$name"; done
echo "from the image" > "$1/root/www/index.html"
tar -cf "$1/layer.tar" -C "$1/root" --owner=0 --group=0 .
sum=$(sha256sum "$1/layer.tar" | cut -d' ' -f1)
arch=$(dpkg --print-architecture)
cat > "$1/config.json" <<END
{"architecture": "$arch", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:$sum"]},
 "config": {"Entrypoint": ["/bin/httpd", "-f", "-h"], "Cmd": ["/www"], "WorkingDir": "/www"}}
END
echo '[{"Config": "config.json", "RepoTags": ["example.com/web:v1"], "Layers": ["layer.tar"]}]' \
    > "$1/manifest.json"
tar -czf "$1/web.tar.gz" -C "$1" manifest.json config.json layer.tar
"#;

const PODS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: page}
data: {index.html: from a volume}
---
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: example.com/web:v1
    imagePullPolicy: IfNotPresent
    readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  nodeName: node-2
  terminationGracePeriodSeconds: 1
  volumes: [{name: page, configMap: {name: page}}]
  containers:
  - name: web
    image: example.com/web:v1
    args: [/elsewhere]
    volumeMounts: [{name: page, mountPath: /elsewhere}]
    readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
";

/// one (node-1) ── two (node-2): both from an image that was loaded after their pods were made.
fn loaded() {
    let lab = Lab::up(&["--nodes", "2"]);
    lab.apply(PODS);
    let reason = "{.status.containerStatuses[0].state.waiting.reason}";
    eventually("the image is missing", || match lab.pod_field("one", reason).as_str() {
        "ErrImagePull" | "ImagePullBackOff" => Ok(()),
        other => Err(other.to_owned()),
    });
    let folder = lab.dir().join("archive");
    std::fs::create_dir_all(&folder).expect("make a folder");
    let made = Command::new("sh").args(["-c", SAVE, "sh"]).arg(&folder).output();
    success(&made.expect("start sh")).expect("make an archive");
    let load = lab.seaway(&["lab", "load"]).arg(folder.join("web.tar.gz")).output();
    let load = load.expect("start lab load");
    let said = String::from_utf8_lossy(&load.stderr).into_owned();
    assert!(load.status.success() && said.contains("example.com/web:v1"), "{}", lab.told(&load));
    let wait = ["wait", "--for=condition=Ready", "pod", "--all", "--timeout=30s"];
    success(&lab.kubectl(&wait)).unwrap_or_else(|why| panic!("{why}\n{}", lab.logs()));
    for (from, to, page) in [("two", "one", "from the image"), ("one", "two", "from a volume")] {
        let url = format!("http://{}/", lab.pod_field(to, "{.status.podIP}"));
        let body = lab.exec(from, &["/bin/wget", "-qO-", &url]);
        assert_eq!(text(&body), page, "{url}: {}", lab.told(&body));
    }
    eventually("the node tells its images", || {
        let path = "jsonpath={.status.images[*].names}";
        let images = text(&lab.kubectl(&["get", "node", "node-1", "-o", path]));
        if images.contains("example.com/web:v1") { Ok(()) } else { Err(images) }
    });
    let missing = lab.seaway(&["lab", "load", "/nonexistent.tar"]).output().expect("lab load");
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && said.contains("/nonexistent.tar"), "{said}");
}
