//! The network, joined and left through CNI plugins the way every container runtime does it: the
//! first configuration of the node's folder, plugins executed in order for ADD and in reverse for
//! DEL, each given the result of the one before, the last result kept on disk until DEL succeeds.
//!
//! Source: CNI specification 1.1.0 §2–§4; `libcni` (`api.go`, `conf.go`); kubelet's `CNI_ARGS`.

mod network;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::network::Network;
use crate::children::{Children, Output, RunError};

/// How long one plugin may take. Kubelet's own limit for a sandbox is the same.
const LONGEST: Duration = Duration::from_secs(120);

/// The interface every pod gets.
const INTERFACE: &str = "eth0";

/// Where plugins, their configuration and their results are.
#[derive(Debug)]
pub struct Runtime {
    /// Starts the plugins.
    pub children: Children,
    /// Folder of configurations; the first by name counts.
    pub conf_dir: PathBuf,
    /// Folder of plugins.
    pub bin_dir: PathBuf,
    /// Folder where results are kept between ADD and DEL.
    pub cache_dir: PathBuf,
}

/// One pod's wish to be on the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Join {
    /// Of the pod's sandbox.
    pub container_id: String,
    /// Path of the sandbox's network namespace; empty if it is gone (DEL only).
    pub netns: PathBuf,
    /// `CNI_ARGS`, in order.
    pub args: Vec<(String, String)>,
    /// Arguments for plugins that declare the capability of that name.
    pub capabilities: Map<String, Value>,
}

/// Why a pod isn't on the network, or can't be taken off it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no configuration yet.
    #[error("network is not ready: cni plugin not initialized: no configuration in {0}")]
    NotReady(String),
    /// A configuration or a cached result that isn't one.
    #[error("read {path}: {why}")]
    Conf {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file that can't be read or written.
    #[error("{attempt} {path}")]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A plugin that can't be executed.
    #[error("execute CNI plugin {plugin}")]
    Start {
        /// The plugin's name.
        plugin: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A plugin that did not end in time, and was killed.
    #[error("CNI plugin {plugin} ({command}) took longer than {} s", LONGEST.as_secs())]
    Slow {
        /// The plugin's name.
        plugin: String,
        /// What it was asked to do.
        command: &'static str,
    },
    /// A plugin that said no.
    #[error("plugin type={plugin:?} failed ({command}): {message}")]
    Refused {
        /// The plugin's name.
        plugin: String,
        /// What it was asked to do.
        command: &'static str,
        /// The plugin's error code (CNI §5 "Error"); 0 if it gave none.
        code: u64,
        /// The plugin's message and details.
        message: String,
    },
    /// A plugin chain that left the pod without an address.
    #[error("failed to find network info for sandbox: the result has no address for eth0")]
    NoAddress,
}

/// What is kept between ADD and DEL, so that DEL works whatever happened to the configuration.
#[derive(Serialize, Deserialize)]
struct Cached {
    network: Network,
    join: Join,
    result: Option<Value>,
}

impl Runtime {
    /// Whether pods can join now: there is a configuration, and its plugins (from CNI 1.1 on) say
    /// that they are ready.
    ///
    /// # Errors
    /// What is missing.
    pub async fn status(&self) -> Result<(), Error> {
        let network = self.network()?;
        if !network.is_at_least(1, 1) {
            return Ok(());
        }
        for plugin in &network.plugins {
            self.execute("STATUS", &network, plugin, None, None).await?;
        }
        Ok(())
    }

    /// Puts a pod on the network and says which addresses it got, in the plugins' order.
    ///
    /// # Errors
    /// The first plugin's that fails. Call [`Runtime::del`] then, too.
    pub async fn add(&self, join: &Join) -> Result<Vec<IpAddr>, Error> {
        let network = self.network()?;
        // Written before the first plugin runs: whatever it leaves behind, DEL knows about it.
        let mut cached = Cached { network, join: join.clone(), result: None };
        self.keep(&cached)?;
        for plugin in &cached.network.plugins {
            let previous = cached.result.as_ref();
            let network = &cached.network;
            let result = self.execute("ADD", network, plugin, Some(join), previous).await?;
            cached.result = Some(result);
        }
        self.keep(&cached)?;
        let ips = cached.result.as_ref().map(addresses).unwrap_or_default();
        if ips.is_empty() { Err(Error::NoAddress) } else { Ok(ips) }
    }

    /// Checks that a pod's attachment is as ADD left it.
    ///
    /// # Errors
    /// The first plugin's that finds a difference.
    pub async fn check(&self, join: &Join) -> Result<(), Error> {
        let Some(cached) = self.kept(&join.container_id)? else { return Ok(()) };
        if cached.network.disable_check || !cached.network.is_at_least(0, 4) {
            return Ok(());
        }
        for plugin in &cached.network.plugins {
            let previous = cached.result.as_ref();
            self.execute("CHECK", &cached.network, plugin, Some(join), previous).await?;
        }
        Ok(())
    }

    /// Takes a pod off the network, with the configuration and result it joined with. Without any
    /// trace of a join there is nothing to do.
    ///
    /// # Errors
    /// The first plugin's that fails; the trace stays, for the next attempt.
    pub async fn del(&self, join: &Join) -> Result<(), Error> {
        let Some(cached) = self.kept(&join.container_id)? else { return Ok(()) };
        let previous = cached.result.as_ref().filter(|_| cached.network.is_at_least(0, 4));
        for plugin in cached.network.plugins.iter().rev() {
            self.execute("DEL", &cached.network, plugin, Some(join), previous).await?;
        }
        let path = self.cache_path(&join.container_id);
        std::fs::remove_file(&path).map_err(file("remove", &path))
    }

    /// What has joined and not been taken off, each without its namespace, which may be gone. A
    /// result that does not read has nothing to be taken off by.
    pub fn joined(&self) -> Vec<Join> {
        let entries = std::fs::read_dir(&self.cache_dir).into_iter().flatten().flatten();
        let end = format!("-{INTERFACE}.json");
        let ids = entries.filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.strip_suffix(&end).map(str::to_owned)
        });
        let kept = ids.filter_map(|id| self.kept(&id).ok().flatten());
        kept.map(|cached| Join { netns: PathBuf::new(), ..cached.join }).collect()
    }

    fn network(&self) -> Result<Network, Error> {
        let none = || Error::NotReady(self.conf_dir.display().to_string());
        let entries = match std::fs::read_dir(&self.conf_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(none()),
            other => other.map_err(file("list", &self.conf_dir))?,
        };
        let is_conf = |path: &PathBuf| {
            path.extension().is_some_and(|end| end == "conf" || end == "conflist" || end == "json")
        };
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let path = paths.filter(is_conf).min().ok_or_else(none)?;
        let text = std::fs::read(&path).map_err(file("read", &path))?;
        Network::parse(&text).map_err(|why| Error::Conf { path: path.display().to_string(), why })
    }

    fn cache_path(&self, container_id: &str) -> PathBuf {
        self.cache_dir.join(format!("{container_id}-{INTERFACE}.json"))
    }

    fn keep(&self, cached: &Cached) -> Result<(), Error> {
        let path = self.cache_path(&cached.join.container_id);
        let text = serde_json::to_vec(cached).map_err(|error| Error::Conf {
            path: path.display().to_string(),
            why: error.to_string(),
        })?;
        std::fs::create_dir_all(&self.cache_dir).map_err(file("create", &self.cache_dir))?;
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, text).map_err(file("write", &fresh))?;
        std::fs::rename(&fresh, &path).map_err(file("rename", &path))
    }

    fn kept(&self, container_id: &str) -> Result<Option<Cached>, Error> {
        let path = self.cache_path(container_id);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(file("read", &path))?,
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| Error::Conf {
            path: path.display().to_string(),
            why: error.to_string(),
        })
    }

    /// Runs one plugin and gives its result; `Null` if it printed none.
    async fn execute(
        &self,
        command: &'static str,
        network: &Network,
        plugin: &Map<String, Value>,
        join: Option<&Join>,
        previous: Option<&Value>,
    ) -> Result<Value, Error> {
        let kind = plugin.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut process = Command::new(self.bin_dir.join(&kind));
        process.env("CNI_COMMAND", command).env("CNI_PATH", &self.bin_dir);
        if let Some(join) = join {
            let args: Vec<_> =
                join.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
            process
                .env("CNI_CONTAINERID", &join.container_id)
                .env("CNI_NETNS", &join.netns)
                .env("CNI_IFNAME", INTERFACE)
                .env("CNI_ARGS", args.join(";"));
        }
        let conf = network.conf(plugin, join, previous).to_string();
        let run = self.children.run_within(LONGEST, &mut process, conf.as_bytes());
        let output = run.await.map_err(|error| match error {
            RunError::Slow => Error::Slow { plugin: kind.clone(), command },
            RunError::Failed(source) => Error::Start { plugin: kind.clone(), source },
        })?;
        if output.status.success() {
            return Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null));
        }
        let (code, message) = refusal(&output);
        Err(Error::Refused { plugin: kind, command, code, message })
    }
}

/// The addresses of a result that belong to the pod's side.
///
/// Source: CNI §5 "ADD Success"; 0.2.0 has `ip4` and `ip6` instead of `ips`.
fn addresses(result: &Value) -> Vec<IpAddr> {
    let inside = |ip: &Value| match ip["interface"].as_u64() {
        Some(index) => usize::try_from(index).is_ok_and(|index| {
            result["interfaces"][index]["sandbox"].as_str().is_some_and(|at| !at.is_empty())
        }),
        None => true,
    };
    let listed = result["ips"].as_array().into_iter().flatten();
    let listed = listed.filter(|ip| inside(ip)).map(|ip| &ip["address"]);
    let old = [&result["ip4"]["ip"], &result["ip6"]["ip"]];
    listed
        .chain(old)
        .filter_map(|address| address.as_str()?.split('/').next()?.parse().ok())
        .collect()
}

/// The error a plugin printed, or what else it left behind.
fn refusal(output: &Output) -> (u64, String) {
    let error: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    if let Some(message) = error["msg"].as_str() {
        let details = error["details"].as_str().filter(|details| !details.is_empty());
        let message = details.map_or(message.to_owned(), |more| format!("{message}; {more}"));
        return (error["code"].as_u64().unwrap_or(0), message);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    match said.trim() {
        "" => (0, format!("netplugin failed with no error message: {}", output.status)),
        said => (0, format!("netplugin failed: {said}")),
    }
}

fn file(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::File { attempt, path, source }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_names_the_pods_addresses_in_every_version() {
        let cases = [
            (
                json!({"ips": [{"address": "10.0.0.2/24"}, {"address": "fd00::2/64"}]}),
                "10.0.0.2 fd00::2",
            ),
            (
                json!({"interfaces": [{"name": "sw1"}, {"name": "eth0", "sandbox": "/n"}],
                    "ips": [{"address": "10.0.0.1/32", "interface": 0},
                            {"address": "10.0.0.2/32", "interface": 1}]}),
                "10.0.0.2",
            ),
            (json!({"ip4": {"ip": "10.0.0.2/24"}}), "10.0.0.2"),
            (json!({"ips": [{"address": "x"}, {"address": 1, "interface": 9}]}), ""),
            (Value::Null, ""),
        ];
        for (result, expected) in cases {
            let found: Vec<_> = addresses(&result).iter().map(IpAddr::to_string).collect();
            assert_eq!(found.join(" "), expected, "{result}");
        }
    }
}
