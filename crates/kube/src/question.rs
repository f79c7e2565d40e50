//! What somebody asks every node, and what each answers: has it put in place what an object says?
//!
//! The question stands in a Lease that every agent watches, the answers in the nodes' own. So they need
//! nothing but the API server, nobody else is told of them, and while nobody asks nothing is written.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use kube_rs::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube_rs::runtime::watcher::{self, Event};
use kube_rs::runtime::{WatchStreamExt, watcher as watch_events};
use kube_rs::{Api, Client, Error, ResourceExt};
use model::NodeName;
use serde_json::{Value, json};

use crate::node_lease::{LABEL, NAMESPACE, TellError, tell};

/// Name of the Lease that holds the question.
pub const NAME: &str = "seaway-question";

/// Its annotation.
const QUESTION: &str = "seaway.io/question";

/// The annotation of a node's Lease that holds its answer.
const ANSWER: &str = "seaway.io/answer";

/// A question to every node. There is one at a time: the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Tells it from others.
    pub id: String,
    /// What is to be in place before it is answered: everything of these kinds, by their names in the API, as
    /// of these `resourceVersion`s (KEP-5504: they can be compared). Whatever is known by now when empty.
    pub until: BTreeMap<String, u64>,
}

/// A node's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which question.
    pub question: String,
    /// Version of the agent.
    pub version: String,
    /// When what was asked for was in place, by the node's clock: a time since 1970.
    pub at: Duration,
    /// Why the node cannot give pods a network, if so.
    pub not_ready: Option<String>,
    /// What the node could not put in place.
    pub failures: Vec<String>,
    /// What it was told or has found out of the network, by name.
    pub facts: BTreeMap<String, String>,
}

/// Asks every node. Asking again what stands there already tells nobody anything. Returns the version of the
/// Lease, for [`withdraw`].
///
/// # Errors
/// When the API server did not take it.
pub async fn ask(client: &Client, question: &Question) -> Result<Option<String>, Error> {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": NAME, "annotations": { QUESTION: question.to_json().to_string() } },
    });
    let params = PatchParams::apply("seaway").force();
    let asked = leases(client).patch(NAME, &params, &Patch::Apply(lease)).await;
    asked.map(|lease| lease.resource_version())
}

/// Takes a question back, unless somebody has asked another one since. Agents that start later would answer it.
///
/// # Errors
/// When the API server did not take it.
pub async fn withdraw(client: &Client, version: Option<String>) -> Result<(), Error> {
    let preconditions = Some(Preconditions { resource_version: version, uid: None });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    match leases(client).delete(NAME, &params).await {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What nodes answer from now on, whatever the question was, with what each has answered last first. Ends never; a watch
/// that breaks off is begun again.
///
/// # Errors
/// Each time that the API server does not say what there is: it may not want to.
pub fn answers(
    client: &Client,
) -> impl Stream<Item = Result<(NodeName, Answer), watcher::Error>> + Send + use<> {
    let config = watcher::Config::default().labels(LABEL);
    let events = watch_events(leases(client), config).default_backoff();
    events.filter_map(async |event| match event {
        Ok(Event::Apply(lease) | Event::InitApply(lease)) => Answer::of(&lease).map(Ok),
        Ok(Event::Init | Event::InitDone | Event::Delete(_)) => None,
        Err(error @ watcher::Error::InitialListFailed(_)) => Some(Err(error)),
        Err(error) => {
            tracing::debug!("watch Leases of {NAMESPACE}: {}", crate::chain(&error));
            None
        }
    })
}

/// Writes what `node` answers.
///
/// # Errors
/// [`TellError`]; asking again is all a caller can do.
pub async fn tell_answer(
    client: &Client,
    node: &NodeName,
    answer: &Answer,
) -> Result<(), TellError> {
    let told = ("an answer", ANSWER, answer.to_json().to_string());
    tell(client, node, "seaway-answer", told).await
}

/// Every question from now on, the one that stands there first. Ends never; what goes wrong is tried again.
pub fn questions(client: &Client) -> impl Stream<Item = Question> + Send + use<> {
    let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let events = watch_events(leases(client), config).default_backoff();
    events.filter_map(async |event| match event {
        Ok(Event::Apply(lease) | Event::InitApply(lease)) => Question::of(&lease),
        Ok(Event::Init | Event::InitDone | Event::Delete(_)) => None,
        Err(error) => {
            tracing::debug!("watch Lease {NAMESPACE}/{NAME}: {}", crate::chain(&error));
            None
        }
    })
}

fn leases(client: &Client) -> Api<Lease> {
    Api::namespaced(client.clone(), NAMESPACE)
}

impl Question {
    fn to_json(&self) -> Value {
        json!({ "id": self.id, "until": self.until })
    }

    /// `None` for what nobody who speaks this protocol has written.
    fn of(lease: &Lease) -> Option<Self> {
        let value: Value = serde_json::from_str(lease.annotations().get(QUESTION)?).ok()?;
        let until = value["until"].as_object().into_iter().flatten();
        let until = until.map(|(kind, revision)| Some((kind.clone(), revision.as_u64()?)));
        Some(Question { id: text(&value, "id")?, until: until.collect::<Option<_>>()? })
    }
}

impl Answer {
    /// What the node that a Lease is of has answered last, if anything.
    fn of(lease: &Lease) -> Option<(NodeName, Self)> {
        let node = lease.spec.as_ref()?.holder_identity.clone()?;
        let text = lease.annotations().get(ANSWER)?;
        Some((NodeName::from(node), Answer::read(&serde_json::from_str(text).ok()?)?))
    }

    fn to_json(&self) -> Value {
        json!({
            "question": self.question,
            "version": self.version,
            "at": self.at.as_secs_f64(),
            "notReady": self.not_ready,
            "failures": self.failures,
            "facts": self.facts,
        })
    }

    fn read(value: &Value) -> Option<Self> {
        let failures = value["failures"].as_array().into_iter().flatten();
        let facts = value["facts"].as_object().into_iter().flatten();
        let facts =
            facts.filter_map(|(name, fact)| Some((name.clone(), fact.as_str()?.to_owned())));
        Some(Answer {
            question: text(value, "question")?,
            version: text(value, "version")?,
            at: Duration::try_from_secs_f64(value["at"].as_f64()?).ok()?,
            not_ready: text(value, "notReady"),
            failures: failures.filter_map(Value::as_str).map(str::to_owned).collect(),
            facts: facts.collect(),
        })
    }
}

/// Now, as [`Answer::at`] has it.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn text(value: &Value, field: &str) -> Option<String> {
    value[field].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_read_as_they_were_written() {
        for until in [None, Some(("services".to_owned(), 12))] {
            let until = until.into_iter().collect();
            let question = Question { id: "q".to_owned(), until };
            let mut lease = Lease::default();
            assert_eq!(Question::of(&lease), None);
            lease.annotations_mut().insert(QUESTION.to_owned(), question.to_json().to_string());
            assert_eq!(Question::of(&lease), Some(question));
        }
        for (not_ready, failures) in [(None, vec![]), (Some("x".to_owned()), vec!["y".to_owned()])]
        {
            let (question, version) = ("q".to_owned(), "0.1.0".to_owned());
            let at = Duration::from_millis(1_700_000_000_250);
            let facts = [("mtu".to_owned(), "1450".to_owned())].into();
            let answer = Answer { question, version, at, not_ready, failures, facts };
            assert_eq!(Answer::read(&answer.to_json()), Some(answer));
        }
        assert_eq!(Answer::read(&json!({ "question": "q", "version": "1", "at": -1.0 })), None);
    }

    /// Leases as agents and commands of a release have written them (`compat/`).
    const RELEASES: [(&str, &str, &str); 1] = [(
        "0.1",
        include_str!("../../../compat/0.1/question.json"),
        include_str!("../../../compat/0.1/lease.json"),
    )];

    #[test]
    fn compat_what_nodes_of_all_releases_ask_and_tell_is_understood() {
        let question = Question { id: "q-1".into(), until: [("services".into(), 12)].into() };
        let answer = Answer {
            question: "q-1".into(),
            version: "0.1.0".into(),
            at: Duration::from_millis(1_795_255_278_250),
            not_ready: Some("no pod CIDR".into()),
            failures: vec!["put route 10.244.2.0/24: refused".into()],
            facts: [("mtu".into(), "1450".into())].into(),
        };
        let later = |text: &str| text.replacen(r#"{\""#, r#"{\"later\":[{}],\""#, 1);
        for (release, asked, told) in RELEASES {
            for (asked, told) in [(asked.to_owned(), told.to_owned()), (later(asked), later(told))]
            {
                let lease: Lease = serde_json::from_str(&asked).unwrap();
                assert_eq!(Question::of(&lease).as_ref(), Some(&question), "{release}");
                let lease: Lease = serde_json::from_str(&told).unwrap();
                let text = serde_json::from_str(&lease.annotations()[ANSWER]).unwrap();
                assert_eq!(Answer::read(&text).as_ref(), Some(&answer), "{release}");
                assert_eq!(lease.annotations()[crate::node_lease::DRAINED], "4711", "{release}");
                assert_eq!(lease.labels()[LABEL], "node-1", "{release}");
                let holder = lease.spec.unwrap().holder_identity;
                assert_eq!(holder.as_deref(), Some("node-1"), "{release}");
            }
        }
        let (_, asked, told) = RELEASES[RELEASES.len() - 1];
        for (lease, name, now) in
            [(asked, QUESTION, question.to_json()), (told, ANSWER, answer.to_json())]
        {
            let lease: Lease = serde_json::from_str(lease).unwrap();
            assert_eq!(lease.annotations()[name], now.to_string(), "what is written now");
        }
    }
}
