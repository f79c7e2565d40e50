//! Clients that say half of what they want, say it slowly, or go away.
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body_util::StreamBody;
use hyper::body::Frame;
use seaway_apiserver::{Options, Server};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::{PATIENCE, ask, get, read};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A request to create a map whose body is `frames`.
fn upload<S>(server: &Server, frames: S) -> Request<StreamBody<S>> {
    let token = format!("Bearer {}", server.token());
    let request = Request::post(MAPS).header("content-type", "application/json");
    request.header("authorization", token).body(StreamBody::new(frames)).unwrap()
}

fn frame(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

#[tokio::test]
async fn a_body_that_does_not_end_is_given_up() {
    let patience = Some(Duration::from_millis(50));
    let server = Server::new(Options { patience, ..Options::default() }).unwrap();
    let drops = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Some((Ok::<_, Infallible>(frame(" ")), ()))
    });
    let answer = read(server.answer(upload(&server, Box::pin(drops))).await);
    assert_eq!(answer.code, 504);
    let status: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(status["reason"], "Timeout");
}

#[tokio::test]
async fn a_body_that_breaks_off_creates_nothing() {
    let server = Server::new(Options::default()).unwrap();
    let whole = "{\"metadata\":{\"name\":\"half\"}}";
    let frames = stream::iter([Ok(frame(whole)), Err(std::io::Error::other("gone"))]);
    let answer = read(server.answer(upload(&server, frames)).await);
    assert_eq!(answer.code, 400, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(ask(&server, get(&server, &format!("{MAPS}/half"))).await.code, 404);
}

#[tokio::test]
async fn bodies_under_way_are_bounded_together_and_room_returns() {
    let server = Arc::new(Server::new(Options::default()).unwrap());
    let mut waiting = tokio::task::JoinSet::new();
    // None says how long it is: each could become as long as the limit, 3 MiB.
    for _ in 0..85 {
        let server = server.clone();
        waiting.spawn(async move {
            let never = stream::pending::<Result<Frame<Bytes>, Infallible>>();
            read(server.answer(upload(&server, never)).await).code
        });
    }
    let one_more = || upload(&server, stream::iter([Ok::<_, Infallible>(frame("{}"))]));
    let mut tries = 0;
    while read(server.answer(one_more()).await).code != 429 {
        tries += 1;
        assert!(tries < 1000, "there is room without an end");
        tokio::task::yield_now().await;
    }
    // Who needs no body, and who says how short it is, is answered.
    assert_eq!(ask(&server, get(&server, MAPS)).await.code, 200);
    waiting.shutdown().await;
    assert_eq!(read(server.answer(one_more()).await).code, 422);
}

/// A server on loopback that ends with the test's runtime; its address, and what a client trusts.
async fn listening() -> (String, Arc<Server>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = Server::new(Options { listeners: vec![listener], ..Options::default() }).unwrap();
    let server = Arc::new(server);
    let running = server.clone();
    tokio::spawn(async move { running.run(std::future::pending()).await });
    (address, server)
}

/// A connection to the server inside of TLS, as `protocol`.
async fn connect(address: &str, server: &Server, protocol: &str) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.ca_pem().as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// Says `bytes`, and if they are all that it `ends` with hangs up; what the server says until it
/// closes.
async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8], ends: bool) -> String {
    // Who is not understood may be cut off in the middle.
    drop(stream.write_all(bytes).await);
    if ends {
        drop(stream.shutdown().await);
    }
    let mut said = Vec::new();
    drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.unwrap());
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn who_is_no_client_is_let_go_and_the_server_stays() {
    let (address, server) = listening().await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00", b"", &[0xff; 4096]] {
        say(TcpStream::connect(&address).await.unwrap(), bytes, true).await;
    }
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(1 << 20));
    let auth = format!("host: a\r\nauthorization: Bearer {}\r\n", server.token());
    let post = format!("POST {MAPS} HTTP/1.1\r\n{auth}content-type: application/json\r\n");
    let cases = [
        ("half a head", "GET / HTT".to_owned(), ""),
        ("no HTTP", "\0\u{1}\r\n\r\n".to_owned(), "400"),
        ("too many headers", many, "431"),
        ("too long a path", long, "4"),
        ("a path that is none", format!("GET \\ HTTP/1.1\r\n{auth}\r\n"), "4"),
        (
            "a whole URL",
            format!("GET http://a{MAPS} HTTP/1.1\r\n{auth}connection: close\r\n\r\n"),
            "200",
        ),
        ("two lengths", format!("{post}content-length: 1\r\ncontent-length: 2\r\n\r\n{{}}"), "400"),
        ("half a body", format!("{post}content-length: 100\r\n\r\n{{"), ""),
        ("a broken chunk", format!("{post}transfer-encoding: chunked\r\n\r\nzz\r\n"), "400"),
        ("half a chunk", format!("{post}transfer-encoding: chunked\r\n\r\n5\r\n{{"), ""),
        (
            "a length and chunks",
            format!("{post}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
            "4",
        ),
        ("too much", format!("{post}content-length: 4000000\r\n\r\n"), "413"),
    ];
    for (claim, text, code) in cases {
        let stream = connect(&address, &server, "http/1.1").await;
        let said = say(stream, text.as_bytes(), code.is_empty()).await;
        let found = said.strip_prefix("HTTP/1.1 ").unwrap_or("");
        assert!(found.starts_with(code), "{claim}: {said}");
    }
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        say(connect(&address, &server, "h2").await, bytes, true).await;
    }
    let stays = ask(&server, get(&server, MAPS)).await;
    let maps: Value = serde_json::from_slice(&stays.body).unwrap();
    assert_eq!(maps["items"].as_array().map(Vec::len), Some(1), "{maps}");
}

/// A thousand connections that begin a request and never end it: others are answered.
#[tokio::test]
async fn a_thousand_half_requests_keep_nobody_waiting() {
    let (address, server) = listening().await;
    let mut held = Vec::new();
    for _ in 0..1000 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"\x16\x03\x01").await.unwrap();
        held.push(stream);
    }
    let request = format!(
        "GET {MAPS} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
        server.token()
    );
    let said = say(connect(&address, &server, "http/1.1").await, request.as_bytes(), false).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}
