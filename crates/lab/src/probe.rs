//! What a lab needs from the machine, tried out in namespaces that are gone right after: so that what
//! is missing is named before anything is made.

use std::fmt;
use std::io;

use kernel::netlink::{Netlink, Request, VethEnd, VxlanParams};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Something this machine does not give.
#[derive(Debug)]
pub struct Missing {
    /// What it is, like `VXLAN devices`.
    pub what: &'static str,
    /// What provides it.
    pub hint: &'static str,
    /// What the kernel said.
    pub said: String,
}

/// This machine cannot run a lab.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Not root.
    #[error("a lab makes network namespaces and needs root; try again with sudo")]
    NotRoot,
    /// Features or capabilities that are not there.
    #[error("this machine cannot run a lab; missing: {}", list(.0))]
    Missing(Vec<Missing>),
}

/// Namespaces a lab is made of, and the kernel options behind them.
const NAMESPACES: [(CloneFlags, &str, &str); 5] = [
    (CloneFlags::CLONE_NEWNET, "network namespaces", "CONFIG_NET_NS and CAP_SYS_ADMIN"),
    (CloneFlags::CLONE_NEWNS, "mount namespaces", "CAP_SYS_ADMIN"),
    (CloneFlags::CLONE_NEWUTS, "host name namespaces", "CONFIG_UTS_NS and CAP_SYS_ADMIN"),
    (CloneFlags::CLONE_NEWIPC, "IPC namespaces", "CONFIG_IPC_NS and CAP_SYS_ADMIN"),
    (CloneFlags::CLONE_NEWPID, "PID namespaces", "CONFIG_PID_NS and CAP_SYS_ADMIN"),
];

/// What links and nftables need when the kernel says EPERM.
const DENIED: &str = "CAP_NET_ADMIN";

/// Tries everything a lab needs.
///
/// # Errors
/// [`ProbeError`] with all that is missing, not just the first.
pub fn probe() -> Result<(), ProbeError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(ProbeError::NotRoot);
    }
    let missing = std::thread::scope(|scope| {
        let thread = scope.spawn(try_all);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    if missing.is_empty() { Ok(()) } else { Err(ProbeError::Missing(missing)) }
}

/// Tries everything on the calling thread, whose namespaces are not to be used afterwards.
fn try_all() -> Vec<Missing> {
    let mut missing = Vec::new();
    for (flag, what, hint) in NAMESPACES {
        if let Err(error) = unshare(flag) {
            missing.push(Missing { what, hint, said: error.to_string() });
        }
    }
    if !missing.iter().any(|missing| missing.what == NAMESPACES[1].1)
        && let Err(error) = try_overlay()
    {
        let hint = "modprobe overlay (CONFIG_OVERLAY_FS), CONFIG_TMPFS_XATTR";
        missing.push(Missing { what: "overlay mounts", hint, said: error.to_string() });
    }
    // Without a network of its own, trying links would be done to the machine.
    if missing.iter().any(|missing| missing.what == NAMESPACES[0].1) {
        return missing;
    }
    missing.extend(try_links());
    missing
}

/// Puts memory over the machine's root, as a container's root is made; in a mount namespace that is
/// gone right after.
fn try_overlay() -> io::Result<()> {
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    let place = std::env::temp_dir();
    mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), nothing)?;
    let [upper, work, root] = ["upper", "work", "root"].map(|name| place.join(name));
    for folder in [&upper, &work, &root] {
        std::fs::create_dir(folder)?;
    }
    let options = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    Ok(mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?)
}

fn try_links() -> Vec<Missing> {
    let mut netlink = match Netlink::open() {
        Ok(netlink) => netlink,
        Err(error) => {
            let said = model::chain(&error);
            return vec![Missing { what: "rtnetlink", hint: "CONFIG_NET", said }];
        }
    };
    let end = |name| VethEnd { name, ..VethEnd::default() };
    let vxlan = VxlanParams { vni: 1, port: 8472, local: [127, 0, 0, 1].into() };
    let tries = [
        (Request::add_veth(&end("a"), &end("b")), "veth links", "modprobe veth (CONFIG_VETH)"),
        (Request::add_bridge("c", None), "bridges", "modprobe bridge (CONFIG_BRIDGE)"),
        (Request::add_vxlan("d", None, &vxlan), "VXLAN devices", "modprobe vxlan (CONFIG_VXLAN)"),
    ];
    let mut missing = Vec::new();
    for (request, what, hint) in tries {
        if let Err(error) = netlink.send(request) {
            let hint = if error.is_denied() { DENIED } else { hint };
            missing.push(Missing { what, hint, said: model::chain(&error) });
        }
    }
    if let Err(error) = try_nftables() {
        let denied = error.raw_os_error() == Some(Errno::EPERM as i32);
        let hint = if denied { DENIED } else { "modprobe nf_tables (CONFIG_NF_TABLES)" };
        missing.push(Missing { what: "nftables", hint, said: error.to_string() });
    }
    missing
}

/// Asks nf_tables for its generation, which loads the module where that is allowed.
fn try_nftables() -> io::Result<()> {
    use nix::sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
    };
    use std::os::fd::AsRawFd;
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    // nlmsghdr (length 20, type NFT_MSG_GETGEN of subsystem 10, NLM_F_REQUEST | NLM_F_ACK) and an
    // empty nfgenmsg. Source: linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h.
    let mut request = Vec::new();
    request.extend(20u32.to_ne_bytes());
    request.extend((10u16 << 8 | 16).to_ne_bytes());
    request.extend(5u16.to_ne_bytes());
    request.extend([0; 12]);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut reply = [0; 4096];
    let length = recv(socket.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    let header = reply.get(..length).and_then(|reply| reply.first_chunk::<20>());
    let Some(header) = header else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let error = i32::from_ne_bytes([header[16], header[17], header[18], header[19]]);
    // NLMSG_ERROR with a number is a refusal; anything else is an answer.
    if kind == 2 && error != 0 { Err(Errno::from_raw(-error).into()) } else { Ok(()) }
}

fn list(missing: &[Missing]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}; needs {})", self.what, self.said, self.hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_runs_labs_and_the_probe_leaves_it_as_it_was() {
        let before = std::fs::read_to_string("/proc/net/dev").unwrap();
        probe().expect("needs root");
        let names = |dev: &str| -> Vec<String> {
            dev.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
        };
        let after = std::fs::read_to_string("/proc/net/dev").unwrap();
        assert_eq!(names(&before), names(&after));
    }

    #[test]
    fn everything_missing_is_named_at_once() {
        let missing = |what| Missing { what, hint: "X", said: "EPERM".to_owned() };
        let error = ProbeError::Missing(vec![missing("veth links"), missing("bridges")]);
        let expect = "this machine cannot run a lab; missing: \
                      veth links (EPERM; needs X); bridges (EPERM; needs X)";
        assert_eq!(error.to_string(), expect);
    }
}
