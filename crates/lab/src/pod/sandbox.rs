//! A pod's sandbox: the pause process and the namespaces it holds.
//!
//! Nothing here outlives the node. The namespaces are held by the pause process, which is a child
//! of the node's first process, and by a mount inside the node's own mount namespace, which is
//! there for CNI plugins that want a path.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;

use crate::children::{Child, Children};

/// The program `pause`, compiled by build.rs: holds a pod's namespaces.
const PAUSE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

/// The pause program, in memory, ready to be executed any number of times.
pub struct Pause(File);

impl Pause {
    /// Puts the program into memory.
    ///
    /// # Errors
    /// The kernel's.
    pub fn load() -> io::Result<Self> {
        let mut writable = File::from(memfd_create("pause", MFdFlags::MFD_CLOEXEC)?);
        writable.write_all(PAUSE)?;
        // A file that is open for writing can't be executed.
        let path = format!("/proc/self/fd/{}", writable.as_raw_fd());
        File::open(path).map(Self)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// Which of its node's namespaces a pod uses, and which it shares among its containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// Pod API `hostNetwork`: also the node's host name.
    pub host_network: bool,
    /// Pod API `hostIPC`.
    pub host_ipc: bool,
    /// Pod API `hostPID`.
    pub host_pid: bool,
    /// Pod API `shareProcessNamespace`: one process namespace, whose process 1 is pause.
    pub one_pid: bool,
}

impl Sharing {
    /// What a pod asks for.
    pub(crate) fn of(pod: &Pod) -> Self {
        let Some(spec) = pod.spec.as_ref() else { return Self::default() };
        Self {
            host_network: spec.host_network == Some(true),
            host_ipc: spec.host_ipc == Some(true),
            host_pid: spec.host_pid == Some(true),
            one_pid: spec.share_process_namespace == Some(true),
        }
    }

    fn unshared(self) -> CloneFlags {
        let mut flags = CloneFlags::CLONE_NEWPID;
        if !self.host_network {
            flags |= CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS;
        }
        if !self.host_ipc {
            flags |= CloneFlags::CLONE_NEWIPC;
        }
        if self.host_pid {
            flags -= CloneFlags::CLONE_NEWPID;
        }
        flags
    }
}

/// A running sandbox. Dropping it lets its namespaces go once its processes have ended.
pub struct Sandbox {
    /// 64 hexadecimal digits, new for every sandbox.
    pub id: String,
    /// The pause process.
    pub pause: Child,
    /// Where the network namespace can be opened; `None` for a pod on its node's network.
    pub netns: Option<PathBuf>,
    sharing: Sharing,
    namespaces: Vec<(OwnedFd, CloneFlags)>,
}

impl Sandbox {
    /// Starts a sandbox called `host_name`, whose network namespace is shown in `netns_dir`, with
    /// `sysctls` (name, value) set in it.
    ///
    /// # Errors
    /// The kernel's, with the attempt.
    pub async fn start(
        pause: &Pause,
        host_name: &str,
        sharing: Sharing,
        sysctls: Vec<(String, String)>,
        (netns_dir, children): (&Path, &Children),
    ) -> io::Result<Self> {
        let id = fresh_id()?;
        let netns = (!sharing.host_network).then(|| netns_dir.join(format!("cni-{}", &id[..16])));
        let (program, host_name, pin) = (pause.path(), host_name.to_owned(), netns.clone());
        let children = children.clone();
        let made = on_own_thread(move || {
            unshare(sharing.unshared()).map_err(during("unshare namespaces"))?;
            if let Some(pin) = &pin {
                nix::unistd::sethostname(&host_name).map_err(during("set the host name"))?;
                kernel::confine::raise_loopback().map_err(during("raise loopback"))?;
                for (name, value) in sysctls {
                    set_sysctl(&name, &value)?;
                }
                show_netns(pin)?;
            }
            let child = start_pause(&children, &program)?;
            Ok((namespaces(sharing, child.pid)?, child))
        })
        .await;
        match made {
            Ok((namespaces, pause)) => Ok(Self { id, pause, netns, sharing, namespaces }),
            Err(error) => {
                if let Some(netns) = &netns {
                    hide_netns(netns);
                }
                Err(error)
            }
        }
    }

    /// Runs `action` on a thread inside the sandbox, whose child processes are there, too: in the
    /// pod's process namespace if it has one, else each in its own.
    ///
    /// # Errors
    /// The kernel's, or the action's.
    pub async fn enter<T: Send + 'static>(
        &self,
        action: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.enter_at(None, action).await
    }

    /// As [`enter`](Self::enter), but in the process namespace of `target`, if there is one.
    ///
    /// # Errors
    /// The kernel's, or the action's.
    pub(crate) async fn enter_at<T: Send + 'static>(
        &self,
        target: Option<Arc<OwnedFd>>,
        action: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let mut copies = Vec::with_capacity(self.namespaces.len());
        for (namespace, kind) in &self.namespaces {
            copies.push((namespace.try_clone()?, *kind));
        }
        let own_pid = !self.sharing.one_pid && !self.sharing.host_pid;
        on_own_thread(move || {
            for (namespace, kind) in copies {
                setns(namespace, kind).map_err(during("enter the sandbox"))?;
            }
            if let Some(target) = target {
                setns(target, CloneFlags::CLONE_NEWPID).map_err(during("enter the target"))?;
            } else if own_pid {
                unshare(CloneFlags::CLONE_NEWPID).map_err(during("unshare processes"))?;
            }
            action()
        })
        .await
    }

    /// Ends the pause process and stops showing the network namespace. Idempotent.
    pub async fn stop(&mut self) {
        if let Err(error) = self.pause.signal(Signal::SIGKILL) {
            tracing::warn!("end pause of sandbox {}: {error}", self.id);
        }
        self.pause.wait().await;
        if let Some(netns) = &self.netns {
            hide_netns(netns);
        }
    }
}

/// A new sandbox's or container's id.
///
/// # Errors
/// If the kernel has no random numbers.
pub(crate) fn fresh_id() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Runs `action` on a thread of its own, because namespaces belong to threads: it ends with it.
pub(crate) async fn on_own_thread<T: Send + 'static>(
    action: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("sandbox".to_owned()).spawn(move || {
        // Nobody listens any more only if the pod's task has been dropped.
        drop(done.send(action()));
    })?;
    result.await.map_err(|_| io::Error::other("the thread inside the sandbox panicked"))?
}

fn start_pause(children: &Children, program: &Path) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.arg0("/pause").env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    children.spawn(&mut command).map_err(during("start pause"))
}

fn namespaces(sharing: Sharing, pause: i32) -> io::Result<Vec<(OwnedFd, CloneFlags)>> {
    let mut wanted = Vec::new();
    if !sharing.host_network {
        wanted.push(("net", CloneFlags::CLONE_NEWNET));
        wanted.push(("uts", CloneFlags::CLONE_NEWUTS));
    }
    if !sharing.host_ipc {
        wanted.push(("ipc", CloneFlags::CLONE_NEWIPC));
    }
    if sharing.one_pid && !sharing.host_pid {
        wanted.push(("pid", CloneFlags::CLONE_NEWPID));
    }
    wanted
        .into_iter()
        .map(|(name, kind)| Ok((File::open(format!("/proc/{pause}/ns/{name}"))?.into(), kind)))
        .collect()
}

fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    // Only what belongs to the namespace: nothing of the machine's may be set from a manifest.
    if !name.starts_with("net.") || name.contains('/') || name.contains("..") {
        return Err(io::Error::other(format!("sysctl {name}: only net.* can be set")));
    }
    std::fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value)
        .map_err(|error| io::Error::other(format!("set sysctl {name}: {error}")))
}

fn show_netns(at: &Path) -> io::Result<()> {
    if let Some(folder) = at.parent() {
        std::fs::create_dir_all(folder)?;
    }
    File::create(at)?;
    let nothing = None::<&str>;
    mount(Some("/proc/thread-self/ns/net"), at, nothing, MsFlags::MS_BIND, nothing)
        .map_err(during("show the network namespace"))
}

fn hide_netns(at: &Path) {
    // Both fail only if it is hidden already.
    umount2(at, MntFlags::MNT_DETACH).ok();
    std::fs::remove_file(at).ok();
}

fn during<E: Into<io::Error>>(attempt: &'static str) -> impl FnOnce(E) -> io::Error {
    move |error| {
        let error = error.into();
        io::Error::new(error.kind(), format!("{attempt}: {error}"))
    }
}
