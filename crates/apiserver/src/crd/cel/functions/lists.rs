//! Functions of lists, maps and sets.
use std::cmp::Ordering;

use super::{arithmetic, text};
use crate::crd::cel::eval::{Failure, Outcome, Scope, error};
use crate::crd::cel::value::{List, Val};

/// Calls a function of lists; none if there is no such.
pub(super) fn call<'v>(scope: &mut Scope<'v>, name: &str, args: &[Val<'v>]) -> Option<Outcome<'v>> {
    let int = |n: usize| Ok(Val::Int(i64::try_from(n).unwrap_or(i64::MAX)));
    Some(match (name, args) {
        ("size", [Val::List(list)]) => int(list.len()),
        ("size", [Val::Map(map)]) => int(map.len()),
        ("size", [Val::Bytes(bytes)]) => int(bytes.len()),
        ("join", [Val::List(list)]) => text::joined(scope, list.iter(), ""),
        ("join", [Val::List(list), Val::String(between)]) => {
            text::joined(scope, list.iter(), between)
        }
        ("isSorted", [Val::List(list)]) => is_sorted(list),
        ("sum", [Val::List(list)]) => sum(list),
        ("min", [Val::List(list)]) => extreme(list, name, Ordering::Less),
        ("max", [Val::List(list)]) => extreme(list, name, Ordering::Greater),
        ("indexOf", [Val::List(list), item]) => place(list.iter().position(|one| one.equals(item))),
        ("lastIndexOf", [Val::List(list), item]) => {
            let all: Vec<Val<'v>> = list.iter().collect();
            place(all.iter().rposition(|one| one.equals(item)))
        }
        ("reverse", [Val::List(list)]) => {
            let mut items: Vec<Val<'v>> = list.iter().collect();
            items.reverse();
            Ok(Val::list(items))
        }
        ("slice", [Val::List(list), Val::Int(from), Val::Int(to)]) => slice(list, *from, *to),
        ("sets.contains", [Val::List(a), Val::List(b)]) => {
            compare(scope, a, b, |a, b| covers(a, b))
        }
        ("sets.equivalent", [Val::List(a), Val::List(b)]) => {
            compare(scope, a, b, |a, b| covers(a, b) && covers(b, a))
        }
        ("sets.intersects", [Val::List(a), Val::List(b)]) => {
            compare(scope, a, b, |a, b| a.iter().any(|a| b.iter().any(|b| a.equals(&b))))
        }
        _ => return None,
    })
}

/// Every item of one list is held against every item of the other.
fn compare<'v>(
    scope: &mut Scope<'v>,
    a: &List<'v>,
    b: &List<'v>,
    holds: impl Fn(&List<'v>, &List<'v>) -> bool,
) -> Outcome<'v> {
    scope.pay(2 * a.len() as u64 * b.len() as u64)?;
    Ok(Val::Bool(holds(a, b)))
}

fn covers(a: &List<'_>, b: &List<'_>) -> bool {
    b.iter().all(|b| a.iter().any(|a| a.equals(&b)))
}

fn place<'v>(at: Option<usize>) -> Outcome<'v> {
    Ok(Val::Int(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)))
}

fn ordered(a: &Val<'_>, b: &Val<'_>) -> Result<Ordering, Failure> {
    a.order(b).map_or_else(|| error("no such overload: items that can't be ordered"), Ok)
}

fn is_sorted<'v>(list: &List<'v>) -> Outcome<'v> {
    let mut before: Option<Val<'v>> = None;
    for item in list.iter() {
        if let Some(before) = &before
            && ordered(before, &item)? == Ordering::Greater
        {
            return Ok(Val::Bool(false));
        }
        before = Some(item);
    }
    Ok(Val::Bool(true))
}

fn sum<'v>(list: &List<'v>) -> Outcome<'v> {
    let mut items = list.iter();
    let Some(mut total) = items.next() else { return Ok(Val::Int(0)) };
    for item in items {
        total = arithmetic("+", &total, &item)
            .unwrap_or_else(|| error("no such overload: sum of such items"))?;
    }
    Ok(total)
}

fn extreme<'v>(list: &List<'v>, name: &str, wanted: Ordering) -> Outcome<'v> {
    let mut items = list.iter();
    let Some(mut best) = items.next() else {
        return error(format!("{name} called on empty list"));
    };
    for item in items {
        if ordered(&item, &best)? == wanted {
            best = item;
        }
    }
    Ok(best)
}

fn slice<'v>(list: &List<'v>, from: i64, to: i64) -> Outcome<'v> {
    match (usize::try_from(from), usize::try_from(to)) {
        (Ok(from), Ok(to)) if from <= to && to <= list.len() => {
            Ok(Val::list(list.iter().skip(from).take(to - from).collect()))
        }
        _ => error(format!("cannot slice({from}, {to}), list has {} items", list.len())),
    }
}
