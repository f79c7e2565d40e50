//! Pods that start while policies are there.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use libtest_mimic::Trial;
use model::Family;
use serde_json::json;

use super::scene::{Scene, mute, only};
use crate::lab::{eventually, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![test("npn21_npb8_pods_that_speak_at_once_are_isolated_from_their_first_packet", starts)]
}

/// Policies that come while pods of a family start: a thousand in the end.
const POLICIES: usize = 500;

/// Each says who it is, from its first moment on, and ends.
fn speaker(name: &str, role: &str, to: SocketAddr) -> String {
    let say = format!(
        "for i in $(seq 20); do echo {role} > /dev/udp/{}/{}; sleep 0.05; done",
        to.ip(),
        to.port()
    );
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{role: {role}}}}}\nspec:\n  \
         restartPolicy: Never\n  terminationGracePeriodSeconds: 0\n  containers:\n  \
         - {{name: main, image: shell, command: [bash, -c, '{say}']}}\n"
    )
}

/// `shy` pods may not speak, `bold` ones may; policies about neither come all the while.
fn starts() {
    let scene = Scene::up(&[]);
    scene.cluster.put(&mute("p", "role=shy"));
    for family in Family::ALL {
        let at = SocketAddr::new(scene.addr("server", family), 5000);
        let listen = || UdpSocket::bind(at).expect("listen");
        let listener = scene.netns("server").run(listen).expect("enter");
        listener.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        let mut pods = String::new();
        for number in 0..6 {
            for role in ["shy", "bold"] {
                let name = format!("{role}-{number}-{}", family.to_string().to_lowercase());
                pods.push_str(&speaker(&name, role, at));
            }
        }
        std::thread::scope(|scope| {
            scope.spawn(|| scene.lab.apply(&pods));
            for number in 0..POLICIES {
                scene.cluster.put(&only(
                    &format!("{}-{number}", family.to_string().to_lowercase()),
                    &format!("role=r{number}"),
                    json!([]),
                ));
            }
        });
        let (mut bold, mut all) = (0, 0);
        eventually("all have spoken and ended", || {
            let mut words = [0; 16];
            loop {
                match listener.recv_from(&mut words) {
                    Ok((length, _)) => {
                        all += 1;
                        bold += usize::from(words[..length].starts_with(b"bold"));
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("listen: {error}"),
                }
            }
            let phases = scene.kubectl("get pods -l role -o jsonpath={.items[*].status.phase}");
            let is_over = phases.split(' ').all(|phase| phase == "Succeeded");
            if is_over { Ok(()) } else { Err(phases) }
        });
        assert_eq!((bold, all), (120, 120), "of {family}");
        scene.kubectl("delete pods -l role --wait");
    }
}
