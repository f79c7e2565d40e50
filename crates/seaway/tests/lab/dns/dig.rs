//! `dig` and `kdig`, and what they print.

use super::stage::{Client, Stage};
use crate::lab::success;

/// How to ask.
#[derive(Debug, Clone)]
pub(crate) struct Dig {
    program: &'static str,
    words: Vec<String>,
}

/// An answer as it is printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The rcode's name.
    pub(crate) status: String,
    /// `qr aa rd ra`.
    pub(crate) flags: Vec<String>,
    /// Whether there is an OPT record.
    pub(crate) has_opt: bool,
    /// The name in question, as it came back.
    pub(crate) name: String,
    pub(crate) answer: Vec<Record>,
    pub(crate) authority: Vec<Record>,
    pub(crate) additional: Vec<Record>,
}

/// A record as it is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) owner: String,
    pub(crate) ttl: u32,
    /// Type and value.
    pub(crate) text: String,
}

/// Most questions of one run.
const AT_ONCE: usize = 60;

impl Dig {
    /// Asks `server`.
    pub(crate) fn at(server: &str) -> Dig {
        let words = [&format!("@{server}"), "+tries=2", "+time=3"];
        Dig { program: "dig", words: words.map(str::to_owned).into() }
    }

    /// Asks `server` as Knot's tool does.
    pub(crate) fn knot(server: &str) -> Dig {
        let words = [&format!("@{server}"), "+retry=1", "+time=3", "+edns"];
        Dig { program: "kdig", words: words.map(str::to_owned).into() }
    }

    /// The same, at another port.
    pub(crate) fn port(self, port: u16) -> Dig {
        self.with("-p").with(&port.to_string())
    }

    /// The same, with one more word.
    pub(crate) fn with(mut self, word: &str) -> Dig {
        self.words.push(word.to_owned());
        self
    }

    /// Asks every question in its turn; the answers, in the same order.
    ///
    /// # Errors
    /// What it printed, when that is not an answer to each.
    pub(crate) fn ask(
        &self,
        stage: &Stage,
        client: Client,
        questions: &[(&str, &str)],
    ) -> Result<Vec<Reply>, String> {
        let mut replies = Vec::new();
        for questions in questions.chunks(AT_ONCE) {
            let mut argv = vec![self.program];
            argv.extend(self.words.iter().map(String::as_str));
            argv.extend(questions.iter().flat_map(|(name, kind)| [*name, *kind]));
            let said = success(&stage.run(client, &argv))?;
            let read = read(&said);
            if read.len() != questions.len() {
                return Err(format!("{} answers for {argv:?}: {said}", read.len()));
            }
            replies.extend(read);
        }
        Ok(replies)
    }
}

/// Every answer in what was printed.
fn read(said: &str) -> Vec<Reply> {
    let mut replies: Vec<Reply> = Vec::new();
    let mut section = "";
    for line in said.lines() {
        if line.contains("->>HEADER<<-") {
            let status = line.split("status: ").nth(1).unwrap_or_default();
            let status = status.split([',', ';']).next().unwrap_or_default();
            replies.push(Reply { status: status.to_owned(), ..Reply::default() });
            section = "";
        }
        let Some(reply) = replies.last_mut() else { continue };
        let lower = line.to_lowercase();
        if let Some(flags) = lower.strip_prefix(";; flags: ") {
            let flags = flags.split(';').next().unwrap_or_default();
            reply.flags = flags.split_whitespace().map(str::to_owned).collect();
        } else if lower.contains("edns") && lower.contains("version: 0") {
            reply.has_opt = true;
        } else if let Some(title) = line.strip_prefix(";; ").filter(|l| l.ends_with(" SECTION:")) {
            section = title.split(' ').next().unwrap_or_default();
        } else if section == "QUESTION" && line.starts_with(';') {
            let name = line.trim_start_matches([';', ' ']).split_whitespace().next();
            reply.name = name.unwrap_or_default().to_owned();
            section = "";
        } else if let Some(record) = record(line) {
            match section {
                "ANSWER" => reply.answer.push(record),
                "AUTHORITY" => reply.authority.push(record),
                "ADDITIONAL" => reply.additional.push(record),
                _ => {}
            }
        }
    }
    replies
}

/// `OWNER TTL IN TYPE VALUE`.
fn record(line: &str) -> Option<Record> {
    if line.starts_with(';') {
        return None;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let [owner, ttl, "IN", value @ ..] = &words[..] else { return None };
    Some(Record { owner: (*owner).to_owned(), ttl: ttl.parse().ok()?, text: value.join(" ") })
}
