//! A lab in somebody's own kubeconfig.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use libtest_mimic::Trial;

use crate::lab::{Lab, success, test, text};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("a_lab_is_put_into_a_kubeconfig_and_taken_out_by_down", merged),
        test("a_kubeconfig_that_is_none_stays_as_it_is", refused),
    ]
}

/// Somebody's own, with a cluster of theirs, a comment, and what the lab knows nothing of.
const THEIRS: &str = "# mine
apiVersion: v1
kind: Config
clusters:
- name: home
  cluster: {server: 'https://192.0.2.1:6443', extensions: [{name: x, extension: {a: [1, \"2\"]}}]}
users: [{name: me, user: {token: secret}}]
contexts: [{name: home, context: {cluster: home, user: me, namespace: 'on'}}]
current-context: home
";

fn kubectl(home: &Path, argv: &[&str]) -> Output {
    let mut command = Command::new("kubectl");
    command.args(argv).env("HOME", home).env_remove("KUBECONFIG");
    command.output().expect("start kubectl (cargo xtask install)")
}

fn kubeconfig(lab: &Lab, home: &Path, flags: &[&str]) -> Output {
    let mut command = lab.seaway(&["lab", "kubeconfig"]);
    command.args(flags).env("HOME", home).env_remove("KUBECONFIG");
    command.output().expect("start seaway lab kubeconfig")
}

fn merged() {
    let mut lab = Lab::up(&["--nodes", "1"]);
    let home = lab.dir().with_extension("home");
    std::fs::create_dir_all(home.join(".kube")).expect("make a home");
    // The file is kept elsewhere and has a mode of its own.
    let (file, link) = (home.join("dotfiles"), home.join(".kube/config"));
    std::fs::write(&file, THEIRS).expect("write a kubeconfig");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("set its mode");
    std::os::unix::fs::symlink(&file, &link).expect("link it");
    let view = ["config", "view", "--raw", "-o", "json"];
    let before = success(&kubectl(&home, &view)).expect("kubectl reads it");

    let context = format!("seaway-{}", lab.name());
    for _ in 0..2 {
        success(&kubeconfig(&lab, &home, &["--merge"])).expect("merge");
        assert_eq!(text(&kubectl(&home, &["config", "current-context"])), context);
        let nodes = success(&kubectl(&home, &["get", "nodes", "-o", "name"]));
        assert_eq!(nodes.expect("the lab answers"), "node/node-1");
        let contexts = text(&kubectl(&home, &["config", "get-contexts", "-o", "name"]));
        assert_eq!(contexts, format!("home\n{context}"));
    }
    assert!(link.is_symlink(), "the link stays one");
    let mode = std::fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    success(&kubectl(&home, &["config", "use-context", "home"])).expect("kubectl changes it");
    success(&kubeconfig(&lab, &home, &["--unmerge"])).expect("unmerge");
    assert_eq!(success(&kubectl(&home, &view)).expect("kubectl reads it"), before);

    let new = home.join("new/config");
    let new = new.to_str().expect("a path of letters");
    success(&kubeconfig(&lab, &home, &["--merge"])).expect("merge");
    success(&kubeconfig(&lab, &home, &["--merge", new]))
        .expect("merge into a file that is not there");
    let nodes = success(&kubectl(&home, &["--kubeconfig", new, "get", "nodes", "-o", "name"]));
    assert_eq!(nodes.expect("the lab answers"), "node/node-1");
    lab.down();
    success(&kubectl(&home, &["config", "use-context", "home"])).expect("kubectl changes it");
    assert_eq!(success(&kubectl(&home, &view)).expect("kubectl reads it"), before);
    let left = std::fs::read_to_string(new).expect("it is there");
    assert!(!left.contains("seaway"), "{left}");
    let beside: Vec<_> = std::fs::read_dir(&home).expect("list it").flatten().collect();
    assert_eq!(beside.len(), 3, "no lock and no half file: {beside:?}");
}

fn refused() {
    let lab = Lab::up(&["--nodes", "1"]);
    let home = lab.dir().with_extension("home");
    std::fs::create_dir_all(&home).expect("make a home");
    let file = home.join("config");
    let path = file.to_str().expect("a path of letters");
    for (content, why) in [
        ("- a\n", "must be a mapping"),
        ("clusters: 3\n", "clusters: must be a list"),
        ("a: [1\n", "line "),
    ] {
        std::fs::write(&file, content).expect("write it");
        let output = kubeconfig(&lab, &home, &["--merge", path]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(path) && said.contains(why), "{said}");
        assert_eq!(std::fs::read_to_string(&file).expect("it is there"), content);
        std::fs::write(&file, "").expect("empty it, so that down can take the lab out");
    }
    let own = lab.dir().join("kubeconfig");
    let output = kubeconfig(&lab, &home, &["--merge", own.to_str().expect("a path of letters")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("the lab's own"), "{said}");
}
