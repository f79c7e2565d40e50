//! What images stand for in a lab, which can't pull any: local commands.
//!
//! Two are part of this binary: `seaway/echo` answers over HTTP, TCP and UDP with who asked, and
//! `seaway/shell` is a place to run commands in. Others are mapped by whoever starts the lab, and
//! an image whose container has a `command` needs no mapping: the command is run as it is.

pub mod echo;
pub mod shell;

use std::collections::BTreeMap;

use crate::pod::Program;

/// Images by name, each with the words of its command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images(BTreeMap<String, Vec<String>>);

/// Names of the images that are part of this binary, and the roles they run.
const BUILT_IN: [(&str, &str); 2] = [(echo::IMAGE, echo::ROLE), (shell::IMAGE, shell::ROLE)];

/// A mapping that isn't one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("image mapping {text:?}: {why}; say NAME=COMMAND, like web=\"python3 -m http.server 80\"")]
pub struct BadMapping {
    text: String,
    why: &'static str,
}

/// An image that this lab doesn't know, in a container without a command.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a lab can't pull images and does not know {image:?}. It knows {known}. Give the container a \
     command (of this machine), or map the image: seaway lab up --image {short}=COMMAND"
)]
pub struct Unknown {
    image: String,
    short: String,
    known: String,
}

impl Default for Images {
    fn default() -> Self {
        Self(BUILT_IN.iter().map(|(image, _)| ((*image).to_owned(), Vec::new())).collect())
    }
}

impl Images {
    /// Adds `NAME=COMMAND`. The command is split at blanks, except between quotes; its first word
    /// may be the name of a built-in image. A name without a tag stands for every tag.
    ///
    /// # Errors
    /// If the text has not that form.
    pub fn map(&mut self, text: &str) -> Result<(), BadMapping> {
        let bad = |why| BadMapping { text: text.to_owned(), why };
        let (name, command) = text.split_once('=').ok_or_else(|| bad("there is no ="))?;
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(bad("that is no image name"));
        }
        let words = words(command).ok_or_else(|| bad("a quote is not closed"))?;
        if words.is_empty() {
            return Err(bad("there is no command"));
        }
        self.0.insert(name.to_owned(), words);
        Ok(())
    }

    /// Adds every line of a file of mappings; empty lines and those that start with `#` count as
    /// nothing.
    ///
    /// # Errors
    /// The first line that is no mapping.
    pub fn map_lines(&mut self, text: &str) -> Result<(), BadMapping> {
        let lines = text.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .try_for_each(|l| self.map(l))
    }

    /// The names of all images, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What a container of `image` executes: its own `command` and `args`, or the image's command
    /// with its `args`.
    ///
    /// # Errors
    /// If it has no command and the image is not known.
    pub fn program(
        &self,
        image: &str,
        command: &[String],
        args: &[String],
    ) -> Result<Program, Unknown> {
        let with_args = |words: &[String]| words.iter().chain(args).cloned().collect();
        if !command.is_empty() {
            return Ok(Program::Command(with_args(command)));
        }
        let (name, words) = self.find(image).ok_or_else(|| self.unknown(image))?;
        if let Some(role) = role(name).filter(|_| words.is_empty()) {
            return Ok(Program::Role(with_args(&[role])));
        }
        match words.split_first() {
            Some((first, rest)) if role(first).is_some() => {
                let mut all = vec![role(first).unwrap_or_default()];
                all.extend_from_slice(rest);
                Ok(Program::Role(with_args(&all)))
            }
            _ => Ok(Program::Command(with_args(words))),
        }
    }

    /// The mapping for `image`: as it is, else without its digest or tag, else without the
    /// registry that is meant when none is named.
    fn find(&self, image: &str) -> Option<(&String, &Vec<String>)> {
        let bare = without_tag(image);
        let local = ["docker.io/library/", "docker.io/", "localhost/"];
        let local = local.iter().find_map(|prefix| bare.strip_prefix(prefix));
        [Some(image), Some(bare), local].into_iter().flatten().find_map(|n| self.0.get_key_value(n))
    }

    fn unknown(&self, image: &str) -> Unknown {
        let known: Vec<_> = self.names().collect();
        let short = without_tag(image).to_owned();
        Unknown { image: image.to_owned(), short, known: known.join(", ") }
    }
}

fn role(image: &str) -> Option<String> {
    BUILT_IN.iter().find(|(name, _)| *name == image).map(|(_, role)| (*role).to_owned())
}

fn without_tag(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    match image.rsplit_once(':') {
        // A colon before a slash belongs to a registry's port.
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

/// The words of a command; `None` if a quote is left open.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in text.chars() {
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => word.get_or_insert_default().push(letter),
            None if letter == '"' || letter == '\'' => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            None if letter.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(image: &str, command: &[&str], args: &[&str]) -> String {
        let mut images = Images::default();
        images
            .map_lines("# ours\nweb=python3 -m \"http server\"\n\nnginx=seaway/echo --http 80\n")
            .unwrap();
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        match images.program(image, &own(command), &own(args)) {
            Ok(Program::Command(words)) => words.join("|"),
            Ok(Program::Role(words)) => format!("role {}", words.join("|")),
            Err(unknown) => unknown.to_string(),
        }
    }

    #[test]
    fn the_image_and_the_manifest_decide_what_runs() {
        let cases: [(&str, &[&str], &[&str], &str); 9] = [
            ("seaway/echo", &[], &[], "role seaway-echo"),
            ("seaway/echo:v1", &[], &["--http", "80"], "role seaway-echo|--http|80"),
            ("seaway/echo", &["sleep"], &["9"], "sleep|9"),
            ("web", &[], &["80"], "python3|-m|http server|80"),
            ("docker.io/library/web:1", &[], &[], "python3|-m|http server"),
            ("nginx:1.27", &[], &["-x"], "role seaway-echo|--http|80|-x"),
            ("nginx@sha256:00", &[], &[], "role seaway-echo|--http|80"),
            ("whatever", &["ls"], &[], "ls"),
            (
                "r.io:5000/a:1",
                &[],
                &["x"],
                "a lab can't pull images and does not know \"r.io:5000/a:1\". It knows nginx, \
                 seaway/echo, seaway/shell, web. Give the container a command (of this machine), \
                 or map the image: seaway lab up --image r.io:5000/a=COMMAND",
            ),
        ];
        for (image, command, args, expected) in cases {
            assert_eq!(program(image, command, args), expected);
        }
    }

    #[test]
    fn a_mapping_that_is_none_says_why() {
        for (text, why) in [
            ("web", "there is no ="),
            ("=x", "that is no image name"),
            ("a b=x", "that is no image name"),
            ("web=", "there is no command"),
            ("web= ", "there is no command"),
            ("web='x", "a quote is not closed"),
        ] {
            assert_eq!(Images::default().map(text).unwrap_err().why, why, "{text}");
        }
    }
}
