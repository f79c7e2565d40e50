//! The loop: changes in, decisions of the controllers out.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube_rs::Client;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::cluster::{Change, Cluster, Lists};
use super::feed::Delta;
use super::queue::{End, Queue};
use super::write::{Outcome, Write};
use super::{Controller, Keys, Note, Turn};
use crate::events::Events;

/// Changes that may wait for the loop; a watch that finds no room waits itself.
const WAITING: usize = 256;

/// Plans that may be carried out at the same time.
const TURNS: usize = 64;

/// Most writes of one plan that are under way at the same time.
const BATCH: usize = 64;

/// Decisions in a row before the loop looks at what has changed.
const DECISIONS: usize = 128;

/// A controller with its queue.
struct Seat {
    controller: Box<dyn Controller>,
    queue: Queue,
    events: Events,
}

/// A plan that was carried out, or not.
struct Finished {
    seat: usize,
    key: Arc<str>,
    end: End,
    deltas: Vec<Delta>,
    notes: Vec<Note>,
}

/// Runs `controllers` until the future is dropped. Nothing is decided before every kind was listed.
pub(crate) async fn run(client: Client, controllers: Vec<Box<dyn Controller>>) {
    let (out, mut deltas) = mpsc::channel(WAITING);
    let mut feeds = JoinSet::new();
    Cluster::follow(&client, &out, &mut feeds);
    let seat = |controller: Box<dyn Controller>| {
        let events = Events::start(client.clone(), controller.name(), None);
        Seat { controller, queue: Queue::default(), events }
    };
    let mut table = Table {
        seats: controllers.into_iter().map(seat).collect(),
        cluster: Cluster::default(),
        turns: JoinSet::new(),
        next: 0,
        client,
    };
    loop {
        let more = table.decide();
        let pause = if more { Duration::ZERO } else { table.pause() };
        tokio::select! {
            Some(delta) = deltas.recv() => {
                table.step(delta);
                while let Ok(delta) = deltas.try_recv() {
                    table.step(delta);
                }
            }
            Some(finished) = table.turns.join_next() => {
                // A turn has no reason to panic; if one does, the loop must not go on without its key.
                table.finish(finished.expect("a turn ends"));
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

struct Table {
    seats: Vec<Seat>,
    cluster: Cluster,
    turns: JoinSet<Finished>,
    /// The seat that is asked next.
    next: usize,
    client: Client,
}

impl Table {
    /// Changes the cluster, and tells every controller.
    fn step(&mut self, delta: Delta) {
        let changes = delta(&mut self.cluster);
        for change in &changes {
            self.tell(change);
        }
    }

    fn tell(&mut self, change: &Change) {
        let now = Timestamp::now();
        let mut keys = Keys::new(now);
        for seat in &mut self.seats {
            seat.controller.concerns(&self.cluster, change, &mut keys);
            for (key, rank, pause) in keys.all.drain(..) {
                match pause.is_zero() {
                    true => seat.queue.add(key, rank),
                    false => seat.queue.add_at(key, rank, now + pause),
                }
            }
        }
    }

    /// Takes decisions, one of each controller in turn; whether there are more to take.
    fn decide(&mut self) -> bool {
        if !self.cluster.is_complete() {
            return false;
        }
        let now = Timestamp::now();
        let mut idle = 0;
        for _ in 0..DECISIONS {
            loop {
                if self.turns.len() >= TURNS || idle == self.seats.len() {
                    return false;
                }
                let seat = self.next;
                self.next = (self.next + 1) % self.seats.len();
                if let Some(key) = self.seats[seat].queue.next(now) {
                    idle = 0;
                    self.turn(seat, key, now);
                    break;
                }
                idle += 1;
            }
        }
        true
    }

    fn turn(&mut self, index: usize, key: Arc<str>, now: Timestamp) {
        let seat = &mut self.seats[index];
        let turn = Turn { now, failure: seat.queue.failure(&key) };
        let plan = seat.controller.decide(&self.cluster, &key, &turn);
        for note in plan.events {
            seat.events.tell_of(note.about, note.kind, note.reason, note.message);
        }
        if let Some(time) = plan.again {
            seat.queue.add_at(key.clone(), 0, time);
        }
        if plan.writes.is_empty() {
            seat.queue.back(key, End::Done, now);
            return;
        }
        let (client, lists) = (self.client.clone(), self.cluster.lists());
        self.turns.spawn(async move {
            let mut finished = Finished {
                seat: index,
                key,
                end: End::Done,
                deltas: Vec::new(),
                notes: Vec::new(),
            };
            finished.carry_out(client, plan.writes, lists).await;
            finished
        });
    }

    fn finish(&mut self, finished: Finished) {
        for delta in finished.deltas {
            self.step(delta);
        }
        let seat = &mut self.seats[finished.seat];
        for note in finished.notes {
            seat.events.tell_of(note.about, note.kind, note.reason, note.message);
        }
        seat.queue.back(finished.key, finished.end, Timestamp::now());
    }

    /// How long nothing will happen by itself.
    fn pause(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(3600);
        if !self.cluster.is_complete() || self.turns.len() >= TURNS {
            return LONG;
        }
        let next = self.seats.iter().filter_map(|seat| seat.queue.next_time()).min();
        let pause = next.map(|time| time.duration_since(Timestamp::now()));
        pause.map_or(LONG, |pause| Duration::try_from(pause).unwrap_or_default())
    }
}

impl Finished {
    /// Sends `writes` in batches that grow while all goes well, so that a thousand writes that are all
    /// refused cost one.
    async fn carry_out(&mut self, client: Client, writes: Vec<Write>, lists: Lists) {
        let mut writes = writes.into_iter();
        let mut size = 1;
        loop {
            let mut batch = JoinSet::new();
            for write in writes.by_ref().take(size) {
                batch.spawn(write.perform(client.clone(), lists));
            }
            if batch.is_empty() {
                return;
            }
            while let Some(outcome) = batch.join_next().await {
                match outcome.expect("a write ends") {
                    Outcome::Done(delta, note) => {
                        self.deltas.push(delta);
                        self.notes.extend(note.map(|note| *note));
                    }
                    Outcome::Needless => {}
                    Outcome::Overtaken => self.end(End::Overtaken),
                    Outcome::Failed(failure, note) => {
                        self.notes.extend(note.map(|note| *note));
                        self.end(End::Failed(failure));
                    }
                }
            }
            if !matches!(self.end, End::Done) {
                return;
            }
            size = (size * 2).min(BATCH);
        }
    }

    /// Of several ends the worst counts.
    fn end(&mut self, end: End) {
        if !matches!((&self.end, &end), (End::Failed(_), _)) {
            self.end = end;
        }
    }
}
