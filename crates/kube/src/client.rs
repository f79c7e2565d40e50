//! How the API server is reached: a kubeconfig, or the service account of the pod we run in.

use std::path::PathBuf;

use kube_rs::config::{KubeConfigOptions, Kubeconfig};
use kube_rs::{Client, Config};

use crate::connection;
use crate::servers::Servers;

/// Where the address and the credentials of the API server come from.
#[derive(Debug, Clone)]
pub enum Access {
    /// This kubeconfig file.
    Kubeconfig(PathBuf),
    /// The service account files of a pod, whose token is read again as it is renewed; and an address of
    /// these that answers.
    InCluster(Servers),
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig is missing or wrong.
    #[error("read kubeconfig {path}")]
    Kubeconfig {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        #[source]
        cause: Box<kube_rs::config::KubeconfigError>,
    },
    /// This process does not run in a pod with a service account.
    #[error("read the service account of this pod; outside of a pod say --kubeconfig")]
    InCluster(#[source] Box<kube_rs::config::InClusterError>),
    /// The settings do not make a client: certificates, keys.
    #[error("make a client for {url}")]
    Client {
        /// Address of the API server.
        url: String,
        /// What is wrong.
        #[source]
        cause: Box<kube_rs::Error>,
    },
}

/// A client by `access`. Nothing is sent yet: an API server that is away is found out by the watch,
/// which keeps trying. A connection that dies without a word is given up within half a minute, whatever
/// waits on it. Must be called inside a tokio runtime.
///
/// # Errors
/// [`ConnectError`], when waiting would not help.
pub async fn connect(access: &Access) -> Result<Client, ConnectError> {
    let (config, servers) = match access {
        Access::InCluster(servers) => {
            let config = Config::incluster_dns();
            let config = config.map_err(|cause| ConnectError::InCluster(Box::new(cause)))?;
            (config, Some(servers))
        }
        Access::Kubeconfig(path) => {
            let fail =
                |cause| ConnectError::Kubeconfig { path: path.clone(), cause: Box::new(cause) };
            let file = Kubeconfig::read_from(path).map_err(fail)?;
            let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
            (config.map_err(fail)?, None)
        }
    };
    let url = config.cluster_url.to_string();
    let client = match servers {
        Some(servers) => connection::any_of(servers, config),
        None => connection::client(config),
    };
    client.map_err(|cause| ConnectError::Client { url, cause: Box::new(cause) })
}
