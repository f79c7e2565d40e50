//! The table of docs/kubectl.md says what the commands below it show.

use super::files::Tree;
use crate::clients::Kubectl;
use crate::examples;

/// The page, whose commands `cargo xtask examples kubectl` runs.
const PAGE: &str = "docs/kubectl.md";

/// Findings in the page.
pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let Some(text) = tree.text(PAGE) else { return vec![format!("no {PAGE}")] };
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let findings = rows.iter().flat_map(|row| {
        Kubectl::ALL.iter().zip(&row[1..]).filter_map(|(kubectl, says)| {
            let command = row[0].trim_matches('`');
            let shown = shown(text, *kubectl, command);
            (*says != shown).then(|| {
                let kubectl = kubectl.name();
                format!("{PAGE}: `{command}` with the {kubectl}: the table says {says}, the page shows {shown}")
            })
        })
    });
    findings.collect()
}

/// What the commands of the page show of `kubectl command`. One that fails as expected starts with `!`.
fn shown(text: &str, kubectl: Kubectl, command: &str) -> &'static str {
    let steps = examples::commands(text, kubectl);
    let calls = |line: &str| {
        line.split("kubectl ").skip(1).any(|call| {
            call.strip_prefix(command).is_some_and(|rest| {
                rest.is_empty() || !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-')
            })
        })
    };
    let mut outcomes = steps
        .iter()
        .filter(|step| calls(&step.command))
        .map(|step| !step.command.starts_with("! "));
    match (outcomes.clone().any(|works| works), outcomes.next()) {
        (true, _) => "yes",
        (false, Some(_)) => "no",
        (false, None) => "–",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_works_where_it_is_shown_to() {
        let text = "```console\n$ kubectl get pods\n$ ! kubectl top nodes\n$ a | kubectl cp\n```\n\
                    ```console newest\n$ kubectl auth whoami\n```\n";
        let cases = [
            ("get", "yes", "yes"),
            ("ge", "–", "–"),
            ("top", "no", "no"),
            ("cp", "yes", "yes"),
            ("auth whoami", "–", "yes"),
        ];
        for (command, oldest, newest) in cases {
            assert_eq!(shown(text, Kubectl::Oldest, command), oldest, "{command}");
            assert_eq!(shown(text, Kubectl::Newest, command), newest, "{command}");
        }
    }
}
