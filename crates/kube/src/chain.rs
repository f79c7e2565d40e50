//! Errors of the API server, in one line.

use std::error::Error;

use kube_rs::core::Status;
use kube_rs::runtime::watcher;

/// What the client gives as the reason of a refusal that is plain text, like that of an unknown path.
const PLAIN: &str = "Failed to parse error data";

/// `error` and what caused it, in one line. As [`model::chain`], but a refusal of the API server is said in
/// its own words and once: two layers around it repeat it, with every field of the answer.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let (mut line, mut next) = (String::new(), Some(error));
    while let Some(layer) = next {
        let text = refusal(layer).unwrap_or_else(|| layer.to_string());
        if !repeats_a_refusal(layer) && !line.ends_with(&text) {
            line = if line.is_empty() { text } else { format!("{line}: {text}") };
        }
        next = layer.source();
    }
    line
}

/// The words of a refusal that is plain text.
fn refusal(layer: &(dyn Error + 'static)) -> Option<String> {
    let boxed = layer.downcast_ref::<Box<Status>>().map(AsRef::as_ref);
    let status = layer.downcast_ref::<Status>().or(boxed)?;
    (status.reason == PLAIN).then(|| status.message.trim_end().to_owned())
}

fn repeats_a_refusal(layer: &(dyn Error + 'static)) -> bool {
    let boxed = layer.downcast_ref::<Box<kube_rs::Error>>().map(AsRef::as_ref);
    match layer.downcast_ref::<kube_rs::Error>().or(boxed) {
        Some(error) => matches!(error, kube_rs::Error::Api(_)),
        None => layer.is::<watcher::Error>() && layer.source().is_some_and(repeats_a_refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConditionError;

    fn refused() -> kube_rs::Error {
        let status = Status::failure("nodes \"a\" not found", "NotFound").with_code(404);
        kube_rs::Error::Api(Box::new(status))
    }

    #[test]
    fn a_refusal_is_said_once_and_without_the_answers_fields() {
        let told = ConditionError {
            kind: crate::NETWORK_PRESSURE,
            node: "a".into(),
            cause: Box::new(refused()),
        };
        let said = "nodes \"a\" not found: NotFound";
        assert_eq!(chain(&told), format!("tell the condition NetworkPressure of Node a: {said}"));
        assert_eq!(chain(&watcher::Error::InitialListFailed(refused())), said);
    }

    #[test]
    fn a_refusal_that_is_plain_text_is_that_text() {
        let status = Status::failure("404 page not found\n", PLAIN).with_code(404);
        let refused = kube_rs::Error::Api(Box::new(status));
        assert_eq!(chain(&watcher::Error::InitialListFailed(refused)), "404 page not found");
    }

    #[test]
    fn every_other_layer_is_said() {
        let cause = kube_rs::Error::Service("connection refused".into());
        let text = chain(&watcher::Error::WatchStartFailed(cause));
        assert!(text.ends_with("connection refused"), "{text}");
    }
}
