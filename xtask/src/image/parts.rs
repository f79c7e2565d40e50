//! What a program is made of: the crates that are linked into it, and the C libraries.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::oci::hex;
use crate::run::{Result, cargo, command, output, root};

/// Name and version.
pub(crate) type Id = (String, String);

/// A crate, or a library of the machine that builds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// SPDX's expression.
    pub(crate) license: String,
    /// Where it comes from, as a package URL; `None` if it is ours.
    pub(crate) purl: Option<String>,
    /// SHA-256 of the crate as it was fetched, or of the library's file.
    pub(crate) sum: Option<String>,
    /// Files that hold the texts of its license, sorted.
    pub(crate) texts: Vec<PathBuf>,
    /// What it uses of the others.
    pub(crate) uses: BTreeSet<Id>,
}

/// Everything that is in a program, by name and version.
pub(crate) type Parts = BTreeMap<Id, Part>;

/// The libraries that a static program has of the machine it is built on: file, name, license.
const LIBRARIES: [(&str, &str, &str); 2] = [
    ("libc.a", "glibc", "LGPL-2.1-or-later"),
    ("libgcc_eh.a", "libgcc", "GPL-3.0-or-later WITH GCC-exception-3.1"),
];

/// Names that files with the text of a license start with.
const TEXTS: [&str; 6] = ["license", "licence", "copying", "copyright", "notice", "unlicense"];

/// What is linked into `package`: neither macros nor what builds it, with the features of its own build.
///
/// # Errors
/// If cargo, the compiler or the linker can't be asked.
pub(crate) fn linked(package: &str) -> Result<Parts> {
    let tree = ["tree", "--locked", "--package", package, "--edges", "normal,no-proc-macro"];
    let shown = ["--prefix", "depth", "--format", " {p}"];
    let tree = said(&mut cargo(&[&tree[..], &shown].concat()))?;
    let sources = Sources::read()?;
    let mut parts = Parts::new();
    for (id, uses) in edges(&tree)? {
        let part = sources.part(&id, uses)?;
        parts.insert(id, part);
    }
    let libraries: Result<Vec<(Id, Part)>> = LIBRARIES.iter().map(library).collect();
    parts.extend(libraries?.into_iter().chain([standard_library()?]));
    Ok(parts)
}

/// The crate called `name`, of which there is one version, by itself.
///
/// # Errors
/// If cargo can't be asked, or knows no such crate.
pub(crate) fn alone(name: &str) -> Result<Parts> {
    let sources = Sources::read()?;
    let id = sources.sums.keys().find(|(known, _)| known == name).cloned();
    let id = id.ok_or_else(|| format!("Cargo.lock: no {name}"))?;
    let part = sources.part(&id, BTreeSet::new())?;
    Ok(Parts::from([(id, part)]))
}

/// What cargo knows of crates.
struct Sources {
    metadata: Value,
    sums: BTreeMap<Id, String>,
}

impl Sources {
    fn read() -> Result<Self> {
        let lock = std::fs::read_to_string(root().join("Cargo.lock"));
        let sums = sums(&lock.map_err(|e| format!("read Cargo.lock: {e}"))?);
        let only = format!("--filter-platform={}", compiler("host: ")?);
        let metadata = said(&mut cargo(&["metadata", "--locked", "--format-version=1", &only]))?;
        let metadata =
            serde_json::from_str(&metadata).map_err(|e| format!("cargo metadata: {e}"))?;
        Ok(Self { metadata, sums })
    }

    fn part(&self, id: &Id, uses: BTreeSet<Id>) -> Result<Part> {
        let (name, version) = id;
        let mut known = self.metadata["packages"].as_array().into_iter().flatten();
        let told = known.find(|known| known["name"] == **name && known["version"] == **version);
        let told = told.ok_or_else(|| format!("cargo metadata: no {name} {version}"))?;
        let manifest = Path::new(told["manifest_path"].as_str().unwrap_or_default());
        let ours = told["source"].is_null();
        Ok(Part {
            license: expression(told["license"].as_str().unwrap_or_default()),
            purl: (!ours).then(|| format!("pkg:cargo/{name}@{version}")),
            sum: self.sums.get(id).cloned(),
            texts: if ours { Vec::new() } else { texts(manifest.parent())? },
            uses,
        })
    }
}

/// Who uses whom, from lines like `2 serde v1.0.229 (*)`, which start with how deep they are.
fn edges(tree: &str) -> Result<BTreeMap<Id, BTreeSet<Id>>> {
    let mut edges: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
    let mut above: Vec<Id> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let depth = words.next().and_then(|word| word.parse::<usize>().ok());
        let version = |word: &str| word.strip_prefix('v').map(str::to_owned);
        let (Some(depth), Some(name), Some(version)) =
            (depth, words.next(), words.next().and_then(version))
        else {
            return Err(format!("cargo tree: {line:?} is not what was expected"));
        };
        let id = (name.to_owned(), version);
        above.truncate(depth);
        if let Some(user) = above.last() {
            edges.entry(user.clone()).or_default().insert(id.clone());
        }
        edges.entry(id.clone()).or_default();
        above.push(id);
    }
    Ok(edges)
}

/// The checksums of `Cargo.lock`.
fn sums(lock: &str) -> BTreeMap<Id, String> {
    let package = |text: &str| {
        let field = |name: &str| {
            let start = format!("{name} = \"");
            let value = text.lines().find_map(|line| line.strip_prefix(&start))?;
            Some(value.trim_end_matches('"').to_owned())
        };
        Some(((field("name")?, field("version")?), field("checksum")?))
    };
    lock.split("[[package]]").filter_map(package).collect()
}

/// A license as SPDX writes it: some crates still have the form of before.
fn expression(license: &str) -> String {
    let words = license.replace('/', " OR ");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The files in `folder` that hold the text of a license.
fn texts(folder: Option<&Path>) -> Result<Vec<PathBuf>> {
    let folder = folder.unwrap_or(Path::new("/"));
    let entries = folder.read_dir().map_err(|e| format!("list {}: {e}", folder.display()))?;
    let is_text = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        path.is_file() && TEXTS.iter().any(|start| name.starts_with(start))
    };
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(is_text).collect();
    found.sort();
    Ok(found)
}

/// The standard library, which comes with the compiler.
fn standard_library() -> Result<(Id, Part)> {
    let version = compiler("release: ")?;
    let part = Part {
        license: "MIT OR Apache-2.0".to_owned(),
        purl: Some(format!("pkg:generic/rust-std@{version}")),
        ..Part::default()
    };
    Ok((("rust-std".to_owned(), version), part))
}

/// What the compiler says of itself in the line that starts with `field`.
fn compiler(field: &str) -> Result<String> {
    let told = said(&mut command("rustc", &["--version", "--verbose"]))?;
    let value = told.lines().find_map(|line| line.strip_prefix(field)).map(str::to_owned);
    value.ok_or_else(|| format!("rustc --version --verbose: no {field:?}"))
}

/// A library of this machine, with the version of the Debian package that it is from.
fn library((file, name, license): &(&str, &str, &str)) -> Result<(Id, Part)> {
    let path = said(&mut command("cc", &[&format!("-print-file-name={file}")]))?;
    let path = Path::new(path.trim()).canonicalize();
    let path =
        path.map_err(|e| format!("find {file}, which static programs are linked with: {e}"))?;
    let bytes = std::fs::read(&path).map_err(|e| format!("read {}: {e}", path.display()))?;
    let owner = said(&mut command("dpkg-query", &["--search", &path.to_string_lossy()]))?;
    let package = owner.split([':', ',']).next().unwrap_or_default();
    let version = ["--show", "--showformat=${Version}", package];
    let version = said(&mut command("dpkg-query", &version))?;
    let part = Part {
        license: (*license).to_owned(),
        purl: Some(format!("pkg:deb/debian/{package}@{}", version.replace('+', "%2B"))),
        sum: Some(hex(&bytes)),
        texts: texts(Some(&Path::new("/usr/share/doc").join(package)))?,
        uses: BTreeSet::new(),
    };
    Ok((((*name).to_owned(), version), part))
}

/// What a command prints; it must succeed.
fn said(command: &mut std::process::Command) -> Result<String> {
    let done = output(command)?;
    if !done.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&done.stderr)));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str, version: &str) -> Id {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn a_tree_tells_who_uses_whom() {
        let tree = "0 seaway v0.1.0 (/tree)\n1 a v1.0.0\n2 b v2.0.0\n1 b v2.0.0 (*)\n1 c v3.0.0\n";
        let found = edges(tree).unwrap();
        let uses = |name: &str, version: &str| {
            found[&id(name, version)].iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(uses("seaway", "0.1.0"), ["a", "b", "c"]);
        assert_eq!(uses("a", "1.0.0"), ["b"]);
        assert!(uses("b", "2.0.0").is_empty() && uses("c", "3.0.0").is_empty());
        assert!(edges("1 a\n").unwrap_err().contains("\"1 a\""));
    }

    #[test]
    fn licenses_are_expressions() {
        for (told, meant) in [("MIT / Apache-2.0", "MIT OR Apache-2.0"), ("MIT", "MIT")] {
            assert_eq!(expression(told), meant);
        }
    }

    #[test]
    fn checksums_are_those_of_the_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"12\"\n\
                    \n[[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n";
        assert_eq!(sums(lock), BTreeMap::from([(id("a", "1.0.0"), "12".to_owned())]));
    }
}
