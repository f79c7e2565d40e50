//! The documents agree with themselves.
use super::*;

fn references(value: &Value, found: &mut Vec<String>) {
    if let Some(name) = value["$ref"].as_str() {
        found.push(name.to_owned());
    }
    value.as_object().into_iter().flatten().for_each(|(_, inner)| references(inner, found));
    value.as_array().into_iter().flatten().for_each(|inner| references(inner, found));
}

#[test]
fn every_reference_leads_to_a_definition() {
    let registry = Registry::builtin();
    let mut documents = vec![v2(&registry)];
    for document in v3(&registry).values() {
        documents.push(serde_json::from_slice(&document.body).unwrap());
    }
    for document in documents {
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for name in found {
            assert!(document.pointer(&name[1..]).is_some(), "{name}");
        }
    }
}

#[test]
fn merge_keys_are_published() {
    let document = v2(&Registry::builtin());
    let containers =
        &document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
}

#[test]
fn every_kind_and_its_fields_explain_themselves() {
    let document = v2(&Registry::builtin());
    let mut silent = Vec::new();
    for kind in Registry::builtin().iter() {
        let name = crate::schema::definition_name(kind);
        let definition = &document["definitions"][&name];
        let fields = definition["properties"].as_object().unwrap();
        let described =
            |value: &Value| value["description"].as_str().is_some_and(|d| !d.is_empty());
        if !described(definition) {
            silent.push(name.clone());
        }
        let silent_fields = fields.iter().filter(|(_, field)| !described(field));
        silent.extend(silent_fields.map(|(field, _)| format!("{name}.{field}")));
    }
    assert_eq!(silent, Vec::<String>::new());
}
