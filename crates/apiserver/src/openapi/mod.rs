//! OpenAPI, from the schema and the table of kinds.
use http::Response;

use crate::http::Body;
use crate::refusal::Refusal;
use crate::resource::Registry;

/// The documents.
#[derive(Debug, Default)]
pub(crate) struct OpenApi;

impl OpenApi {
    /// The document at `path`, if there is one.
    pub(crate) fn answer(
        &self,
        _registry: &Registry,
        _path: &str,
        _accept: &str,
    ) -> Option<Result<Response<Body>, Refusal>> {
        None
    }
}
