//! This machine's architecture, in Go's words, as Nodes and images name it. `xtask`, which depends on none of the
//! crates that it builds, reads this file as one of its own.

/// `GOARCH`.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
