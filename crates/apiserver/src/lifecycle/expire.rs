//! Events are forgotten an hour after they were last told.
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::Api;
use crate::time;

/// How often events are looked through.
pub(super) const EVERY: Duration = Duration::from_secs(60);

/// How long an event lasts, in seconds.
///
/// Source: kube-apiserver `--event-ttl`.
const LIFE: u64 = 3600;

/// Removes the events that nobody has told of for [`LIFE`].
pub(super) fn events(api: &Api) {
    let events = api.builtin("", "events");
    let now = time::now();
    for (key, event) in api.store.newest(&events.shelf, None) {
        if told(&event.value).is_some_and(|told| told.saturating_add(LIFE) < now) {
            let only = json!({"preconditions": {"uid": event.metadata("uid"),
                "resourceVersion": event.metadata("resourceVersion")}});
            // An event that was told again in between has another hour.
            drop(api.delete_object(&events, &key, &only));
        }
    }
}

/// When an event was last told, in seconds since 1970; none if it does not say.
fn told(event: &Value) -> Option<u64> {
    let times = [
        &event["metadata"]["creationTimestamp"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["series"]["lastObservedTime"],
    ];
    times.into_iter().filter_map(|time| time::parse_rfc3339(time.as_str()?)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_as_old_as_what_it_says_last() {
        let at = |seconds: u64| json!(time::rfc3339(seconds));
        let cases = [
            (json!({"metadata": {"creationTimestamp": at(100)}}), Some(100)),
            (
                json!({"metadata": {"creationTimestamp": at(100)}, "lastTimestamp": at(300)}),
                Some(300),
            ),
            (
                json!({"metadata": {"creationTimestamp": at(100)}, "eventTime": at(90),
                "series": {"lastObservedTime": at(400)}}),
                Some(400),
            ),
            (json!({"lastTimestamp": "long ago"}), None),
        ];
        for (event, expected) in cases {
            assert_eq!(told(&event), expected, "{event}");
        }
    }
}
