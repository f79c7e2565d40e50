//! Errors as one line.

use std::error::Error;

/// `error` and its causes as one line, outermost first. A layer that repeats the one below it at
/// its end is not said twice.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        cause = inner.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("put route")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn every_layer_is_said_once() {
        assert_eq!(chain(&Outer(std::io::Error::other("no room"))), "put route: no room");
    }
}
