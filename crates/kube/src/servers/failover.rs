//! Connections to whichever API server answers.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper_util::client::legacy::connect::Connection;
use tower::{BoxError, Service, ServiceExt};

use super::{Server, Servers};

/// How long an address may be silent before the next one is tried beside it.
const BETWEEN: Duration = Duration::from_secs(1);

/// Makes connections to the first of some addresses that answers, wherever a request wants to go.
#[derive(Debug, Clone)]
pub(crate) struct Failover<F> {
    servers: Servers,
    /// What makes a connection to one of them.
    connector: F,
}

/// Nobody answers.
#[derive(Debug, thiserror::Error)]
struct Silence(Vec<String>);

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no address of an API server is known; say --api-server");
        }
        write!(f, "no API server answers: {}", self.0.join("; "))
    }
}

impl<F> Failover<F> {
    pub(crate) fn new(servers: Servers, connector: F) -> Self {
        Failover { servers, connector }
    }
}

impl<F, C, U> Service<U> for Failover<F>
where
    F: Fn(Server) -> Result<(C, U), BoxError> + Clone + Send + Sync + 'static,
    C: Service<U> + Send + 'static,
    C::Response: Connection + Send,
    C::Error: Into<BoxError>,
    C::Future: Send,
    U: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: U) -> Self::Future {
        let (servers, connector) = (self.servers.clone(), self.connector.clone());
        Box::pin(async move {
            let attempts = servers.all().into_iter().map(|server| {
                let made = connector(server.clone());
                async move {
                    let (connector, url) = made.map_err(|error| (server.clone(), error))?;
                    match connector.oneshot(url).await {
                        Ok(connection) => Ok((server, connection)),
                        Err(error) => Err((server, error.into())),
                    }
                }
            });
            let (server, connection) = first(attempts, BETWEEN).await?;
            servers.answered(server);
            Ok(connection)
        })
    }
}

/// The first success: attempts begin one after the other, each when the one before has failed or all have
/// been silent for so long.
async fn first<A, T>(
    mut attempts: impl ExactSizeIterator<Item = A>,
    between: Duration,
) -> Result<T, Silence>
where
    A: Future<Output = Result<T, (Server, BoxError)>>,
{
    let mut going = FuturesUnordered::new();
    let mut failures = Vec::new();
    loop {
        going.extend(attempts.next());
        tokio::select! {
            ended = going.next() => match ended {
                Some(Ok(success)) => return Ok(success),
                Some(Err((server, error))) => {
                    failures.push(format!("{}: {}", server.url, model::chain(&*error)));
                }
                None => return Err(Silence(failures)),
            },
            () = tokio::time::sleep(between), if attempts.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = Result<&'static str, (Server, BoxError)>;

    /// What an attempt comes to.
    #[derive(Clone, Copy)]
    enum Comes {
        To(&'static str),
        Refused(&'static str),
        /// Never.
        Silent,
    }

    async fn attempt(comes: Comes) -> Answer {
        let server = Servers::new(vec!["https://a".parse().unwrap()], None, vec![], None);
        match comes {
            Comes::To(answer) => Ok(answer),
            Comes::Refused(why) => Err((server.all()[0].clone(), why.into())),
            Comes::Silent => std::future::pending().await,
        }
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_fails_and_beside_one_that_is_silent() {
        use Comes::{Refused, Silent, To};
        let cases: [(&[Comes], _); 6] = [
            (&[To("a"), To("b")], Ok("a")),
            (&[Refused("x"), To("b")], Ok("b")),
            (&[Silent, To("b")], Ok("b")),
            (&[Silent, Refused("x"), Silent, To("d")], Ok("d")),
            (&[Refused("x"), Refused("y")], Err("https://a: x; https://a: y")),
            (&[], Err("say --api-server")),
        ];
        for (attempts, expect) in cases {
            let attempts = attempts.iter().map(|comes| attempt(*comes));
            match (first(attempts, Duration::from_millis(1)).await, expect) {
                (Ok(got), Ok(expect)) => assert_eq!(got, expect),
                (Err(got), Err(expect)) => assert!(got.to_string().contains(expect), "{got}"),
                (got, expect) => panic!("{got:?} instead of {expect:?}"),
            }
        }
    }
}
