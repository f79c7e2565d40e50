//! What happens to objects without anyone asking: namespaces are furnished and emptied, objects
//! whose owners are gone are removed, and events are forgotten.
//!
//! Level-triggered: writes say where to look ([`Chore`]), and each look is at what is there.
mod expire;
mod namespace;
mod owners;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::access::{bootstrap, rbac};
use crate::http::Api;
use crate::http::admit::PRIORITIES;
use crate::refusal::Refusal;
use crate::resource::{Resource, Shelf};
use crate::server::signalled;
use crate::store::Chore;

/// The least time between two passes: a burst of deletions costs few passes.
const PAUSE: Duration = Duration::from_millis(20);
/// How long to wait after what could not be done, or was undone because the disk is full.
const RETRY: Duration = Duration::from_secs(1);
/// How many objects are looked at before others get their turn.
const SPELL: usize = 64;

/// The namespaces every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Makes the namespaces, priority classes and roles every cluster has, where they are missing.
pub(crate) fn populate(api: &Api) {
    let namespaces = api.builtin("", "namespaces");
    for name in NAMESPACES {
        create(api, &namespaces, "", json!({"metadata": {"name": name}}));
    }
    let classes = api.builtin("scheduling.k8s.io", "priorityclasses");
    for (name, value) in PRIORITIES {
        create(api, &classes, "", json!({"metadata": {"name": name}, "value": value}));
    }
    let (roles, bindings) = bootstrap::objects();
    for (plural, objects) in [("clusterroles", roles), ("clusterrolebindings", bindings)] {
        let resource = api.builtin(rbac::GROUP, plural);
        for object in objects {
            create(api, &resource, "", object);
        }
    }
    rbac::gather(api);
    for name in NAMESPACES {
        namespace::look(api, name);
    }
}

/// Looks wherever there may be something to do, until `stopped`.
pub(crate) async fn run(api: Arc<Api>, mut stopped: tokio::sync::watch::Receiver<bool>) {
    let mut chores = api.store.chores();
    chores.mark_changed();
    let mut expiry = tokio::time::interval(expire::EVERY);
    expiry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = signalled(&mut stopped) => return,
            changed = chores.changed() => if changed.is_err() { return },
            _ = expiry.tick() => expire::events(&api),
        }
        let mark = api.store.mark();
        let left = pass(&api).await;
        let settled = api.store.settle(mark).await.is_ok();
        let again = !left.is_empty() || !settled;
        left.into_iter().for_each(|chore| api.store.put_back(chore));
        if again {
            chores.mark_changed();
        }
        tokio::time::sleep(if again { RETRY } else { PAUSE }).await;
    }
}

/// Does what is due, and says what could not be done.
async fn pass(api: &Arc<Api>) -> Vec<Chore> {
    let mut left = Vec::new();
    for (n, chore) in api.store.take_chores().into_iter().enumerate() {
        if n % SPELL == SPELL - 1 {
            tokio::task::yield_now().await;
        }
        let done = match &chore {
            Chore::Object(place) => owners::look(api, place),
            Chore::Namespace(name) => namespace::look(api, name),
        };
        if done == Done::Later {
            left.push(chore);
        }
    }
    left
}

/// Whether a look has done all there was to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Yes,
    /// It has to be tried again.
    Later,
}

impl Done {
    /// What is gone needs nothing any more; what else is refused may be done later.
    fn of<T>(result: Result<T, Refusal>) -> Self {
        match result {
            Ok(_) => Self::Yes,
            Err(refusal) if refusal.code == 404 => Self::Yes,
            Err(refusal) => {
                tracing::debug!(?refusal, "lifecycle");
                Self::Later
            }
        }
    }

    fn and(self, other: Self) -> Self {
        if self == Self::Yes { other } else { self }
    }
}

/// Creates an object that may be there, or whose namespace may just be going.
fn create(api: &Api, resource: &Resource, namespace: &str, value: Value) {
    if let Err(refusal) = api.create_object(resource, namespace, value) {
        tracing::debug!(?refusal, "furnish the cluster");
    }
}

/// The kind of the objects on `shelf`, if it is served.
fn kind_on(api: &Api, shelf: &Shelf) -> Option<Arc<Resource>> {
    api.registry().stored().find(|resource| resource.shelf == *shelf).cloned()
}
