//! A lab under test, driven through the command line as a person would.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::manifests;

/// The binary under test.
pub(crate) const SEAWAY: &str = env!("CARGO_BIN_EXE_seaway");

/// How long a level may take to be reached before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A test by name. Without root it is reported as ignored, or as failed when CI runs it.
pub(crate) fn test(name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    let root = nix::unistd::geteuid().is_root();
    let ci = std::env::var_os("CI").is_some();
    Trial::test(name, move || {
        if !root {
            return Err(Failed::from("needs root: it makes network namespaces"));
        }
        run();
        Ok(())
    })
    .with_ignored_flag(!root && !ci)
}

/// One lab in its own folder.
pub(crate) struct Lab {
    name: String,
    dir: PathBuf,
    up: bool,
}

impl Lab {
    /// A lab that is not up yet.
    pub(crate) fn new() -> Lab {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{n}", std::process::id());
        let dir = std::env::temp_dir().join(format!("seaway-test-{name}"));
        std::fs::create_dir_all(&dir).expect("make the test's folder");
        Lab { name, dir, up: false }
    }

    /// A lab that is up with these flags of `seaway lab up`.
    pub(crate) fn up(flags: &[&str]) -> Lab {
        let mut lab = Lab::new();
        let output = lab.try_up(flags);
        assert!(output.status.success(), "lab up {flags:?}: {}", lab.told(&output));
        lab
    }

    /// A lab that is up with these flags, and whose agents have these variables.
    pub(crate) fn up_with_env(flags: &[&str], variables: &[(&str, &str)]) -> Lab {
        let mut lab = Lab::new();
        let output = lab.try_up_with_env(flags, variables);
        assert!(output.status.success(), "lab up {flags:?}: {}", lab.told(&output));
        lab
    }

    /// A lab that is up with these flags and the objects of this manifest.
    pub(crate) fn up_with(flags: &[&str], manifest: &str) -> Lab {
        let mut lab = Lab::new();
        let file = manifests::write(&lab.dir().with_extension("files"), manifest);
        let output = lab.try_up(&[flags, &["-f", &file]].concat());
        assert!(output.status.success(), "lab up {flags:?}: {}", lab.told(&output));
        lab
    }

    /// Brings the lab up and gives what the command said.
    pub(crate) fn try_up(&mut self, flags: &[&str]) -> Output {
        self.try_up_with_env(flags, &[])
    }

    /// The same, with variables that its agents have, too.
    pub(crate) fn try_up_with_env(&mut self, flags: &[&str], variables: &[(&str, &str)]) -> Output {
        self.up = true;
        let mut command = self.seaway(&["lab", "up"]);
        let output = command.args(flags).envs(variables.iter().copied()).output();
        output.expect("start seaway lab up")
    }

    /// A command of the binary, for this lab. The flags of the lab come after the subcommand's name.
    pub(crate) fn seaway(&self, words: &[&str]) -> Command {
        let mut command = Command::new(SEAWAY);
        command.args(words).args(["--name", &self.name]);
        command.env("SEAWAY_LAB_DIR", &self.dir).stdin(Stdio::null());
        command
    }

    /// Folder of the lab: logs, kubeconfig, nodes.
    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    /// The name of the lab.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs a command in a pod, like `hello/shell`; the namespace may be left out for `default`.
    pub(crate) fn exec(&self, pod: &str, argv: &[&str]) -> Output {
        let (namespace, name) = pod.split_once('/').unwrap_or(("default", pod));
        let mut command = self.seaway(&["lab", "exec"]);
        command.args(["-n", namespace, name, "--"]).args(argv);
        command.output().expect("start seaway lab exec")
    }

    /// Runs a command on a node.
    pub(crate) fn node(&self, node: &str, argv: &[&str]) -> Output {
        let mut command = self.seaway(&["lab", "node"]);
        command.args([node, "--"]).args(argv).output().expect("start seaway lab node")
    }

    /// Runs a command on the host outside the cluster.
    pub(crate) fn client(&self, argv: &[&str]) -> Output {
        let mut command = self.seaway(&["lab", "client"]);
        command.arg("--").args(argv).output().expect("start seaway lab client")
    }

    /// kubectl against this lab.
    pub(crate) fn kubectl(&self, argv: &[&str]) -> Output {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.dir().join("kubeconfig")).args(argv);
        command.env("HOME", &self.dir).stdin(Stdio::null());
        command.output().expect("start kubectl (cargo xtask install)")
    }

    /// Applies a manifest given as text; it must be accepted.
    pub(crate) fn apply(&self, yaml: &str) {
        let file = self.dir.join("apply.yaml");
        std::fs::write(&file, yaml).expect("write the manifest");
        let output = self.seaway(&["lab", "apply"]).arg("-f").arg(&file).output();
        let output = output.expect("start seaway lab apply");
        assert!(output.status.success(), "lab apply: {}", self.told(&output));
    }

    /// `seaway check`: every path of the network, or what is red.
    pub(crate) fn check(&self) {
        let output = self.seaway(&["check"]).output().expect("start seaway check");
        assert!(output.status.success(), "check is red: {}", self.told(&output));
    }

    /// The field of a pod that `jsonpath` names, as kubectl prints it.
    pub(crate) fn pod_field(&self, pod: &str, jsonpath: &str) -> String {
        let (namespace, name) = pod.split_once('/').unwrap_or(("default", pod));
        let path = format!("jsonpath={jsonpath}");
        text(&self.kubectl(&["-n", namespace, "get", "pod", name, "-o", &path]))
    }

    /// Takes the lab down; nothing may be left.
    pub(crate) fn down(&mut self) {
        let output = self.seaway(&["lab", "down"]).output().expect("start seaway lab down");
        assert!(output.status.success(), "lab down: {}", self.told(&output));
        self.up = false;
    }

    /// What a command printed, with the end of the lab's own logs.
    pub(crate) fn told(&self, output: &Output) -> String {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        format!("{}\n{stdout}\n{stderr}\n{}", output.status, self.logs())
    }

    /// The last lines of every log of the lab.
    pub(crate) fn logs(&self) -> String {
        let mut logs = Vec::new();
        collect_logs(&self.dir(), &mut logs, 4);
        logs.join("\n")
    }
}

#[expect(clippy::print_stderr, reason = "whoever reads a failed test wants the lab's logs")]
impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        if self.up {
            let down = self.seaway(&["lab", "down"]).output();
            if !std::thread::panicking() {
                assert!(down.is_ok_and(|o| o.status.success()), "lab down failed");
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("remove {}: {error}", self.dir.display());
        }
    }
}

/// Waits until `level` gives `Ok`; a failure shows its last `Err`.
pub(crate) fn eventually<T, E: Debug>(what: &str, level: impl FnMut() -> Result<T, E>) -> T {
    within(PATIENCE, what, level)
}

/// [`eventually`], for what takes its time.
pub(crate) fn within<T, E: Debug>(
    patience: Duration,
    what: &str,
    mut level: impl FnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match level() {
            Ok(value) => return value,
            Err(last) if start.elapsed() > patience => {
                panic!("{what}: not within {patience:?}; last seen: {last:?}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// What a command printed on stdout, trimmed.
pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// `Ok` when the command succeeded, else what it said.
pub(crate) fn success(output: &Output) -> Result<String, String> {
    if output.status.success() {
        return Ok(text(output));
    }
    Err(format!("{}: {}{}", output.status, text(output), String::from_utf8_lossy(&output.stderr)))
}

/// Lines of `before` that are gone, and those of `now` that are new.
pub(crate) fn difference(before: &str, now: &str) -> String {
    let only = |a: &str, b: &str, sign: &str| -> Vec<String> {
        let lines = a.lines().filter(|line| !b.lines().any(|other| other == *line));
        lines.map(|line| format!("{sign}{line}")).collect()
    };
    [only(before, now, "-"), only(now, before, "+")].concat().join("\n")
}

/// Adds the last 30 lines of every `*.log` below `dir`.
fn collect_logs(dir: &Path, logs: &mut Vec<String>, depth: u32) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() && depth > 0 {
            collect_logs(&path, logs, depth - 1);
        } else if path.extension().is_some_and(|e| e == "log")
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            let lines: Vec<&str> = text.lines().collect();
            let end = &lines[lines.len().saturating_sub(30)..];
            logs.push(format!("── {}\n{}", path.display(), end.join("\n")));
        }
    }
}
