//! The network configuration list the agent writes for the runtime.

use serde_json::json;

use super::conf::POD_ANNOTATIONS;
use super::{Paths, Version};

/// A network configuration list with Seaway as its only plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflist {
    /// Name of the network; GC works per network.
    pub name: String,
    /// Name of the plugin's executable.
    pub plugin: String,
    /// Where the plugin finds the agent.
    pub paths: Paths,
}

impl Conflist {
    /// The file's text. A runtime picks the newest version it knows from `cniVersions`; an older
    /// one reads `cniVersion` alone, which therefore is what all of them know.
    ///
    /// Source: CNI spec 1.1.0 §1.
    pub fn to_json(&self) -> String {
        let versions: Vec<_> = Version::ALL.iter().map(|version| version.as_str()).collect();
        let list = json!({
            "cniVersion": Version::V0_4_0.as_str(),
            "cniVersions": versions,
            "name": self.name,
            "plugins": [{
                "type": self.plugin,
                "runDir": self.paths.run_dir,
                "stateDir": self.paths.state_dir,
                "capabilities": { "portMappings": true, "dns": true, POD_ANNOTATIONS: true },
            }],
        });
        format!("{list:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_reads_as_an_administrator_would_write_it() {
        let list = Conflist {
            name: "seaway".into(),
            plugin: "seaway-cni".into(),
            paths: Paths::default(),
        };
        let expected = r#"{
  "cniVersion": "0.4.0",
  "cniVersions": [
    "0.3.0",
    "0.3.1",
    "0.4.0",
    "1.0.0",
    "1.1.0"
  ],
  "name": "seaway",
  "plugins": [
    {
      "capabilities": {
        "dns": true,
        "io.kubernetes.cri.pod-annotations": true,
        "portMappings": true
      },
      "runDir": "/run/seaway",
      "stateDir": "/var/lib/seaway",
      "type": "seaway-cni"
    }
  ]
}
"#;
        assert_eq!(list.to_json(), expected);
    }
}
