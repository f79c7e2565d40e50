//! The form of a Corefile: lines of words, some with a block of lines in braces behind them.
//!
//! Source: the Caddyfile syntax as CoreDNS reads it, corefile(5).

use super::Left;

/// Deepest that blocks may be nested.
const DEEPEST: usize = 8;

/// A line, and the block that it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) file: String,
    /// Where, from 1.
    pub(super) number: usize,
    pub(super) words: Vec<String>,
    pub(super) block: Vec<Line>,
}

impl Line {
    /// Why it is left out.
    pub(super) fn left(&self, why: impl Into<String>) -> Left {
        let Line { file, number, words, .. } = self;
        Left { file: file.clone(), line: *number, text: words.join(" "), why: why.into() }
    }

    /// Its words behind the first.
    pub(super) fn args(&self) -> Vec<&str> {
        self.words.iter().skip(1).map(String::as_str).collect()
    }
}

/// Reads `text`. Braces that do not fit together are noted, and read as well as they can be.
pub(super) fn read(file: &str, text: &str, left: &mut Vec<Left>) -> Vec<Line> {
    let mut open: Vec<Vec<Line>> = vec![Vec::new()];
    for (number, words) in words(text) {
        let mut line = Line { file: file.to_owned(), number, words, block: Vec::new() };
        if line.words == ["}"] {
            match open.pop() {
                Some(block) if !open.is_empty() => {
                    if let Some(opener) = open.last_mut().and_then(|lines| lines.last_mut()) {
                        opener.block = block;
                    }
                }
                top => {
                    open.extend(top);
                    left.push(line.left("a brace that closes nothing"));
                }
            }
            continue;
        }
        let opens = line.words.last().is_some_and(|word| word == "{");
        if opens {
            line.words.pop();
        }
        if opens && open.len() > DEEPEST {
            left.push(line.left("nested too deep: the rest is not read"));
            break;
        }
        if let Some(lines) = open.last_mut() {
            lines.push(line);
        }
        if opens {
            open.push(Vec::new());
        }
    }
    while open.len() > 1 {
        let block = open.pop().unwrap_or_default();
        if let Some(opener) = open.last_mut().and_then(|lines| lines.last_mut()) {
            left.push(opener.left("its block is not closed"));
            opener.block = block;
        }
    }
    open.pop().unwrap_or_default()
}

/// The words of each line that has some: between blanks or in quotes, up to a comment. A brace that
/// closes is a line of its own.
fn words(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut lines: Vec<(usize, Vec<String>)> = Vec::new();
    let mut chars = text.chars().peekable();
    let (mut number, mut is_new) = (1, true);
    while let Some(first) = chars.next() {
        if first == '\n' {
            (number, is_new) = (number + 1, true);
            continue;
        }
        if first.is_whitespace() {
            continue;
        }
        if first == '#' {
            while chars.next_if(|c| *c != '\n').is_some() {}
            continue;
        }
        let begins = number;
        let mut word = String::new();
        if first == '"' {
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' if chars.peek() == Some(&'"') => word.extend(chars.next()),
                    c => {
                        number += usize::from(c == '\n');
                        word.push(c);
                    }
                }
            }
        } else {
            word.push(first);
            while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                word.push(c);
            }
        }
        let closes = word == "}" && first != '"';
        match lines.last_mut().filter(|_| !is_new && !closes) {
            Some((_, words)) => words.push(word),
            None => lines.push((begins, vec![word])),
        }
        is_new = closes;
    }
    lines
}
