//! The laws every mechanism keeps, against a real kernel, each in a network namespace of its own.
//!
//! To hold another mechanism to them: write a `suite::Specimen` for it and add a line to the list below.
//!
//! 1. convergence: afterwards the place holds what was wanted, and a second pass changes nothing
//! 2. least change: rows that did not change are the same objects as before
//! 3. empty plan: converging to nothing removes everything that was made
//! 4. foreign state: what others made is the same before, during and after
//! 5. any prefix: stopped after any row, the next pass gets there
//! 6. round trip: what is read back is what was written (part of 1, through the kernel)
//! 7. agreement: iproute2 prints what the rows print

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answering;
mod faults;
mod node;
mod pods;
mod settings;
mod suite;

macro_rules! laws {
    ($($name:ident: $specimen:expr;)+) => {
        $(mod $name {
            use super::*;

            #[test]
            fn converges_from_any_table_to_any_other() {
                suite::convergence($specimen);
            }

            #[test]
            fn touches_only_the_rows_that_changed() {
                suite::least_change($specimen);
            }

            #[test]
            fn an_empty_plan_leaves_nothing_and_foreign_state_is_never_touched() {
                suite::foreign_state($specimen);
            }

            #[test]
            fn any_prefix_of_a_pass_can_be_finished_later() {
                suite::any_prefix($specimen);
            }

            #[test]
            fn other_tools_print_the_same() {
                suite::agreement($specimen);
            }
        })+
    };
}

laws! {
    links: node::LinksSpecimen;
    addrs: node::AddrsSpecimen;
    neighbors: node::NeighborsSpecimen;
    proxies: answering::ProxiesSpecimen;
    forwarding_entries: node::FdbSpecimen;
    routes: node::RoutesSpecimen;
    rules: node::RulesSpecimen;
    sysctls: settings::SysctlsSpecimen::new();
    pods_routed_and_bridged: pods::PodsSpecimen::new();
}
