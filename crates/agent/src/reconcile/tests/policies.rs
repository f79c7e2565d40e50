//! An ADD while there are policies: it waits for its pod, and nobody waits for it.

use model::{NetworkPolicy, ObjectName, Pod, PodRef, decode};

use super::*;

fn policy() -> Arc<NetworkPolicy> {
    let json = br#"{"metadata":{"namespace":"ns","name":"x"},"spec":{"podSelector":{}}}"#;
    Arc::new(decode::network_policy(json).unwrap())
}

fn pod(uid: &str) -> Arc<Pod> {
    let json = format!(
        r#"{{"metadata":{{"namespace":"ns","name":"p","uid":"{uid}"}},"spec":{{"nodeName":"a"}}}}"#
    );
    Arc::new(decode::pod(json.as_bytes()).unwrap())
}

/// An ADD of the container `id` for the pod with this uid.
fn add_for(id: &str, uid: &str) -> Attach {
    let pod = PodRef { namespace: "ns".into(), name: "p".into(), uid: uid.into() };
    Attach { pod: Some(pod), ..add(id) }
}

impl Agent {
    /// Shows the agent its node, a namespace and a policy.
    async fn police(&self) {
        self.list_silently("10.244.1.0/24");
        let namespace = model::Namespace::new("ns", []);
        let namespaces = OrdMap::unit("ns".into(), Arc::new(namespace));
        self.watching.namespaces.send_modify(|shown| shown.listed = Some(namespaces));
        let policies = OrdMap::unit(policy().name.clone(), policy());
        self.watching.policies.send_modify(|shown| shown.listed = Some(policies));
        self.handle.wake();
        self.ready().await;
    }

    fn show_pod(&self, uid: &str) {
        let pods = OrdMap::unit(ObjectName::new("ns", "p"), pod(uid));
        self.watching.pods.send_modify(|shown| shown.listed = Some(pods));
        self.handle.wake();
    }

    /// Asks, and returns once the loop has seen it.
    async fn asked(
        &self,
        attach: Attach,
    ) -> tokio::task::JoinHandle<Result<crate::Attached, RequestError>> {
        let handle = self.handle.clone();
        let asked = tokio::spawn(async move { handle.attach(attach).await });
        tokio::task::yield_now().await;
        self.handle.status().await;
        asked
    }
}

#[tokio::test]
async fn p25_an_add_waits_for_its_pod_and_keeps_nobody_else_waiting() {
    let (scratch, kernel) = (Scratch::new(), Kernel::default());
    let agent = Agent::start(scratch.path(), &kernel);
    agent.police().await;
    let waiting = agent.asked(add_for("c", "new")).await;
    agent.handle.attach(add("unnamed")).await.unwrap();
    agent.handle.detach(key("unnamed")).await.unwrap();
    agent.show_pod("old");
    agent.handle.status().await;
    assert!(!waiting.is_finished() && agent.shown.view().leases.attachments.is_empty());
    agent.show_pod("new");
    let attached = waiting.await.unwrap().unwrap();
    assert_eq!(kernel.pods.rows().get(&key("c")), Some(&attached.link));
    let named = add_for("c", "new").pod.unwrap();
    let known = agent.shown.view().world.pod_of(&named).cloned().unwrap();
    assert_eq!(known.addrs, attached.attachment.addrs, "the pass it was answered by had the pod");
    agent.handle.attach(add_for("d", "new")).await.unwrap();
}

#[tokio::test]
async fn p25_without_policies_no_add_waits_and_when_they_go_none_does_any_more() {
    let (scratch, kernel) = (Scratch::new(), Kernel::default());
    let agent = Agent::start(scratch.path(), &kernel);
    agent.list("10.244.1.0/24");
    agent.ready().await;
    agent.handle.attach(add_for("c", "u")).await.unwrap();
    agent.police().await;
    let waiting = agent.asked(add_for("d", "u")).await;
    agent.watching.policies.send_modify(|shown| shown.listed = Some(OrdMap::new()));
    agent.handle.wake();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn p25_an_add_whose_del_comes_or_whose_agent_ends_leaves_nothing() {
    let (scratch, kernel) = (Scratch::new(), Kernel::default());
    let agent = Agent::start(scratch.path(), &kernel);
    agent.police().await;
    let gone = agent.asked(add_for("c", "u")).await;
    agent.handle.detach(key("c")).await.unwrap();
    let error = gone.await.unwrap().unwrap_err();
    assert!(matches!(&error, RequestError::NotReady(why) if why.contains("DEL")), "{error}");
    let cut = agent.asked(add_for("d", "u")).await;
    agent.show_pod("other");
    drop(agent);
    assert!(matches!(cut.await.unwrap(), Err(RequestError::NotReady(_))));
    assert!(leases(scratch.path()).attachments.is_empty() && kernel.pods.rows().is_empty());
}

#[tokio::test]
async fn p25_a_pod_that_never_shows_is_named_in_the_error() {
    let scratch = Scratch::new();
    let agent = Agent::start(scratch.path(), &Kernel::default());
    agent.police().await;
    let error = agent.handle.attach(add_for("c", "u")).await.unwrap_err();
    assert!(matches!(error, RequestError::NotReady(_)));
    let want = "it is not known which policies are about pod ns/p: the API server has not shown the \
                pod yet";
    assert!(error.to_string().contains(want), "{error}");
    assert!(agent.shown.view().leases.attachments.is_empty());
}

#[tokio::test]
async fn npn22_the_last_pod_of_a_namespace_that_is_gone_takes_its_policies_along() {
    let scratch = Scratch::new();
    let agent = Agent::start(scratch.path(), &Kernel::default());
    agent.police().await;
    agent.show_pod("u");
    agent.handle.attach(add_for("c", "u")).await.unwrap();
    agent.watching.namespaces.send_modify(|shown| shown.listed = Some(OrdMap::new()));
    agent.watching.policies.send_modify(|shown| shown.listed = Some(OrdMap::new()));
    agent.watching.pods.send_modify(|shown| shown.listed = Some(OrdMap::new()));
    agent.handle.wake();
    agent.handle.status().await;
    assert!(agent.shown.view().world.has_policies());
    agent.handle.detach(key("c")).await.unwrap();
    assert!(!agent.shown.view().world.has_policies());
}
