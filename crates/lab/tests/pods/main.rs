//! Pods on a real kernel, under the lab's own API server, with a CNI plugin that takes notes.
//!
//! Needs root. Everything happens in namespaces of this program's own, processes included, so that
//! nothing is left however it ends; it is also what becomes its containers, as the lab's binary is.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod bench;
mod ending;
mod images;
mod life;
mod probes;
mod sandbox;
mod volumes;

use std::process::{Command, ExitCode};
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use seaway_lab::images::{echo, shell};
use seaway_lab::pod::init;

use crate::bench::Lab;
use crate::ending::*;
use crate::images::*;
use crate::life::*;
use crate::probes::*;
use crate::sandbox::*;
use crate::volumes::*;

const INSIDE: &str = "SEAWAY_TEST_INSIDE";

fn main() -> ExitCode {
    let mut args = std::env::args();
    let name = args.next().unwrap_or_default();
    match name.as_str() {
        init::ROLE => return init::run(),
        echo::ROLE => return echo::run(&args.collect::<Vec<_>>()),
        shell::ROLE => return shell::run(&args.collect::<Vec<_>>()),
        _ if std::env::var_os(INSIDE).is_none() => return go_inside(),
        _ => {}
    }
    prepare();
    run_trials()
}

fn run_trials() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let lab = Arc::new(runtime.block_on(Lab::start()));
    let handle = runtime.handle().clone();
    macro_rules! trials {
        ($($name:ident),* $(,)?) => {
            vec![$({
                let (lab, handle) = (lab.clone(), handle.clone());
                Trial::test(stringify!($name), move || {
                    handle.block_on(async { tokio::spawn(async move { $name(&lab).await }).await })
                        .map_err(|error| error.to_string().into())
                })
            }),*]
        };
    }
    let trials = trials![
        pause_is_small_and_ends_when_asked,
        pause_buries_the_orphans_of_its_pod,
        plugins_are_run_in_order_and_undone_in_reverse,
        a_container_has_its_own_view_of_the_machine,
        a_crash_restarts_the_container_in_the_same_sandbox,
        a_lost_pause_gets_the_pod_a_new_sandbox,
        an_unknown_image_is_told_and_holds_up_nobody,
        init_containers_run_one_after_the_other,
        a_deleted_pod_leaves_nothing,
        a_container_can_be_added_to_look_at_another,
        readiness_is_false_until_its_probe_has_succeeded,
        a_failed_liveness_probe_restarts_the_container,
        nothing_is_asked_before_the_startup_probe_has_succeeded,
        probes_go_from_the_node_over_http_tcp_and_grpc,
        an_https_probe_takes_any_certificate,
        a_readiness_gate_holds_the_pod_back,
        a_container_is_asked_before_it_is_killed,
        a_stubborn_container_is_killed_after_its_grace,
        sidecars_start_first_and_end_last,
        a_failed_post_start_hook_stops_the_container,
        last_words_are_told,
        a_pod_past_its_deadline_has_failed,
        a_new_pod_takes_the_name_of_one_that_was_forced_out,
        files_show_objects_and_follow_them,
        a_volume_that_cannot_be_made_holds_the_pod_back_until_it_can,
        empty_directories_are_shared_and_bounded,
        no_subpath_leads_out_of_its_volume,
        tokens_are_projected,
        the_environment_tells_of_resources,
        an_image_runs_without_a_registry,
        an_image_that_is_loaded_later_lets_its_pod_start,
        a_directory_is_a_root_file_system,
        images_share_the_files_of_their_common_layers,
        a_damaged_archive_is_refused_and_leaves_nothing,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Runs this program again as process 1 of namespaces of its own.
fn go_inside() -> ExitCode {
    let all = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(all).expect("needs root");
    // As a shell starts what it does not wait for: deaf to a signal that containers may wait for.
    let mut again = Command::new("sh");
    again.args(["-c", "trap '' QUIT; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    let status = again.args(std::env::args_os().skip(1)).env(INSIDE, "1").status().unwrap();
    ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}

fn prepare() {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).unwrap();
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    kernel::confine::raise_loopback().unwrap();
    nix::unistd::sethostname("node-1").unwrap();
    // The node's own address, where pods on its network answer.
    let added = Command::new("ip").args(["addr", "add", "10.80.1.11/32", "dev", "lo"]).status();
    assert!(added.unwrap().success());
}
