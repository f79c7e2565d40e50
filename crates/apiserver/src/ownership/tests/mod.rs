//! Stories of writers, each told to its end: what the object is, and who owns what.
//!
//! The cases are those of structured-merge-diff's `merge` tests, with other objects.
mod stories;
pub(super) mod toy;

use serde_json::{Value, json};

use super::entries::Managed;
use super::*;
use toy::Toy;

/// Takes one line of a story: `apply WHO OBJECT`, `force WHO OBJECT`, `update WHO OBJECT`,
/// `conflict WHO OBJECT => OWNER PATH, …`, `= OBJECT`, `WHO: PATH …`.
fn tell(of: &Toy, object: &mut Option<Value>, line: &str) {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    if let Some(owner) = verb.strip_suffix(':') {
        let owned = owned_by(object.as_ref().unwrap(), owner);
        assert_eq!(owned.join(" "), rest, "{line}");
        return;
    }
    if verb == "=" {
        let mut bare = object.clone().unwrap();
        bare.as_object_mut().unwrap().remove("metadata");
        assert_eq!(bare, serde_json::from_str::<Value>(rest).unwrap(), "{line}");
        return;
    }
    let (who, rest) = rest.split_once(' ').unwrap();
    let (text, conflicts) = rest.split_once(" => ").unwrap_or((rest, ""));
    let config: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{line}: {e}"));
    if verb == "update" {
        *object = Some(updated(of, object.as_ref(), who, &config));
        return;
    }
    let applied = applied(of, object.as_ref(), who, &config, verb == "force");
    match applied {
        Ok(new) => {
            assert_ne!(verb, "conflict", "{line}");
            *object = Some(new);
        }
        Err(Refused::Conflicts(found)) => {
            let found: Vec<String> =
                found.iter().map(|c| format!("{} {}", c.owner.replace('"', ""), c.field)).collect();
            assert_eq!(found.join(", "), conflicts, "{line}");
        }
        Err(Refused::Misshapen(why)) => assert_eq!(why, conflicts, "{line}"),
    }
}

/// Someone who writes.
pub(super) fn author(manager: &str, now: u64) -> Author {
    Author { manager: manager.to_owned(), api_version: "v1".to_owned(), subresource: "", now }
}

/// The outcome of an application.
pub(super) fn applied(
    of: &dyn Typing,
    live: Option<&Value>,
    who: &str,
    config: &Value,
    force: bool,
) -> Result<Value, Refused> {
    apply(&author(who, 1), of, &FieldSet::default(), live, config, force)
}

/// The outcome of any other write, which keeps the owners as it read them.
pub(super) fn updated(of: &dyn Typing, old: Option<&Value>, who: &str, wanted: &Value) -> Value {
    let mut new = wanted.clone();
    new["metadata"] = old.map_or_else(|| json!({}), |old| old["metadata"].clone());
    record(&author(who, 1), of, &FieldSet::default(), old, &mut new);
    new
}

/// The owners of an object.
pub(super) fn managed(object: &Value) -> Managed {
    Managed::stored(object["metadata"]["managedFields"].clone())
}

/// What `owner` has of an object; who only updates has the suffix `*`.
fn owned_by(object: &Value, owner: &str) -> Vec<String> {
    let (manager, operation) = match owner.strip_suffix('*') {
        Some(manager) => (manager, Operation::Update),
        None => (owner, Operation::Apply),
    };
    let entries = managed(object).entries;
    let of_owner = |entry: &&Entry| entry.manager == manager && entry.operation == operation;
    entries.iter().find(of_owner).map(|entry| entry.fields.paths()).unwrap_or_default()
}

#[test]
fn every_story_ends_as_told() {
    let of = toy::example();
    for story in stories::STORIES {
        let mut object = None;
        for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
            tell(&of, &mut object, line);
        }
    }
}

#[test]
fn an_empty_list_of_owners_ends_the_keeping_of_owners() {
    let of = toy::example();
    let one = json!({"text": "a"});
    let object = updated(&of, None, "a", &one);
    assert_eq!(owned_by(&object, "a*"), [".text"]);
    for none in [json!([]), json!([{}])] {
        let mut new = object.clone();
        new["metadata"]["managedFields"] = none;
        record(&author("a", 2), &of, &FieldSet::default(), Some(&object), &mut new);
        assert_eq!(new["metadata"], json!({}));
        let again = updated(&of, Some(&new), "b", &json!({"text": "b"}));
        assert_eq!(again["metadata"], json!({}));
        let applied = applied(&of, Some(&again), "c", &json!({"text": "b", "number": 1}), false);
        let applied = applied.unwrap();
        assert_eq!(owned_by(&applied, "before-first-apply*"), [".text"]);
        assert_eq!(owned_by(&applied, "c"), [".number", ".text"]);
    }
}

#[test]
fn owners_a_client_writes_are_read_and_nonsense_is_not() {
    let of = toy::example();
    let object = updated(&of, None, "a", &json!({"text": "a", "number": 1}));
    let write = |owners: Value| {
        let mut new = object.clone();
        new["metadata"]["managedFields"] = owners;
        record(&author("a", 2), &of, &FieldSet::default(), Some(&object), &mut new);
        new
    };
    let entry = |fields: Value| {
        json!([{"manager": "m", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
                "fieldsV1": fields}])
    };
    let keyed = entry(json!({"f:keyed": {r#"k:{ "name" : "x" }"#: {".": {}}}}));
    let given = write(keyed);
    assert_eq!(owned_by(&given, "m"), [r#".keyed[name="x"]"#]);
    assert_eq!(owned_by(&given, "a*"), [""; 0]);
    for nonsense in [
        json!("x"),
        json!([1]),
        json!([{"manager": "m"}]),
        entry(json!([])),
        entry(json!({"f:text": 1})),
        entry(json!({"text": {}})),
        entry(json!({"k:{": {}})),
        Value::Null,
    ] {
        assert_eq!(write(nonsense.clone()), object, "{nonsense}");
    }
}

#[test]
fn the_oldest_of_too_many_updaters_become_one() {
    let of = toy::example();
    let mut object = updated(&of, None, "w0", &json!({"map": {"k0": "v"}}));
    for n in 1..15 {
        let mut new = object.clone();
        new["map"][format!("k{n}")] = json!("v");
        record(&author(&format!("w{n}"), n), &of, &FieldSet::default(), Some(&object), &mut new);
        object = new;
    }
    let names: Vec<String> = managed(&object).entries.into_iter().map(|e| e.manager).collect();
    let expected: Vec<String> = ["ancient-changes".to_owned()]
        .into_iter()
        .chain((6..15).map(|n| format!("w{n}")))
        .collect();
    assert_eq!(names, expected);
    let ancient = owned_by(&object, "ancient-changes*");
    assert_eq!(ancient, [".map", ".map.k0", ".map.k1", ".map.k2", ".map.k3", ".map.k4", ".map.k5"]);
}

#[test]
fn kubectl_takes_over_what_it_applied_on_the_clients_side() {
    let of = toy::example();
    let last = json!({"apiVersion": "v1", "text": "a", "number": 1}).to_string();
    let mut object = json!({"text": "a", "number": 2, "metadata": {"annotations":
        {"kubectl.kubernetes.io/last-applied-configuration": last}}});
    record(&author("kubectl-client-side-apply", 1), &of, &FieldSet::default(), None, &mut object);
    let want = |who: &str, config: Value| applied(&of, Some(&object), who, &config, false);
    assert!(matches!(want("other", json!({"text": "b"})), Err(Refused::Conflicts(_))));
    let taken = want("kubectl", json!({"text": "b"})).unwrap();
    assert_eq!(owned_by(&taken, "kubectl"), [".text"]);
    let annotation = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";
    assert_eq!(taken.pointer(annotation).unwrap(), "{\"text\":\"b\"}\n");
    // Someone else has changed the number since.
    let Err(Refused::Conflicts(conflicts)) = want("kubectl", json!({"text": "b", "number": 3}))
    else {
        panic!("the number is not kubectl's");
    };
    assert_eq!(conflicts.iter().map(|c| c.field.as_str()).collect::<Vec<_>>(), [".number"]);
}
