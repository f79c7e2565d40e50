//! Reading: one object, or a list of them.
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::page::Page;
use super::request::Call;
use super::{Answer, Api, pieces, respond};
use crate::refusal::{Cause, Refusal};
use crate::store::{Compacted, Key, Object, Part};

/// Which state a list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    /// The newest.
    Now,
    /// The state at one version.
    Version(u64),
    /// What is left of a list that began at a version, or at none if it is too old for that.
    Rest(Page),
}

impl Api {
    /// One object.
    pub(super) fn get(&self, call: &Call, name: &str) -> Answer {
        self.reached(version_of(call)?)?;
        let object = self.existing(call, name)?;
        let body = call.form.object(&call.target.resource, &object);
        Ok(respond::bytes(StatusCode::OK, "application/json", body))
    }

    /// The object the call is about.
    ///
    /// # Errors
    /// The refusal if there is none.
    pub(super) fn existing(&self, call: &Call, name: &str) -> Result<Arc<Object>, Refusal> {
        let resource = &call.target.resource;
        let object = self.store.settled(&resource.shelf, &Key::new(&call.target.namespace, name));
        object.ok_or_else(|| Refusal::not_found(resource, name))
    }

    /// A list, or a page of one.
    pub(super) fn list(&self, call: &Call) -> Answer {
        let resource = &call.target.resource;
        let selector = call.selector()?;
        let limit = call.number::<i64>("limit")?;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
        let at = self.list_at(call, limit.is_some())?;
        let namespace = Some(call.target.namespace.as_str()).filter(|name| !name.is_empty());
        let (version, from) = match &at {
            At::Now => (None, None),
            At::Version(version) => (Some(*version), None),
            At::Rest(page) => (page.version, Some(&page.from)),
        };
        let only = |object: &Object| selector.matches(&object.value);
        let only: Option<&dyn Fn(&Object) -> bool> =
            if selector.is_empty() { None } else { Some(&only) };
        let part =
            self.store.part(&resource.shelf, namespace, version, &Part { from, only, limit });
        let (snapshot, left) = part.map_err(|_| at.too_old())?;
        let mut metadata = json!({"resourceVersion": snapshot.version.to_string()});
        if left > 0 {
            // Kubernetes counts what is left only where no selector has to be asked.
            if selector.is_empty() {
                metadata["remainingItemCount"] = json!(left);
            }
            let page = snapshot.objects.last().map(|(key, _)| Page::after(snapshot.version, key));
            metadata["continue"] = json!(page.map(|page| page.write()));
        }
        let objects = snapshot.objects.into_iter().map(|(_, object)| object).collect();
        Ok(pieces::answer(call.form, resource, objects, &metadata))
    }

    /// Which state a list shows. Where any state will do, or one that is not older than some
    /// version, it is the newest.
    ///
    /// Source: Kubernetes API concepts, "Semantics for get and list";
    /// k8s.io/apiserver `storage.ValidateListOptions`.
    fn list_at(&self, call: &Call, limited: bool) -> Result<At, Refusal> {
        check_list_options(call)?;
        let asked = version_of(call)?.unwrap_or(0);
        if let Some(token) = call.query("continue").filter(|token| !token.is_empty()) {
            let page = Page::read(token)?;
            if asked > 0 {
                return Err(Refusal::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            return Ok(At::Rest(page));
        }
        self.reached(Some(asked))?;
        let exact = match call.query("resourceVersionMatch").unwrap_or("") {
            "" => limited,
            matching => matching == "Exact",
        };
        Ok(if exact && asked > 0 { At::Version(asked) } else { At::Now })
    }

    /// Refuses what asks for a version that is still to come.
    pub(super) fn reached(&self, asked: Option<u64>) -> Result<(), Refusal> {
        let current = self.store.version();
        match asked {
            Some(asked) if asked > current => Err(Refusal::too_large_version(asked, current)),
            Some(_) | None => Ok(()),
        }
    }
}

impl At {
    /// The refusal of a state that is forgotten.
    ///
    /// Source: k8s.io/apiserver `storage/etcd3/errors.go`.
    fn too_old(&self) -> Refusal {
        match self {
            Self::Now | Self::Version(_) => {
                Refusal::expired("The resourceVersion for the provided list is too old.")
            }
            Self::Rest(page) => Refusal::expired(
                "The provided continue parameter is too old to display a consistent list result. \
                 You can start a new list without the continue parameter, or use the continue \
                 token in this response to retrieve the remainder of the results. Continuing with \
                 the provided token results in an inconsistent list - objects that were created, \
                 modified, or deleted between the time the first chunk was returned and now may \
                 show up in the list.",
            )
            .with_continue(&page.inconsistent().write()),
        }
    }
}

/// Refuses options of a list that contradict each other.
///
/// Source: k8s.io/apimachinery `internalversion/validation.ValidateListOptions`.
pub(super) fn check_list_options(call: &Call) -> Result<(), Refusal> {
    let given = |key: &str| call.query(key).filter(|value| !value.is_empty());
    let mut causes = Vec::new();
    if let Some(matching) = given("resourceVersionMatch") {
        let field = "resourceVersionMatch";
        if given("resourceVersion").is_none() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            causes.push(Cause::forbidden(field, why));
        }
        if given("continue").is_some() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            causes.push(Cause::forbidden(field, why));
        }
        if matching != "Exact" && matching != "NotOlderThan" {
            let known = ["Exact", "NotOlderThan", ""];
            causes.push(Cause::not_supported(field, &json!(matching), &known));
        }
        if matching == "Exact" && given("resourceVersion") == Some("0") {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            causes.push(Cause::forbidden(field, why));
        }
    }
    if given("sendInitialEvents").is_some() {
        let why = "sendInitialEvents is forbidden for list";
        causes.push(Cause::forbidden("sendInitialEvents", why));
    }
    Refusal::unless_empty("ListOptions", &causes)
}

/// Refuses options of a watch that contradict each other.
///
/// Source: as [`check_list_options`], `validateWatchOptions`.
pub(super) fn check_watch_options(call: &Call) -> Result<(), Refusal> {
    const NOT_OLDER: &str = "NotOlderThan";
    let given = |key: &str| call.query(key).filter(|value| !value.is_empty());
    let (matching, initial) = (given("resourceVersionMatch"), given("sendInitialEvents"));
    let field = "resourceVersionMatch";
    let mut causes = Vec::new();
    if initial.is_some() && matching != Some(NOT_OLDER) {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        causes.push(Cause::forbidden(field, why));
    }
    if let Some(matching) = matching {
        if initial.is_none() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is \
                       provided";
            causes.push(Cause::forbidden(field, why));
        }
        if matching != NOT_OLDER {
            causes.push(Cause::not_supported(field, &json!(matching), &[NOT_OLDER]));
        }
        if given("continue").is_some() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            causes.push(Cause::forbidden(field, why));
        }
    }
    Refusal::unless_empty("ListOptions", &causes)
}

/// The `resourceVersion` of the query.
///
/// # Errors
/// The refusal of what is not a number.
pub(super) fn version_of(call: &Call) -> Result<Option<u64>, Refusal> {
    let Some(text) = call.query("resourceVersion").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        let why = Cause::invalid("resourceVersion", &Value::from(text), "must be a number");
        Refusal::bad_request(format!("invalid resource version: {}", why.line()))
    })
}

/// The refusal that makes clients of a watch list again.
pub(super) fn expired(compacted: Compacted) -> Refusal {
    let Compacted { asked, oldest } = compacted;
    Refusal::expired(format!("too old resource version: {asked} ({oldest})"))
}
