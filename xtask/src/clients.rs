//! Other people's clients, which tests and examples run: fetched at pinned versions, kept in `target/clients`.
//!
//! | what | from |
//! |---|---|
//! | `kubectl-oldest` | the package of this Debian, unpacked: the oldest that people still have |
//! | `kubectl-newest` | the newest release, built from its Go module |
//! | `client-go.test` | tests with client-go, built |
//! | `python` | a virtual environment with the Python client |
//!
//! Versions stand in `go.mod` and `requirements.txt` of [`SOURCES`]; whoever changes them gets the
//! clients anew with the next run.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::run::{Result, command, output, root, say, step, which};

/// Where the Go module and the Python program are.
const SOURCES: &str = "crates/seaway/tests/lab/clients";

/// The Go that the module needs, for machines whose own is from before Go fetched it by itself.
const TOOLCHAIN: &str = "golang.org/toolchain@v0.0.1-go1.26.8.linux-amd64";

/// A kubectl that is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kubectl {
    /// Debian's.
    Oldest,
    /// That of the newest release.
    Newest,
}

impl Kubectl {
    /// Both.
    pub(crate) const ALL: [Kubectl; 2] = [Kubectl::Oldest, Kubectl::Newest];

    /// What pages call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kubectl::Oldest => "oldest",
            Kubectl::Newest => "newest",
        }
    }

    /// The folder it is alone in, for the `PATH`.
    pub(crate) fn folder(self) -> PathBuf {
        clients().join(format!("kubectl-{}", self.name()))
    }
}

/// The `PATH` under which `kubectl` is this one.
pub(crate) fn path_with(kubectl: Kubectl) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}", kubectl.folder().display())
}

/// Gets all clients that are not there, or not of the version that is asked for.
pub(crate) fn install() -> Result {
    std::fs::create_dir_all(clients()).map_err(|e| format!("make {}: {e}", clients().display()))?;
    oldest()?;
    let go = Go::find()?;
    go.build("kubectl newest", &Kubectl::Newest.folder().join("kubectl"), &["build"], "./kubectl")?;
    go.build("client-go", &clients().join("client-go.test"), &["test", "-c"], ".")?;
    python()
}

fn clients() -> PathBuf {
    root().join("target/clients")
}

/// Whether `made` is there and not older than what is in `sources`.
fn is_fresh(made: &Path, sources: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let Some(made) = changed(made) else { return false };
    newest_change(sources, &changed) <= made
}

fn newest_change(folder: &Path, changed: &dyn Fn(&Path) -> Option<SystemTime>) -> SystemTime {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let times = entries.map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            newest_change(&path, changed)
        } else {
            changed(&path).unwrap_or(SystemTime::UNIX_EPOCH)
        }
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Debian's kubectl is unpacked and not installed: a machine may have another one.
fn oldest() -> Result {
    let folder = Kubectl::Oldest.folder();
    if folder.join("kubectl").exists() {
        return Ok(());
    }
    let scratch = clients().join("kubernetes-client");
    std::fs::create_dir_all(&scratch).map_err(|e| format!("make {}: {e}", scratch.display()))?;
    let mut download = command("apt-get", &["download", "-qq", "kubernetes-client"]);
    download.current_dir(&scratch);
    if step("kubectl oldest: download", &mut download).is_err() {
        // A fresh machine has no list of packages.
        step("apt-get update", &mut command("apt-get", &["update", "-qq"]))?;
        step("kubectl oldest: download", &mut download)?;
    }
    let packages =
        std::fs::read_dir(&scratch).map_err(|e| format!("list {}: {e}", scratch.display()))?;
    let package = packages.flatten().map(|entry| entry.path()).find(|p| p.extension().is_some());
    let package = package.ok_or("apt-get download kubernetes-client: no package came")?;
    let mut unpack = command("dpkg-deb", &["--extract"]);
    step("kubectl oldest: unpack", unpack.arg(&package).arg(&scratch))?;
    std::fs::create_dir_all(&folder).map_err(|e| format!("make {}: {e}", folder.display()))?;
    let (from, to) = (scratch.join("usr/bin/kubectl"), folder.join("kubectl"));
    std::fs::rename(&from, &to).map_err(|e| format!("move {}: {e}", from.display()))?;
    std::fs::remove_dir_all(&scratch).map_err(|e| format!("remove {}: {e}", scratch.display()))
}

/// The Go command that builds.
struct Go(PathBuf);

impl Go {
    /// This machine's, or, when it is older than 1.21, the one its module needs, through it.
    fn find() -> Result<Go> {
        let go = which("go").ok_or("go is not installed: cargo xtask install")?;
        let version = output(
            command(&go.to_string_lossy(), &["env", "GOVERSION"]).env("GOTOOLCHAIN", "local"),
        )?;
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        let minor = version.trim().trim_start_matches("go1.").split('.').next().map(str::to_owned);
        if minor.and_then(|minor| minor.parse::<u32>().ok()).is_some_and(|minor| minor >= 21) {
            return Ok(Go(go));
        }
        say(&format!("── {} is {}: fetch {TOOLCHAIN}", go.display(), version.trim()));
        let mut download = command(&go.to_string_lossy(), &["mod", "download", "-json", TOOLCHAIN]);
        let answer = output(download.current_dir(clients()).env("GOFLAGS", "-mod=mod"))?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.stdout)
            .map_err(|e| format!("go mod download {TOOLCHAIN}: {e}"))?;
        let home = answer["Dir"].as_str().ok_or_else(|| format!("go mod download: {answer}"))?;
        // Modules hold no executables; Go sets these bits when it fetches its successor itself.
        let bits = ["-R", "a+x", &format!("{home}/bin"), &format!("{home}/pkg/tool")];
        step("go: executables", &mut command("chmod", &bits))?;
        Ok(Go(Path::new(home).join("bin/go")))
    }

    /// Has Go make `target` from `package` of the module, unless it is fresh.
    fn build(&self, title: &str, target: &Path, how: &[&str], package: &str) -> Result {
        let module = root().join(SOURCES).join("go");
        if is_fresh(target, &module) {
            return Ok(());
        }
        let mut build = command(&self.0.to_string_lossy(), how);
        build.args(["-trimpath", "-ldflags", &flags(&module)?, "-o"]).arg(target).arg(package);
        step(&format!("{title}: build"), build.current_dir(module).env("GOFLAGS", ""))
    }
}

/// The version, which kubectl has from its linker, and no symbols.
fn flags(module: &Path) -> Result<String> {
    let manifest = module.join("go.mod");
    let text = std::fs::read_to_string(&manifest)
        .map_err(|e| format!("read {}: {e}", manifest.display()))?;
    let version = text.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubectl v0."));
    let version = version.ok_or("go.mod: no k8s.io/kubectl")?;
    Ok(format!("-s -w -X k8s.io/component-base/version.gitVersion=v1.{version}"))
}

/// The virtual environment with what `requirements.txt` names.
fn python() -> Result {
    let (home, sources) = (clients().join("python"), root().join(SOURCES).join("python"));
    let marker = home.join("complete");
    if is_fresh(&marker, &sources) {
        return Ok(());
    }
    let shown = home.to_string_lossy().into_owned();
    step("python: venv", &mut command("python3", &["-m", "venv", "--clear", &shown]))?;
    let requirements = sources.join("requirements.txt");
    let mut pip = command(&format!("{shown}/bin/pip"), &["install", "--quiet", "--requirement"]);
    step("python: install", pip.arg(requirements))?;
    std::fs::write(&marker, "").map_err(|e| format!("write {}: {e}", marker.display()))
}
