//! The stories; `*` behind a name: as an updater.
pub(super) const STORIES: &[&str] = &[
    // One applier, one field.
    r#"apply a {"text": "x"}
       = {"text": "x"}
       a: .text
       apply a {"text": "y"}
       = {"text": "y"}
       a: .text"#,
    // What one wants no more goes; what others want stays.
    r#"apply a {"text": "x", "number": 1}
       apply b {"text": "x", "flag": true}
       apply a {"number": 2}
       = {"text": "x", "number": 2, "flag": true}
       a: .number
       b: .flag .text
       apply b {"flag": true}
       = {"number": 2, "flag": true}"#,
    // Conflicts name their owner; force takes.
    r#"apply a {"text": "x", "number": 1}
       conflict b {"text": "y", "number": 1} => a .text
       force b {"text": "y", "number": 1}
       a: .number
       b: .number .text
       = {"text": "y", "number": 1}"#,
    // Wanting the same is no conflict.
    r#"apply a {"text": "x"}
       apply b {"text": "x"}
       a: .text
       b: .text
       conflict a {"text": "y"} => b .text
       force a {"text": "y"}
       b: "#,
    // An updater takes without asking, and an applier conflicts with it.
    r#"apply a {"text": "x", "number": 1}
       update u {"text": "y", "number": 1}
       a: .number
       u*: .text
       conflict a {"text": "x", "number": 1} => u using v1 .text
       force a {"text": "x", "number": 1}
       u*:
       = {"text": "x", "number": 1}"#,
    // What an updater removes, nobody owns.
    r#"apply a {"text": "x", "map": {"p": "1", "q": "2"}}
       update u {"map": {"p": "1"}}
       a: .map.p
       u*:
       = {"map": {"p": "1"}}"#,
    // What an updater has added stays when an applier goes.
    r#"apply a {"map": {"p": "1"}}
       update u {"map": {"p": "1", "q": "2"}}
       apply a {}
       = {"map": {"q": "2"}}
       u*: .map.q"#,
    // Sets: values are owned one by one.
    r#"apply a {"set": ["x", "y"]}
       a: .set[="x"] .set[="y"]
       apply b {"set": ["z", "y"]}
       = {"set": ["x", "z", "y"]}
       apply a {"set": ["x"]}
       = {"set": ["x", "z", "y"]}
       apply b {"set": ["z"]}
       = {"set": ["x", "z"]}"#,
    // Keyed lists: items and their fields are owned one by one.
    r#"apply a {"keyed": [{"name": "x", "value": 1}]}
       a: .keyed[name="x"] .keyed[name="x"].name .keyed[name="x"].value
       apply b {"keyed": [{"name": "y", "value": 2}]}
       = {"keyed": [{"name": "x", "value": 1}, {"name": "y", "value": 2}]}
       conflict b {"keyed": [{"name": "x", "value": 3}]} => a .keyed[name="x"].value
       apply b {"keyed": [{"name": "x"}]}
       = {"keyed": [{"name": "x", "value": 1}]}
       apply a {}
       = {"keyed": [{"name": "x"}]}
       apply b {}
       = {}"#,
    // The applier's order counts among the items it names.
    r#"apply a {"keyed": [{"name": "x"}, {"name": "y"}, {"name": "z"}]}
       apply b {"keyed": [{"name": "z"}, {"name": "x"}]}
       = {"keyed": [{"name": "y"}, {"name": "z"}, {"name": "x"}]}
       apply a {"keyed": [{"name": "x"}, {"name": "y"}, {"name": "z"}]}
       = {"keyed": [{"name": "x"}, {"name": "y"}, {"name": "z"}]}"#,
    // A default stands for a key that is left out.
    r#"apply a {"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]}
       a: .ports[port=53,protocol="TCP"] .ports[port=53,protocol="UDP"] .ports[port=53,protocol="TCP"].port .ports[port=53,protocol="UDP"].port .ports[port=53,protocol="UDP"].protocol
       apply a {"ports": [{"port": 53, "protocol": "UDP"}]}
       = {"ports": [{"port": 53, "protocol": "UDP"}]}"#,
    // Atomic lists, maps and structs have one owner.
    r#"apply a {"list": ["x"], "whole": {"p": "1"}, "pair": {"x": "1"}}
       a: .list .pair .whole
       conflict b {"list": ["x", "y"]} => a .list
       conflict b {"whole": {"q": "1"}} => a .whole
       conflict b {"pair": {"x": "1", "y": "1"}} => a .pair
       force b {"list": ["y"], "whole": {"q": "1"}, "pair": {"y": "1"}}
       = {"list": ["y"], "whole": {"q": "1"}, "pair": {"y": "1"}}
       a: "#,
    // A struct's fields go one by one, and the struct stays while anyone has some of it.
    r#"apply a {"struct": {"name": "n", "nested": {"a": "1"}}}
       apply b {"struct": {"nested": {"b": "2"}}}
       apply a {}
       = {"struct": {"nested": {"b": "2"}}}
       apply b {}
       = {}"#,
    // Nested entries of maps.
    r#"apply a {"structs": {"p": {"value": 1, "names": ["x"]}}}
       a: .structs.p .structs.p.value .structs.p.names[="x"]
       apply b {"structs": {"p": {"names": ["y"]}, "q": {}}}
       apply a {"structs": {"p": {"value": 1}}}
       = {"structs": {"p": {"value": 1, "names": ["y"]}, "q": {}}}
       b: .structs.p .structs.q .structs.p.names[="y"]"#,
    // What no schema describes: objects by field, the rest as a whole.
    r#"apply a {"any": {"p": {"q": 1}, "l": [1, 2]}}
       a: .any.l .any.p .any.p.q
       apply b {"any": {"p": {"r": 1}}}
       conflict b {"any": {"l": [1]}} => a .any.l
       apply a {"any": {"p": {}}}
       = {"any": {"p": {"r": 1}}}"#,
    // Null says that a field is to have no value.
    r#"apply a {"text": "x"}
       apply a {"text": null}
       a: .text
       = {"text": null}"#,
    // Empty and missing are two things.
    r#"apply a {"list": [], "map": {}, "set": []}
       = {"list": [], "map": {}, "set": []}
       a: .list .map
       apply a {}
       = {"set": []}"#,
    // Values an updater has written twice: nobody's fault, and one thing together.
    r#"update u {"set": ["x", "x", "y"]}
       u*: .set .set[="x"] .set[="y"]
       apply a {"set": ["z"]}
       = {"set": ["x", "x", "y", "z"]}
       conflict a {"set": ["x", "z"]} => u using v1 .set[="x"]
       force a {"set": ["x", "z"]}
       = {"set": ["x", "y", "z"]}"#,
    // An applier may not name an item twice, nor leave its keys out.
    r#"conflict a {"set": ["x", "x"]} => .set: duplicate entries for key [="x"]
       conflict a {"keyed": [{"value": 1}]} => .keyed: element 0: associative list with keys has an element that omits all key fields ["name"] (and doesn't have default values for any key fields)
       conflict a {"keyed": [1]} => .keyed: element 0: associative list with keys may not have non-map elements"#,
    // What is not of its type is not applied.
    r#"conflict a {"other": 1} => .other: field not declared in schema
       conflict a {"text": 1} => .text: expected string, got &value.valueUnstructured{Value:1}
       conflict a {"number": "x"} => .number: expected numeric (int or float), got string
       conflict a {"flag": "x"} => .flag: expected boolean, got "x"
       conflict a {"struct": [1]} => .struct: expected map, got [1]
       conflict a {"keyed": {"name": "x"}} => .keyed: expected list, got map[name:"x"]
       conflict a {"keyed": [{"name": "x", "foo": 1}]} => .keyed[name="x"].foo: field not declared in schema"#,
    // An applier that has let go of all is forgotten, and an updater that applies is another owner.
    r#"update a {"text": "x"}
       apply a {"text": "x"}
       a*: .text
       a: .text
       apply a {}
       = {"text": "x"}
       a: "#,
];
