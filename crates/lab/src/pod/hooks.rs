//! Lifecycle hooks: what a manifest asks for right after a container has started and before it is
//! stopped.
//!
//! Source: kubelet `lifecycle/handlers.go`; Pod API `lifecycle`.

use std::time::Duration;

use k8s_openapi::api::core::v1::LifecycleHandler;

use super::probe::{Get, Outcome, Target, get};

/// Longest an HTTP hook may take; the container's grace period cuts it short. Kubelet sets no limit.
const LONGEST: Duration = Duration::from_secs(3600);

/// Runs `hook` to its end.
///
/// # Errors
/// Why it failed, as the container's status tells it.
pub(super) async fn run(hook: &LifecycleHandler, target: &Target, of: &str) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let argv = exec.command.clone().unwrap_or_default();
        let failed = |why: String| {
            format!("Exec lifecycle hook ({argv:?}) for Container {of} failed - {why}")
        };
        let with = (&target.children, target.program.as_path());
        let said = target.inside.run(with, argv.clone(), None).await;
        let said = said.map_err(|error| failed(format!("error: {error}")))?;
        return match said.status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(failed(format!("error: {status}, message: {:?}", said.text))),
            None => Err(failed("error: it was killed".to_owned())),
        };
    }
    if let Some(action) = &hook.http_get {
        let path = action.path.as_deref().unwrap_or_default();
        let failed = |why: String| {
            format!("HTTP lifecycle hook ({path}) for Container {of} failed - error: {why}")
        };
        let request = Get::of(action, target, "lifecycle").map_err(failed)?;
        // Any answer will do; what counts is that the request was made.
        return match get(request, LONGEST).await {
            Outcome::Success | Outcome::Warning(_) => Ok(()),
            Outcome::Failure(why) if why.starts_with("HTTP probe failed") => Ok(()),
            Outcome::Failure(why) | Outcome::Impossible(why) => Err(failed(why)),
        };
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("Cannot run handler: invalid handler".to_owned())
}
