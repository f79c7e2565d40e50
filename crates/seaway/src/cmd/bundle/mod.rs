//! `seaway bundle`: what is known of a node, or of all nodes of a cluster, in one file for whoever is
//! asked to help.
//!
//! Names, labels, addresses and policies are in it; Secrets, keys, tokens and what packets carry are not.

mod agent_pods;
mod kernel_state;
mod lab_nodes;
mod node;
mod objects;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use lab::spec::LabName;
use model::Rfc3339;
use serde_json::{Value, json};
use tar::Header;

use super::cluster::{Cluster, Output};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Gather every node of this lab, and what its API server and its logs say; this node alone when left out.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["run_dir", "cluster"])]
    lab: Option<LabName>,
    /// Gather every node of a cluster, each in its agent's pod, and what the API server and the agents' logs say.
    #[arg(long, conflicts_with = "run_dir")]
    cluster: bool,
    /// How to reach the API server; $KUBECONFIG or ~/.kube/config when left out.
    #[arg(long, value_name = "FILE", requires = "cluster")]
    kubeconfig: Option<PathBuf>,
    /// Directory of the agent's sockets.
    #[arg(long, env = "SEAWAY_RUN_DIR", default_value = "/run/seaway", value_name = "DIR")]
    run_dir: PathBuf,
    /// Where the container runtime looks for network configurations.
    #[arg(long, env = "SEAWAY_CNI_CONF_DIR", default_value = "/etc/cni/net.d", value_name = "DIR")]
    cni_conf_dir: PathBuf,
    /// How long one check of the node may take, in seconds.
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    timeout: u64,
    /// The gzipped tar file to write, which must not be there yet, or - for stdout; seaway-bundle-TIME.tar.gz when
    /// left out.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Form of what is said of the bundle: text, on stderr, or json, on stdout: its files and what could not be gathered.
    #[arg(short, long, default_value = "text", value_enum)]
    output: Output,
}

/// Where in a bundle is said what is not in it.
const LEFT_OUT: &str = "left-out.txt";

/// Things gathered so far, and what could not be.
#[derive(Default)]
struct Gathered {
    /// Contents by their path in the bundle.
    files: Vec<(String, Vec<u8>)>,
    /// Why others are not there, a line each.
    missing: Vec<String>,
}

impl Gathered {
    /// Takes what there is at `path`, or why it isn't.
    fn put<E: std::fmt::Display>(
        &mut self,
        path: impl Into<String>,
        contents: Result<impl Into<Vec<u8>>, E>,
    ) {
        let path = path.into();
        match contents {
            Ok(contents) => self.files.push((path, contents.into())),
            Err(error) => self.missing.push(format!("{path}: {error:#}")),
        }
    }

    /// The files of a bundle, whose paths begin with its title.
    fn read(bundle: &[u8]) -> io::Result<Self> {
        let mut all = Gathered::default();
        for entry in tar::Archive::new(GzDecoder::new(bundle)).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.components().skip(1).collect::<PathBuf>();
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents)?;
            match path.to_string_lossy() {
                path if path == LEFT_OUT => {
                    let lines = String::from_utf8_lossy(&contents);
                    all.missing.extend(lines.lines().map(str::to_owned));
                }
                path => all.files.push((path.into_owned(), contents)),
            }
        }
        Ok(all)
    }

    /// All of `others`, below `dir`.
    fn put_below(&mut self, dir: &str, others: Gathered) {
        self.files.extend(others.files.into_iter().map(|(path, c)| (format!("{dir}/{path}"), c)));
        self.missing.extend(others.missing.into_iter().map(|line| format!("{dir}/{line}")));
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let to_stdout = args.file.as_deref() == Some(Path::new("-"));
    ensure!(!to_stdout || args.output == Output::Text, "--file - and -o json both want stdout");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let title = format!("seaway-bundle-{}", stamp(now));
    let gathered = match &args.lab {
        Some(lab) => lab_nodes::lab(lab, args.timeout)?,
        None if args.cluster => {
            agent_pods::cluster(&Cluster::of(args.kubeconfig.clone()), args.timeout)?
        }
        None => {
            node::gather(&args.run_dir, &args.cni_conf_dir, Duration::from_secs(args.timeout), now)
        }
    };
    let path = args.file.clone().unwrap_or_else(|| PathBuf::from(format!("{title}.tar.gz")));
    if to_stdout {
        write(io::stdout().lock(), &title, &gathered, now).context("write to stdout")?;
    } else {
        // It says much about a cluster, so it is its owner's to show.
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("make {}", path.display()))?;
        write(file, &title, &gathered, now).with_context(|| format!("write {}", path.display()))?;
        match args.output {
            Output::Text => {
                let count = gathered.files.len();
                super::talk(&format!("seaway: {count} files in {}", path.display()));
            }
            Output::Json => super::print(&format!("{:#}\n", document(&path, &title, &gathered))),
        }
    }
    for line in &gathered.missing {
        super::talk(&format!("seaway: left out: {line}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// What is in the bundle at `path`, and what is not.
fn document(path: &Path, title: &str, gathered: &Gathered) -> Value {
    let file = |(path, contents): &(String, Vec<u8>)| json!({ "path": format!("{title}/{path}"), "bytes": contents.len() });
    json!({
        "file": path,
        "files": gathered.files.iter().map(file).collect::<Vec<_>>(),
        "leftOut": gathered.missing,
    })
}

/// A moment as it can stand in the name of a file.
fn stamp(now: Duration) -> String {
    let seconds = Rfc3339(Duration::from_secs(now.as_secs())).to_string();
    seconds.chars().filter(char::is_ascii_alphanumeric).take("20260102T030405".len()).collect()
}

fn write(to: impl Write, title: &str, gathered: &Gathered, now: Duration) -> io::Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(to, Compression::default()));
    let mut add = |path: &str, contents: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now.as_secs());
        archive.append_data(&mut header, format!("{title}/{path}"), contents)
    };
    for (path, contents) in &gathered.files {
        add(path, contents)?;
    }
    if !gathered.missing.is_empty() {
        add(LEFT_OUT, (gathered.missing.join("\n") + "\n").as_bytes())?;
    }
    archive.into_inner()?.finish()?.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_holds_what_was_gathered_and_says_what_was_not() {
        let mut inner = Gathered::default();
        inner.put("a.txt", Ok::<_, io::Error>("A"));
        inner.put("b.txt", Err::<Vec<u8>, _>(io::Error::other("no such thing")));
        let mut all = Gathered::default();
        all.put_below("node-1", inner);
        let mut bytes = Vec::new();
        write(&mut bytes, "title", &all, Duration::from_secs(1)).unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(&*bytes));
        let read = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (entry.path().unwrap().display().to_string(), text)
        });
        assert_eq!(
            read.collect::<Vec<_>>(),
            [
                ("title/node-1/a.txt".to_owned(), "A".to_owned()),
                ("title/left-out.txt".to_owned(), "node-1/b.txt: no such thing\n".to_owned()),
            ]
        );
    }

    #[test]
    fn a_program_is_told_what_is_in_a_bundle_and_what_is_not() {
        let mut all = Gathered::default();
        all.put("dir/a.txt", Ok::<_, io::Error>("AB"));
        all.put("b.txt", Err::<Vec<u8>, _>(io::Error::other("no such thing")));
        let wanted = json!({
            "file": "x.tar.gz",
            "files": [{ "path": "title/dir/a.txt", "bytes": 2 }],
            "leftOut": ["b.txt: no such thing"],
        });
        assert_eq!(document(Path::new("x.tar.gz"), "title", &all), wanted);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut all = Gathered::default();
        all.put("dir/a.txt", Ok::<_, io::Error>("A"));
        all.put("b.txt", Err::<Vec<u8>, _>(io::Error::other("no such thing")));
        let mut bytes = Vec::new();
        write(&mut bytes, "title", &all, Duration::from_secs(1)).unwrap();
        let read = Gathered::read(&bytes).unwrap();
        assert_eq!((read.files, read.missing), (all.files, all.missing));
        assert!(Gathered::read(&bytes[..bytes.len() / 2]).is_err(), "half of it is none");
    }

    #[test]
    fn a_stamp_is_a_time_without_marks() {
        assert_eq!(stamp(Duration::from_millis(1_767_323_045_678)), "20260102T030405");
    }
}
