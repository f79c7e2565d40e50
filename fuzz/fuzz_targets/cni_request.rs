//! Whatever a runtime puts into the plugin's environment and writes on its standard input, there is
//! an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::cni::{Environment, parse};

fuzz_target!(|input: (u8, String, &[u8])| {
    let (choice, args, stdin) = input;
    let commands = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", ""];
    let command = commands[usize::from(choice) % commands.len()];
    let environment = Environment::from_lookup(|name| {
        Some(match name {
            "CNI_COMMAND" => command.to_owned(),
            "CNI_CONTAINERID" => "c1".to_owned(),
            "CNI_NETNS" => "/run/netns/x".to_owned(),
            "CNI_IFNAME" => "eth0".to_owned(),
            "CNI_ARGS" => args.clone(),
            _ => return None,
        })
    });
    drop(parse(&environment, stdin));
});
