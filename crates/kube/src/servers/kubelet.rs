//! What the files of a node's kubelet say of the cluster: where its API server is, and what its domain is
//! called. Nothing else is taken from them, credentials least of all.

use std::fs;
use std::path::Path;

use kube_rs::config::Kubeconfig;

use super::ServerUrl;

/// Where kubelets have their kubeconfig, by who sets nodes up.
const KUBECONFIGS: [(&str, &str); 9] = [
    ("kubeadm, kubespray, kind, minikube", "/etc/kubernetes/kubelet.conf"),
    ("k3s", "/var/lib/rancher/k3s/agent/kubelet.kubeconfig"),
    ("RKE2", "/var/lib/rancher/rke2/agent/kubelet.kubeconfig"),
    ("kOps, EKS, GKE, AKS", "/var/lib/kubelet/kubeconfig"),
    ("k0s", "/var/lib/k0s/kubelet.conf"),
    ("MicroK8s", "/var/snap/microk8s/current/credentials/kubelet.config"),
    ("Talos", "/etc/kubernetes/kubeconfig-kubelet"),
    ("OpenShift", "/etc/kubernetes/kubeconfig"),
    ("MicroShift", "/var/lib/microshift/resources/kubelet/kubeconfig"),
];

/// Where they have their configuration.
const CONFIGURATIONS: [&str; 5] = [
    "/var/lib/kubelet/config.yaml",
    "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/00-k3s-defaults.conf",
    "/var/lib/rancher/rke2/agent/etc/kubelet.conf.d/00-rke2-defaults.conf",
    "/etc/kubernetes/kubelet.yaml",
    "/etc/kubernetes/kubelet/kubelet-config.json",
];

/// How a kubelet reaches the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubelet {
    /// The address it goes to.
    pub server: ServerUrl,
    /// The file that says so, as the node calls it.
    pub file: String,
    /// In PEM, whom it trusts there; those it always trusts when there is none.
    pub authorities: Option<String>,
}

/// What a look at a node found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// How its kubelet reaches the API server.
    pub kubelet: Option<Kubelet>,
    /// The cluster's DNS domain, and the file that says so.
    pub domain: Option<(String, String)>,
    /// Files that are there and say nothing, with the reason.
    pub unread: Vec<String>,
}

/// Looks for a kubelet's files on the node whose root is shown at `root`: its kubeconfig at `place`, should
/// one be given, else in the usual places.
pub fn find(root: &Path, place: Option<&str>) -> Found {
    let mut found = Found::default();
    let usual = KUBECONFIGS.iter().map(|(_, file)| *file);
    let places: Vec<&str> = place.map_or_else(|| usual.collect(), |place| vec![place]);
    for file in places {
        match fs::read_to_string(below(root, file)) {
            Ok(text) => match kubelet(root, file, &text) {
                Ok(kubelet) => {
                    found.kubelet = Some(kubelet);
                    break;
                }
                Err(why) => found.unread.push(format!("{file}: {why}")),
            },
            Err(error) if place.is_some() => found.unread.push(format!("{file}: {error}")),
            // A node has one of them, or none.
            Err(_) => {}
        }
    }
    found.domain = CONFIGURATIONS.iter().find_map(|file| {
        let text = fs::read_to_string(below(root, file)).ok()?;
        Some((domain(&text)?, (*file).to_owned()))
    });
    found
}

fn below(root: &Path, file: &str) -> std::path::PathBuf {
    root.join(file.trim_start_matches('/'))
}

/// Where the present context of a kubeconfig leads.
fn kubelet(root: &Path, file: &str, text: &str) -> Result<Kubelet, String> {
    let config = Kubeconfig::from_yaml(text).map_err(|error| error.to_string())?;
    let present = config.current_context.as_deref();
    let mut contexts = config.contexts.iter();
    // One context needs no word about which it is.
    let context = match config.contexts.len() {
        1 => contexts.next(),
        _ => contexts.find(|context| Some(context.name.as_str()) == present),
    };
    let cluster = context.and_then(|context| Some(context.context.as_ref()?.cluster.as_str()));
    let mut clusters = config.clusters.iter();
    let cluster = clusters.find(|known| Some(known.name.as_str()) == cluster);
    let cluster = cluster.and_then(|known| known.cluster.as_ref());
    let cluster = cluster.ok_or("no context with a cluster")?;
    let server = cluster.server.as_deref().ok_or("its cluster has no server")?;
    let server = server.parse().map_err(|error| format!("server {error}"))?;
    let authorities = match (&cluster.certificate_authority_data, &cluster.certificate_authority) {
        (Some(data), _) => Some(decoded(data)?),
        (None, Some(path)) => {
            // A path that is not from the root begins where the file is.
            let path = Path::new(file).with_file_name("").join(path);
            let text = fs::read_to_string(below(root, &path.to_string_lossy()));
            Some(
                text.map_err(|error| format!("certificate-authority {}: {error}", path.display()))?,
            )
        }
        (None, None) => None,
    };
    Ok(Kubelet { server, file: file.to_owned(), authorities })
}

/// What a field with base64 says.
fn decoded(data: &str) -> Result<String, String> {
    let quoted = serde_json::json!(data.trim());
    let bytes: Result<k8s_openapi::ByteString, _> = serde_json::from_value(quoted);
    let bytes = bytes.map_err(|error| format!("certificate-authority-data: {error}"))?;
    String::from_utf8(bytes.0).map_err(|_| "certificate-authority-data: no PEM".to_owned())
}

/// `clusterDomain` of a KubeletConfiguration. It is a field of the outermost object, which kubeadm and the
/// others write a line each.
fn domain(text: &str) -> Option<String> {
    let mut fields = text.lines().filter_map(|line| {
        let is_json = text.trim_start().starts_with('{');
        let line = if is_json { line.trim() } else { line };
        let (name, value) = line.split_once(':')?;
        let bare = |text: &str| text.trim().trim_matches(['"', '\'', ',']).to_owned();
        Some((bare(name), bare(value.trim_end().trim_end_matches(',')), name.starts_with(' ')))
    });
    let domain = fields.find(|(name, _, is_inner)| name == "clusterDomain" && !is_inner)?.1;
    (!domain.is_empty()).then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Root(std::path::PathBuf);

    impl Root {
        fn new(name: &str, files: &[(&str, &str)]) -> Root {
            let root = std::env::temp_dir().join(format!("seaway-{name}-{}", std::process::id()));
            for (file, text) in files {
                let path = below(&root, file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Root(root)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    /// As kubeadm writes it.
    const KUBEADM: &str = "
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==
    server: https://control.example.com:6443
  name: default-cluster
contexts:
- context: {cluster: default-cluster, namespace: default, user: default-auth}
  name: default-context
current-context: default-context
kind: Config
users:
- name: default-auth
  user: {client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem, client-key: /x}
";

    /// As k3s writes it.
    const K3S: &str = "
apiVersion: v1
clusters:
- cluster: {server: 'https://127.0.0.1:6444', certificate-authority: /var/lib/rancher/k3s/agent/server-ca.crt}
  name: local
contexts: [{context: {cluster: local, namespace: default, user: user}, name: Default}]
current-context: Default
kind: Config
users: [{name: user, user: {client-key: /x}}]
";

    const CONFIG: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nclusterDNS:\n- 10.96.0.10\nclusterDomain: example.org\n";

    #[test]
    fn a_kubelet_says_where_the_api_server_is_and_nothing_else_is_taken() {
        let root = Root::new(
            "kubeadm",
            &[("/etc/kubernetes/kubelet.conf", KUBEADM), ("/var/lib/kubelet/config.yaml", CONFIG)],
        );
        let found = find(&root.0, None);
        let kubelet = found.kubelet.unwrap();
        assert_eq!(kubelet.server.as_str(), "https://control.example.com:6443");
        assert_eq!(kubelet.file, "/etc/kubernetes/kubelet.conf");
        assert_eq!(kubelet.authorities.unwrap(), "-----BEGIN CERTIFICATE-----\n");
        let config = "/var/lib/kubelet/config.yaml".to_owned();
        assert_eq!(found.domain, Some(("example.org".to_owned(), config)));
        assert_eq!(found.unread, Vec::<String>::new());
    }

    #[test]
    fn an_authority_may_be_a_file_of_the_node() {
        let kubeconfig = "/var/lib/rancher/k3s/agent/kubelet.kubeconfig";
        let authority = "/var/lib/rancher/k3s/agent/server-ca.crt";
        let root = Root::new("k3s", &[(kubeconfig, K3S), (authority, "PEM")]);
        let kubelet = find(&root.0, None).kubelet.unwrap();
        assert_eq!(kubelet.server.as_str(), "https://127.0.0.1:6444");
        assert_eq!(
            (kubelet.file.as_str(), kubelet.authorities.unwrap().as_str()),
            (kubeconfig, "PEM")
        );
    }

    #[test]
    fn a_file_that_says_nothing_is_named_and_the_next_is_asked() {
        let files = [
            ("/etc/kubernetes/kubelet.conf", "kind: Config\nclusters: []\n"),
            ("/var/lib/kubelet/kubeconfig", KUBEADM),
        ];
        let root = Root::new("unread", &files);
        let found = find(&root.0, None);
        assert_eq!(found.kubelet.unwrap().file, "/var/lib/kubelet/kubeconfig");
        assert_eq!(found.unread, ["/etc/kubernetes/kubelet.conf: no context with a cluster"]);
        let found = find(&root.0, Some("/opt/kubeconfig"));
        assert_eq!(found.kubelet, None);
        assert!(found.unread[0].starts_with("/opt/kubeconfig: No such file"), "{found:?}");
    }

    #[test]
    fn a_domain_is_a_field_of_the_outermost_object() {
        for (text, expect) in [
            (CONFIG, Some("example.org")),
            ("a:\n  clusterDomain: x\n", None),
            ("{\n  \"clusterDomain\": \"cluster.local\",\n  \"a\": 1\n}\n", Some("cluster.local")),
            ("clusterDomain: \"\"\n", None),
            ("clusterDomain: 'a.b'\n", Some("a.b")),
            ("", None),
        ] {
            assert_eq!(domain(text).as_deref(), expect, "{text}");
        }
    }
}
