//! The notation of the schema texts.
//!
//! The texts are part of the program: what is wrong in one is a defect, found by the test that
//! reads them all.
use std::collections::BTreeMap;

use serde_json::Value;

use super::{Catalog, Field, Merge, Struct, Type};

/// Packages in which a type name is looked up, after its own.
const OUTER: [&str; 2] = ["io.k8s.api.core.v1", "io.k8s.apimachinery.pkg.apis.meta.v1"];

/// Reads all texts into one catalog and resolves the names in it.
///
/// # Panics
/// On a line that can't be read or a name that nothing bears.
pub(super) fn catalog(texts: &[&str]) -> Catalog {
    let mut catalog = Catalog::default();
    for text in texts {
        read(text, &mut catalog.structs);
    }
    expand(&mut catalog.structs);
    let names: Vec<String> = catalog.structs.keys().cloned().collect();
    for (owner, of) in &mut catalog.structs {
        let package = owner.rsplit_once('.').map_or("", |(package, _)| package);
        for field in of.fields.values_mut() {
            resolve(&mut field.of, package, &names);
        }
    }
    catalog
}

fn read(text: &str, structs: &mut BTreeMap<String, Struct>) {
    let (mut package, mut owner) = (String::new(), String::new());
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("").trim_end();
        if let Some(name) = line.strip_prefix("package ") {
            name.clone_into(&mut package);
        } else if line.starts_with(' ') {
            let (name, field) = field(line);
            structs.entry(owner.clone()).or_default().fields.insert(name, field);
        } else if !line.is_empty() {
            let (name, atomic) = match line.strip_suffix(" atomic") {
                Some(name) => (name, true),
                None => (line, false),
            };
            owner = format!("{package}.{name}");
            structs.entry(owner.clone()).or_default().atomic = atomic;
        }
    }
}

fn field(line: &str) -> (String, Field) {
    let mut words = line.split_whitespace();
    let name = words.next().expect("an indented line names a field").to_owned();
    let of = words.next().map_or(Type::Any, of);
    let mut field = Field {
        of,
        required: false,
        listed: false,
        default: None,
        allowed: Vec::new(),
        retain: false,
        replace: false,
        atomic: false,
        wire: Vec::new(),
        pointer: false,
    };
    while let Some(word) = words.next() {
        match word {
            "!" => field.required = true,
            "?" => field.pointer = true,
            "*" => field.listed = true,
            "retain" => field.retain = true,
            "atomic" => field.atomic = true,
            "merge" => match words.next().expect("merge names its keys") {
                "set" => merge(&mut field, Merge::Set),
                keys => merge(&mut field, Merge::keys(keys)),
            },
            "set" => {
                field.replace = true;
                merge(&mut field, Merge::Set);
            }
            "map" => {
                field.replace = true;
                merge(&mut field, Merge::keys(words.next().expect("map names its keys")));
            }
            "=" => {
                let text = words.next().expect("a default follows =");
                let value = serde_json::from_str(text);
                field.default = Some(value.unwrap_or_else(|_| Value::String(text.to_owned())));
            }
            "in" => field.allowed = words.by_ref().map(str::to_owned).collect(),
            number if number.starts_with('@') => {
                let path = number[1..].split('.').map(|part| part.parse().expect("a number"));
                field.wire = path.collect();
            }
            other => panic!("schema: {other:?} in {line:?} says nothing"),
        }
    }
    (name, field)
}

fn merge(field: &mut Field, how: Merge) {
    let Type::List(_, merge) = &mut field.of else { panic!("schema: only lists have merge keys") };
    *merge = how;
}

impl Merge {
    fn keys(words: &str) -> Self {
        Self::Keys(words.split(',').map(str::to_owned).collect())
    }
}

fn of(word: &str) -> Type {
    let inside = |open: char, close: char| {
        word.strip_prefix(open).and_then(|rest| rest.strip_suffix(close)).map(of)
    };
    if let Some(item) = inside('[', ']') {
        return Type::List(Box::new(item), Merge::Atomic);
    }
    if let Some(value) = inside('{', '}') {
        return Type::Map(Box::new(value));
    }
    if let Some(inner) = word.strip_suffix("|bool") {
        return Type::OrBoolean(Box::new(of(inner)));
    }
    match word {
        "any" => Type::Any,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "time" => Type::Time,
        "microtime" => Type::MicroTime,
        "quantity" => Type::Quantity,
        "int" => Type::Integer,
        "long" => Type::Long,
        "number" => Type::Number,
        "bool" => Type::Boolean,
        "intorstring" => Type::IntOrString,
        name => Type::Named(name.to_owned()),
    }
}

/// Replaces `...F` by the fields of `F`.
fn expand(structs: &mut BTreeMap<String, Struct>) {
    let all = structs.clone();
    for (owner, of) in structs.iter_mut() {
        let package = owner.rsplit_once('.').map_or("", |(package, _)| package);
        let included: Vec<String> =
            of.fields.keys().filter(|name| name.starts_with("...")).cloned().collect();
        for name in included {
            let prefix = of.fields.remove(&name).map(|field| field.wire).unwrap_or_default();
            let source = find(&name[3..], package, |full| all.contains_key(full));
            for (name, mut field) in all[&source].fields.clone() {
                field.wire.splice(0..0, prefix.clone());
                of.fields.insert(name, field);
            }
        }
    }
}

fn resolve(of: &mut Type, package: &str, names: &[String]) {
    if let Type::Map(inner) | Type::List(inner, _) | Type::OrBoolean(inner) = of {
        resolve(inner, package, names);
    } else if let Type::Named(name) = of {
        *name = find(name, package, |full| names.iter().any(|known| known == full));
    }
}

fn find(name: &str, package: &str, known: impl Fn(&str) -> bool) -> String {
    let candidates = [package].into_iter().chain(OUTER).map(|package| format!("{package}.{name}"));
    let mut found = candidates.filter(|full| known(full));
    found.next().unwrap_or_else(|| panic!("schema: nothing is called {name}"))
}
