//! Manifests the stories use.

use std::fmt::Write;

/// `count` pods `p0`, `p1`, … that stay alive and answer on the ports of `seaway/echo`.
pub(crate) fn echoes(count: usize) -> String {
    (0..count).fold(String::new(), |mut yaml, n| {
        yaml.push_str(&pod(&format!("p{n}"), "", "seaway/echo"));
        yaml
    })
}

/// A pod of one container on `node` (anywhere when empty).
pub(crate) fn pod(name: &str, node: &str, image: &str) -> String {
    let mut yaml = format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  \
         terminationGracePeriodSeconds: 1\n"
    );
    if !node.is_empty() {
        writeln!(yaml, "  nodeName: {node}").expect("a String takes any text");
    }
    writeln!(yaml, "  containers:\n  - {{name: main, image: {image}}}").expect("as above");
    yaml
}

/// A shell and an echo on two nodes: `client` on node-1, `server` on node-2.
pub(crate) fn pair() -> String {
    format!("{}{}", pod("client", "node-1", "seaway/shell"), pod("server", "node-2", "seaway/echo"))
}

/// Writes a manifest for `lab up -f`, into a folder that the caller keeps.
pub(crate) fn write(dir: &std::path::Path, yaml: &str) -> String {
    std::fs::create_dir_all(dir).expect("make the test's folder");
    let file = dir.join("manifest.yaml");
    std::fs::write(&file, yaml).expect("write the manifest");
    file.to_string_lossy().into_owned()
}
