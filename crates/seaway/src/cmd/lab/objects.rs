//! `seaway lab apply` and `delete`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use kube::{Access, Client};
use lab::lab::Lab;
use lab::manifest::{self, Object, Outcome};

use super::{print, talk};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Manifest: a file, a directory of them, or - for standard input. Several are fine.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", required = true)]
    files: Vec<PathBuf>,
}

/// Objects people wrote, in the order they wrote them.
pub(super) struct Manifests(Vec<Object>);

/// What came of manifests.
pub(super) struct Applied {
    /// Pods among them that are there now, as `namespace/name`.
    pub(super) pods: Vec<String>,
    /// Objects that were refused; each has been talked about.
    pub(super) failures: usize,
}

impl Manifests {
    /// Reads all of `paths`; says what is wrong with each object that cannot be read.
    pub(super) fn read(paths: &[PathBuf]) -> (Self, usize) {
        let (mut objects, mut bad) = (Vec::new(), 0);
        for path in paths {
            let (read, problems) = manifest::read(path);
            objects.extend(read);
            bad += problems.len();
            problems.iter().for_each(|problem| talk(&problem.to_string()));
        }
        (Manifests(objects), bad)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

pub(super) fn apply(lab: &Lab, args: &Args) -> anyhow::Result<ExitCode> {
    on_each(lab, args, async |client, objects| manifest::apply(client, objects).await)
}

pub(super) fn delete(lab: &Lab, args: &Args) -> anyhow::Result<ExitCode> {
    on_each(lab, args, async |client, objects| manifest::delete(client, objects).await)
}

/// Applies everything, says what is wrong with what was refused, and names the pods to wait for.
pub(super) async fn apply_all(client: &Client, manifests: &Manifests) -> Applied {
    let outcomes = manifest::apply(client, &manifests.0).await;
    let mut applied = Applied { pods: Vec::new(), failures: 0 };
    for (object, outcome) in manifests.0.iter().zip(&outcomes) {
        match &outcome.result {
            Ok(_) if object.kind == "Pod" && object.api_version == "v1" => {
                let namespace = object.namespace.as_deref().unwrap_or("default");
                applied.pods.push(format!("{namespace}/{}", object.name));
            }
            Ok(_) => {}
            Err(problems) => {
                applied.failures += 1;
                problems.iter().for_each(|problem| talk(&problem.to_string()));
            }
        }
    }
    applied
}

/// Does one thing with the objects of all files, says what became of each, and fails at the end if
/// anything was wrong.
fn on_each(
    lab: &Lab,
    args: &Args,
    work: impl AsyncFnOnce(&Client, &[Object]) -> Vec<Outcome>,
) -> anyhow::Result<ExitCode> {
    let (manifests, bad) = Manifests::read(&args.files);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcomes = runtime.block_on(async {
        let client = kube::connect(&Access::Kubeconfig(lab.kubeconfig())).await?;
        anyhow::Ok(work(&client, &manifests.0).await)
    })?;
    let mut failures = bad;
    for outcome in outcomes {
        match outcome.result {
            Ok(action) => print(&format!("{} {action}\n", outcome.object)),
            Err(problems) => {
                failures += 1;
                problems.iter().for_each(|problem| talk(&problem.to_string()));
            }
        }
    }
    match failures {
        0 => Ok(ExitCode::SUCCESS),
        failures => bail!("{failures} objects were refused; the others are as their manifests say"),
    }
}
