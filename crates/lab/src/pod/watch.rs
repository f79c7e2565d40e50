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
use super::{Node, Present, Question};

struct Entry {
    wanted: watch::Sender<Wanted>,
    present: watch::Receiver<Present>,
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
                    let uid = pod.metadata.uid.clone().unwrap_or_default();
                    if let Some(entry) = pods.get(&uid) {
                        // As it was last, so that it ends with the grace it was deleted with.
                        entry.wanted.send_replace(Wanted { pod: Arc::new(pod), gone: true });
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
    let (told, present) = watch::channel(Present::default());
    let (wanted, wants) = watch::channel(fresh);
    let task = tokio::spawn(Worker::new(node.clone(), wants, told).run());
    pods.insert(uid, Entry { wanted, present, task });
}

fn answer(pods: &HashMap<String, Entry>, question: Question) {
    let is_it = |entry: &&Entry| {
        let wanted = entry.wanted.borrow();
        let meta = &wanted.pod.metadata;
        !wanted.gone
            && meta.namespace.as_ref() == Some(&question.namespace)
            && meta.name.as_ref() == Some(&question.pod)
    };
    let entry = pods.values().find(is_it);
    let seen =
        entry.map(|entry| (entry.wanted.borrow().pod.clone(), entry.present.borrow().clone()));
    // Nobody waits for the answer any more only if the one who asked has gone.
    drop(question.answer.send(seen));
}
