//! `cargo xtask`: the one build tool besides cargo. Typed, tested, no shell.

mod bench;
mod clients;
mod demo;
mod examples;
mod fuzz;
mod image;
mod install;
mod release;
mod run;
mod test;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  demo              install what is missing, build, bring up a three-node lab and check it
  test [RUNG…]      every test, in order of cost; RUNG: lint unit root lab examples
  ci                the same as `test`, and a privileged test that can't run is a failure
  tidy              only the checks of the tree itself: arrows, sizes, docs, promises
  lab [FILTER]      only the lab tests whose name holds FILTER
  examples [FILTER] only the examples whose name holds FILTER
  scenario --update rewrite the expected parts of scenarios; read the diff
  deploy            write deploy/: the manifest and the chart that `seaway install` prints
  rows              write the tests of each rule into docs/services-tests.md and docs/dns-tests.md
  bench [NAME]      measure against the named peers, in one run; print ratios
  fuzz [TARGET]     run the fuzz targets of decoders, 30 s each
  fuzz policy       send a million packets through policies; --seed N, --packets N
  image             make the container images in target/image; --check makes them twice and compares
  release VERSION   fold changes/ into CHANGELOG.md
  install           only install what the machine lacks, and build other people's clients
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let result = match command {
        "demo" => demo::run(),
        "test" => test::run(rest),
        "ci" => test::ci(),
        "tidy" => tidy::run(),
        "lab" => test::lab(rest),
        "examples" => examples::run(rest),
        "scenario" => test::scenarios(rest),
        "deploy" => test::deploy(),
        "rows" => tidy::rows::update(),
        "bench" => bench::run(rest),
        "fuzz" => fuzz::run(rest),
        "image" => image::run(rest),
        "release" => release::run(rest),
        "install" => install::run().and_then(|()| clients::install()),
        "help" | "--help" | "-h" => {
            run::say(HELP);
            Ok(())
        }
        other => Err(format!("no command {other:?}\n\n{HELP}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            run::say(&format!("xtask: {message}"));
            ExitCode::FAILURE
        }
    }
}
