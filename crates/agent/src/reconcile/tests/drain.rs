//! When it is told that endpoints which go get no new flow any more.

use model::{Conditions, Endpoint, EndpointSlice, Family, ServiceName, SliceKey};

use super::*;

#[tokio::test]
async fn that_endpoints_go_is_told_once_the_kernel_follows() {
    let scratch = Scratch::new();
    let kernel = Kernel::default();
    let agent = Agent::start(scratch.path(), &kernel);
    agent.list("10.244.1.0/24");
    agent.ready().await;
    let mut drains = agent.shown.drains();
    let slices = |conditions: &[Conditions], revision| {
        let endpoint = |(number, conditions): (usize, &Conditions)| Endpoint {
            addr: format!("10.244.2.{}", number + 2).parse().unwrap(),
            node: None,
            conditions: *conditions,
            hints: None,
            hostname: None,
            pod: None,
        };
        let key = SliceKey { service: ServiceName::new("ns", "web"), slice: "web-1".into() };
        let slice = EndpointSlice {
            key: key.clone(),
            family: Family::V4,
            triggered: None,
            is_headless: false,
            ports: Vec::new(),
            endpoints: conditions.iter().enumerate().map(endpoint).collect(),
        };
        agent.watching.slices.send_modify(|shown| {
            shown.listed = Some([(key, Arc::new(slice))].into_iter().collect());
            shown.revision = revision;
        });
        agent.handle.wake();
    };
    let stays = Conditions { ready: true, serving: true, terminating: false };
    let leaves = Conditions { ready: false, serving: true, terminating: true };
    for (conditions, revision, told) in [
        (&[stays][..], 3, 0),
        (&[stays, stays], 4, 0),
        (&[stays, leaves], 5, 5),
        (&[stays], 6, 5),
        (&[], 7, 7),
    ] {
        slices(conditions, revision);
        // The second answer is from a turn that began after the slices were there.
        agent.handle.status().await;
        agent.handle.status().await;
        assert_eq!(*drains.borrow_and_update(), Some(told), "revision {revision}");
    }
    slices(&[stays], 8);
    agent.handle.status().await;
    agent.handle.status().await;
    kernel.nft.go_blind(true);
    agent.disturbed.add(Disturbance { places: ["nft"].into(), ..Disturbance::default() });
    slices(&[leaves], 9);
    agent.handle.status().await;
    agent.handle.status().await;
    assert_eq!(*drains.borrow_and_update(), Some(7), "nobody knows what the kernel does");
    kernel.nft.go_blind(false);
    let told = drains.wait_for(|told| *told == Some(9));
    tokio::time::timeout(Duration::from_secs(10), told).await.unwrap().unwrap();
}
