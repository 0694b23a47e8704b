use serde_json::{Value, json};

use super::*;
use crate::testing::{self, Answers, Asked, Fake};

const OBJECT: &str = "/apis/coordination.k8s.io/v1/namespaces/metallb-system/leases/operator";
/// Long enough that a hand-over is told from an expiry, short enough to wait for one.
const LEASE_SECONDS: u64 = 2;
const FOLDER: &str = "/apis/coordination.k8s.io/v1/namespaces/metallb-system/leases";

/// One Lease as an API server keeps it: guarded by its version, and told to those who watch.
#[derive(Default)]
struct Store {
    lease: Option<Value>,
    version: u64,
    watching: Vec<(u64, Asked)>,
    /// Answers nothing any more: requests hang until the client gives up.
    dead: bool,
    hanging: Vec<Asked>,
}

impl Store {
    fn holder(&self) -> String {
        let lease = self.lease.as_ref().expect("there is a Lease");
        lease["spec"]["holderIdentity"].as_str().unwrap_or("nobody").to_owned()
    }

    fn write(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease.clone());
        self.tell();
        lease
    }

    /// Answers every watch from before the present version with one event, and ends it.
    fn tell(&mut self) {
        let Some(lease) = self.lease.clone() else { return };
        let version = self.version;
        for (_, asked) in self.watching.extract_if(.., |(from, _)| *from < version) {
            asked.answer(200, &json!({"type": "MODIFIED", "object": lease}));
        }
    }
}

impl Answers for Store {
    fn handle(&mut self, asked: Asked) {
        if self.dead {
            self.hanging.push(asked);
            return;
        }
        if asked.what == format!("GET {FOLDER}") && asked.query.contains("watch=true") {
            let from = asked.query.split('&').find_map(|part| part.strip_prefix("resourceVersion="));
            let from = from.and_then(|from| from.parse().ok()).expect("a watch says from where");
            self.watching.push((from, asked));
            self.tell();
        } else if asked.what == format!("GET {FOLDER}") {
            assert!(asked.query.contains("fieldSelector=metadata.name%3Doperator"), "{}", asked.query);
            let items: Vec<_> = self.lease.iter().collect();
            let version = self.version.max(1).to_string();
            asked.answer(200, &json!({"metadata": {"resourceVersion": version}, "items": items}));
        } else if asked.what == format!("GET {OBJECT}") {
            match self.lease.clone() {
                Some(lease) => asked.answer(200, &lease),
                None => asked.refuse(404, "NotFound"),
            }
        } else if asked.what == format!("POST {FOLDER}") {
            if self.lease.is_some() {
                asked.refuse(409, "AlreadyExists");
            } else {
                let lease = self.write(asked.body.clone());
                asked.answer(201, &lease);
            }
        } else if asked.what == format!("PUT {OBJECT}") {
            let known = self.lease.as_ref().map(|lease| &lease["metadata"]["resourceVersion"]);
            if known == Some(&asked.body["metadata"]["resourceVersion"]) {
                let lease = self.write(asked.body.clone());
                asked.answer(200, &lease);
            } else {
                asked.refuse(409, "Conflict");
            }
        } else {
            panic!("nobody asks for {}", asked.what);
        }
    }
}

type Cluster = Fake<Store>;

impl Cluster {
    fn candidate(&self, identity: &str) -> LeaderElector {
        self.candidate_with(identity, Duration::from_secs(10))
    }

    fn candidate_with(&self, identity: &str, renew_deadline: Duration) -> LeaderElector {
        LeaderElector::new(LeaderConfig {
            client: self.client(),
            namespace: "metallb-system".into(),
            name: "operator".into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(LEASE_SECONDS),
            renew_deadline,
            retry_period: Duration::from_millis(40),
            owner: None,
        })
    }
}

/// Far longer than anything here takes, so that a test that waits for nothing fails.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(5), what).await.expect("it happens within five seconds")
}

#[tokio::test]
async fn the_first_candidate_creates_the_lease_and_renews_it() {
    let cluster = Cluster::default();
    let leading = soon(cluster.candidate("a").acquire()).await;
    assert_eq!(cluster.store().holder(), "a");
    let first = cluster.store().version;
    soon(cluster.until(|store| store.version >= first + 3)).await;
    assert!(timeout(Duration::from_millis(1), leading.lost()).await.is_err(), "it is still ours");
}

#[tokio::test]
async fn a_release_hands_over_to_the_standby_at_once() {
    let cluster = Cluster::default();
    let leading = soon(cluster.candidate("a").acquire()).await;
    let standby = tokio::spawn(cluster.candidate("b").acquire());
    soon(cluster.until(|store| !store.watching.is_empty())).await;
    assert_eq!(cluster.store().holder(), "a");

    let tenure = leading.tenure();
    assert!(tenure.holds());
    leading.release().await;
    assert!(!tenure.holds(), "a Lease that is released allows no write any more");
    let since = Instant::now();
    let leading = soon(standby).await.expect("the standby does not panic");
    let after = since.elapsed();
    assert!(after < Duration::from_secs(1), "by the release, not by expiry: {after:?}");
    assert_eq!(cluster.store().holder(), "b");
    leading.release().await;
    assert_eq!(cluster.store().holder(), "");
}

#[tokio::test]
async fn the_same_identity_takes_its_lease_up_again_after_a_crash() {
    let cluster = Cluster::default();
    drop(soon(cluster.candidate("a").acquire()).await);
    soon(cluster.candidate("a").acquire()).await;
    let transitions = cluster.store().lease.as_ref().map(|lease| lease["spec"]["leaseTransitions"].clone());
    assert_eq!(transitions, Some(json!(0)));
}

#[tokio::test]
async fn a_lease_taken_by_another_is_lost() {
    let cluster = Cluster::default();
    let leading = soon(cluster.candidate("a").acquire()).await;
    {
        let mut store = cluster.store();
        let mut lease = store.lease.clone().expect("a made the Lease");
        lease["spec"]["holderIdentity"] = json!("b");
        store.write(lease);
    }
    soon(leading.lost()).await;
    assert!(!leading.tenure().holds());
    leading.release().await;
    assert_eq!(cluster.store().holder(), "b", "what is another's is not released");
}

#[tokio::test]
async fn a_lease_touched_by_someone_else_but_still_ours_is_kept() {
    let cluster = Cluster::default();
    let leading = soon(cluster.candidate("a").acquire()).await;
    let touched = {
        let mut store = cluster.store();
        let mut lease = store.lease.clone().expect("a made the Lease");
        lease["metadata"]["labels"] = json!({"team": "network"});
        store.write(lease);
        store.version
    };
    let renewed = cluster.until(|store| store.version >= touched + 3);
    tokio::select! {
        () = leading.lost() => panic!("the Lease is still ours"),
        () = soon(renewed) => {}
    }
    let labels = cluster.store().lease.as_ref().map(|lease| lease["metadata"]["labels"].clone());
    assert_eq!(labels, Some(json!({"team": "network"})), "a renewal keeps what others wrote");
}

#[tokio::test]
async fn a_server_that_is_away_longer_than_the_deadline_ends_the_leadership() {
    let cluster = Cluster::default();
    let leading = soon(cluster.candidate_with("a", Duration::from_millis(300)).acquire()).await;
    cluster.store().dead = true;
    soon(leading.lost()).await;
    cluster.store().hanging.clear();
    soon(leading.release()).await;
}

#[tokio::test]
async fn a_server_that_comes_back_in_time_changes_nothing() {
    let cluster = Cluster::default();
    let leading = soon(cluster.candidate("a").acquire()).await;
    cluster.store().dead = true;
    soon(cluster.until(|store| !store.hanging.is_empty())).await;
    let before = {
        let mut store = cluster.store();
        store.dead = false;
        for asked in std::mem::take(&mut store.hanging) {
            asked.hang_up();
        }
        store.version
    };
    let renewed = cluster.until(|store| store.version >= before + 2);
    tokio::select! {
        () = leading.lost() => panic!("the server came back in time"),
        () = soon(renewed) => {}
    }
}

#[tokio::test]
async fn a_renewal_that_was_written_although_its_answer_was_lost_is_no_loss() {
    let cluster = Cluster::default();
    let leading = soon(cluster.candidate("a").acquire()).await;
    cluster.store().dead = true;
    soon(cluster.until(|store| !store.hanging.is_empty())).await;
    let before = {
        let mut store = cluster.store();
        store.dead = false;
        for asked in std::mem::take(&mut store.hanging) {
            assert!(asked.what.starts_with("PUT"), "{}", asked.what);
            store.write(asked.body.clone());
            asked.hang_up();
        }
        store.version
    };
    let renewed = cluster.until(|store| store.version >= before + 2);
    tokio::select! {
        () = leading.lost() => panic!("it was our own writing"),
        () = soon(renewed) => {}
    }
}

#[tokio::test]
async fn of_two_candidates_at_once_one_leads() {
    let cluster = Cluster::default();
    let a = tokio::spawn(cluster.candidate("a").acquire());
    let b = tokio::spawn(cluster.candidate("b").acquire());
    soon(cluster.until(|store| !store.watching.is_empty() && store.version > 3)).await;
    assert_ne!(a.is_finished(), b.is_finished());
    assert_eq!(cluster.store().holder(), if a.is_finished() { "a" } else { "b" });
}

#[tokio::test]
async fn a_lease_whose_holder_vanished_is_taken_when_it_has_run_out() {
    let cluster = Cluster::default();
    let leading = soon(cluster.candidate("a").acquire()).await;
    let standby = tokio::spawn(cluster.candidate("b").acquire());
    soon(cluster.until(|store| !store.watching.is_empty())).await;
    let since = Instant::now();
    drop(leading);
    soon(standby).await.expect("the standby does not panic");
    let after = since.elapsed();
    assert!(after + Duration::from_millis(500) > Duration::from_secs(LEASE_SECONDS), "too early: {after:?}");
    assert_eq!(cluster.store().holder(), "b");
}

#[tokio::test]
async fn a_server_that_is_away_at_first_is_waited_for() {
    let cluster = Cluster::default();
    cluster.store().dead = true;
    let candidate = tokio::spawn(cluster.candidate("a").acquire());
    soon(cluster.until(|store| !store.hanging.is_empty())).await;
    cluster.store().dead = false;
    for asked in std::mem::take(&mut cluster.store().hanging) {
        asked.refuse(503, "ServiceUnavailable");
    }
    soon(candidate).await.expect("the candidate does not panic");
    assert_eq!(cluster.store().holder(), "a");
}

#[tokio::test]
async fn a_candidate_says_how_it_goes() {
    let cluster = Cluster::default();
    let leading = soon(cluster.candidate("a").acquire()).await;
    let standby = cluster.candidate("b");
    let mut progress = standby.progress();
    assert_eq!(*progress.borrow(), Candidacy::Begun);
    let acquiring = tokio::spawn(standby.acquire());
    let holder = "a".to_owned();
    soon(progress.wait_for(|now| *now == Candidacy::StandingBy { holder: holder.clone() }))
        .await
        .expect("it runs");
    leading.release().await;
    soon(progress.wait_for(|now| *now == Candidacy::Won)).await.expect("it has just won");
    drop(soon(acquiring).await);

    let (client, mut server) = testing::client();
    let elector = LeaderElector::new(LeaderConfig { client, ..cluster.candidate("c").terms.config.clone() });
    let mut progress = elector.progress();
    tokio::spawn(elector.acquire());
    tokio::spawn(async move {
        while let Some(asked) = server.next().await {
            asked.refuse(403, "Forbidden");
        }
    });
    let failing = |now: &Candidacy| matches!(now, Candidacy::Failing(why) if why.contains("Forbidden"));
    soon(progress.wait_for(failing)).await.expect("it goes on trying");
}
