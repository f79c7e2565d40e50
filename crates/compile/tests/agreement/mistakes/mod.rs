//! The judges are judged: a mistake in the table of Services or in its rules does not pass.

mod in_rules;
mod in_table;

use std::collections::BTreeMap;
use std::sync::Arc;

use fixtures::clusters::{Call, calls, cluster_with_services, script};
use fixtures::paper::Network;
use model::{NodeName, OrdMap, World};
use oracle::Cluster;
use plan::Table;
use plan::nft::{Key, Row, Rule};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use seaway_compile::Compiled;
use seaway_compile::services::{Lowered, PortEntry, Resolved, ServiceTable};

use super::compiled;
use super::services::{Remembered, judge};

type Rows = Table<Key, Row>;

/// One mistake.
enum Mistake {
    /// In every port of the table.
    Port(fn(&mut PortEntry)),
    /// In the rest of the table.
    Table(fn(&mut ServiceTable)),
    /// In the rules of every chain.
    Rules(fn(&mut Vec<Rule>)),
    /// In any row, which may be left out.
    Row(fn(&Key, Row) -> Option<Row>),
}

/// A mistake by the rows of the Services' specification that it breaks.
type Named = (&'static str, Mistake);

/// A cluster, what is sent in it, and what it compiles to.
struct Sample {
    cluster: Cluster,
    calls: Vec<(Call, Index)>,
    right: Network,
    /// The rows of each node that are not for Services.
    others: BTreeMap<NodeName, Rows>,
}

impl Sample {
    fn new(cluster: Cluster, calls: Vec<(Call, Index)>) -> Self {
        let others = cluster.iter().map(|(node, world)| {
            let others = World {
                services: OrdMap::new(),
                slices: OrdMap::new(),
                service_cidrs: OrdMap::new(),
                ..world.clone()
            };
            (node.clone(), compiled(&others).plan.nft)
        });
        Sample { others: others.collect(), right: Network::new(cluster.clone()), cluster, calls }
    }

    /// The rows of `node` with `mistake` in them.
    fn mistaken(&self, node: &NodeName, mistake: &Mistake) -> Rows {
        let mut table = self.right.nodes[node].1.services.clone();
        match mistake {
            Mistake::Port(change) => {
                let changed = table.services.iter().map(|(name, resolved)| {
                    let mut resolved = Resolved::clone(resolved);
                    resolved.ports.iter_mut().for_each(change);
                    (name.clone(), Arc::new(resolved))
                });
                table.services = changed.collect();
            }
            Mistake::Table(change) => change(&mut table),
            Mistake::Rules(_) | Mistake::Row(_) => {}
        }
        let rows = Lowered::default().update(&table, &self.others[node]);
        let changed = rows.iter().filter_map(|(key, row)| {
            let row = match (mistake, row.clone()) {
                (Mistake::Rules(change), Row::Chain(mut chain)) => {
                    change(&mut chain.rules);
                    Some(Row::Chain(chain))
                }
                (Mistake::Row(change), row) => change(key, row),
                (_, row) => Some(row),
            };
            row.map(|row| (key.clone(), row))
        });
        changed.collect()
    }

    /// Whether the walk through rows with `mistake` differs from the oracle.
    fn catches(&self, mistake: &Mistake) -> bool {
        let nodes = self.right.nodes.iter().map(|(name, (world, compiled))| {
            let mut compiled = compiled.clone();
            compiled.plan.nft = self.mistaken(name, mistake);
            (name.clone(), (world.clone(), compiled))
        });
        let wrong = Network { nodes: nodes.collect() };
        let is_same = |(name, (_, compiled)): (&NodeName, &(World, Compiled))| {
            compiled.plan.nft == self.right.nodes[name].1.plan.nft
        };
        if wrong.nodes.iter().all(is_same) {
            return false;
        }
        let (cluster, mut remembered) = (&self.cluster, Remembered::default());
        let mut calls = self.calls.iter();
        calls.any(|(call, pick)| judge(cluster, &wrong, &mut remembered, call, *pick).is_err())
    }
}

/// The same ones every time.
fn samples(count: usize) -> Vec<Sample> {
    let mut runner = TestRunner::deterministic();
    let picks = prop::collection::vec(any::<Index>(), 40);
    let one = (cluster_with_services(), script(40), picks);
    let mut sample = || {
        let (cluster, script, picks) = one.new_tree(&mut runner).expect("a cluster").current();
        let calls = calls(&cluster, &script).into_iter().zip(picks).collect();
        Sample::new(cluster, calls)
    };
    (0..count).map(|_| sample()).collect()
}

#[test]
fn every_mistake_in_table_or_rules_is_caught() {
    let samples = samples(300);
    let is_caught = |mistake: &Mistake| samples.iter().any(|sample| sample.catches(mistake));
    let all = in_table::mistakes().into_iter().chain(in_rules::mistakes());
    let uncaught: Vec<&str> =
        all.filter(|(_, mistake)| !is_caught(mistake)).map(|(name, _)| name).collect();
    assert_eq!(uncaught, [""; 0]);
}
