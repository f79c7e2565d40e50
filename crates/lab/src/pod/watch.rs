//! Which pods are bound to this node: one worker for each, told its newest object.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube_rs::api::Api;
use kube_rs::runtime::watcher::{self, Event};
use kube_rs::runtime::{WatchStreamExt, watcher as watch_objects};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::worker::{Wanted, Worker};
use super::{FindError, Found, Node, Question};

struct Entry {
    wanted: watch::Sender<Wanted>,
    containers: watch::Receiver<Vec<Found>>,
    task: JoinHandle<()>,
}

/// Watches pods and answers questions until nobody can ask any more.
pub(crate) async fn run(node: Arc<Node>, mut questions: mpsc::Receiver<Question>) {
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", node.context.name));
    let events = watch_objects(Api::<Pod>::all(node.client.clone()), config).default_backoff();
    let mut events = std::pin::pin!(events);
    // By uid: a pod that is made again under its old name is another pod.
    let mut pods: HashMap<String, Entry> = HashMap::new();
    let mut listed = HashSet::new();
    loop {
        tokio::select! {
            event = events.try_next() => match event {
                Ok(Some(Event::Init)) => listed.clear(),
                Ok(Some(Event::InitApply(pod))) => {
                    listed.extend(pod.metadata.uid.clone());
                    apply(&node, &mut pods, pod);
                }
                Ok(Some(Event::Apply(pod))) => apply(&node, &mut pods, pod),
                Ok(Some(Event::InitDone)) => {
                    for (_, entry) in pods.iter().filter(|(uid, _)| !listed.contains(*uid)) {
                        entry.wanted.send_modify(|wanted| wanted.gone = true);
                    }
                }
                Ok(Some(Event::Delete(pod))) => {
                    let uid = pod.metadata.uid.unwrap_or_default();
                    if let Some(entry) = pods.get(&uid) {
                        entry.wanted.send_modify(|wanted| wanted.gone = true);
                    }
                }
                // The watch is made again by itself, with a wait in between.
                Err(error) => tracing::debug!("watch pods: {error}"),
                Ok(None) => return,
            },
            question = questions.recv() => match question {
                Some(question) => answer(&pods, question),
                None => break,
            },
        }
        pods.retain(|_, entry| !(entry.wanted.borrow().gone && entry.task.is_finished()));
    }
    for entry in pods.into_values() {
        entry.task.abort();
    }
}

fn apply(node: &Arc<Node>, pods: &mut HashMap<String, Entry>, pod: Pod) {
    let Some(uid) = pod.metadata.uid.clone() else { return };
    let fresh = Wanted { pod: Arc::new(pod), gone: false };
    if let Some(entry) = pods.get(&uid) {
        entry.wanted.send_replace(fresh);
        return;
    }
    let (containers, seen) = watch::channel(Vec::new());
    let (wanted, wants) = watch::channel(fresh);
    let task = tokio::spawn(Worker::new(node.clone(), wants, containers).run());
    pods.insert(uid, Entry { wanted, containers: seen, task });
}

fn answer(pods: &HashMap<String, Entry>, question: Question) {
    // Nobody waits for the answer any more only if the one who asked has gone.
    drop(question.answer.send(find(pods, &question.namespace, &question.pod, question.container)));
}

fn find(
    pods: &HashMap<String, Entry>,
    namespace: &str,
    name: &str,
    container: Option<String>,
) -> Result<Found, FindError> {
    let pod = || format!("{namespace}/{name}");
    let is_it = |entry: &&Entry| {
        let wanted = entry.wanted.borrow();
        let meta = &wanted.pod.metadata;
        !wanted.gone
            && meta.namespace.as_deref() == Some(namespace)
            && meta.name.as_deref() == Some(name)
    };
    let entry = pods.values().find(is_it).ok_or_else(|| FindError::NoPod(pod()))?;
    let containers = entry.containers.borrow();
    let found = match &container {
        None => containers.first(),
        Some(wanted) => containers.iter().find(|found| found.container == *wanted),
    };
    found.cloned().ok_or_else(|| {
        let known: Vec<_> = containers.iter().map(|found| found.container.as_str()).collect();
        let container = container.unwrap_or_default();
        FindError::NoContainer { pod: pod(), container, known: known.join(", ") }
    })
}
