//! One of the agents leads: it writes what has to be written for the cluster as a whole, and the others
//! don't. Who it is stands in a Lease.
//!
//! Source: Lease API; client-go's `tools/leaderelection`, whose times and order of steps these are. What is
//! different: in clusters of more than 20 nodes those who don't lead look less often.

mod ballot;

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube_rs::api::PostParams;
use kube_rs::{Api, Client, Error};
use model::{NodeName, Rfc3339};
use tokio::sync::watch;

use crate::client::{Access, connect};
use crate::node_lease::NAMESPACE;
use ballot::{Ballot, RETRY, Record};

/// Name of the Lease.
pub(crate) const NAME: &str = "seaway";

/// As many nodes look once in [`RETRY`]; of twice as many each half as often.
const NODES: usize = 20;

/// Longest that is waited for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Who leads, as far as is known, for everybody in the agent.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// The node whose agent leads.
    pub leader: Option<String>,
    /// Until when this agent leads itself, if it does.
    pub until: Option<Instant>,
}

impl Leadership {
    /// Whether this agent leads at this moment. To be asked before each write: a process may stand still
    /// between any two steps.
    pub fn is_held(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }
}

/// A contender.
pub struct Election {
    access: Access,
    client: Option<Client>,
    ballot: Ballot,
    /// The Lease's `resourceVersion` as last seen or written; `None` when there is no Lease.
    version: Option<String>,
    shown: watch::Sender<Leadership>,
    /// What went wrong last, which is said once.
    trouble: Option<String>,
}

impl fmt::Debug for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election").field("ballot", &self.ballot).finish_non_exhaustive()
    }
}

/// Why a try came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Connect(#[from] crate::ConnectError),
    #[error(transparent)]
    Api(#[from] Error),
    #[error("no answer within {} s", ANSWER_WITHIN.as_secs())]
    Silence,
}

impl Election {
    /// The contender of `node`, with where it is shown who leads. Every process is another contender.
    pub fn new(access: Access, node: &NodeName) -> (Election, watch::Receiver<Leadership>) {
        let number = RandomState::new().build_hasher().finish();
        let (shown, seen) = watch::channel(Leadership::default());
        let ballot = Ballot::new(format!("{node}_{number:016x}"));
        (Election { access, client: None, ballot, version: None, shown, trouble: None }, seen)
    }

    /// Waits until this contender leads, of `nodes` at that moment.
    pub async fn won(&mut self, nodes: impl Fn() -> usize) {
        loop {
            let is_won = self.attempt(false).await;
            self.show();
            if is_won {
                return;
            }
            let usual = RETRY.mul_f64((nodes() as f64 / NODES as f64).max(1.0));
            let chance = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
            let pause = self.ballot.pause((Instant::now(), wall()), usual, chance);
            tokio::time::sleep(pause).await;
        }
    }

    /// Keeps leading. Returns when that is over, because it could not be renewed in time or somebody else
    /// has taken it.
    pub async fn lost(&mut self) {
        while let Some(until) = self.ballot.until() {
            let deadline = tokio::time::Instant::from_std(until);
            let renewed = async {
                tokio::time::sleep(RETRY).await;
                while !self.attempt(true).await {
                    if self.ballot.until().is_none() {
                        return;
                    }
                    tokio::time::sleep(RETRY).await;
                }
            };
            if tokio::time::timeout_at(deadline, renewed).await.is_err() {
                self.ballot.lost();
            }
            self.show();
        }
    }

    /// Leaves the Lease to others, if it was this contender's.
    pub async fn resign(&mut self) {
        let Some(record) = self.ballot.resignation(wall()) else { return };
        self.show();
        if let Err(failure) = within(self.write(&record)).await {
            tracing::info!("{}", said(&failure));
        }
    }

    /// Looks at the Lease and writes it where it may be; who leads writes it without a look. Returns
    /// whether this contender leads by that.
    async fn attempt(&mut self, leads: bool) -> bool {
        match within(self.try_once(leads)).await {
            Ok(is_won) => {
                if self.trouble.take().is_some() {
                    tracing::info!("Lease {NAMESPACE}/{NAME} is to be had again");
                }
                is_won
            }
            Err(failure) => {
                self.client = None;
                let said = said(&failure);
                if self.trouble.as_ref() != Some(&said) {
                    tracing::warn!("{said}; trying again");
                    self.trouble = Some(said);
                }
                false
            }
        }
    }

    async fn try_once(&mut self, leads: bool) -> Result<bool, Failure> {
        if !leads {
            self.look().await?;
            if !self.ballot.may_take(Instant::now()) {
                return Ok(false);
            }
        }
        let began = Instant::now();
        let claim = self.ballot.claim(wall());
        match self.write(&claim).await {
            Ok(()) => {
                self.ballot.won(began, claim);
                Ok(true)
            }
            // Somebody else has written.
            Err(Failure::Api(Error::Api(status))) if matches!(status.code, 404 | 409) => {
                self.look().await?;
                if !self.ballot.may_take(Instant::now()) {
                    self.ballot.lost();
                }
                Ok(false)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn look(&mut self) -> Result<(), Failure> {
        let found = self.api().await?.get_opt(NAME).await?;
        self.version = found.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        let record = found.and_then(|lease| lease.spec).unwrap_or_default();
        let record = self.version.is_some().then(|| read(&record));
        self.ballot.look(Instant::now(), record);
        Ok(())
    }

    /// Writes `record` if nobody else has written since it was last looked.
    async fn write(&mut self, record: &Record) -> Result<(), Failure> {
        let api = self.api().await?;
        let mut lease = Lease { spec: Some(spec(record)), ..Lease::default() };
        lease.metadata.name = Some(NAME.to_owned());
        lease.metadata.resource_version.clone_from(&self.version);
        let params = PostParams::default();
        let written = match self.version {
            None => api.create(&params, &lease).await?,
            Some(_) => api.replace(NAME, &params, &lease).await?,
        };
        self.version = written.metadata.resource_version;
        Ok(())
    }

    async fn api(&mut self) -> Result<Api<Lease>, Failure> {
        let client = match self.client.take() {
            Some(client) => client,
            None => connect(&self.access).await?,
        };
        self.client = Some(client.clone());
        Ok(Api::namespaced(client, NAMESPACE))
    }

    fn show(&self) {
        let node =
            |holder: &str| holder.rsplit_once('_').map_or(holder, |(node, _)| node).to_owned();
        let now = Leadership { leader: self.ballot.leader().map(node), until: self.ballot.until() };
        self.shown.send_if_modified(|shown| {
            let is_new = *shown != now;
            *shown = now;
            is_new
        });
    }
}

async fn within<T>(answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(ANSWER_WITHIN, answer).await.unwrap_or(Err(Failure::Silence))
}

fn said(failure: &Failure) -> String {
    format!("contend for Lease {NAMESPACE}/{NAME}: {}", crate::chain(failure))
}

fn wall() -> Rfc3339 {
    Rfc3339(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// What a Lease says. One that says nothing of a time is as old as can be.
fn read(spec: &LeaseSpec) -> Record {
    let moment = |time: &Option<MicroTime>| {
        let since = time.as_ref().map(|time| time.0.as_duration());
        Rfc3339(since.and_then(|since| Duration::try_from(since).ok()).unwrap_or_default())
    };
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.holder_identity.clone().unwrap_or_default(),
        duration: seconds.map_or(ballot::DURATION, Duration::from_secs),
        acquired: moment(&spec.acquire_time),
        renewed: moment(&spec.renew_time),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}

fn spec(record: &Record) -> LeaseSpec {
    let moment = |moment: Rfc3339| {
        let since = SignedDuration::try_from(moment.0).unwrap_or(SignedDuration::MAX);
        Some(MicroTime(Timestamp::from_duration(since).unwrap_or(Timestamp::MAX)))
    };
    LeaseSpec {
        holder_identity: Some(record.holder.clone()),
        lease_duration_seconds: i32::try_from(record.duration.as_secs()).ok(),
        acquire_time: moment(record.acquired),
        renew_time: moment(record.renewed),
        lease_transitions: Some(record.transitions),
        ..LeaseSpec::default()
    }
}
