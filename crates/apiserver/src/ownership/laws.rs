//! Laws of ownership, for any objects and any writers.
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::cover;
use super::tests::{applied, managed, toy, updated};
use super::typing::Typing;

fn text() -> impl Strategy<Value = Value> {
    prop::sample::select(vec!["x", "y", "z"]).prop_map(Value::from)
}

/// Values without repetition.
fn set() -> impl Strategy<Value = Value> {
    prop::sample::subsequence(vec!["x", "y", "z"], 1..=3).prop_shuffle().prop_map(Value::from)
}

fn map(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::btree_map(prop::sample::select(vec!["p", "q"]), value, 1..=2)
        .prop_map(|map| json!(map))
}

fn item() -> impl Strategy<Value = Map<String, Value>> {
    let nested = map(text()).prop_map(|map| {
        json!({"a": map.get("p").cloned().unwrap_or(json!("n")), "b": map.get("q").cloned().unwrap_or(json!("n"))})
    });
    let value = prop::option::of(prop::sample::select(vec![json!(1), json!("one")]));
    (value, prop::option::of(nested), prop::option::of(set())).prop_map(|(value, nested, names)| {
        let fields = [("value", value), ("nested", nested), ("names", names)];
        let given = fields.into_iter().filter_map(|(name, v)| v.map(|v| (name.to_owned(), v)));
        given.collect()
    })
}

fn keyed() -> impl Strategy<Value = Value> {
    let items =
        prop::collection::btree_map(prop::sample::select(vec!["i", "j", "k"]), item(), 1..=3);
    items.prop_map(|items| {
        let named = |(name, mut item): (&str, Map<String, Value>)| {
            item.insert("name".to_owned(), json!(name));
            Value::Object(item)
        };
        Value::Array(items.into_iter().map(named).collect())
    })
}

/// A configuration of the example type; some of its fields.
fn config() -> impl Strategy<Value = Value> {
    let fields = (
        prop::option::of(text()),
        prop::option::of(set()),
        prop::option::of(keyed()),
        prop::option::of(prop::collection::vec(text(), 1..3).prop_map(Value::from)),
        prop::option::of(map(text())),
        prop::option::of(item().prop_map(Value::Object)),
        prop::option::of(map(map(text()))),
    );
    fields.prop_map(|(text, set, keyed, list, map, inner, any)| {
        let names = ["text", "set", "keyed", "list", "map", "struct", "any"];
        let fields = names.into_iter().zip([text, set, keyed, list, map, inner, any]);
        Value::Object(fields.filter_map(|(n, v)| v.map(|v| (n.to_owned(), v))).collect())
    })
}

fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    object.as_object_mut().unwrap().remove("metadata");
    object
}

/// An object some have written, each in turn: `(who, what, by applying)`.
fn history(of: &dyn Typing, writes: &[(&str, Value, bool)]) -> Option<Value> {
    let mut object = None;
    for (who, what, applies) in writes {
        object = Some(if *applies {
            applied(of, object.as_ref(), who, what, true).unwrap()
        } else {
            updated(of, object.as_ref(), who, what)
        });
    }
    object
}

fn writes() -> impl Strategy<Value = Vec<(&'static str, Value, bool)>> {
    let who = prop::sample::select(vec!["a", "b", "c"]);
    prop::collection::vec((who, config(), any::<bool>()), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applying_twice_is_applying_once(writes in writes(), config in config()) {
        let of = toy::example();
        let object = history(&of, &writes);
        let once = applied(&of, object.as_ref(), "me", &config, true).unwrap();
        let twice = applied(&of, Some(&once), "me", &config, false).unwrap();
        prop_assert_eq!(&once, &twice);
    }

    #[test]
    fn an_applier_owns_exactly_what_it_applied(writes in writes(), config in config()) {
        let of = toy::example();
        let object = history(&of, &writes);
        let new = applied(&of, object.as_ref(), "me", &config, true).unwrap();
        let own = managed(&new).entries.into_iter().find(|entry| entry.manager == "me");
        let expected = cover::fields(&of, &config);
        prop_assert_eq!(own.map(|own| own.fields).unwrap_or_default(), expected);
    }

    #[test]
    fn what_was_applied_to_other_fields_goes_without_a_trace(writes in writes(), config in config()) {
        let of = toy::example();
        let Some(before) = history(&of, &writes) else { return Ok(()) };
        // Where nothing is taken from anyone, all comes back.
        let Ok(with) = applied(&of, Some(&before), "me", &config, false) else { return Ok(()) };
        let after = applied(&of, Some(&with), "me", &json!({}), false).unwrap();
        for entry in managed(&before).entries {
            prop_assert!(managed(&after).entries.contains(&entry), "{:?}", entry);
        }
        prop_assert!(managed(&after).entries.iter().all(|entry| entry.manager != "me"));
    }

    #[test]
    fn everything_written_is_in_the_object(writes in writes(), config in config()) {
        let of = toy::example();
        let object = history(&of, &writes);
        let new = applied(&of, object.as_ref(), "me", &config, true).unwrap();
        let mentioned = cover::fields(&of, &config);
        let there = super::compare::compare(&of, &json!({}), &bare(&new)).added;
        prop_assert_eq!(there.intersection(&mentioned), mentioned);
        let conflict = applied(&of, Some(&new), "me", &config, false);
        prop_assert!(conflict.is_ok());
    }

    #[test]
    fn nobody_owns_what_is_not_there(writes in writes()) {
        let of = toy::example();
        let Some(object) = history(&of, &writes) else { return Ok(()) };
        let nothing = json!({});
        let there = super::compare::compare(&of, &nothing, &bare(&object)).added;
        for entry in managed(&object).entries {
            let lost = entry.fields.clone().without(&there);
            prop_assert!(lost.is_empty(), "{:?} of {}", lost.paths(), object);
        }
    }

    #[test]
    fn an_update_leaves_its_author_owner_of_all_it_changed(writes in writes(), wanted in config()) {
        let of = toy::example();
        let object = history(&of, &writes);
        // Of whom nobody owns anything, nobody comes to own anything by an update.
        prop_assume!(object.as_ref().is_none_or(|object| !managed(object).is_empty()));
        let new = updated(&of, object.as_ref(), "me", &wanted);
        let before = object.as_ref().map_or_else(|| json!({}), bare);
        let changed = super::compare::compare(&of, &before, &wanted).changed();
        let mut own = super::FieldSet::default();
        for entry in managed(&new).entries {
            if entry.manager == "me" {
                own = entry.fields.intersection(&changed);
            } else {
                prop_assert!(entry.fields.intersection(&changed).is_empty());
            }
        }
        prop_assert_eq!(own, changed);
    }
}
