//! Which crate may depend on which: the arrows of ARCHITECTURE.md.

use crate::run::{Result, cargo, output};

/// Pure crates and everything they may depend on.
const PURE: [(&str, &[&str]); 5] = [
    (
        "seaway-model",
        &["imbl", "ipnet", "jiff", "saphyr-parser", "serde", "serde_json", "thiserror"],
    ),
    ("seaway-plan", &["seaway-model", "seaway-wire", "foldhash", "imbl", "ipnet"]),
    ("seaway-compile", &["seaway-model", "seaway-plan", "imbl", "ipnet", "thiserror"]),
    ("seaway-oracle", &["seaway-model", "ipnet"]),
    ("seaway-wire", &["seaway-model", "ipnet", "serde", "serde_json", "thiserror", "zlib-rs"]),
];

/// Crates of ours that each of the others may depend on.
const OURS: [(&str, &[&str]); 8] = [
    ("seaway-kernel", &["seaway-model", "seaway-plan"]),
    ("seaway-kube", &["seaway-model"]),
    ("seaway-proxy", &["seaway-model", "seaway-plan", "seaway-wire"]),
    ("seaway-apiserver", &[]),
    (
        "seaway-agent",
        &[
            "seaway-model",
            "seaway-plan",
            "seaway-compile",
            "seaway-wire",
            "seaway-kernel",
            "seaway-kube",
            "seaway-proxy",
        ],
    ),
    (
        "seaway-lab",
        &["seaway-apiserver", "seaway-kernel", "seaway-kube", "seaway-model", "seaway-wire"],
    ),
    (
        "seaway",
        &[
            "seaway-agent",
            "seaway-compile",
            "seaway-kernel",
            "seaway-kube",
            "seaway-lab",
            "seaway-model",
            "seaway-wire",
        ],
    ),
    ("xtask", &[]),
];

/// Licences under which we take code.
const LICENCES: [&str; 11] = [
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "CDLA-Permissive-2.0",
    "MPL-2.0",
    "MPL-2.0+",
    "OpenSSL",
];

/// Findings in the graph of crates.
pub(crate) fn check() -> Result<Vec<String>> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata: no packages")?;
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let normal: Vec<&str> = package["dependencies"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|d| d["kind"].is_null())
            .filter_map(|d| d["name"].as_str())
            .collect();
        if let Some((_, allowed)) = PURE.iter().find(|(pure, _)| *pure == name) {
            let wrong = normal.iter().filter(|d| !allowed.contains(d));
            findings.extend(wrong.map(|d| format!("{name} is pure and may not depend on {d}")));
        }
        if let Some((_, allowed)) = OURS.iter().find(|(ours, _)| *ours == name) {
            let ours = normal.iter().filter(|d| d.starts_with("seaway"));
            let wrong = ours.filter(|d| !allowed.contains(d));
            findings.extend(
                wrong.map(|d| format!("{name} may not depend on {d}: see ARCHITECTURE.md")),
            );
        }
        findings.extend(licence(name, package["license"].as_str().unwrap_or_default()));
    }
    Ok(findings)
}

/// A licence expression is fine when one alternative of each of its parts is.
fn licence(name: &str, expression: &str) -> Option<String> {
    let fine = expression.split(" AND ").all(|part| {
        part.trim_matches(['(', ')']).split(" OR ").flat_map(|one| one.split('/')).any(|one| {
            let id = one.trim_matches(['(', ')', ' ']);
            LICENCES.contains(&id.split(" WITH ").next().unwrap_or(id))
        })
    });
    (!fine).then(|| format!("{name}: licence {expression:?} is not one we take"))
}

fn metadata() -> Result<serde_json::Value> {
    let args = [
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ];
    let printed = output(&mut cargo(&args))?;
    if !printed.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&printed.stderr)));
    }
    serde_json::from_slice(&printed.stdout).map_err(|e| format!("cargo metadata: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_need_one_alternative_we_take() {
        for fine in
            ["MIT", "MIT OR Apache-2.0", "MIT/Apache-2.0", "(MIT OR GPL-3.0) AND Unicode-3.0"]
        {
            assert_eq!(licence("x", fine), None, "{fine}");
        }
        for wrong in ["GPL-3.0-only", "", "MIT AND LGPL-2.1"] {
            assert!(licence("x", wrong).is_some(), "{wrong}");
        }
    }
}
