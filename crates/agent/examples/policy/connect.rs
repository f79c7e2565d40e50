//! What policies add to a connection between two pods of a node.

use model::World;

use crate::running::Running;
use crate::turns::{self, Node, PORT};
use crate::world::{ENDS, LAST, world};
use crate::{Outcome, peer};

/// Prints a table: a line for each ruleset. Both ends have ten policies wherever there are any.
pub(crate) fn measure() -> Outcome<()> {
    turns::measure(vec![
        node("no rules", World::default(), |_| Ok(()))?,
        node("no policies", world(0, 0, LAST), ours)?,
        node("10 policies, the first allows it", world(10, 0, 0), ours)?,
        node("1,000 policies, the first allows it", world(1000, 0, 0), ours)?,
        node("10,000 policies, the first allows it", world(10_000, 0, 0), ours)?,
        node("10,000 policies, the last one of ten allows it", world(10_000, 0, LAST), ours)?,
        node(
            "1,000 as kube-router lays them out, the first allows it",
            world(1000, 0, 0),
            |world| peer::program(&world).map(drop),
        )?,
    ])
}

fn node(
    what: &'static str,
    world: World,
    program: impl FnOnce(World) -> Outcome<()> + Send,
) -> Outcome<Node> {
    Node::start(what, ENDS, || {
        program(world)?;
        Ok(vec![(ENDS[1], PORT).into()])
    })
}

fn ours(world: World) -> Outcome<()> {
    Running::start(world)?.pass().map(drop)
}
