//! Images: archives of our own making, whose programs are Debian's static busybox.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use flate2::Compression;
use flate2::write::GzEncoder;
use kube_rs::api::DeleteParams;
use ruzstd::encoding::CompressionLevel;
use seaway_lab::images::Store;
use serde_json::{Value, json};

use crate::bench::{Lab, container, level, phase};

const BUSYBOX: &str = "/bin/busybox";

/// One file of a layer: its path, and what is in it, or where a link leads.
enum File<'a> {
    Text(&'a str, &'a str),
    Program(&'a str),
    Link(&'a str, &'a str),
}

fn layer(files: &[File<'_>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(0o755);
        match file {
            File::Text(path, text) => {
                header.set_size(text.len() as u64);
                archive.append_data(&mut header, path, text.as_bytes()).unwrap();
            }
            File::Program(path) => {
                let program = fs::read(BUSYBOX).expect("busybox-static (cargo xtask install)");
                header.set_size(program.len() as u64);
                archive.append_data(&mut header, path, program.as_slice()).unwrap();
            }
            File::Link(path, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                archive.append_link(&mut header, path, target).unwrap();
            }
        }
    }
    archive.into_inner().unwrap()
}

fn sum(bytes: &[u8]) -> String {
    let sum = digest(&SHA256, bytes);
    let hex: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn write_tar(path: &Path, files: &[(String, Vec<u8>)]) {
    let mut archive = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    archive.into_inner().unwrap().flush().unwrap();
}

/// An OCI archive whose first layer is as it is, the third compressed by zstd and the others by gzip.
fn oci(path: &Path, name: &str, layers: &[Vec<u8>], config: &Value) {
    let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
    let mut blob = |bytes: Vec<u8>| {
        let sum = sum(&bytes);
        let descriptor = json!({"digest": sum, "size": bytes.len()});
        files.push((format!("blobs/{}", sum.replace(':', "/")), bytes));
        descriptor
    };
    let ids: Vec<String> = layers.iter().map(|layer| sum(layer)).collect();
    let blobs: Vec<Value> = layers
        .iter()
        .enumerate()
        .map(|(index, layer)| {
            let gzip = || {
                let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
                compressed.write_all(layer).unwrap();
                compressed.finish().unwrap()
            };
            blob(match index {
                0 => layer.clone(),
                2 => ruzstd::encoding::compress_to_vec(layer.as_slice(), CompressionLevel::Fastest),
                _ => gzip(),
            })
        })
        .collect();
    let config = json!({"architecture": architecture(), "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": ids}});
    let config = blob(config.to_string().into_bytes());
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": blobs});
    let mut descriptor = blob(manifest.to_string().into_bytes());
    descriptor["annotations"] = json!({"io.containerd.image.name": name});
    let mut foreign = descriptor.clone();
    foreign["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let index = json!({"schemaVersion": 2, "manifests": [foreign, descriptor]});
    files.push(("index.json".to_owned(), index.to_string().into_bytes()));
    write_tar(path, &files);
}

/// What `docker save` wrote before it used the OCI layout.
fn saved(path: &Path, name: &str, layer: Vec<u8>, config: &Value) {
    let config = json!({"architecture": architecture(), "config": config,
        "rootfs": {"type": "layers", "diff_ids": [sum(&layer)]}});
    let manifest = json!([{"Config": "c.json", "RepoTags": [name], "Layers": ["l/layer.tar"]}]);
    write_tar(
        path,
        &[
            ("manifest.json".to_owned(), manifest.to_string().into_bytes()),
            ("c.json".to_owned(), config.to_string().into_bytes()),
            ("l/layer.tar".to_owned(), layer),
        ],
    );
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn shell() -> Vec<File<'static>> {
    let names = ["sh", "cat", "id", "ls", "sleep", "echo"];
    let links = names.map(|name| match name {
        "sh" => File::Link("bin/sh", "busybox"),
        "cat" => File::Link("bin/cat", "/bin/busybox"),
        "id" => File::Link("bin/id", "busybox"),
        "ls" => File::Link("bin/ls", "busybox"),
        "sleep" => File::Link("bin/sleep", "busybox"),
        _ => File::Link("bin/echo", "busybox"),
    });
    [File::Program("bin/busybox")].into_iter().chain(links).collect()
}

fn archive_path(name: &str) -> PathBuf {
    fs::create_dir_all("/run/test-archives").unwrap();
    PathBuf::from(format!("/run/test-archives/{name}.tar"))
}

fn store() -> Store {
    Store::at("/run/images")
}

pub(crate) async fn an_image_runs_without_a_registry(lab: &Lab) {
    let path = archive_path("oci");
    let mut first = shell();
    first
        .push(File::Text("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:101:102::/srv:/bin/sh\n"));
    first.push(File::Text("etc/group", "www:x:102:\nlogs:x:7:web\n"));
    first.push(File::Text("old", "of the first layer"));
    let second = layer(&[File::Text("word", "of the second layer"), File::Text(".wh.old", "")]);
    let script = "echo $GREETING $NAME; id -u; id -G; echo $HOME; pwd; cat /word; echo; cat /third; echo; ls /";
    let config = json!({"Entrypoint": ["/bin/sh", "-c"], "Cmd": [script], "User": "web",
        "Env": ["PATH=/bin", "GREETING=ahoy", "NAME=nobody"], "WorkingDir": "/made/here"});
    let third = layer(&[File::Text("third", "of the third layer")]);
    oci(&path, "docker.io/library/hello:1", &[layer(&first), second, third], &config);
    assert_eq!(store().load(&path, None).unwrap(), ["docker.io/library/hello:1"]);
    let main = json!({"name": "main", "image": "hello:1", "imagePullPolicy": "Never",
        "env": [{"name": "NAME", "value": "you"}]});
    lab.run("hello", json!({"restartPolicy": "Never", "containers": [main]})).await;
    let pod = lab.eventually("hello", |pod| phase(pod) == "Succeeded").await;
    assert!(container(&pod).image_id.starts_with("sha256:"), "{}", container(&pod).image_id);
    let log = lab.log("hello").await;
    let layers = ["of the second layer", "of the third layer"];
    assert_eq!(log[..5], ["ahoy you", "101", "102 7", "/srv", "/made/here"], "{log:?}");
    assert_eq!(log[5..7], layers, "{log:?}");
    let root = &log[7..];
    assert!(root.contains(&"word".to_owned()) && !root.contains(&"old".to_owned()), "{root:?}");
}

pub(crate) async fn an_image_that_is_loaded_later_lets_its_pod_start(lab: &Lab) {
    let main = json!({"name": "main", "image": "example.com/late:v1"});
    lab.run("later", json!({"containers": [main]})).await;
    let never = json!({"name": "main", "image": "example.com/late:v1", "imagePullPolicy": "Never"});
    lab.run("never", json!({"containers": [never]})).await;
    let waits = |reason: &'static str| {
        move |pod: &_| {
            let waiting = container(pod).state.and_then(|state| state.waiting);
            waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some(reason))
        }
    };
    let pod = lab.eventually("later", waits("ErrImagePull")).await;
    let why = container(&pod).state.unwrap().waiting.unwrap().message.unwrap();
    assert!(why.contains("seaway lab load IMAGE.tar"), "{why}");
    lab.eventually("never", waits("ErrImageNeverPull")).await;
    let path = archive_path("late");
    let quits = "trap 'echo quits > /notes/quits; exit 0' QUIT; : > /notes/listens; while :; do sleep 0.1; done";
    let config = json!({"Cmd": ["/bin/sh", "-c", quits], "StopSignal": "SIGQUIT"});
    let mut files = shell();
    files.push(File::Text("notes/here", ""));
    saved(&path, "example.com/late:v1", layer(&files), &config);
    assert_eq!(store().load(&path, None).unwrap(), ["example.com/late:v1"]);
    for name in ["later", "never"] {
        lab.eventually(name, |pod| container(pod).ready).await;
    }
    let main = json!({"name": "main", "image": "example.com/late:v1",
        "volumeMounts": [{"name": "notes", "mountPath": "/notes"}]});
    let volume = json!({"name": "notes", "hostPath": {"path": "/run/test-notes/quits"}});
    let spec =
        json!({"containers": [main], "volumes": [volume], "terminationGracePeriodSeconds": 20});
    lab.run("quits", spec).await;
    lab.eventually("quits", |pod| container(pod).ready).await;
    let notes = Path::new("/run/test-notes/quits");
    level("it listens to signals", || notes.join("listens").exists()).await;
    lab.delete("quits", &DeleteParams::default()).await;
    level("it was asked by its own signal", || notes.join("quits").exists()).await;
}

pub(crate) async fn a_directory_is_a_root_file_system(lab: &Lab) {
    fs::create_dir_all("/run/test-root/bin").unwrap();
    fs::copy(BUSYBOX, "/run/test-root/bin/busybox").unwrap();
    let script = "busybox ls /; echo > /own; busybox ls /own";
    let main =
        json!({"name": "main", "image": "bare", "command": ["/bin/busybox", "sh", "-c", script]});
    lab.run("bare", json!({"restartPolicy": "Never", "containers": [main]})).await;
    lab.eventually("bare", |pod| phase(pod) == "Succeeded").await;
    // `var` is where its service account's credentials are mounted.
    let expected = ["bin", "dev", "etc", "proc", "sys", "var", "/own"];
    assert_eq!(lab.log("bare").await, expected);
    assert!(!Path::new("/run/test-root/own").exists(), "what it writes is its own");
    let silent = json!({"name": "main", "image": "bare"});
    lab.run("silent", json!({"containers": [silent]})).await;
    lab.told("silent", "Failed: Error: no command specified").await;
}

pub(crate) async fn images_share_the_files_of_their_common_layers(_: &Lab) {
    use std::os::unix::fs::MetadataExt;
    let store = Store::at("/run/test-shared-images");
    let base = layer(&[File::Text("base", "of both"), File::Text("old", "of both")]);
    let config = json!({"Cmd": ["/base"]});
    let roots = ["one", "two"].map(|name| {
        let path = archive_path(name);
        let own = layer(&[File::Text("own", name), File::Text("old", name)]);
        oci(&path, name, &[base.clone(), own], &config);
        store.load(&path, Some(name)).unwrap();
        let kept = store.images().unwrap().into_iter().find(|kept| kept.names[0].contains(name));
        PathBuf::from(format!("/run/test-shared-images/{}", kept.unwrap().id))
    });
    let inode = |root: &PathBuf, file: &str| fs::metadata(root.join(file)).unwrap().ino();
    assert_eq!(inode(&roots[0], "base"), inode(&roots[1], "base"), "it is there once");
    assert_ne!(inode(&roots[0], "old"), inode(&roots[1], "old"), "each has replaced it");
    for (root, name) in roots.iter().zip(["one", "two"]) {
        let text = |file: &str| fs::read_to_string(root.join(file)).unwrap();
        assert_eq!(
            (text("base"), text("own"), text("old")),
            ("of both".to_owned(), name.to_owned(), name.to_owned())
        );
    }
}

pub(crate) async fn a_damaged_archive_is_refused_and_leaves_nothing(_: &Lab) {
    let path = archive_path("damaged");
    let config = json!({"Cmd": ["/bin/sh"]});
    oci(&path, "damaged:1", &[layer(&[File::Text("word", "as it was made")])], &config);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(14).position(|part| part == b"as it was made").unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let store = Store::at("/run/test-images");
    let why = model::chain(&store.load(&path, None).unwrap_err());
    assert!(why.contains("is damaged"), "{why}");
    fs::write(&path, "no archive at all").unwrap();
    let why = model::chain(&store.load(&path, None).unwrap_err());
    assert!(why.starts_with(&format!("load image archive {}", path.display())), "{why}");
    assert!(store.images().unwrap().is_empty());
    assert_eq!(crate::bench::files("/run/test-images"), ["lock"]);
}
