//! Lab tests: whole nodes, real packets, other people's clients.
//!
//! One executable, one module per subject. Each test has its own lab in its own folder, so they run
//! side by side; a lab is taken down when its value goes, however the test ends. Without root the
//! tests are reported as ignored, and with `CI` set they fail.

mod bundle;
mod capture;
mod churn;
mod clients;
mod cni;
mod conntrack;
mod containerd;
mod cri;
mod dns;
mod dns_restarts;
mod drift;
mod durable;
mod duties;
mod errors;
mod faults;
mod forward;
mod health;
mod images;
mod install;
mod isolation;
mod kubeconfig;
mod kubectl;
mod lab;
mod manifests;
mod matrix;
mod migrate;
mod nodes;
mod pods;
mod policies;
mod policy_explained;
mod policy_sources;
mod processes;
mod readdress;
mod restart;
mod rights;
mod security;
mod service_attacks;
mod service_stories;
mod services;
mod sharing;
mod status;
mod streams;
mod telling;
mod translation;
mod upgrade;
mod websocket;
mod workloads;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let mut args = Arguments::from_args();
    // Labs wait more than they work: on two CPUs, all took 17 minutes two at once, and 13 three at once.
    args.test_threads = args.test_threads.or(Some(3));
    let trials: Vec<Trial> = [
        bundle::trials(),
        churn::trials(),
        clients::trials(),
        cni::trials(),
        conntrack::trials(),
        containerd::trials(),
        dns::trials(),
        dns_restarts::trials(),
        drift::trials(),
        durable::trials(),
        duties::trials(),
        errors::trials(),
        forward::trials(),
        faults::trials(),
        health::trials(),
        images::trials(),
        install::trials(),
        isolation::trials(),
        kubeconfig::trials(),
        kubectl::trials(),
        matrix::trials(),
        migrate::trials(),
        nodes::trials(),
        pods::trials(),
        policies::trials(),
        policy_sources::trials(),
        policy_explained::trials(),
        readdress::trials(),
        restart::trials(),
        rights::trials(),
        security::trials(),
        service_attacks::trials(),
        service_stories::trials(),
        services::trials(),
        sharing::trials(),
        status::trials(),
        streams::trials(),
        telling::trials(),
        translation::trials(),
        upgrade::trials(),
        websocket::trials(),
        workloads::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    libtest_mimic::run(&args, trials).exit();
}
