//! The requests about one Lease.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Error, api::PostParams};
use tokio::time::{Instant, timeout};

use super::LeaderConfig;
use crate::ObjectKey;

/// Why a request about the Lease failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Someone else wrote the Lease since it was read.
    Conflict,
    /// Anything else, in words.
    Other(String),
}

/// One Lease and one candidate for it.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) config: LeaderConfig,
    pub(super) leases: Api<Lease>,
}

impl Terms {
    pub(super) fn new(config: LeaderConfig) -> Self {
        Self { leases: Api::namespaced(config.client.clone(), &config.namespace), config }
    }

    pub(super) fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.config.namespace, &self.config.name)
    }

    /// The Lease as the server has it, `None` where there is none.
    pub(super) async fn get(&self) -> Result<Option<Lease>, Failure> {
        self.answer(self.leases.get_opt(&self.config.name)).await
    }

    /// Writes `lease` as ours, unless someone wrote it since it was read, and says from when that counts.
    ///
    /// That is the moment before the request: others start to count when the server has it, which is later.
    pub(super) async fn put(&self, lease: Option<Lease>) -> Result<(Lease, Instant), Failure> {
        let since = Instant::now();
        let ours = claim(lease, &self.config, Timestamp::now());
        Ok((self.write(&ours).await?, since))
    }

    /// Writes `lease` without a holder, so that a standby need not wait for its end.
    pub(super) async fn give_up(&self, lease: Lease) -> Result<(), Failure> {
        self.write(&vacate(lease, Timestamp::now())).await.map(drop)
    }

    async fn write(&self, lease: &Lease) -> Result<Lease, Failure> {
        let params = PostParams::default();
        if lease.metadata.resource_version.is_some() {
            self.answer(self.leases.replace(&self.config.name, &params, lease)).await
        } else {
            self.answer(self.leases.create(&params, lease)).await
        }
    }

    /// Waits for one request, at most half of the time in which a renewal must succeed, so that a connection that
    /// died silently leaves time for a second attempt.
    async fn answer<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        let limit: Duration = self.config.renew_deadline / 2;
        match timeout(limit, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Error::Api(status))) if status.code == 409 => Err(Failure::Conflict),
            Ok(Err(Error::Api(status))) => Err(Failure::Other(status.message.clone())),
            Ok(Err(error)) => Err(Failure::Other(error.to_string())),
            Err(_) => Err(Failure::Other(format!("no answer within {limit:?}"))),
        }
    }
}

/// `lease` (or a new one) held by `config.identity` from `now` on.
fn claim(lease: Option<Lease>, config: &LeaderConfig, now: Timestamp) -> Lease {
    let now = MicroTime(now);
    let new = lease.is_none();
    let mut lease = lease.unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(config.name.clone()),
            namespace: Some(config.namespace.clone()),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    // The owner of an earlier holder may be gone, and the Lease would follow it.
    if let Some(owner) = &config.owner {
        lease.metadata.owner_references = Some(vec![owner.clone()]);
    }
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if spec.holder_identity.as_deref() != Some(config.identity.as_str()) {
        spec.holder_identity = Some(config.identity.clone());
        spec.acquire_time = Some(now.clone());
        let before = spec.lease_transitions.unwrap_or_default();
        spec.lease_transitions = Some(if new { 0 } else { before.saturating_add(1) });
    }
    spec.lease_duration_seconds =
        Some(i32::try_from(config.lease_duration.as_secs().max(1)).unwrap_or(i32::MAX));
    spec.renew_time = Some(now);
    lease
}

/// `lease` without a holder, as client-go leaves it behind.
fn vacate(mut lease: Lease, now: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    spec.acquire_time = Some(MicroTime(now));
    spec.renew_time = Some(MicroTime(now));
    lease
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    fn config(identity: &str) -> LeaderConfig {
        LeaderConfig {
            client: crate::testing::client().0,
            namespace: "metallb-system".into(),
            name: "operator".into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            owner: None,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time in range")
    }

    /// Holder, transitions, duration, acquired and renewed (seconds) of a Lease.
    fn facts(lease: &Lease) -> (&str, i32, i32, i64, i64) {
        let spec = lease.spec.as_ref().expect("a Lease of ours has a spec");
        let second = |time: &Option<MicroTime>| time.as_ref().map_or(-1, |time| time.0.as_second());
        (
            spec.holder_identity.as_deref().unwrap_or("nobody"),
            spec.lease_transitions.unwrap_or(-1),
            spec.lease_duration_seconds.unwrap_or(-1),
            second(&spec.acquire_time),
            second(&spec.renew_time),
        )
    }

    #[tokio::test]
    async fn a_lease_belongs_to_what_its_holder_belongs_to() {
        let owned = |uid: &str| LeaderConfig {
            owner: Some(OwnerReference { uid: uid.into(), ..OwnerReference::default() }),
            ..config("a")
        };
        let owners = |lease: &Lease| {
            let owners = lease.metadata.owner_references.iter().flatten();
            owners.map(|owner| owner.uid.clone()).collect::<Vec<_>>()
        };
        let lease = claim(None, &owned("old"), at(100));
        assert_eq!(owners(&lease), ["old"]);
        let lease = claim(Some(lease), &owned("new"), at(110));
        assert_eq!(owners(&lease), ["new"], "what the old one was in may be gone");
        assert_eq!(
            owners(&claim(Some(lease), &config("b"), at(120))),
            ["new"],
            "one without an owner leaves it"
        );
    }

    #[tokio::test]
    async fn a_lease_goes_from_holder_to_holder_as_with_client_go() {
        let (a, b) = (config("a"), config("b"));
        let lease = claim(None, &a, at(100));
        assert_eq!(facts(&lease), ("a", 0, 15, 100, 100));
        let lease = claim(Some(lease), &a, at(102));
        assert_eq!(facts(&lease), ("a", 0, 15, 100, 102), "a renewal keeps the time of acquisition");
        let lease = claim(Some(lease), &b, at(130));
        assert_eq!(facts(&lease), ("b", 1, 15, 130, 130));
        let lease = vacate(lease, at(140));
        assert_eq!(facts(&lease), ("", 1, 1, 140, 140));
        let lease = claim(Some(lease), &a, at(141));
        assert_eq!(facts(&lease), ("a", 2, 15, 141, 141));
    }
}
