//! Large answers are compressed for clients that take that: lists, above all.
//!
//! Source: k8s.io/apiserver `endpoints/handlers/responsewriters/writers.go`.
use std::convert::Infallible;
use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, VARY};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;

use super::Body;
use super::request::header;
use super::respond::Finite;

/// What is no larger than this goes as it is, in bytes.
const SMALL: usize = 128 * 1024;

/// Whether a client takes compressed answers.
pub(super) fn is_taken(headers: &HeaderMap) -> bool {
    header(headers, ACCEPT_ENCODING).split(',').any(|encoding| encoding.trim() == "gzip")
}

/// The answer, compressed if it is large. Watches and logs go as they are.
pub(super) fn large(mut response: Response<Body>) -> Response<Body> {
    match response.extensions_mut().remove() {
        Some(Finite::Whole(whole)) if whole.len() > SMALL => {
            let piece = stream::iter([Ok::<_, Infallible>(Frame::data(whole))]);
            *response.body_mut() = gzip(StreamBody::new(piece).boxed_unsync());
        }
        Some(Finite::Pieces) => {
            let pieces = std::mem::replace(response.body_mut(), Empty::new().boxed_unsync());
            *response.body_mut() = gzip(pieces);
        }
        Some(Finite::Whole(_)) | None => return response,
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// A body, compressed as it is written.
fn gzip(body: Body) -> Body {
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let frames = stream::unfold((body, Some(encoder)), |(mut body, encoder)| async move {
        let mut encoder: GzEncoder<Vec<u8>> = encoder?;
        while let Some(Ok(frame)) = body.frame().await {
            let piece = frame.into_data().unwrap_or_default();
            // Memory takes all that is written to it.
            drop(encoder.write_all(&piece));
            let out = std::mem::take(encoder.get_mut());
            if !out.is_empty() {
                return Some((Ok(Frame::data(Bytes::from(out))), (body, Some(encoder))));
            }
        }
        let rest = encoder.finish().unwrap_or_default();
        Some((Ok(Frame::data(Bytes::from(rest))), (body, None)))
    });
    StreamBody::new(frames).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use futures_util::FutureExt;
    use http::StatusCode;

    use super::*;
    use crate::http::respond;

    #[test]
    fn large_answers_are_compressed_and_small_ones_left_alone() {
        for (length, is_compressed) in [(SMALL, false), (SMALL + 1, true)] {
            let text = "x".repeat(length);
            let answer = large(respond::bytes(StatusCode::OK, "a/b", text.clone().into()));
            assert_eq!(answer.headers().contains_key(CONTENT_ENCODING), is_compressed);
            let body = answer.into_body().collect().now_or_never().unwrap().unwrap().to_bytes();
            let mut read = String::new();
            match is_compressed {
                true => flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut read).unwrap(),
                false => (&body[..]).read_to_string(&mut read).unwrap(),
            };
            assert_eq!(read, text);
        }
    }

    #[test]
    fn clients_say_whether_they_take_it() {
        let cases = [("gzip", true), ("deflate, gzip", true), ("", false), ("gzip;q=0", false)];
        for (text, taken) in cases {
            let headers = [(ACCEPT_ENCODING, HeaderValue::from_static(text))];
            assert_eq!(is_taken(&headers.into_iter().collect()), taken, "{text}");
        }
    }
}
