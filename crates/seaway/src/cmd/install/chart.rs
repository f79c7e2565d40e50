//! The same manifest as a Helm chart: the same template, with Helm's own expressions where values belong.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::keys::{self, DNS};
use super::manifest::{INSTALL, NARROWED, PLACES, key};

/// Writes to a text, which does not fail.
macro_rules! line {
    ($text:expr, $($arg:tt)*) => {
        writeln!($text, $($arg)*).expect("writing to a String does not fail")
    };
}

/// The files of the chart, each with its path.
pub(super) fn files() -> Vec<(&'static str, String)> {
    vec![
        ("Chart.yaml", chart()),
        ("values.yaml", values()),
        ("values.schema.json", schema()),
        ("templates/_text.tpl", TEXT.to_owned()),
        ("templates/seaway.yaml", template()),
    ]
}

/// A value as one text: what is a list has commas between.
const TEXT: &str = r#"{{- define "seaway.text" -}}
{{- if kindIs "slice" . }}{{ join "," . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}
"#;

fn chart() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "# Written by `cargo xtask deploy`.\n\
         apiVersion: v2\n\
         name: seaway\n\
         description: The whole network of a Kubernetes cluster\n\
         type: application\n\
         version: {version}\n\
         appVersion: \"{version}\"\n\
         kubeVersion: \">=1.25.0-0\"\n"
    )
}

fn values() -> String {
    let mut text = "# Written by `cargo xtask deploy`. What is empty is as the agent has it by itself; nothing is required.\n"
        .to_owned();
    for key in keys::all() {
        let default = match key.default.as_str() {
            "" => String::new(),
            default => format!(" Default: {default}."),
        };
        line!(text, "\n# {}.{default}\n{}: \"\"", key.about.trim_end_matches('.'), key.name);
    }
    text
}

fn schema() -> String {
    let mut properties = Map::new();
    // Charts that have this one inside of them give it their own.
    properties.insert("global".to_owned(), json!({ "type": "object" }));
    for key in keys::all() {
        let types = json!(["string", "number", "boolean", "array", "null"]);
        properties.insert(key.name.clone(), json!({ "description": key.about, "type": types }));
    }
    let schema = json!({
        "$schema": "https://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": false,
        "properties": Value::Object(properties),
    });
    format!("{schema:#}\n")
}

fn template() -> String {
    let with =
        |name: &str, then: &str| format!("{{{{- with .Values.{name} }}}}{then}{{{{- end }}}}");
    let mut variables = "data:".to_owned();
    let mut digest = String::new();
    for key in keys::all() {
        let Some(variable) = key.variable() else { continue };
        let name = &key.name;
        let one = format!("\n  {variable}: {{{{ include \"seaway.text\" . | quote }}}}\n");
        variables.push_str(&format!("\n{}", with(name, &one)));
        digest.push_str(&with(name, &format!("{name}={{{{ include \"seaway.text\" . }}}} ")));
    }
    let has = "{{- if .Capabilities.APIVersions.Has \"admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy\" }}\n";
    let text = INSTALL
        .replace(NARROWED[0], has)
        .replace(NARROWED[1], "{{- end }}\n")
        .replace("@made@", "Written by `cargo xtask deploy`.")
        .replace("@version@", "{{ .Chart.AppVersion }}")
        .replace("@settings@", &variables)
        .replace("@dns@", &format!("data:\n  dns.yaml: {{{{ .Values.{DNS} | quote }}}}"))
        .replace(
            "@digest@",
            &digest.replace("{{- end }}", "{{ end }}").replace("{{- with", "{{ with"),
        );
    PLACES.into_iter().fold(text, |text, name| {
        let value = format!("{{{{ .Values.{name} | default {:?} }}}}", key(name).default);
        text.replace(&format!("@{name}@"), &value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_every_key_and_takes_no_other() {
        let (values, schema, template) = (values(), schema(), template());
        let read = model::forwarding::flat_yaml(&values).unwrap();
        let names: Vec<&str> = read.iter().map(|(name, _)| name.as_str()).collect();
        let keys: Vec<&str> = keys::all().iter().map(|key| key.name.as_str()).collect();
        assert_eq!(names, keys);
        assert!(read.iter().all(|(_, values)| *values == [""]), "{values}");
        let schema: Value = serde_json::from_str(&schema).unwrap();
        assert_eq!(schema["additionalProperties"], false);
        for name in keys {
            assert!(schema["properties"][name].is_object(), "{name}");
            assert!(template.contains(&format!(".Values.{name} ")), "{name}");
        }
        assert!(!template.contains('@'), "{template}");
    }
}
