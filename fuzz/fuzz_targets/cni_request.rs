//! Whatever a runtime writes on the plugin's standard input, there is an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::cni::{Environment, parse, decode_call};

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, stdin) = input;
    let commands = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", ""];
    let command = commands[usize::from(choice) % commands.len()];
    let environment = Environment::from_lookup(|name| {
        Some(match name {
            "CNI_COMMAND" => command.to_owned(),
            "CNI_CONTAINERID" => "c1".to_owned(),
            "CNI_NETNS" => "/run/netns/x".to_owned(),
            "CNI_IFNAME" => "eth0".to_owned(),
            "CNI_ARGS" => String::from_utf8_lossy(stdin.get(..40).unwrap_or(stdin)).into_owned(),
            _ => return None,
        })
    });
    drop(parse(&environment, stdin));
    drop(decode_call(stdin));
});
