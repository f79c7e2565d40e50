//! `cargo xtask image`: the images of containers, made without a daemon (`docs/image.md`).
//!
//! | file | what |
//! |---|---|
//! | `seaway-VERSION.oci.tar` | the image `localhost/seaway/seaway:VERSION` |
//! | `seaway-VERSION.cdx.json` | its bill of materials, which is in the image as well |
//! | `pause-VERSION.oci.tar` | the image `localhost/seaway/pause:VERSION` |
//!
//! in `target/image`, or those that tests use in `target/image/dev`.

#[path = "../../../crates/lab/src/architecture.rs"]
mod architecture;
mod bom;
mod elf;
mod notices;
mod oci;
mod parts;
mod program;
mod roots;

use std::collections::BTreeMap;
use std::path::Path;

use crate::run::{Result, command, output, root, say, step};
use oci::{File, Image, Packed};
use program::Build;

/// All parts of the workspace have one version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What follows a commit that is not all there is.
const DIRTY: &str = "-dirty";

/// `image`, `image --dev` or `image --check`.
pub(crate) fn run(args: &[String]) -> Result {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => images(Build::Release).map(drop),
        ["--dev"] => images(Build::Dev).map(drop),
        ["--check"] => check(),
        _ => Err("image, image --dev or image --check".into()),
    }
}

/// Writes the images that tests use.
pub(crate) fn for_tests() -> Result {
    images(Build::Dev).map(drop)
}

/// Writes the images, and says what can be done with them; their digests.
fn images(build: Build) -> Result<[String; 2]> {
    let folder = root().join("target/image");
    let folder = if build == Build::Dev { folder.join("dev") } else { folder };
    std::fs::create_dir_all(&folder).map_err(|e| format!("make {}: {e}", folder.display()))?;
    let program = program::seaway(build)?;
    let (linked, beside) = (parts::linked("seaway")?, parts::alone(roots::CRATE)?);
    let bill = bom::bill("seaway", &program, &linked, &beside);
    write(&folder.join(format!("seaway-{VERSION}.cdx.json")), bill.as_bytes())?;
    let notices = notices::notices(linked.iter().chain(&beside))?;
    let seaway = seaway(program, bill, notices)?;
    let pause = pause(program::pause()?);
    Ok([keep(&folder, "seaway", &seaway)?, keep(&folder, "pause", &pause)?])
}

/// The image of Seaway itself.
fn seaway(program: Vec<u8>, bill: String, notices: String) -> Result<Image> {
    let license = root().join("LICENSE");
    let license = std::fs::read(&license).map_err(|e| format!("read LICENSE: {e}"))?;
    let file = |path, mode, bytes| File { path, mode, bytes };
    Ok(Image {
        name: format!("localhost/seaway/seaway:{VERSION}"),
        annotations: annotations("Seaway", "The network of a Kubernetes cluster"),
        entrypoint: "/usr/bin/seaway",
        arguments: &["agent"],
        environment: &["PATH=/usr/bin"],
        // The agent says what it may do by capabilities; its files on the node are root's.
        user: "0:0",
        files: vec![
            file("usr/bin/seaway", 0o755, program),
            file(roots::PATH, 0o644, roots::pem().into_bytes()),
            file("usr/share/doc/seaway/LICENSE", 0o644, license),
            file("usr/share/doc/seaway/third-party-licenses.txt", 0o644, notices.into_bytes()),
            file("usr/share/doc/seaway/seaway.cdx.json", 0o644, bill.into_bytes()),
        ],
    })
}

/// The image that a container runtime makes the sandboxes of pods from.
fn pause(program: Vec<u8>) -> Image {
    Image {
        name: format!("localhost/seaway/pause:{VERSION}"),
        annotations: annotations("pause", "Holds the namespaces of a pod"),
        entrypoint: "/pause",
        arguments: &[],
        environment: &[],
        // Nobody: it may do nothing, and has nothing.
        user: "65535:65535",
        files: vec![File { path: "pause", mode: 0o755, bytes: program }],
    }
}

fn annotations(title: &str, description: &str) -> BTreeMap<&'static str, String> {
    let known = [
        ("org.opencontainers.image.title", title.to_owned()),
        ("org.opencontainers.image.description", description.to_owned()),
        ("org.opencontainers.image.version", VERSION.to_owned()),
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE").to_owned()),
    ];
    let revision = revision().map(|commit| ("org.opencontainers.image.revision", commit));
    known.into_iter().chain(revision).collect()
}

/// The commit, and whether there is more than what it has; `None` outside of a repository.
fn revision() -> Option<String> {
    let git = |args: &[&str]| {
        let done = output(&mut command("git", args)).ok()?;
        let said = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        done.status.success().then_some(said)
    };
    let commit = git(&["rev-parse", "HEAD"])?;
    let clean = git(&["status", "--porcelain"])?.is_empty();
    Some(if clean { commit } else { format!("{commit}{DIRTY}") })
}

/// Writes the archive of an image; the image's digest.
fn keep(folder: &Path, file: &str, image: &Image) -> Result<String> {
    let Packed { archive, digest, compressed } = image.pack()?;
    let path = folder.join(format!("{file}-{VERSION}.oci.tar"));
    write(&path, &archive)?;
    let shown = path.strip_prefix(root()).unwrap_or(&path).display();
    let unpacked: usize = image.files.iter().map(|file| file.bytes.len()).sum();
    say(&format!(
        "── {}: {unpacked} bytes in files, {compressed} compressed\n   {digest}\n   \
         ctr --namespace k8s.io images import {shown}\n   \
         skopeo copy oci-archive:{shown} docker://REGISTRY/{}",
        image.name, image.name,
    ));
    Ok(digest)
}

fn write(path: &Path, bytes: &[u8]) -> Result {
    std::fs::write(path, bytes).map_err(|e| format!("write {}: {e}", path.display()))
}

/// Builds the images of what is committed here and, from a copy, in another folder: they have to be the same.
fn check() -> Result {
    if revision().is_none_or(|commit| commit.ends_with(DIRTY)) {
        return Err("image --check compares what is committed, and there is more: commit it".into());
    }
    let ours = images(Build::Release)?;
    let copy = std::env::temp_dir().join(format!("seaway-image-{}", std::process::id()));
    let shown = copy.to_string_lossy().into_owned();
    step("copy the tree", &mut command("git", &["clone", "--quiet", "--no-local", ".", &shown]))?;
    let again = again(&copy);
    std::fs::remove_dir_all(&copy).map_err(|e| format!("remove {shown}: {e}"))?;
    let again = again?;
    for (digest, line) in ours.iter().zip(["seaway", "pause"]) {
        if !again.contains(digest.as_str()) {
            return Err(format!("{line} is {digest} here, and another in {shown}:\n{again}"));
        }
    }
    say("── both images are the same from another folder");
    Ok(())
}

/// What building in `copy` said.
fn again(copy: &Path) -> Result<String> {
    let mut cargo = crate::run::cargo(&["xtask", "image"]);
    let done = output(cargo.current_dir(copy))?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    if done.status.success() { Ok(said) } else { Err(format!("in {}: {said}", copy.display())) }
}
