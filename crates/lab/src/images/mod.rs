//! What images stand for in a lab, which can't pull any: programs of this machine, directories that
//! are a root, and archives that were loaded.
//!
//! Two are part of this binary: `seaway/echo` answers over HTTP, TCP and UDP with who asked, and
//! `seaway/shell` is a place to run commands in. Others are mapped by whoever starts the lab or
//! loaded into it; and the command of a container whose image is neither is a command of this
//! machine.

mod archive;
pub mod echo;
mod layer;
mod name;
pub mod shell;
mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::pod::Program;
use crate::pod::launch::Base;

pub use archive::{ArchiveError, Config};
pub use store::{Kept, LoadError, Store};

/// Images by name, and the store of those that were loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    mapped: BTreeMap<String, Mapped>,
    store: Option<Store>,
}

/// What a name is mapped to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mapped {
    /// The words of a command of this machine; none for an image that is part of this binary.
    Command(Vec<String>),
    /// A directory that is a root file system.
    Root(PathBuf),
    /// An archive, which is loaded when the lab starts.
    Archive(PathBuf),
}

/// An image that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// What the container's file system starts as.
    pub base: Base,
    /// What runs, unless the manifest says otherwise.
    pub config: Config,
    /// What its name stands for.
    pub id: String,
    /// The role of this binary that it stands for, with arguments.
    role: Option<Vec<String>>,
}

/// Names of the images that are part of this binary, and the roles they run.
const BUILT_IN: [(&str, &str); 2] = [(echo::IMAGE, echo::ROLE), (shell::IMAGE, shell::ROLE)];

/// How an image is mapped to something that is no command.
const ROOT: &str = "rootfs:";
/// See `ROOT`.
const ARCHIVE: &str = "archive:";

/// A mapping that isn't one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "image mapping {text:?}: {why}; say NAME=COMMAND, like web=\"python3 -m http.server 80\", \
     NAME=rootfs:DIRECTORY or NAME=archive:FILE"
)]
pub struct BadMapping {
    text: String,
    why: &'static str,
}

/// An image that this lab doesn't know, in a container without a command.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a lab can't pull images and does not know {image:?}. It knows {known}. Load it (seaway lab load \
     IMAGE.tar, made by: docker save {short} -o IMAGE.tar), map it (seaway lab up --image \
     {short}=COMMAND), or give the container a command (of this machine)"
)]
pub struct Unknown {
    image: String,
    short: String,
    known: String,
}

impl Default for Images {
    fn default() -> Self {
        let built_in = BUILT_IN.iter();
        let mapped =
            built_in.map(|(image, _)| ((*image).to_owned(), Mapped::Command(Vec::new()))).collect();
        Self { mapped, store: None }
    }
}

impl Images {
    /// Adds `NAME=COMMAND`, `NAME=rootfs:DIRECTORY` or `NAME=archive:FILE`. A command is split at
    /// blanks, except between quotes; its first word may be the name of a built-in image. A name
    /// without a tag stands for every tag.
    ///
    /// # Errors
    /// If the text has not that form.
    pub fn map(&mut self, text: &str) -> Result<(), BadMapping> {
        let bad = |why| BadMapping { text: text.to_owned(), why };
        let (name, target) = text.split_once('=').ok_or_else(|| bad("there is no ="))?;
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(bad("that is no image name"));
        }
        let mapped = if let Some(path) = target.strip_prefix(ROOT) {
            if !path.starts_with('/') {
                return Err(bad("the directory must be an absolute path"));
            }
            Mapped::Root(path.into())
        } else if let Some(path) = target.strip_prefix(ARCHIVE) {
            if path.is_empty() {
                return Err(bad("there is no file"));
            }
            Mapped::Archive(path.into())
        } else {
            let words = words(target).ok_or_else(|| bad("a quote is not closed"))?;
            if words.is_empty() {
                return Err(bad("there is no command"));
            }
            Mapped::Command(words)
        };
        self.mapped.insert(name.to_owned(), mapped);
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

    /// These images and those that are in `store`.
    #[must_use]
    pub fn with_store(self, store: Store) -> Self {
        Self { store: Some(store), ..self }
    }

    /// The names of all images that are mapped, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.mapped.keys().map(String::as_str)
    }

    /// The archives that are to be loaded, with the names they are mapped to.
    pub fn archives(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.mapped.iter().filter_map(|(name, mapped)| match mapped {
            Mapped::Archive(path) => Some((name.as_str(), path.as_path())),
            Mapped::Command(_) | Mapped::Root(_) => None,
        })
    }

    /// Every image there is, with its names and its size in bytes, as a node tells it.
    pub fn told(&self) -> Vec<(Vec<String>, u64)> {
        let mapped = self.names().map(|name| (vec![name.to_owned()], 0));
        // What can't be read is told when it is needed.
        let kept = self.store.iter().flat_map(|store| store.images().unwrap_or_default());
        mapped.chain(kept.map(|kept| (kept.names, kept.bytes))).collect()
    }

    /// What `image` stands for. One that is not known stands for this machine if its container has
    /// a command.
    ///
    /// # Errors
    /// If it is not known and there is no command.
    pub(crate) fn find(&self, image: &str, has_command: bool) -> Result<Image, Unknown> {
        let machine = |id: &str, role, cmd| Image {
            base: Base::Machine,
            config: Config { entrypoint: cmd, ..Config::default() },
            id: id.to_owned(),
            role,
        };
        match self.mapping(image) {
            Some((name, Mapped::Command(words))) => {
                let first = words.first().map_or(name.as_str(), String::as_str);
                return Ok(match role(first) {
                    Some(role) => {
                        let rest = words.iter().skip(1).cloned();
                        machine(name, Some([role].into_iter().chain(rest).collect()), None)
                    }
                    None => machine(name, None, Some(words.clone())),
                });
            }
            Some((name, Mapped::Root(path))) => {
                return Ok(Image {
                    base: Base::Layers(vec![path.clone()]),
                    config: Config::default(),
                    id: name.clone(),
                    role: None,
                });
            }
            Some((_, Mapped::Archive(_))) | None => {}
        }
        // An index that can't be read has no images.
        let kept = self.store.as_ref().and_then(|store| store.find(image).ok().flatten());
        if let Some((kept, root)) = kept {
            return Ok(Image {
                base: Base::Layers(vec![root]),
                config: kept.config,
                id: format!("sha256:{}", kept.id),
                role: None,
            });
        }
        if has_command {
            return Ok(machine(image, None, None));
        }
        Err(self.unknown(image))
    }

    /// The mapping for `image`: as it is, else without its digest or tag, else without the
    /// registry that is meant when none is named.
    fn mapping(&self, image: &str) -> Option<(&String, &Mapped)> {
        let bare = without_tag(image);
        let local = ["docker.io/library/", "docker.io/", "localhost/"];
        let local = local.iter().find_map(|prefix| bare.strip_prefix(prefix));
        let names = [Some(image), Some(bare), local];
        names.into_iter().flatten().find_map(|name| self.mapped.get_key_value(name))
    }

    fn unknown(&self, image: &str) -> Unknown {
        let known: Vec<_> = self.told().into_iter().flat_map(|(names, _)| names).collect();
        let short = without_tag(image).to_owned();
        Unknown { image: image.to_owned(), short, known: known.join(", ") }
    }
}

impl Image {
    /// What a container executes: its own `command` and `args`, or the image's with its `args`.
    ///
    /// # Errors
    /// If neither says anything.
    ///
    /// Source: Kubernetes, "Define a Command and Arguments for a Container"; containerd
    /// `WithProcessArgs`.
    pub(crate) fn program(&self, command: &[String], args: &[String]) -> Result<Program, String> {
        let all = |words: &[String], more: &[String]| [words, more].concat();
        if !command.is_empty() {
            return Ok(Program::Command(all(command, args)));
        }
        if let Some(role) = &self.role {
            return Ok(Program::Role(all(role, args)));
        }
        let entrypoint = self.config.entrypoint.as_deref().unwrap_or_default();
        let own = self.config.cmd.as_deref().unwrap_or_default();
        let words = all(entrypoint, if args.is_empty() { own } else { args });
        if words.is_empty() {
            Err("no command specified".to_owned())
        } else {
            Ok(Program::Command(words))
        }
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
        let found = match images.find(image, !command.is_empty()) {
            Ok(found) => found,
            Err(unknown) => return unknown.to_string(),
        };
        match found.program(&own(command), &own(args)) {
            Ok(Program::Command(words)) => words.join("|"),
            Ok(Program::Role(words)) => format!("role {}", words.join("|")),
            Err(why) => why,
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
                 seaway/echo, seaway/shell, web. Load it (seaway lab load IMAGE.tar, made by: docker \
                 save r.io:5000/a -o IMAGE.tar), map it (seaway lab up --image \
                 r.io:5000/a=COMMAND), or give the container a command (of this machine)",
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
            ("web=rootfs:here", "the directory must be an absolute path"),
            ("web=archive:", "there is no file"),
        ] {
            assert_eq!(Images::default().map(text).unwrap_err().why, why, "{text}");
        }
    }

    #[test]
    fn the_manifest_overrides_what_the_image_says_as_kubernetes_has_it() {
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        type Words = &'static [&'static str];
        let cases: [(Words, Words, Words, Words, &str); 7] = [
            (&["ep"], &["cmd"], &[], &[], "ep cmd"),
            (&["ep"], &["cmd"], &[], &["a"], "ep a"),
            (&["ep"], &["cmd"], &["c"], &[], "c"),
            (&["ep"], &["cmd"], &["c"], &["a"], "c a"),
            (&[], &["cmd", "x"], &[], &[], "cmd x"),
            (&[], &["cmd"], &[], &["a"], "a"),
            (&[], &[], &[], &[], "no command specified"),
        ];
        for (entrypoint, cmd, command, args, expected) in cases {
            let config = Config {
                entrypoint: Some(own(entrypoint)),
                cmd: Some(own(cmd)),
                ..Config::default()
            };
            let image = Image { base: Base::Machine, config, id: String::new(), role: None };
            let found = match image.program(&own(command), &own(args)) {
                Ok(Program::Command(words)) => words.join(" "),
                Ok(Program::Role(_)) => "a role".to_owned(),
                Err(why) => why,
            };
            assert_eq!(found, expected, "{entrypoint:?} {cmd:?} {command:?} {args:?}");
        }
    }
}
