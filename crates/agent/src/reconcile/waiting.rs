//! ADDs that wait for their pods.
//!
//! While there is any policy, what a pod may do is known once the pod is: its labels, and those of its
//! namespace. An ADD that comes before them waits. It holds nothing meanwhile, neither an address nor the loop,
//! so nothing has to be undone or found again; it is decided in the turn that finds its pod, and the pass
//! of that turn brings its policies, its Services and its names in place together (P-25).

use std::time::{Duration, Instant};

use model::{AttachmentKey, ObjectName, PodRef, World};

use super::requests::{Batch, Draft, answer};
use crate::handle::{Attach, Attached, Reply, RequestError};

/// How long an ADD waits for its pod. A kubelet knows pods by the same API server, so it is a moment
/// unless that is away.
const POD_WITHIN: Duration = Duration::from_secs(10);

/// ADDs, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<Add>);

#[derive(Debug)]
struct Add {
    attach: Box<Attach>,
    reply: Reply<Attached>,
    until: Instant,
}

impl Waiting {
    /// When the first of them has waited long enough.
    pub(super) fn until(&self) -> Option<Instant> {
        self.0.iter().map(|add| add.until).min()
    }

    /// Has an ADD decided in `batch`, or has it wait while something is missing in `world`.
    pub(super) fn ask(
        &mut self,
        (attach, reply): (Box<Attach>, Reply<Attached>),
        world: &World,
        batch: &mut Batch,
        draft: &mut Draft,
    ) {
        self.put(Add { attach, reply, until: Instant::now() + POD_WITHIN }, world, batch, draft);
    }

    /// Has those decided in `batch` of which nothing is missing in `world` any more, and refuses those that
    /// have waited long enough.
    pub(super) fn decide(&mut self, world: &World, batch: &mut Batch, draft: &mut Draft) {
        for add in std::mem::take(&mut self.0) {
            self.put(add, world, batch, draft);
        }
    }

    fn put(&mut self, add: Add, world: &World, batch: &mut Batch, draft: &mut Draft) {
        if add.reply.is_closed() {
            tracing::debug!("nobody waits for ADD {} any more", add.attach.key);
            return;
        }
        match missing(world, add.attach.pod.as_ref()) {
            None => batch.attach(&add.attach, add.reply, draft),
            Some(what) if add.until <= Instant::now() => {
                answer(add.reply, Err(RequestError::NotReady(what)));
            }
            Some(_) => self.0.push(add),
        }
    }

    /// Refuses those of `key`, whose DEL has come.
    pub(super) fn cancel(&mut self, key: &AttachmentKey) {
        for add in self.0.extract_if(.., |add| add.attach.key == *key) {
            let why = format!("a DEL of {key} has come meanwhile");
            answer(add.reply, Err(RequestError::NotReady(why)));
        }
    }
}

/// What is not known of the pod that an ADD is for; `None` when that is nothing, or makes no difference.
fn missing(world: &World, pod: Option<&PodRef>) -> Option<String> {
    let named = pod.filter(|_| world.has_policies())?;
    let node = &world.config.node;
    let what = match world.pod_of(named) {
        None => match world.pods.get(&ObjectName::new(&named.namespace, &named.name)) {
            None => "has not shown the pod yet".to_owned(),
            Some(other) => format!("shows uid {} and not {} yet", other.uid, named.uid),
        },
        Some(pod) if pod.node.as_ref() != Some(node) => {
            format!("has not shown yet that it is on node {node}")
        }
        Some(pod) if !world.namespaces.contains_key(&pod.name.namespace) => {
            format!("has not shown Namespace {} yet", pod.name.namespace)
        }
        Some(_) => return None,
    };
    Some(format!("it is not known which policies are about pod {named}: the API server {what}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::decode;

    use super::*;

    #[test]
    fn p25_what_is_missing_of_a_pod_is_named_and_nothing_is_without_policies_or_a_name() {
        let mut world = World::default();
        world.config.node = "a".into();
        let named = PodRef { namespace: "ns".into(), name: "p".into(), uid: "u".into() };
        let said = |world: &World| missing(world, Some(&named)).unwrap_or_default();
        assert_eq!(said(&world), "");
        let policy = br#"{"metadata":{"namespace":"other","name":"x"},"spec":{"podSelector":{}}}"#;
        let policy = decode::network_policy(policy).unwrap();
        world.policies.insert(policy.name.clone(), Arc::new(policy));
        assert_eq!(missing(&world, None), None);
        let intro = "it is not known which policies are about pod ns/p: the API server";
        assert_eq!(said(&world), format!("{intro} has not shown the pod yet"));
        let show = |world: &mut World, uid: &str, node: &str| {
            let json = format!(
                r#"{{"metadata":{{"namespace":"ns","name":"p","uid":"{uid}"}},"spec":{{"nodeName":"{node}"}}}}"#
            );
            let pod = decode::pod(json.as_bytes()).unwrap();
            world.pods.insert(pod.name.clone(), Arc::new(pod));
        };
        show(&mut world, "before", "a");
        assert_eq!(said(&world), format!("{intro} shows uid before and not u yet"));
        show(&mut world, "u", "");
        assert_eq!(said(&world), format!("{intro} has not shown yet that it is on node a"));
        show(&mut world, "u", "a");
        assert_eq!(said(&world), format!("{intro} has not shown Namespace ns yet"));
        let namespace = decode::namespace(br#"{"metadata":{"name":"ns"}}"#).unwrap();
        world.namespaces.insert("ns".into(), Arc::new(namespace));
        assert_eq!(said(&world), "");
        let unnamed = PodRef { uid: String::new(), ..named.clone() };
        assert_eq!(missing(&world, Some(&unnamed)), None, "a runtime may say no uid");
    }
}
