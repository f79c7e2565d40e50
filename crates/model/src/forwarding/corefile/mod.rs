//! Corefiles, turned into settings as far as these reach. What they do not reach is told, line by line.
//!
//! Source: CoreDNS, plugins `forward`, `cache`, `hosts`, `rewrite`, `import`; kubeadm's Corefile.

mod convert;
mod lines;
mod rewrite;

use std::fmt;

use super::Forwarding;
use convert::Converter;
use lines::Line;

/// Lines that a Corefile may have, those of its imports included.
const MOST_LINES: usize = 10_000;

/// How deep imports may lead to imports.
const DEEPEST: usize = 8;

/// A Corefile as settings.
#[derive(Debug)]
pub struct Converted {
    /// What could be carried over.
    pub settings: Forwarding,
    /// What could not.
    pub left: Vec<Left>,
}

/// A line that is not carried over, as a whole or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The file that it is in.
    pub file: String,
    /// Where, from 1.
    pub line: usize,
    /// What it says.
    pub text: String,
    /// Why it is not carried over.
    pub why: String,
}

/// `Corefile:7: template IN A: why`.
impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Left { file, line, text, why } = self;
        write!(f, "{file}:{line}: {text}: {why}")
    }
}

/// Converts `text`, which is the file `name`. `find` has the files that a pattern stands for, like
/// `/etc/coredns/custom/*.override`: each one's name and text.
pub fn convert(
    name: &str,
    text: &str,
    find: &mut dyn FnMut(&str) -> Vec<(String, String)>,
) -> Converted {
    let mut left = Vec::new();
    let mut imports = Imports { find, snippets: Vec::new(), lines: 0 };
    let lines = lines::read(name, text, &mut left);
    let lines = imports.follow(lines, 0, &mut left);
    let mut converter = Converter::new(left);
    for block in &lines {
        converter.block(block);
    }
    converter.finish()
}

/// What `import` stands for.
struct Imports<'f> {
    find: &'f mut dyn FnMut(&str) -> Vec<(String, String)>,
    /// Lines under a name: `(name) { … }`.
    snippets: Vec<(String, Vec<Line>)>,
    lines: usize,
}

impl Imports<'_> {
    /// `lines` with what they import in the place of imports.
    fn follow(&mut self, lines: Vec<Line>, depth: usize, left: &mut Vec<Left>) -> Vec<Line> {
        let mut all = Vec::new();
        for mut line in lines {
            self.lines += 1;
            let first = line.words.first().map_or("", String::as_str);
            if self.lines > MOST_LINES || depth > DEEPEST {
                left.push(line.left("there is too much of it, or it imports itself"));
                return all;
            }
            if let Some(name) = first.strip_prefix('(').and_then(|name| name.strip_suffix(')')) {
                self.snippets.push((name.to_owned(), line.block));
            } else if first == "import" {
                all.extend(self.import(&line, depth, left));
            } else {
                line.block = self.follow(line.block, depth, left);
                all.push(line);
            }
        }
        all
    }

    fn import(&mut self, line: &Line, depth: usize, left: &mut Vec<Left>) -> Vec<Line> {
        let [pattern] = line.args()[..] else {
            left.push(line.left("an import with values for a snippet is not followed"));
            return Vec::new();
        };
        let snippet = self.snippets.iter().find(|(name, _)| name == pattern);
        let lines = match snippet {
            Some((_, lines)) => lines.clone(),
            None => {
                let files = (self.find)(pattern);
                if files.is_empty() {
                    left.push(
                        line.left("no file is there: name the Corefile where its imports are"),
                    );
                }
                let read = |(name, text): &(String, String)| lines::read(name, text, left);
                files.iter().flat_map(read).collect()
            }
        };
        self.follow(lines, depth + 1, left)
    }
}

#[cfg(test)]
mod tests;
