//! The bill of materials: what is in an image, for whoever looks for known flaws and for licenses.
//!
//! Source: CycloneDX 1.5 (ECMA-424 is its successor), JSON; package URLs as in ECMA-427. It has no serial number
//! and no time, which are optional: the same materials give the same bill.

use serde_json::{Value, json};

use super::oci::hex;
use super::parts::{Id, Part, Parts};

/// The bill for `program`, called `name`, which is made of `parts`, and of `data` that is beside it.
pub(crate) fn bill(name: &str, program: &[u8], parts: &Parts, data: &Parts) -> String {
    let main = parts.iter().find(|((part, _), _)| part == name);
    let main = main.map(|(id, part)| component("application", id, part));
    let mut main = main.unwrap_or_else(|| json!({ "type": "application", "name": name }));
    main["hashes"] = json!([{ "alg": "SHA-256", "content": hex(program) }]);
    let libraries = parts.iter().filter(|((part, _), _)| part != name);
    let libraries = libraries.map(|(id, part)| component("library", id, part));
    let data_parts = data.iter().map(|(id, part)| component("data", id, part));
    let uses = parts.iter().map(|(id, part)| {
        let uses: Vec<String> = part.uses.iter().map(reference).collect();
        json!({ "ref": reference(id), "dependsOn": uses })
    });
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": main },
        "components": libraries.chain(data_parts).collect::<Vec<Value>>(),
        "dependencies": uses.collect::<Vec<Value>>(),
    });
    format!("{bill:#}\n")
}

fn component(kind: &str, id: &Id, part: &Part) -> Value {
    let (name, version) = id;
    let mut component = json!({
        "type": kind,
        "bom-ref": reference(id),
        "name": name,
        "version": version,
        "licenses": [{ "expression": part.license }],
    });
    if let Some(purl) = &part.purl {
        component["purl"] = json!(purl);
    }
    if let Some(sum) = &part.sum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
    }
    component
}

/// What a component is called inside of the bill.
fn reference((name, version): &Id) -> String {
    format!("{name}@{version}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_bill_names_the_program_and_each_part_once() {
        let id = |name: &str| (name.to_owned(), "1.0.0".to_owned());
        let part = |uses: &[&str]| Part {
            license: "MIT OR Apache-2.0".to_owned(),
            purl: (!uses.is_empty()).then(|| "pkg:cargo/a@1.0.0".to_owned()),
            sum: uses.is_empty().then(|| "12".to_owned()),
            texts: Vec::new(),
            uses: uses.iter().map(|name| id(name)).collect::<BTreeSet<_>>(),
        };
        let parts = Parts::from([
            (id("tool"), part(&["a"])),
            (id("a"), part(&["b"])),
            (id("b"), part(&[])),
        ]);
        let text = bill("tool", b"program", &parts, &Parts::from([(id("roots"), part(&[]))]));
        let bill: Value = serde_json::from_str(&text).unwrap();
        let main = &bill["metadata"]["component"];
        assert_eq!((&main["name"], &main["type"]), (&json!("tool"), &json!("application")));
        assert_eq!(main["hashes"][0]["content"], hex(b"program").as_str());
        let told = |index: usize| {
            let component = &bill["components"][index];
            ["name", "type", "purl"].map(|field| component[field].as_str().unwrap_or("-"))
        };
        assert_eq!(told(0), ["a", "library", "pkg:cargo/a@1.0.0"]);
        assert_eq!(told(1), ["b", "library", "-"]);
        assert_eq!(told(2), ["roots", "data", "-"]);
        assert_eq!(bill["components"][1]["hashes"], json!([{ "alg": "SHA-256", "content": "12" }]));
        let expected = json!([
            { "ref": "a@1.0.0", "dependsOn": ["b@1.0.0"] },
            { "ref": "b@1.0.0", "dependsOn": [] },
            { "ref": "tool@1.0.0", "dependsOn": ["a@1.0.0"] },
        ]);
        assert_eq!(bill["dependencies"], expected);
    }
}
