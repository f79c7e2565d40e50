//! tcpdump somewhere in a lab.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::lab::Lab;

/// tcpdump that listens.
pub(crate) struct Capture(Child);

/// Where tcpdump runs.
#[derive(Clone, Copy)]
pub(crate) enum Where<'a> {
    Node(&'a str),
    Pod(&'a str),
    Router,
}

impl Capture {
    /// Starts tcpdump on `link` and returns when it listens; it ends after `count` packets or five
    /// seconds.
    pub(crate) fn start(lab: &Lab, place: Where<'_>, link: &str, count: u32, filter: &str) -> Self {
        let words = match place {
            Where::Node(name) => vec!["lab", "node", name],
            Where::Pod(name) => vec!["lab", "exec", name],
            Where::Router => vec!["lab", "router"],
        };
        let mut command = lab.seaway(&words);
        let count = count.to_string();
        command.args(["--", "timeout", "5", "tcpdump", "-Z", "root", "-n", "-l"]);
        command.args(["-i", link, "-c", &count]);
        command.args(["-T", "vxlan"].iter().filter(|_| filter == "udp port 8472"));
        let mut child = command
            .arg(filter)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start tcpdump (cargo xtask install)");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (mut line, mut said) = (String::new(), String::new());
        while !line.contains("listening on") {
            line.clear();
            let length = stderr.read_line(&mut line).expect("read what tcpdump says");
            said.push_str(&line);
            assert!(length > 0, "tcpdump ended before it listened: {said}");
        }
        Capture(child)
    }

    /// What it has seen, a line for each packet.
    pub(crate) fn lines(self) -> Vec<String> {
        let output = self.0.wait_with_output().expect("wait for tcpdump");
        let lines = String::from_utf8_lossy(&output.stdout);
        lines.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}
