//! Bringing a lab up, from the machine's side.

use std::io;
use std::process::Child;

use crate::directory::{ClaimError, Directory};
use crate::images::{BadMapping, Images, LoadError, Store};
use crate::kubeconfig::{self, KubeconfigError};
use crate::lab::{Lab, LabError};
use crate::probe::{ProbeError, probe};
use crate::spec::{Spec, SpecError};
use crate::supervisor::report::{Report, read};
use crate::supervisor::{StartError, start};

/// A lab could not be brought up.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// What was asked for cannot work.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// This machine cannot run labs.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The lab's directory is taken or cannot be made.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// What a dead lab left cannot be removed.
    #[error("remove what a dead lab left in {path}")]
    Remains {
        /// The directory.
        path: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// What an image is mapped to can't be.
    #[error(transparent)]
    Mapping(#[from] BadMapping),
    /// An image's archive can't be loaded.
    #[error(transparent)]
    Image(#[from] LoadError),
    /// The supervisor did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The supervisor gave up and said why.
    #[error("make lab {name}: {why}")]
    Failed {
        /// The lab.
        name: String,
        /// What the supervisor said.
        why: String,
    },
    /// The supervisor ended without a word.
    #[error("make lab {name}: its supervisor ended; {log} may say why")]
    Ended {
        /// The lab.
        name: String,
        /// Its log.
        log: String,
    },
    /// A kubeconfig still has what a dead lab put into it.
    #[error(transparent)]
    Merged(#[from] KubeconfigError),
    /// It was up and is not any more.
    #[error(transparent)]
    Lab(#[from] LabError),
}

/// A lab that is being made.
#[derive(Debug)]
pub struct Starting {
    directory: Directory,
    spec: Spec,
    supervisor: Child,
    /// Whether a lab of this name had died and what it left was removed.
    pub found_remains: bool,
}

/// Checks everything that can be checked, takes the lab's directory and starts its supervisor.
///
/// # Errors
/// [`UpError`]. Nothing has been made, except perhaps the directory, which `down` removes.
pub fn begin(spec: &Spec) -> Result<Starting, UpError> {
    spec.check()?;
    probe()?;
    let directory = Directory::of(&spec.name);
    let claim = directory.claim()?;
    let found_remains = claim.found_remains;
    kubeconfig::take_out(&directory, &kubeconfig::remembered(&directory))?;
    directory.clear().map_err(|cause| {
        let path = directory.path().display().to_string();
        UpError::Remains { path, cause }
    })?;
    load(spec, &directory)?;
    let supervisor = start(&directory, claim, spec)?;
    Ok(Starting { directory, spec: spec.clone(), supervisor, found_remains })
}

/// Loads the archives that images are mapped to.
fn load(spec: &Spec, directory: &Directory) -> Result<(), UpError> {
    let mut images = Images::default();
    for entry in &spec.images {
        images.map(entry)?;
    }
    let store = Store::at(directory.images());
    for (name, path) in images.archives() {
        store.load(path, Some(name))?;
    }
    Ok(())
}

impl Starting {
    /// Follows the start until every node's process is there. `tell` hears of each step.
    ///
    /// # Errors
    /// [`UpError`] when the supervisor gives up or dies.
    pub fn follow(&mut self, mut tell: impl FnMut(&Report)) -> Result<Lab, UpError> {
        let name = self.spec.name.to_string();
        let Some(pipe) = self.supervisor.stdout.take() else { return Err(self.ended(name)) };
        for report in read(pipe) {
            // A line cut short is the end of the supervisor, too.
            let Ok(report) = report else { return Err(self.ended(name)) };
            tell(&report);
            match report {
                Report::ApiReady | Report::NodeStarted(_) => {}
                Report::Started => return Ok(Lab::open(&self.spec.name)?),
                Report::Failed(why) => return Err(UpError::Failed { name, why }),
            }
        }
        Err(self.ended(name))
    }

    fn ended(&self, name: String) -> UpError {
        UpError::Ended { name, log: self.directory.supervisor_log().display().to_string() }
    }
}
