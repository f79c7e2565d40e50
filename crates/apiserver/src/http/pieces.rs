//! Lists, written piece by piece: what a client has not taken yet is not written yet.
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::Value;

use super::respond::{self, Body, Finite, Form};
use crate::resource::Resource;
use crate::store::Object;

/// About how many bytes are written at once.
pub(super) const PIECE: usize = 64 * 1024;

/// A list that is being written.
struct Pieces {
    form: Form,
    resource: Arc<Resource>,
    objects: std::vec::IntoIter<Arc<Object>>,
    /// What stands before the first object.
    opening: Vec<u8>,
    is_first: bool,
    over: bool,
}

/// A list of objects in `form`, with the metadata of a list.
pub(super) fn answer(
    form: Form,
    resource: &Arc<Resource>,
    objects: Vec<Arc<Object>>,
    metadata: &Value,
) -> Response<Body> {
    let mut pieces = Pieces {
        form,
        resource: resource.clone(),
        objects: objects.into_iter(),
        opening: form.opening(resource, metadata).into_bytes(),
        is_first: true,
        over: false,
    };
    let first = pieces.next().unwrap_or_default();
    if pieces.over {
        return respond::bytes(StatusCode::OK, "application/json", first);
    }
    let frames =
        std::iter::once(first).chain(pieces).map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    let mut response = respond::bytes(StatusCode::OK, "application/json", Bytes::new());
    *response.body_mut() = StreamBody::new(stream::iter(frames)).boxed_unsync();
    response.extensions_mut().insert(Finite::Pieces);
    response
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let mut out = std::mem::take(&mut self.opening);
        while out.len() < PIECE {
            let Some(object) = self.objects.next() else {
                out.extend_from_slice(b"]}\n");
                self.over = true;
                break;
            };
            if !std::mem::take(&mut self.is_first) {
                out.push(b',');
            }
            out.extend_from_slice(&self.form.item(&self.resource, &object));
        }
        Some(out.into())
    }
}
