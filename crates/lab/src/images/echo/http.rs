//! The HTTP/1.1 side of `seaway/echo`: as much of a server as it takes to say who asks, and to
//! survive whoever asks wrongly.
//!
//! Source: RFC 9112.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use super::Me;

/// Longest head of a request, in bytes.
const LONGEST_HEAD: u64 = 32 * 1024;
/// Longest body that is read to keep the connection, in bytes.
const LONGEST_BODY: u64 = 1024 * 1024;

/// A request as far as the answer depends on it.
#[derive(Debug, Default, PartialEq)]
struct Head {
    method: String,
    target: String,
    is_old: bool,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

/// Answers requests until the client has no more, closes, or asks for something wrong.
pub(super) fn serve(
    stream: TcpStream,
    client: SocketAddr,
    server: SocketAddr,
    me: &Me,
) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(4096, stream);
    loop {
        let head = match read_head(&mut reader)? {
            None => return Ok(()),
            Some(Ok(head)) => head,
            Some(Err(status)) => {
                let text = format!("{status}\n");
                return writer.write_all(&reply(status, "text/plain", &text, false, true));
            }
        };
        let Some(body) = head.body() else {
            let status = "411 Length Required";
            return writer.write_all(&reply(status, "text/plain", "411\n", false, true));
        };
        if head.header("expect").is_some() && body > 0 {
            writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let closes = head.closes() || body > LONGEST_BODY || me.leaves.load(Ordering::SeqCst);
        if !closes {
            io::copy(&mut reader.by_ref().take(body), &mut io::sink())?;
        }
        let (kind, text) = answer(&head, client, server, me);
        writer.write_all(&reply("200 OK", kind, &text, head.method == "HEAD", closes))?;
        if closes {
            return Ok(());
        }
    }
}

impl Head {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The length of the body; `None` if it can't be known without decoding it.
    fn body(&self) -> Option<u64> {
        match (self.header("transfer-encoding"), self.header("content-length")) {
            (Some(_), _) => None,
            (None, None) => Some(0),
            (None, Some(length)) => length.parse().ok(),
        }
    }

    fn closes(&self) -> bool {
        let connection = self.header("connection").unwrap_or_default().to_ascii_lowercase();
        let says = |word| connection.split(',').any(|said| said.trim() == word);
        says("close") || (self.is_old && !says("keep-alive"))
    }

    /// Whether the client would rather have JSON.
    fn wants_json(&self) -> bool {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        match query.split('&').find_map(|pair| pair.strip_prefix("format=")) {
            Some(format) => format == "json",
            None => self.header("accept").is_some_and(|accept| accept.contains("application/json")),
        }
    }
}

/// Reads one head: `None` at the end, `Err` with the status for one that is none.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Result<Head, &'static str>>> {
    let mut limited = reader.take(LONGEST_HEAD);
    let mut line = Vec::new();
    // Empty lines before a request are to be ignored (RFC 9112 §2.2).
    loop {
        line.clear();
        if limited.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if !line.trim_ascii().is_empty() {
            break;
        }
    }
    let first = String::from_utf8_lossy(&line).into_owned();
    let mut words = first.split_whitespace();
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Ok(Some(Err("400 Bad Request")));
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Ok(Some(Err("505 HTTP Version Not Supported")));
    }
    let (method, target) = (method.to_owned(), target.to_owned());
    let mut head = Head { method, target, is_old: version == "HTTP/1.0", headers: Vec::new() };
    loop {
        line.clear();
        if limited.read_until(b'\n', &mut line)? == 0 || !line.ends_with(b"\n") {
            let is_long = limited.limit() == 0;
            let status =
                if is_long { "431 Request Header Fields Too Large" } else { "400 Bad Request" };
            return Ok(Some(Err(status)));
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            return Ok(Some(Ok(head)));
        }
        let Some((name, value)) = text.split_once(':') else {
            return Ok(Some(Err("400 Bad Request")));
        };
        head.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn answer(head: &Head, client: SocketAddr, server: SocketAddr, me: &Me) -> (&'static str, String) {
    let path = head.target.split_once('?').map_or(head.target.as_str(), |(path, _)| path);
    if head.wants_json() {
        let headers: Map<String, Value> =
            head.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let answer = json!({
            "client": client.ip().to_string(), "clientPort": client.port(),
            "server": server.ip().to_string(), "serverPort": server.port(),
            "host": me.host, "pod": me.pod, "namespace": me.namespace, "node": me.node,
            "method": head.method, "path": path, "target": head.target, "headers": headers,
        });
        return ("application/json", format!("{answer}\n"));
    }
    let mut text = format!(
        "client: {client}\nserver: {server}\nhost: {}\n{} {}\n",
        me.host, head.method, head.target
    );
    for (name, value) in [("pod", &me.pod), ("namespace", &me.namespace), ("node", &me.node)] {
        if let Some(value) = value {
            writeln!(text, "{name}: {value}").expect("writing to a String can't fail");
        }
    }
    for (name, value) in &head.headers {
        writeln!(text, "{name}: {value}").expect("writing to a String can't fail");
    }
    ("text/plain; charset=utf-8", text)
}

fn reply(status: &str, kind: &str, text: &str, only_head: bool, closes: bool) -> Vec<u8> {
    let connection = if closes { "close" } else { "keep-alive" };
    let length = text.len();
    let text = if only_head { "" } else { text };
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
         connection: {connection}\r\n\r\n{text}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What the server says to `request` and then to the end of it.
    fn ask(request: &[u8]) -> String {
        let me = Me { host: "web-0".to_owned(), ..Me::default() };
        ask_of(&me, request)
    }

    fn ask_of(me: &Me, request: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let request = request.to_owned();
        let writer = client.try_clone().unwrap();
        let writing = std::thread::spawn(move || {
            let mut writer = writer;
            // The server may close before it has read everything.
            drop(writer.write_all(&request));
            drop(writer.shutdown(std::net::Shutdown::Write));
        });
        let addr: SocketAddr = "192.0.2.1:1234".parse().unwrap();
        drop(serve(stream, addr, "10.0.0.1:80".parse().unwrap(), me));
        let mut text = Vec::new();
        drop(client.read_to_end(&mut text));
        writing.join().unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    #[test]
    fn an_answer_names_the_client_the_host_and_the_request() {
        let text = ask(b"GET /a?b HTTP/1.1\r\nHost: x\r\nX-Y:  z \r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        let body = text.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(
            body,
            "client: 192.0.2.1:1234\nserver: 10.0.0.1:80\nhost: web-0\nGET /a?b\nhost: x\nx-y: z\n"
        );
    }

    #[test]
    fn json_comes_by_accept_or_by_query() {
        for request in [
            "GET /p HTTP/1.1\r\nAccept: application/json\r\n\r\n",
            "GET /p?format=json HTTP/1.1\r\n\r\n",
        ] {
            let text = ask(request.as_bytes());
            let body: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
            assert_eq!((&body["client"], &body["path"]), (&json!("192.0.2.1"), &json!("/p")));
        }
        let text = ask(b"GET /?format=text HTTP/1.1\r\nAccept: application/json\r\n\r\n");
        assert!(text.contains("client: 192.0.2.1:1234"), "{text}");
    }

    #[test]
    fn a_connection_serves_one_request_after_the_other() {
        let text = ask(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\n\r\n");
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
        let text = ask(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 1, "{text}");
        let text = ask(b"GET / HTTP/1.0\r\n\r\nGET /2 HTTP/1.0\r\n\r\n");
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 1, "{text}");
    }

    #[test]
    fn who_leaves_answers_once_more_and_says_that_it_closes() {
        let me = Me { leaves: true.into(), ..Me::default() };
        let text = ask_of(&me, b"GET / HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 1, "{text}");
        assert!(text.contains("connection: close"), "{text}");
    }

    #[test]
    fn what_is_no_request_gets_a_status_and_an_end() {
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(40_000));
        let cases: [(&[u8], &str); 7] = [
            (b"", ""),
            (b"\r\n\r\n", ""),
            (b"hello\r\n\r\n", "400 Bad Request"),
            (b"GET / HTTP/2\r\n\r\n", "505 HTTP Version Not Supported"),
            (b"\xff\xfe\x00 \x01 HTTP/1.1\r\nno colon\r\n\r\n", "400 Bad Request"),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "411 Length Required"),
            (long.as_bytes(), "431 Request Header Fields Too Large"),
        ];
        for (request, status) in cases {
            let text = ask(request);
            let said = text.strip_prefix("HTTP/1.1 ").and_then(|text| text.lines().next());
            assert_eq!(said.unwrap_or_default(), status, "{}", String::from_utf8_lossy(request));
        }
    }

    #[test]
    fn a_head_request_gets_the_length_and_no_body() {
        let text = ask(b"HEAD / HTTP/1.1\r\n\r\n");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("content-length: 0") && body.is_empty(), "{text}");
    }
}
