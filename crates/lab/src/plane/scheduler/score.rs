//! Which of several nodes that would have a pod is best.
//!
//! Source: kube-scheduler, the plugins and weights of its default profile. Between nodes of equal score it
//! draws lots; here the one with the fewest pods wins, then the first by name, so that the same cluster is
//! always laid out the same way.

use k8s_openapi::api::core::v1::Node;

use super::board::{Board, Seat};
use super::filter::Wish;
use super::quantity::PODS;
use crate::plane::placement::{holds, taints, tolerates};

/// What a pod that asks for nothing is counted as: 100m of cpu and 200 MiB of memory, in thousandths.
const DEFAULTS: [(&str, i128); 2] = [("cpu", 100), ("memory", 200 * 1024 * 1024 * 1000)];

/// The best of `nodes`.
pub(super) fn best<'a>(
    board: &Board,
    wish: &Wish<'_>,
    nodes: &[(&'a str, &'a Seat)],
) -> Option<&'a str> {
    let part = |weight: i64, higher: bool, of: &dyn Fn(&str, &Seat) -> i64| -> Vec<i64> {
        let raw: Vec<i64> = nodes.iter().map(|(name, seat)| of(name, seat)).collect();
        normalized(&raw, higher).into_iter().map(|score| weight * score).collect()
    };
    let siblings = board.siblings(wish.pod);
    let near = |name: &str| siblings.and_then(|siblings| siblings.get(name)).copied().unwrap_or(0);
    let parts = [
        part(3, false, &|_, seat| distaste(wish, &seat.node)),
        part(2, true, &|_, seat| preference(wish, &seat.node)),
        part(2, false, &|_, seat| wish.spread.crowd(&seat.node)),
        part(2, false, &|name, _| i64::try_from(near(name)).unwrap_or(i64::MAX)),
        part(2, true, &|_, seat| wish.company.score(&seat.node)),
        nodes.iter().map(|(_, seat)| room(wish, seat)).collect(),
    ];
    let total = |place: usize| -> i64 { parts.iter().map(|part| part[place]).sum() };
    let pods = |seat: &Seat| seat.taken.get(PODS).copied().unwrap_or(0);
    let places = nodes.iter().enumerate();
    // Of equals the first is taken, and nodes come in the order of their names.
    let best = places.min_by_key(|(place, (_, seat))| (-total(*place), pods(seat)));
    best.map(|(_, (name, _))| *name)
}

/// From 0 to 100, where 100 is the best; all the same are worth nothing.
fn normalized(raw: &[i64], higher: bool) -> Vec<i64> {
    let (least, most) =
        (raw.iter().min().copied().unwrap_or(0), raw.iter().max().copied().unwrap_or(0));
    let width = most.saturating_sub(least).max(1);
    let score = |raw: &i64| match higher {
        true => raw.saturating_sub(least).saturating_mul(100) / width,
        false => most.saturating_sub(*raw).saturating_mul(100) / width,
    };
    raw.iter().map(score).collect()
}

/// How many taints say that pods should rather not be there.
fn distaste(wish: &Wish<'_>, node: &Node) -> i64 {
    let all = taints(node);
    let soft = all.iter().filter(|taint| taint.effect == "PreferNoSchedule");
    let hurts = soft.filter(|taint| {
        !wish.spec.tolerations.iter().flatten().any(|toleration| tolerates(toleration, taint))
    });
    i64::try_from(hurts.count()).unwrap_or(i64::MAX)
}

fn preference(wish: &Wish<'_>, node: &Node) -> i64 {
    let affinity = wish.spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let terms = affinity.and_then(|affinity| {
        affinity.preferred_during_scheduling_ignored_during_execution.as_ref()
    });
    let held = terms.into_iter().flatten().filter(|term| holds(&term.preference, node));
    held.map(|term| i64::from(term.weight)).sum()
}

/// How much of cpu and memory would be left, from 0 to 100.
fn room(wish: &Wish<'_>, seat: &Seat) -> i64 {
    let pods = seat.taken.get(PODS).copied().unwrap_or(0) / 1000;
    let left = |(resource, default): (&str, i128)| {
        let all = seat.allocatable.get(resource).copied().filter(|all| *all > 0)?;
        // What is taken counts at least the default for each pod.
        let taken = seat.taken.get(resource).copied().unwrap_or(0).max(pods * default);
        let asked = wish.requests.get(resource).copied().unwrap_or(0).max(default);
        Some(((all - taken - asked).max(0) * 100 / all).try_into().unwrap_or(0))
    };
    let parts: Vec<i64> = DEFAULTS.into_iter().filter_map(left).collect();
    parts.iter().sum::<i64>() / i64::try_from(parts.len().max(1)).unwrap_or(1)
}
