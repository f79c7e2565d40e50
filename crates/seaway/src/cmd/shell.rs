//! What shells and readers want of the command line: completions and man pages, both made from the
//! definition that parses it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Command;
use clap_complete::Shell;

#[derive(clap::Args)]
pub(crate) struct Completion {
    /// The shell to complete in.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(clap::Args)]
pub(crate) struct Man {
    /// Write a page for every command into this directory, which is made if need be.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The command whose page is printed, like `policy trace`; seaway itself when left out.
    #[arg(conflicts_with = "dir", value_name = "COMMAND")]
    command: Vec<String>,
}

/// Prints what `shell` reads to complete the words of `command`.
pub(crate) fn complete(args: &Completion, mut command: Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "seaway", &mut script);
    super::print(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}

/// Prints the page of one command of `command`, or writes all of them.
pub(crate) fn man(args: &Man, command: Command) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &args.dir {
        write(dir, command).with_context(|| format!("write man pages to {}", dir.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let page = page(&args.command, command)?;
    super::print(&String::from_utf8_lossy(&page));
    Ok(ExitCode::SUCCESS)
}

fn write(dir: &Path, command: Command) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(command, dir)
}

/// The page of the command that is reached by `words`.
fn page(words: &[String], mut command: Command) -> anyhow::Result<Vec<u8>> {
    // Names of pages and usage lines follow from the whole way to a command.
    command.build();
    let mut found = &command;
    for word in words {
        let next =
            found.get_subcommands().find(|next| next.get_name() == word && !next.is_hide_set());
        found = next.with_context(|| format!("{} has no command {word:?}", found.get_name()))?;
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(found.clone()).render(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use clap::CommandFactory;

    use super::*;

    /// What bash offers after these words.
    fn offered(words: &str, script: &Path) -> String {
        let line = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _seaway seaway \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let output = Process::new("bash").args(["-c", &line]).output().expect("start bash");
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    #[test]
    fn bash_completes_commands_and_values() {
        let mut script = Vec::new();
        let mut command = crate::Cli::command();
        clap_complete::generate(Shell::Bash, &mut command, "seaway", &mut script);
        let file = std::env::temp_dir().join(format!("seaway-completion-{}", std::process::id()));
        std::fs::write(&file, script).unwrap();
        assert_eq!(offered("seaway pol", &file), "policy");
        assert_eq!(offered("seaway policy tr", &file), "trace");
        assert_eq!(offered("seaway completion z", &file), "zsh");
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_page_is_called_as_its_command_and_says_its_flags() {
        let words = ["policy".to_owned(), "trace".to_owned()];
        let page = String::from_utf8(page(&words, crate::Cli::command()).unwrap()).unwrap();
        assert!(page.contains(".TH seaway-policy-trace 1"), "{page}");
        assert!(page.contains("\\-\\-run\\-dir"), "{page}");
        let missing = super::page(&["polcy".to_owned()], crate::Cli::command()).unwrap_err();
        assert_eq!(missing.to_string(), "seaway has no command \"polcy\"");
    }

    #[test]
    fn every_command_gets_a_page_of_its_own() {
        let dir = std::env::temp_dir().join(format!("seaway-man-{}", std::process::id()));
        write(&dir, crate::Cli::command()).unwrap();
        for name in ["seaway.1", "seaway-agent.1", "seaway-lab-up.1", "seaway-policy-drops.1"] {
            assert!(dir.join(name).is_file(), "{name}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
