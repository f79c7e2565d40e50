//! What a node tells in its own Lease, over a connection that is kept for as long as it works.

use std::ops::RangeInclusive;
use std::time::Duration;

use kube::{Access, Client, node_lease};
use model::{NodeName, Realised};

/// Something to tell.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Word<'a> {
    /// What new flows follow, as a `resourceVersion`.
    Drained(u64),
    /// Which policies of the cluster the kernel goes by.
    Realised(&'a Realised),
    /// The `metadata.uid` of the Node, with which the Lease goes.
    Owner(&'a str),
}

/// Who tells one kind of word.
pub(crate) struct Lease {
    access: Access,
    node: NodeName,
    client: Option<Client>,
    pauses: RangeInclusive<Duration>,
    pause: Duration,
}

impl Lease {
    /// That of `node`. The first of `pauses` is how long the API server is let alone when it did not take a word;
    /// each further one is twice as long, up to the last.
    pub(crate) fn new(access: Access, node: NodeName, pauses: RangeInclusive<Duration>) -> Self {
        let pause = *pauses.start();
        Lease { access, node, client: None, pauses, pause }
    }

    /// Writes `word`, and returns whether that was done. If not, it has been said why, once until it works again, and
    /// the pause is over: what is newer by now can be told instead.
    pub(crate) async fn tell(&mut self, word: Word<'_>) -> bool {
        let Err(why) = self.write(word).await else {
            self.pause = *self.pauses.start();
            return true;
        };
        if self.pause == *self.pauses.start() {
            tracing::warn!("{why}; trying again");
        }
        self.client = None;
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(*self.pauses.end());
        false
    }

    /// Writes `word` if the API server takes it, which nobody waits for.
    pub(crate) async fn mention(&mut self, word: Word<'_>) {
        if let Err(why) = self.write(word).await {
            self.client = None;
            tracing::debug!("{why}");
        }
    }

    async fn write(&mut self, word: Word<'_>) -> Result<(), String> {
        let client = match self.client.take() {
            Some(client) => client,
            None => kube::connect(&self.access).await.map_err(|error| kube::chain(&error))?,
        };
        let client = self.client.insert(client);
        let told = match word {
            Word::Drained(revision) => node_lease::tell_drained(client, &self.node, revision).await,
            Word::Realised(realised) => {
                node_lease::tell_realised(client, &self.node, realised).await
            }
            Word::Owner(uid) => node_lease::tell_owner(client, &self.node, uid).await,
        };
        told.map_err(|error| kube::chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_taken_is_told_again_after_pauses_that_double() {
        let nowhere = Access::Kubeconfig("/nonexistent/kubeconfig".into());
        let millis = Duration::from_millis;
        let mut lease = Lease::new(nowhere, "a".into(), millis(1)..=millis(3));
        for next in [2, 3, 3] {
            assert!(!lease.tell(Word::Drained(1)).await);
            assert_eq!(lease.pause, millis(next));
        }
    }
}
