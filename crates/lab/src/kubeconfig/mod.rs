//! A lab's cluster, user and context in somebody's own kubeconfig: put in on request, taken out by
//! `down`.
//!
//! The file is read whole, changed and put in its place at once, under the lock file that kubectl
//! uses (client-go, `clientcmd.ModifyConfig`). Comments are lost, as they are with `kubectl config`.

mod file;
mod text;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::directory::Directory;
use crate::spec::LabName;

/// A kubeconfig could not be changed. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The file system said no.
    #[error("{attempt} {path}")]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// It is no kubeconfig.
    #[error("{path}: {why}; it stays as it is")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody else changes it.
    #[error("{0} is there: somebody is changing the file; if nobody is, remove it")]
    Locked(PathBuf),
    /// It is the file that the lab itself wrote.
    #[error("{0} is the lab's own; name another file")]
    Own(PathBuf),
}

/// What a lab is called in a kubeconfig: its cluster, its user and its context.
pub fn entry_name(name: &LabName) -> String {
    format!("seaway-{name}")
}

/// The file that kubectl would change: the first that `KUBECONFIG` names, else `~/.kube/config`.
pub fn default_file() -> PathBuf {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let first = std::env::split_paths(&listed).find(|path| !path.as_os_str().is_empty());
    first.unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".kube/config")
    })
}

/// Puts the lab into `path`, in place of what was there by its name, and makes its context the
/// current one. The lab's directory remembers where it was put.
///
/// # Errors
/// [`KubeconfigError`].
pub fn merge(name: &LabName, path: &Path) -> Result<(), KubeconfigError> {
    let directory = Directory::of(name);
    let own = directory.kubeconfig();
    let path = std::path::absolute(path).map_err(failed("find", path))?;
    if fs::canonicalize(&path).ok() == fs::canonicalize(&own).ok() {
        return Err(KubeconfigError::Own(path));
    }
    let config = file::read(&own)?;
    remember(&directory, &path)?;
    file::change(&path, |theirs| put(theirs, &entry_name(name), &config))
}

/// Takes the lab out of `path`. A file without it, and no file, are left alone.
///
/// # Errors
/// [`KubeconfigError`].
pub fn unmerge(name: &LabName, path: &Path) -> Result<(), KubeconfigError> {
    if !path.exists() {
        return Ok(());
    }
    file::change(path, |theirs| take(theirs, &entry_name(name)))
}

/// Takes the lab of `directory`, which may be gone by now, out of `paths`.
///
/// # Errors
/// The first [`KubeconfigError`]; the other files are changed all the same.
pub(crate) fn take_out(directory: &Directory, paths: &[PathBuf]) -> Result<(), KubeconfigError> {
    let Ok(name) = directory.name().parse::<LabName>() else { return Ok(()) };
    let outcomes: Vec<_> = paths.iter().map(|path| unmerge(&name, path)).collect();
    outcomes.into_iter().collect()
}

/// Where the lab of `directory` was put.
pub(crate) fn remembered(directory: &Directory) -> Vec<PathBuf> {
    let text = fs::read_to_string(directory.merged_file()).unwrap_or_default();
    text.lines().map(PathBuf::from).collect()
}

/// Written before the entry: one that is remembered and not there costs nothing.
fn remember(directory: &Directory, path: &Path) -> Result<(), KubeconfigError> {
    let mut paths = remembered(directory);
    if paths.iter().any(|known| known == path) {
        return Ok(());
    }
    paths.push(path.to_owned());
    let lines = paths.iter().map(|path| format!("{}\n", path.display()));
    let list = directory.merged_file();
    fs::write(&list, lines.collect::<String>()).map_err(failed("write", &list))
}

/// The lists of a kubeconfig, each with the name of what its entries hold.
const LISTS: [(&str, &str); 3] =
    [("clusters", "cluster"), ("users", "user"), ("contexts", "context")];

/// `theirs` with the cluster and user of `ours` under `name`.
fn put(
    theirs: &mut Map<String, Value>,
    name: &str,
    ours: &Map<String, Value>,
) -> Result<(), String> {
    take(theirs, name)?;
    for (list, field) in LISTS {
        let what = match field {
            "context" => json!({ "cluster": name, "user": name }),
            _ => ours.get(list).map(|list| list[0][field].clone()).unwrap_or_default(),
        };
        entries(theirs, list)?.push(json!({ "name": name, field: what }));
    }
    theirs.insert("current-context".to_owned(), json!(name));
    Ok(())
}

/// `theirs` without `name`.
fn take(theirs: &mut Map<String, Value>, name: &str) -> Result<(), String> {
    for (list, _) in LISTS {
        if theirs.get(list).is_some_and(|list| !list.is_null()) {
            entries(theirs, list)?.retain(|entry| entry["name"] != name);
        }
    }
    if theirs.get("current-context").is_some_and(|current| current == name) {
        theirs.insert("current-context".to_owned(), json!(""));
    }
    Ok(())
}

/// The entries of a list. One that is missing, or null, is empty.
fn entries<'a>(
    config: &'a mut Map<String, Value>,
    list: &str,
) -> Result<&'a mut Vec<Value>, String> {
    let value = config.entry(list).or_insert_with(|| json!([]));
    if value.is_null() {
        *value = json!([]);
    }
    value.as_array_mut().ok_or_else(|| format!("{list}: must be a list"))
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KubeconfigError {
    let path = path.to_owned();
    move |cause| KubeconfigError::File { attempt, path, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_is_put_in_is_taken_out_and_the_rest_stays() {
        let ours = object(&json!({
            "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "y", "user": {"token": "t"}}],
        }));
        let theirs = object(&json!({
            "apiVersion": "v1", "kind": "Config", "extensions": [1],
            "clusters": [{"name": "a", "cluster": {}}], "users": [], "contexts": null,
            "current-context": "a",
        }));
        let mut both = theirs.clone();
        put(&mut both, "seaway-lab", &ours).unwrap();
        let once = both.clone();
        put(&mut both, "seaway-lab", &ours).unwrap();
        assert_eq!(both, once, "put in twice it is there once");
        assert_eq!(both["current-context"], "seaway-lab");
        assert_eq!(both["clusters"][1]["cluster"]["server"], "https://127.0.0.1:1");
        assert_eq!(both["users"][0]["user"]["token"], "t");
        assert_eq!(both["contexts"][0]["context"]["user"], "seaway-lab");
        take(&mut both, "seaway-lab").unwrap();
        let mut expected = theirs;
        expected["current-context"] = json!("");
        expected["contexts"] = json!([]);
        assert_eq!(both, expected);
        let wrong = put(&mut object(&json!({"users": 3})), "seaway-lab", &ours);
        assert_eq!(wrong, Err("users: must be a list".to_owned()));
    }
}
