//! Logs, commands and terminals of containers, with kubectl.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output, Stdio};

use libtest_mimic::Trial;

use crate::lab::{Lab, eventually, success, test, text};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("logs_are_shown_as_asked_and_followed_to_the_end", logs),
        test("a_log_that_is_not_there_says_why", no_logs),
        test("a_command_in_a_container_has_its_streams_user_and_code", commands),
        test("a_command_that_cannot_run_says_why", no_commands),
        test("a_terminal_in_a_container_is_one", terminals),
        test("attaching_joins_what_a_container_reads_and_writes", attaching),
    ]
}

/// A pod of shells, each with its fields.
fn pod(name: &str, containers: &[(&str, &str)]) -> String {
    let containers: Vec<String> = containers
        .iter()
        .map(|(name, fields)| format!("  - {{name: {name}, image: seaway/shell, {fields}}}\n"))
        .collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  \
         terminationGracePeriodSeconds: 1\n  restartPolicy: Never\n  containers:\n{}",
        containers.concat()
    )
}

fn script(text: &str) -> String {
    format!("command: [sh, -c, '{text}']")
}

/// kubectl that goes on by itself.
fn start(lab: &Lab, argv: &[&str], stdin: Stdio, stdout: Stdio) -> Child {
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(lab.dir().join("kubeconfig")).args(argv);
    command.env("HOME", lab.dir()).stdin(stdin).stdout(stdout).stderr(Stdio::piped());
    command.spawn().expect("start kubectl (cargo xtask install)")
}

/// kubectl with this on standard input.
fn with_input(lab: &Lab, argv: &[&str], input: &[u8]) -> Output {
    let mut child = start(lab, argv, Stdio::piped(), Stdio::piped());
    let mut stdin = child.stdin.take().expect("it is piped");
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).expect("kubectl reads all its input"));
        child.wait_with_output().expect("wait for kubectl")
    })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

fn phase(lab: &Lab, pod: &str, wanted: &str) {
    eventually("the pod's phase", || match lab.pod_field(pod, "{.status.phase}") {
        phase if phase == wanted => Ok(()),
        other => Err(other),
    });
}

fn logs() {
    let lab = Lab::up(&["--nodes", "1"]);
    let lines = script("echo one; echo two >&2; echo three; sleep 2; echo four");
    lab.apply(&pod("talker", &[("a", lines.as_str())]));
    phase(&lab, "talker", "Running");
    // Followed from before the end until after it.
    let followed = success(&lab.kubectl(&["logs", "-f", "talker"])).expect("kubectl logs -f");
    assert_eq!(followed.lines().last(), Some("four"), "{followed}");
    let all = success(&lab.kubectl(&["logs", "talker"])).expect("kubectl logs");
    let mut sorted: Vec<&str> = all.lines().collect();
    sorted.sort_unstable();
    assert_eq!(sorted, ["four", "one", "three", "two"]);
    let log = |options: &[&str]| text(&lab.kubectl(&[&["logs", "talker"], options].concat()));
    assert_eq!(log(&["--tail=1"]), "four");
    assert_eq!(log(&["--tail=0"]), "");
    assert_eq!(log(&["--limit-bytes=2"]).len(), 2);
    assert_eq!(log(&["--since-time=2999-01-01T00:00:00Z"]), "");
    let stamped = log(&["--timestamps", "--tail=1"]);
    let (time, rest) = stamped.split_once(' ').expect("a time and a line");
    assert!(time.ends_with('Z') && rest == "four", "{stamped}");
    let both = format!("/api/v1/namespaces/default/pods/talker/log?stream={}", "Stderr");
    assert_eq!(text(&lab.kubectl(&["get", "--raw", &both])), "two");
}

fn no_logs() {
    let lab = Lab::up(&["--nodes", "1"]);
    lab.apply(&pod("two", &[("a", "stdin: false"), ("b", "stdin: false")]));
    lab.apply(&pod("stranger", &[("c", "stdin: false")]).replace("seaway/shell", "nginx"));
    phase(&lab, "two", "Running");
    let refused = |argv: &[&str]| {
        let output = lab.kubectl(argv);
        assert!(!output.status.success(), "{argv:?}");
        said(&output)
    };
    let raw = |pod: &str, query: &str| {
        let path = format!("/api/v1/namespaces/default/pods/{pod}/log?{query}");
        refused(&["get", "--raw", &path])
    };
    let names = "a container name must be specified for pod two, choose one of: [a b]";
    assert!(raw("two", "").contains(names), "{}", raw("two", ""));
    let unknown = raw("two", "container=z");
    assert!(unknown.contains("container z is not valid for pod two"), "{unknown}");
    let previous = refused(&["logs", "two", "-c", "a", "--previous"]);
    let wanted = "previous terminated container \"a\" in pod \"two\" not found";
    assert!(previous.contains(wanted), "{previous}");
    eventually("the image is missed", || {
        let why = refused(&["logs", "stranger"]);
        let wanted =
            "container \"c\" in pod \"stranger\" is waiting to start: image can't be pulled";
        if why.contains(wanted) { Ok(()) } else { Err(why) }
    });
    let gone = refused(&["logs", "nobody"]);
    assert!(gone.contains("pods \"nobody\" not found"), "{gone}");
    let negative = raw("two", "container=a&tailLines=-1");
    assert!(negative.contains("must be greater than or equal to 0"), "{negative}");
}

fn commands() {
    let lab = Lab::up(&["--nodes", "1"]);
    let user =
        "securityContext: {runAsUser: 1234, runAsGroup: 1235}, env: [{name: COLOR, value: red}]";
    lab.apply(&pod("web", &[("main", user)]));
    phase(&lab, "web", "Running");
    let all = "echo out; echo err >&2; id -u; id -g; echo $COLOR; echo again > /dev/stdout; exit 7";
    let output = lab.kubectl(&["exec", "web", "--", "sh", "-c", all]);
    assert_eq!(text(&output), "out\n1234\n1235\nred\nagain");
    assert_eq!(said(&output), "err\ncommand terminated with exit code 7");
    assert_eq!(output.status.code(), Some(7));
    // kubectl speaks SPDY when it is told to, and always did before 1.29.
    let mut spdy = Command::new("kubectl");
    spdy.arg("--kubeconfig").arg(lab.dir().join("kubeconfig")).env("HOME", lab.dir());
    spdy.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false").stdin(Stdio::null());
    let output = spdy.args(["exec", "web", "--", "sh", "-c", all]).output().expect("start kubectl");
    assert_eq!(text(&output), "out\n1234\n1235\nred\nagain");
    assert_eq!(said(&output), "err\ncommand terminated with exit code 7");
    // More than any buffer on the way, there and back.
    let big: Vec<u8> = (0..20_000_000_u32).map(|n| u8::try_from(n % 251).unwrap_or(0)).collect();
    let echoed = with_input(&lab, &["exec", "-i", "web", "--", "cat"], &big);
    assert!(echoed.status.success() && echoed.stdout == big, "{}", said(&echoed));
    let killed = lab.kubectl(&["exec", "web", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.status.code(), Some(137), "{}", said(&killed));
}

fn no_commands() {
    let lab = Lab::up(&["--nodes", "1"]);
    let ended = script("exit 0");
    lab.apply(&pod("web", &[("main", "stdin: false"), ("over", ended.as_str())]));
    eventually("one container has ended", || {
        let path = "{.status.containerStatuses[1].state.terminated.exitCode}";
        match lab.pod_field("web", path).as_str() {
            "0" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    let exec = |rest: &[&str]| {
        let output = lab.kubectl(&[&["exec"], rest].concat());
        assert_eq!(output.status.code(), Some(1), "{rest:?}");
        said(&output)
    };
    let missing = exec(&["web", "-c", "main", "--", "no-such-command"]);
    let why = "exec: \"no-such-command\": executable file not found in $PATH";
    assert!(missing.contains(why), "{missing}");
    let over = exec(&["web", "-c", "over", "--", "true"]);
    assert!(over.contains("container not found (\"over\")"), "{over}");
    let gone = exec(&["nobody", "--", "true"]);
    assert!(gone.contains("pods \"nobody\" not found"), "{gone}");
}

/// A terminal: our end, and what kubectl gets three times.
fn terminal() -> (std::fs::File, OwnedFd) {
    let pair = nix::pty::openpty(None, None).expect("open a terminal");
    kernel::terminal::set_size(&pair.master, 33, 77).expect("set its size");
    (pair.master.into(), pair.slave)
}

/// Runs kubectl on a terminal, types `input` and gives what was shown.
fn on_terminal(lab: &Lab, argv: &[&str], input: &str) -> (Option<i32>, String) {
    let (mut ours, theirs) = terminal();
    let copy = || theirs.try_clone().expect("copy a descriptor");
    let mut child = start(lab, argv, copy().into(), copy().into());
    drop(theirs);
    ours.write_all(input.as_bytes()).expect("type");
    let mut shown = Vec::new();
    let mut piece = [0; 4096];
    // The last one to close the terminal ends it with an error.
    while let Ok(read) = std::io::Read::read(&mut ours, &mut piece) {
        shown.extend_from_slice(&piece[..read]);
    }
    let code = child.wait().expect("wait for kubectl").code();
    (code, String::from_utf8_lossy(&shown).into_owned())
}

fn terminals() {
    let lab = Lab::up(&["--nodes", "1"]);
    lab.apply(&pod("web", &[("main", "stdin: false")]));
    phase(&lab, "web", "Running");
    let input = "tty; stty size; echo term=$TERM; exit 5\n";
    let (code, shown) = on_terminal(&lab, &["exec", "-it", "web", "--", "sh"], input);
    assert_eq!(code, Some(5), "{shown}");
    for wanted in ["/dev/pts/0", "33 77", "term=xterm"] {
        assert!(shown.contains(wanted), "no {wanted:?} in {shown:?}");
    }
}

fn attaching() {
    let lab = Lab::up(&["--nodes", "1"]);
    let echo = "while read x; do echo got $x; done; echo over";
    let fields = format!("stdin: true, stdinOnce: true, {}", script(echo));
    lab.apply(&pod("reader", &[("main", fields.as_str())]));
    phase(&lab, "reader", "Running");
    let attached = with_input(&lab, &["attach", "-i", "reader"], b"one\ntwo\n");
    assert_eq!(text(&attached), "got one\ngot two\nover", "{}", said(&attached));
    phase(&lab, "reader", "Succeeded");
    assert_eq!(text(&lab.kubectl(&["logs", "reader"])), "got one\ngot two\nover");
    let run = ["run", "-it", "--rm", "once", "--image=seaway/shell", "--restart=Never"];
    let command = ["--command", "--", "sh", "-c", "read x; echo got $x; stty size; exit 0"];
    let (code, shown) = on_terminal(&lab, &[&run[..], &command].concat(), "\nword\n");
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("got") && shown.contains("pod \"once\" deleted"), "{shown}");
    assert_eq!(text(&lab.kubectl(&["get", "pods", "-o", "name"])), "pod/reader");
}
