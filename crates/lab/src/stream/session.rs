//! Opens a session with a client in the protocol it asks for.

use http::Request;
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::client::{self, Client, Wanted};
use super::{Answer, channels, remote, spdy};

/// The answer to a request for the streams that are `wanted`, and the session that follows, in which
/// `work` is done for the client.
///
/// # Errors
/// The client speaks nothing that is known here.
pub(super) fn open<W>(
    mut request: Request<Incoming>,
    wanted: Wanted,
    work: impl FnOnce(Client) -> W + Send + 'static,
) -> Answer
where
    W: Future<Output = ()> + Send,
{
    let upgraded = hyper::upgrade::on(&mut request);
    if channels::is_asked_for(request.headers()) {
        let (response, protocol) = channels::accept(request.headers(), &channels::PROTOCOLS)?;
        let protocol = *protocol;
        let session = async move {
            // Fails only if the client has gone before it began.
            let Ok(upgraded) = upgraded.await else { return };
            let (client, wire) = client::session(wanted, protocol.form);
            let socket = channels::socket(upgraded).await;
            tokio::join!(channels::carry(socket, protocol, wire), work(client));
        };
        return Ok((response, Some(Box::pin(session))));
    }
    let (response, protocol) = spdy::accept(request.headers(), &remote::PROTOCOLS)?;
    let session = async move {
        let Ok(upgraded) = upgraded.await else { return };
        let (client, wire) = client::session(wanted, remote::form(protocol));
        let (begin, begun) = oneshot::channel();
        let work = async {
            if begun.await.is_ok() {
                work(client).await;
            }
        };
        tokio::join!(remote::carry(upgraded, protocol, wanted, wire, begin), work);
    };
    Ok((response, Some(Box::pin(session))))
}
