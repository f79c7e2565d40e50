//! How the API server is reached: a kubeconfig, or the service account of the pod we run in.

use std::path::PathBuf;

use kube_rs::config::{KubeConfigOptions, Kubeconfig};
use kube_rs::{Client, Config};

use crate::connection;

/// Where the address and the credentials of the API server come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// This kubeconfig file.
    Kubeconfig(PathBuf),
    /// The environment and the service account files of a pod.
    InCluster,
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
    let config = match access {
        Access::InCluster => {
            Config::incluster().map_err(|cause| ConnectError::InCluster(Box::new(cause)))?
        }
        Access::Kubeconfig(path) => {
            let fail =
                |cause| ConnectError::Kubeconfig { path: path.clone(), cause: Box::new(cause) };
            let file = Kubeconfig::read_from(path).map_err(fail)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(fail)?
        }
    };
    let url = config.cluster_url.to_string();
    connection::client(config).map_err(|cause| ConnectError::Client { url, cause: Box::new(cause) })
}
