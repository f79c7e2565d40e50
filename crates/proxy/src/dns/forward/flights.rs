//! Questions that are on their way: each one once, however many clients wait for it, and no more of them
//! than there is room for (DNS-91, DNS-93).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::Shared;
use tokio::sync::oneshot;

use crate::dns::{Found, Sought};

/// What waits for an answer. It is an error when whoever was to find it has failed.
pub(super) type Flight = Shared<oneshot::Receiver<Found>>;

/// Questions on their way.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<Sought, Flight>>);

/// The end of a question that somebody else has begun: it lands when this is dropped.
#[derive(Debug)]
pub(super) struct Landing {
    flights: Arc<Flights>,
    sought: Sought,
    answer: Option<oneshot::Sender<Found>>,
}

/// How a question is taken up.
#[derive(Debug)]
pub(super) enum Boarded {
    /// It is on its way.
    There(Flight),
    /// It is new: whoever asks has to bring it to its end.
    New(Flight, Box<Landing>),
    /// There is no room.
    Full,
}

impl Flights {
    /// Takes up `sought`, with room for `most` questions.
    pub(super) fn board(self: &Arc<Self>, sought: &Sought, most: usize) -> Boarded {
        let mut all = self.lock();
        if let Some(flight) = all.get(sought) {
            return Boarded::There(flight.clone());
        }
        if all.len() >= most {
            return Boarded::Full;
        }
        let (answer, flight) = oneshot::channel();
        let flight = flight.shared();
        all.insert(*sought, flight.clone());
        let flights = Arc::clone(self);
        let landing = Landing { flights, sought: *sought, answer: Some(answer) };
        Boarded::New(flight, Box::new(landing))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sought, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Landing {
    /// Tells everyone who waits.
    pub(super) fn land(mut self, found: Found) {
        if let Some(answer) = self.answer.take() {
            let _nobody_waits = answer.send(found);
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.sought);
    }
}
