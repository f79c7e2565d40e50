//! What is written of questions, while the settings change.

use std::path::Path;

use libtest_mimic::Trial;

use super::dig::Dig;
use super::stage::{Client, FLAGS, Stage, VIPS};
use crate::lab::{Lab, eventually, success, test};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![test("questions_are_logged_with_their_pod_as_the_document_says_at_the_time", log)]
}

/// Everything that was logged on node-1.
fn logged(stage: &Stage) -> String {
    let mut command = stage.lab.seaway(&["lab", "logs"]);
    success(&command.arg("node-1").output().expect("start seaway lab logs")).expect("logs")
}

fn ask(stage: &Stage, client: Client, name: &str, transport: &str) {
    let replies = Dig::at(VIPS[0]).with(transport).ask(stage, client, &[(name, "A")]);
    replies.unwrap_or_else(|e| panic!("{client:?} asks for {name}: {e}"));
}

/// Waits until a line has all of `words`.
fn is_told(stage: &Stage, words: &[&str]) {
    eventually(&format!("a line with {words:?}"), || {
        let text = logged(stage);
        let has_all = |line: &str| words.iter().all(|word| line.contains(word));
        if text.lines().any(has_all) { Ok(()) } else { Err(text) }
    });
}

fn log() {
    let mut lab = Lab::new();
    let file = manifests::write(&lab.dir().with_extension("dns"), "log: all\n");
    let up = lab.try_up(&[&FLAGS[..], &["--dns-settings", &file]].concat());
    success(&up).expect("lab up");
    let stage = Stage::on(lab);
    ask(&stage, Client::Pod("shell-1"), "web.ns1.svc.cluster.local", "+notcp");
    let zones = ["\"A IN web.ns1.svc.cluster.local. udp ", "NOERROR qr,aa,rd,ra "];
    is_told(&stage, &[&zones[..], &["s pod=default/shell-1 plugin=kubernetes"]].concat());
    ask(&stage, Client::Pod("shell-1"), "nobody.example.org", "+tcp");
    let others = ["\"A IN nobody.example.org. tcp ", "NXDOMAIN qr,", "pod=default/shell-1"];
    is_told(&stage, &[&others[..], &["plugin=forward"]].concat());
    ask(&stage, Client::Host("node-1"), "db.ns1.svc.cluster.local", "+notcp");
    is_told(&stage, &["\"A IN db.ns1.svc.cluster.local. udp ", "s plugin=kubernetes"]);
    // The agent goes on with what the document says now, and answers meanwhile.
    std::fs::write(Path::new(&file), "log: off\n").expect("write the document");
    is_told(&stage, &["is another one; DNS goes by it"]);
    ask(&stage, Client::Pod("shell-1"), "quiet.ns1.svc.cluster.local", "+notcp");
    std::fs::write(Path::new(&file), "log: all\n").expect("write the document");
    eventually("questions are logged again", || {
        ask(&stage, Client::Pod("shell-1"), "loud.ns1.svc.cluster.local", "+notcp");
        let text = logged(&stage);
        if text.contains("loud.ns1") { Ok(()) } else { Err(text) }
    });
    assert!(!logged(&stage).contains("quiet.ns1"), "{}", logged(&stage));
}
