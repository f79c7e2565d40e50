//! How large each ReplicaSet of a Deployment is to be.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::revision::{DESIRED, MOST, annotation};
use super::rollout::{Rollout, available, size};
use crate::plane::runtime::{Action, Note, Write};

/// Scales `set` to `want`, and notes for what Deployment that was.
pub(super) fn to(rollout: &Rollout<'_>, set: &Arc<ReplicaSet>, want: i32) -> Write {
    let deployment = rollout.deployment;
    let mut scaled = ReplicaSet::clone(set);
    scaled.spec.get_or_insert_default().replicas = Some(want);
    let annotations = scaled.metadata.annotations.get_or_insert_default();
    for (name, value) in marks(rollout) {
        annotations.insert(name.to_owned(), value);
    }
    let write = Write::new(Action::Replace, scaled);
    let (name, now) = (set.metadata.name.as_deref().unwrap_or_default(), size(set));
    if now == want {
        return write;
    }
    let way = if now < want { "up" } else { "down" };
    let message = format!("Scaled {way} replica set {name} from {now} to {want}");
    write.done(Note::normal(deployment, "ScalingReplicaSet", message))
}

fn marks(rollout: &Rollout<'_>) -> [(&'static str, String); 2] {
    let most = rollout.want + rollout.surge();
    [(DESIRED, rollout.want.to_string()), (MOST, most.to_string())]
}

fn is_marked(rollout: &Rollout<'_>, set: &Arc<ReplicaSet>) -> bool {
    marks(rollout).iter().all(|(name, value)| annotation(set, name) == Some(value))
}

/// The new ReplicaSet grows into what room there is, or shrinks to what is wanted.
pub(super) fn grow_new(rollout: &Rollout<'_>, new: &Arc<ReplicaSet>) -> Vec<Write> {
    let now = size(new);
    let want = if now >= rollout.want { rollout.want } else { rollout.room_for_new(now) };
    if want == now { Vec::new() } else { vec![to(rollout, new, want)] }
}

/// Old ReplicaSets shrink as far as enough pods stay available: first by what is not available anyway,
/// then the oldest first.
pub(super) fn shrink_old(rollout: &Rollout<'_>, new: &Arc<ReplicaSet>) -> Vec<Write> {
    let total: i32 = rollout.all().map(size).sum();
    let least = rollout.want - rollout.unavailable();
    let may_go = total - least - (size(new) - available(new));
    let mut sizes: Vec<i32> = rollout.old.iter().map(size).collect();
    let mut left = may_go.max(0);
    for (set, size) in rollout.old.iter().zip(&mut sizes) {
        let sick = (*size - available(set)).clamp(0, left);
        *size -= sick;
        left -= sick;
    }
    if may_go > 0 {
        let healthy: i32 = rollout.all().map(available).sum();
        let mut left = (healthy - least).max(0);
        for size in &mut sizes {
            let gone = (*size).min(left);
            *size -= gone;
            left -= gone;
        }
    }
    let changed = rollout.old.iter().zip(sizes).filter(|(set, want)| size(set) != *want);
    changed.map(|(set, want)| to(rollout, set, want)).collect()
}

/// Scales what there is when the Deployment's size has changed, or while it is paused. In the middle of
/// a rollout every ReplicaSet gets its share, so that no more pods than before run an unproven template.
pub(super) fn all(rollout: &Rollout<'_>) -> Vec<Write> {
    let active: Vec<_> = rollout.all().filter(|set| size(set) > 0).cloned().collect();
    let only = match active.as_slice() {
        [] => rollout.new.as_ref().or(rollout.old.last()),
        [only] => Some(only),
        _ => None,
    };
    if let Some(only) = only {
        let is_right = size(only) == rollout.want;
        return if is_right { Vec::new() } else { vec![to(rollout, only, rollout.want)] };
    }
    if active.is_empty() {
        return Vec::new();
    }
    if rollout.new.as_ref().is_some_and(|new| is_saturated(rollout, new)) {
        let old = rollout.old.iter().filter(|set| size(set) > 0);
        return old.map(|set| to(rollout, set, 0)).collect();
    }
    if rollout.is_rolling() { shares(rollout, active) } else { Vec::new() }
}

fn is_saturated(rollout: &Rollout<'_>, new: &Arc<ReplicaSet>) -> bool {
    let desired = annotation(new, DESIRED).and_then(|text| text.parse::<i32>().ok());
    size(new) == rollout.want && desired == Some(rollout.want) && available(new) == rollout.want
}

/// Largest first; of equal size the newer first when there is something to add, else the older.
fn shares(rollout: &Rollout<'_>, mut active: Vec<Arc<ReplicaSet>>) -> Vec<Write> {
    let allowed = if rollout.want > 0 { rollout.want + rollout.surge() } else { 0 };
    let to_add = allowed - active.iter().map(size).sum::<i32>();
    super::rollout::sort_by_age(&mut active);
    if to_add > 0 {
        active.reverse();
    }
    active.sort_by_key(|set| -size(set));
    let mut added = 0;
    let mut sizes = Vec::with_capacity(active.len());
    for set in &active {
        let share = if to_add == added { 0 } else { share(rollout, set) };
        let left = to_add - added;
        let share = if to_add > 0 { share.min(left) } else { share.max(left) };
        added += share;
        sizes.push(size(set) + share);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    let pairs = active.iter().zip(sizes);
    let changed = pairs.filter(|(set, want)| size(set) != *want || !is_marked(rollout, set));
    changed.map(|(set, want)| to(rollout, set, want)).collect()
}

/// By how much `set` changes if it keeps its part of the whole.
fn share(rollout: &Rollout<'_>, set: &Arc<ReplicaSet>) -> i32 {
    let now = size(set);
    if rollout.want == 0 {
        return -now;
    }
    let status = rollout.deployment.status.as_ref();
    let noted =
        annotation(set, MOST).and_then(|text| text.parse::<i32>().ok()).filter(|most| *most > 0);
    let before = noted.or(status.and_then(|status| status.replicas)).unwrap_or(0);
    if before <= 0 {
        return 0;
    }
    let whole = i64::from(now) * i64::from(rollout.want + rollout.surge());
    let before = i64::from(before);
    let rounded = (2 * whole + before).div_euclid(2 * before);
    i32::try_from(rounded).unwrap_or(i32::MAX) - now
}
