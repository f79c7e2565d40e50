//! What a hook sees of writes, and what its word is worth.
use std::sync::{Arc, Mutex};

use seaway_apiserver::{Admission, Denial, Write};
use serde_json::{Value, json};

use crate::Cluster;

/// Numbers config maps, notes what becomes of each write, and denies those with the key `no`.
#[derive(Debug, Default)]
struct Clerk {
    pending: Vec<String>,
    notes: Arc<Mutex<Vec<String>>>,
}

impl Admission for Clerk {
    fn concerns(&self, group: &str, plural: &str) -> bool {
        (group, plural) == ("", "configmaps")
    }

    fn admit(&mut self, write: &mut Write<'_>) -> Result<(), Denial> {
        let name = |value: &Value| value["metadata"]["name"].as_str().unwrap().to_owned();
        let Some(new) = write.new.as_deref_mut() else {
            self.pending.push(format!("remove {}", name(write.old.unwrap())));
            return Ok(());
        };
        if !new["data"]["no"].is_null() {
            let (field, value) = ("data[no]".to_owned(), new["data"]["no"].clone());
            return Err(Denial::Invalid { field, value, detail: "not today".to_owned() });
        }
        let how = if write.old.is_some() { "change" } else { "create" };
        self.pending.push(format!("{how} {}", name(new)));
        new["data"]["seen"] = json!(how);
        Ok(())
    }

    fn commit(&mut self) {
        self.notes.lock().unwrap().append(&mut self.pending);
    }

    fn rollback(&mut self) {
        let undone = self.pending.drain(..).map(|what| format!("not {what}"));
        self.notes.lock().unwrap().extend(undone);
    }
}

#[test]
fn a_hook_completes_and_denies_writes_and_learns_their_fate() {
    let clerk = Clerk::default();
    let notes = clerk.notes.clone();
    let cluster = Cluster::with(vec![Box::new(clerk)]);
    let told = || {
        let mut notes = notes.lock().unwrap();
        notes.retain(|note| !note.ends_with("kube-root-ca.crt"));
        std::mem::take(&mut *notes).join(", ")
    };
    cluster.kubectl("create cm a --from-literal=x=y --dry-run=server");
    assert_eq!(told(), "not create a");
    cluster.kubectl("create cm a --from-literal=x=y");
    assert_eq!(told(), "create a");
    assert_eq!(cluster.kubectl("get cm a -o 'jsonpath={.data}'"), r#"{"seen":"create","x":"y"}"#);
    cluster.refused("create cm a", "");
    assert_eq!(told(), "not create a");
    cluster.refused("create cm B", "");
    assert_eq!(told(), "not create B");
    let denied = cluster.refused("create cm b --from-literal=no=z", "");
    let expected = "ConfigMap \"b\" is invalid: data[no]: Invalid value: \"z\": not today\n";
    assert!(denied.ends_with(expected), "{denied}");
    assert_eq!(told(), "");
    cluster.kubectl("label cm a l=m");
    assert_eq!(told(), "change a");
    cluster.kubectl(r#"patch cm a --type merge -p '{"metadata":{"finalizers":["x.y/z"]}}'"#);
    cluster.kubectl("delete cm a --wait=false");
    assert_eq!(told(), "change a", "an object that is marked is still there");
    cluster.kubectl(r#"patch cm a --type merge -p '{"metadata":{"finalizers":null}}'"#);
    assert_eq!(told(), "change a, remove a");
}
