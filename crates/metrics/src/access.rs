//! Who may read the metrics: the API server decides.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use kube::Client;
use sha2::{Digest as _, Sha256};
use tracing::{info, warn};

mod answers;
mod review;

use answers::Answers;

/// What stands for a token here: the token itself is kept only while it is being reviewed.
type Digest = [u8; 32];

/// Tokens that may be under review at once. Whoever can reach the port can send some, and each costs the API server
/// a request.
const REVIEWS: usize = 32;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The token's owner may read the metrics.
    Allowed,
    /// The token is nobody's.
    Unauthenticated,
    /// The token's owner may not read the metrics.
    Denied {
        /// The owner.
        user: String,
    },
    /// Nobody can tell now, and why.
    Unavailable(String),
}

/// Asks the API server about tokens, once for each at a time, and remembers the answers for a short while.
pub(crate) struct Access {
    client: Client,
    state: Mutex<State>,
    /// Whether the last review came to no answer: it is logged when that changes.
    outage: AtomicBool,
}

#[derive(Default)]
struct State {
    answers: Answers,
    /// The reviews under way; further requests with the same token wait for the same answer.
    pending: HashMap<Digest, Shared<BoxFuture<'static, Verdict>>>,
}

impl Access {
    pub(crate) fn new(client: Client) -> Arc<Self> {
        Arc::new(Self { client, state: Mutex::default(), outage: AtomicBool::new(false) })
    }

    /// Whether whoever has the token may read the metrics.
    pub(crate) async fn check(self: &Arc<Self>, token: &str) -> Verdict {
        let digest = Sha256::digest(token.as_bytes()).into();
        let pending = {
            let mut state = self.state();
            if let Some(known) = state.answers.get(&digest, Instant::now()) {
                return known;
            }
            if let Some(pending) = state.pending.get(&digest) {
                pending.clone()
            } else if state.pending.len() >= REVIEWS {
                return Verdict::Unavailable(format!("{REVIEWS} other tokens are being checked; try again"));
            } else {
                let review = self.start(digest, token.to_owned());
                state.pending.insert(digest, review.clone());
                review
            }
        };
        pending.await
    }

    /// Reviews the token in a task of its own, so that a client that goes away takes no answer from others.
    fn start(self: &Arc<Self>, digest: Digest, token: String) -> Shared<BoxFuture<'static, Verdict>> {
        let this = Arc::clone(self);
        let task = tokio::spawn(async move {
            let verdict = review::review(&this.client, token).await;
            this.tell(&verdict);
            let mut state = this.state();
            state.pending.remove(&digest);
            state.answers.put(digest, verdict.clone(), Instant::now());
            verdict
        });
        let verdict =
            task.map(|ended| ended.unwrap_or_else(|_| Verdict::Unavailable("the check was given up".into())));
        verdict.boxed().shared()
    }

    fn tell(&self, verdict: &Verdict) {
        match verdict {
            Verdict::Unavailable(why) => {
                if !self.outage.swap(true, Ordering::Relaxed) {
                    warn!(
                        why,
                        "requests for metrics are answered with 503 until tokens can be checked again"
                    );
                }
                return;
            }
            Verdict::Denied { user } => {
                info!(user, "refused a request for metrics: its user may not get /metrics");
            }
            Verdict::Allowed | Verdict::Unauthenticated => {}
        }
        if self.outage.swap(false, Ordering::Relaxed) {
            info!("tokens of requests for metrics can be checked again");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
