//! A container's last words: what it wrote to its termination message file, or the end of its log.
//!
//! Source: Pod API `terminationMessagePath`, `terminationMessagePolicy`; kubelet
//! `MaxContainerTerminationMessageLength`, `MaxContainerTerminationMessageLogLength`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Longest message, in bytes.
const LONGEST: u64 = 4096;
/// Longest part of a log that stands for one, in bytes and lines.
const LONGEST_LOG: usize = 2048;
/// See `LONGEST_LOG`.
const LOG_LINES: usize = 80;
/// How much of the end of a log is read to find that, in bytes.
const LOG_END: u64 = 64 * 1024;

/// What stands in the file at `path`; if that is nothing, the end of `log`. `None` if that is
/// nothing, too.
pub(super) fn last_words(path: &Path, log: Option<&Path>) -> Option<String> {
    let mut bytes = Vec::new();
    // A file that can't be read says nothing.
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
    let own = read.ok().filter(|read| *read > 0);
    let text = match own {
        Some(_) => String::from_utf8_lossy(&bytes).into_owned(),
        None => end_of_log(log?).ok()?,
    };
    Some(text).filter(|text| !text.is_empty())
}

fn end_of_log(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(LOG_END)))?;
    let mut bytes = Vec::new();
    file.take(LOG_END).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // `<time> <stream> <tag> <text>`; a P is a line that goes on.
    let entries = text.lines().filter_map(|line| {
        let mut parts = line.splitn(4, ' ');
        let tag = parts.nth(2)?;
        Some(format!("{}{}", parts.next()?, if tag == "F" { "\n" } else { "" }))
    });
    let entries: Vec<String> = entries.collect();
    let text = entries[entries.len().saturating_sub(LOG_LINES)..].concat();
    let start = text.ceil_char_boundary(text.len().saturating_sub(LONGEST_LOG));
    Ok(text[start..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_first_and_the_log_only_when_it_may() {
        let folder = std::env::temp_dir().join(format!("seaway-message-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let [file, empty, log] = ["file", "empty", "log"].map(|name| folder.join(name));
        std::fs::write(&file, "x".repeat(5000)).unwrap();
        std::fs::write(&empty, "").unwrap();
        let mut lines: Vec<_> = (0..100).map(|n| format!("t stdout F line {n}")).collect();
        lines.push("t stderr P half ".to_owned());
        lines.push("t stderr F a line".to_owned());
        std::fs::write(&log, lines.join("\n") + "\n").unwrap();
        assert_eq!(last_words(&file, Some(&log)).map(|text| text.len()), Some(4096));
        assert_eq!(last_words(&empty, None), None);
        assert_eq!(last_words(&folder.join("none"), None), None);
        let end = last_words(&empty, Some(&log)).unwrap();
        assert!(end.starts_with("line 22\n") && end.ends_with("line 99\nhalf a line\n"), "{end}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
