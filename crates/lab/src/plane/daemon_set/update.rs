//! Replaces pods of an older template, node by node.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::State;
use super::place::Fit;
use crate::plane::numbers::{Round, count, scaled};
use crate::plane::pods;
use crate::plane::runtime::Write;

/// How many nodes may have two pods during an update, and how many none that is available.
pub(super) fn limits(state: &State<'_>) -> (usize, usize) {
    let strategy = state.spec.update_strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return (0, 0);
    }
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let whole = count(state.nodes.values().filter(|(_, fit)| *fit == Fit::Runs).count());
    let part = |value: Option<&IntOrString>, default| {
        let number = value.map_or(default, |value| scaled(value, whole, Round::Up));
        usize::try_from(number).unwrap_or(0)
    };
    let surge = part(rolling.and_then(|rolling| rolling.max_surge.as_ref()), 0);
    let unavailable = part(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), 1);
    (surge, if surge == 0 { unavailable.max(1) } else { unavailable })
}

/// The next pods to replace.
pub(super) fn step(state: &State<'_>) -> Vec<Write> {
    let strategy = state.spec.update_strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return Vec::new();
    }
    let (surge, unavailable) = limits(state);
    if surge == 0 { without_surge(state, unavailable) } else { with_surge(state, surge) }
}

/// At most one pod of the newest template, and one of an older one.
type Pair<'a> = (Option<&'a Arc<Pod>>, Option<&'a Arc<Pod>>);

/// The pods of one node: that of the newest template, and that of an older one. `None` for nodes with more.
fn pair<'a>(state: &State<'_>, here: &'a [Arc<Pod>]) -> Option<Pair<'a>> {
    let stays = here.iter().filter(|pod| !pods::is_leaving(pod));
    let (new, old): (Vec<_>, Vec<_>) = stays.partition(|pod| state.is_newest(pod));
    (new.len() <= 1 && old.len() <= 1).then(|| (new.first().copied(), old.first().copied()))
}

/// Nodes where a pod runs or is to run, with what is there.
fn places<'a>(state: &'a State<'_>) -> impl Iterator<Item = (&'a str, &'a [Arc<Pod>])> {
    let runs = |name: &str| state.nodes.get(name).is_some_and(|(_, fit)| *fit == Fit::Runs);
    let empty = state
        .nodes
        .keys()
        .copied()
        .filter(move |name| runs(name) && !state.pods.contains_key(*name));
    let taken = state.pods.iter().map(|(name, pods)| (name.as_str(), pods.as_slice()));
    taken.chain(empty.map(|name| (name, &[][..])))
}

/// Old pods that are not available go at once, others as far as few enough are unavailable.
fn without_surge(state: &State<'_>, most: usize) -> Vec<Write> {
    let (mut unavailable, mut at_once, mut candidates) = (0, Vec::new(), Vec::new());
    for (_, here) in places(state) {
        match pair(state, here) {
            Some((None, Some(old))) if state.is_available(old) => candidates.push(old),
            Some((None, Some(old))) => {
                at_once.push(old);
                unavailable += 1;
            }
            Some((Some(new), None)) if state.is_available(new) => {}
            Some((Some(_), _) | (None, None)) | None => unavailable += 1,
        }
    }
    let more = candidates.into_iter().take(most.saturating_sub(unavailable));
    at_once.into_iter().chain(more).map(|pod| pods::delete(state.set, pod)).collect()
}

/// A new pod is made beside the old one, which goes when the new one is available.
fn with_surge(state: &State<'_>, most: usize) -> Vec<Write> {
    let (mut doubled, mut writes, mut candidates) = (0, Vec::new(), Vec::new());
    for (node, here) in places(state) {
        match pair(state, here) {
            Some((Some(new), Some(old))) if state.is_available(new) => {
                writes.push(pods::delete(state.set, old));
            }
            Some((Some(_), Some(_))) | None => doubled += 1,
            Some((None, Some(old)))
                if state.nodes.get(node).is_some_and(|(_, fit)| *fit == Fit::Runs) =>
            {
                match state.is_available(old) {
                    true => candidates.push(node),
                    false => writes.push(state.create(node)),
                }
            }
            Some((None, Some(old))) if !state.is_available(old) => {
                writes.push(pods::delete(state.set, old));
            }
            Some((_, None) | (None, Some(_))) => {}
        }
    }
    let more = candidates.into_iter().take(most.saturating_sub(doubled));
    writes.extend(more.map(|node| state.create(node)));
    writes
}

/// Of several pods on one node those that are too many: all but the oldest of the newest template and
/// the oldest of an older one, and of these two the old one as soon as it is not needed.
pub(super) fn doubled<'a>(state: &State<'_>, running: &[&'a Arc<Pod>]) -> Vec<&'a Arc<Pod>> {
    let (new, old): (Vec<&Arc<Pod>>, Vec<_>) = running.iter().partition(|pod| state.is_newest(pod));
    let mut many: Vec<_> = new.iter().skip(1).chain(old.iter().skip(1)).copied().collect();
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!pods::is_ready(old) || state.is_available(new))
    {
        many.push(old);
    }
    many
}
