//! The functions that expressions may call: the table in `signatures.txt`.
use std::sync::LazyLock;

/// A line of the table.
pub(super) struct Signature {
    pub(super) name: &'static str,
    /// What a method is called on, then the arguments.
    pub(super) takes: Vec<&'static str>,
    pub(super) method: bool,
    pub(super) gives: &'static str,
}

/// All lines.
pub(super) static SIGNATURES: LazyLock<Vec<Signature>> = LazyLock::new(|| {
    let lines = include_str!("signatures.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(signature).collect()
});

/// Names before the dot that belong to the function's name, unless the type has such a method.
const FUNCTIONS: [&str; 6] = [
    "optional.none",
    "optional.of",
    "optional.ofNonZeroValue",
    "strings.quote",
    "sets",
    "ip.isCanonical",
];

fn signature(line: &'static str) -> Option<Signature> {
    let (head, gives) = line.split_once(") ")?;
    let (name, args) = head.split_once('(')?;
    let args = args.split(',').filter(|arg| !arg.is_empty());
    let is_function = FUNCTIONS.iter().any(|of| name == *of || name.starts_with(&format!("{of}.")))
        || (name.starts_with("format.") && name != "format.validate");
    match name.split_once('.').filter(|_| !is_function) {
        Some((of, name)) => {
            let takes = std::iter::once(of).chain(args).collect();
            Some(Signature { name, takes, method: true, gives })
        }
        None => Some(Signature { name, takes: args.collect(), method: false, gives }),
    }
}
