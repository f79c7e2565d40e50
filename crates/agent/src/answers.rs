//! Answers what is asked of every node: whether it has put in place what it was told.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use kube::question::{self, Answer, Question};
use kube::{Access, Client};
use model::NodeName;
use tokio::sync::watch::Receiver;

use crate::admin::Desk;
use crate::handle::{RequestError, Status};
use crate::shown::View;

/// How often it is looked whether something is known by now: nobody is told of a new revision alone.
const LOOK: Duration = Duration::from_millis(20);

/// How long what failed is let alone before it is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long the API server is let alone when it did not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// Most failures that an answer names.
const NAMED: usize = 5;

/// Answers every question until the future is dropped; `moved` tells that connections are dead because the machine's
/// addresses are others now.
pub(crate) async fn answer(desk: Desk, access: Access, node: NodeName, mut moved: Receiver<()>) {
    let respondent = Respondent { desk, node };
    loop {
        match kube::connect(&access).await {
            Ok(client) => tokio::select! {
                () = respondent.answer_all(&client) => {}
                _ = moved.changed() => continue,
            },
            Err(error) => tracing::debug!("{}", kube::chain(&error)),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

struct Respondent {
    desk: Desk,
    node: NodeName,
}

impl Respondent {
    async fn answer_all(&self, client: &Client) {
        let mut questions = pin!(question::questions(client));
        let mut newest = questions.next().await;
        // A newer question ends the work on the one before.
        while let Some(question) = newest {
            newest = tokio::select! {
                next = questions.next() => next,
                () = self.answer(client, &question) => questions.next().await,
            };
        }
    }

    /// Answers once everything is known that is asked for and a pass has followed; again when that could not put
    /// everything in place, until it could.
    async fn answer(&self, client: &Client, question: &Question) {
        let mut told = None;
        self.known(question).await;
        loop {
            let answer = self.settled(question).await;
            let is_done = answer.failures.is_empty();
            let is_told = told.as_ref().is_some_and(|told: &Answer| {
                (&told.failures, &told.not_ready) == (&answer.failures, &answer.not_ready)
            });
            if !is_told {
                match question::tell_answer(client, &self.node, &answer).await {
                    Ok(()) => told = Some(answer),
                    Err(error) => tracing::debug!("{}", kube::chain(&error)),
                }
            }
            if is_done && told.is_some() {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Waits until everything has been heard of that is asked for. What is not watched is never.
    async fn known(&self, question: &Question) {
        let is_known = |(kind, revision): (&String, &u64)| {
            self.desk.watched.revision(kind).is_some_and(|known| known >= *revision)
        };
        while !question.until.iter().all(is_known) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What the pass comes to that follows from what is known.
    async fn settled(&self, question: &Question) -> Answer {
        let mut failures = match self.desk.handle.settle().await {
            Ok(failures) => failures,
            Err(RequestError::NotReady(why)) => vec![why],
            Err(error) => vec![error.to_string()],
        };
        let at = question::now();
        if let Some(more) = failures.len().checked_sub(NAMED).filter(|more| *more > 0) {
            failures.truncate(NAMED);
            failures.push(format!("and {more} more"));
        }
        let not_ready = match self.desk.handle.status().await {
            Status::Ready { .. } => None,
            Status::NotReady(why) | Status::Impaired(why) => Some(why),
        };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let facts = facts(&self.desk.shown.view());
        Answer { question: question.id.clone(), version, at, not_ready, failures, facts }
    }
}

/// What the network of a node is like, as far as all nodes should agree on it.
fn facts(view: &View) -> BTreeMap<String, String> {
    let config = &view.world.config;
    let cidrs = view.world.service_cidrs.values().flat_map(|range| &range.cidrs);
    let cidrs: Vec<String> = cidrs.map(ToString::to_string).collect();
    let facts = [
        ("podLink", config.pod_link.to_string()),
        ("routing", config.routing.to_string()),
        ("mtu", view.compiled.peers.mtu.to_string()),
        ("clusterDomain", config.dns.domain.to_string()),
        ("serviceCIDRs", cidrs.join(",")),
    ];
    facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect()
}
