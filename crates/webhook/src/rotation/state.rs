//! The decisions of a rotation, without input or output.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::pki_types::CertificateDer;

use super::{
    RotationPolicy,
    keyring::{Data, Keyring, Serving, Write},
};
use crate::pki::{self, Authority};

/// Our clock may be this far behind the API server's before we distrust it.
const CLOCK_SLACK: i64 = 5 * 60;

/// The time twice: by the calendar, that may be set, and by a clock that only runs forward.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Seconds since 1970.
    pub(super) wall: i64,
    pub(super) running: Instant,
}

/// The Secret as it was last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SecretView {
    pub(super) resource_version: String,
    /// When the API server made it, in seconds since 1970.
    pub(super) created: i64,
    pub(super) data: Data,
}

/// What one target trusts: the CAs in the `caBundle` of each entry that leads to our service.
pub(super) type Bundles = [Vec<Authority>];

/// What to do now.
#[derive(Debug)]
pub(super) struct Plan {
    /// What to show to clients from now on, where that changes.
    pub(super) serve: Option<Serving>,
    /// What to change in the Secret; nothing is injected before that is done.
    pub(super) write: Option<Write>,
    /// What every target shall trust; empty while that is not known.
    pub(super) bundle: Vec<CertificateDer<'static>>,
    /// The targets, by their place in what was passed in, that do not trust exactly that.
    pub(super) inject: Vec<usize>,
    /// Why reviews cannot be answered; `None` if they can.
    pub(super) hindrance: Option<String>,
    /// When to look again if nothing happens.
    pub(super) wake: Duration,
}

/// What a replica knows beside what it sees.
pub(super) struct State {
    policy: RotationPolicy,
    /// The name that has to be certified.
    host: String,
    /// The data that was read last, and what it says.
    read: Option<(Data, Arc<Keyring>)>,
    /// What is shown to clients.
    held: Option<Serving>,
    /// The CA of the Secret's serving certificate, and since when all targets trust it.
    trusted: Option<(Authority, Instant)>,
    /// Whether the CA of a certificate that we served was trusted everywhere once.
    injected: bool,
}

impl State {
    pub(super) fn new(policy: RotationPolicy, host: String) -> Self {
        Self { policy, host, read: None, held: None, trusted: None, injected: false }
    }

    /// What to do, from the Secret (`None` if there is none) and what each target trusts.
    pub(super) fn plan(&mut self, now: Now, secret: Option<&SecretView>, targets: &[&Bundles]) -> Plan {
        let keyring = self.read(secret);
        let bundles = || targets.iter().flat_map(|bundles| bundles.iter());
        let trust = |authority: &Authority| bundles().all(|bundle| bundle.contains(authority));

        self.note_trust(now, &keyring, &trust);
        let serve = self.choose(now, &keyring, &trust);
        if let Some(serving) = &serve {
            self.held = Some(serving.clone());
        }
        self.injected |=
            self.held.as_ref().is_some_and(|held| trust(&held.issuer)) && self.is_heard(now, &keyring);

        let plausible = secret.is_none_or(|secret| now.wall.saturating_add(CLOCK_SLACK) >= secret.created);
        let write = if plausible { self.write(now, &keyring, bundles().flatten()) } else { None };
        let bundle = if keyring.serving.is_some() { self.bundle(now, &keyring) } else { Vec::new() };
        let inject = if write.is_some() || bundle.is_empty() {
            Vec::new()
        } else {
            let differs = |(_, bundles): &(usize, &&Bundles)| {
                bundles.iter().any(|found| {
                    found.len() != bundle.len()
                        || !found.iter().all(|authority| bundle.contains(&authority.der))
                })
            };
            targets.iter().enumerate().filter(differs).map(|(index, _)| index).collect()
        };
        let hindrance = self.hindrance(now, plausible);
        let wake = self.wake(now, &keyring);
        Plan { serve, write, bundle, inject, hindrance, wake }
    }

    /// What can be used of the Secret; read once, for it takes some computing.
    fn read(&mut self, secret: Option<&SecretView>) -> Arc<Keyring> {
        let Some(secret) = secret else { return Arc::default() };
        match &self.read {
            Some((data, keyring)) if *data == secret.data => keyring.clone(),
            _ => {
                let keyring = Arc::new(Keyring::read(&secret.data, &self.host));
                self.read = Some((secret.data.clone(), keyring.clone()));
                keyring
            }
        }
    }

    /// Notes since when the CA of the Secret's certificate is trusted everywhere.
    fn note_trust(&mut self, now: Now, keyring: &Keyring, trust: &impl Fn(&Authority) -> bool) {
        let issuer = keyring.serving.as_ref().map(|serving| &serving.issuer).filter(|issuer| trust(issuer));
        match (issuer, &self.trusted) {
            (Some(issuer), Some((before, _))) if issuer == before => {}
            (issuer, _) => self.trusted = issuer.map(|issuer| (issuer.clone(), now.running)),
        }
    }

    fn trusted_for(&self, now: Now) -> Option<Duration> {
        self.trusted.as_ref().map(|(_, since)| now.running.saturating_duration_since(*since))
    }

    /// Whether API servers have heard of the CA, so that they may be told to call us. While there is only one, those
    /// that have not could not call anyone else either.
    fn is_heard(&self, now: Now, keyring: &Keyring) -> bool {
        keyring.authorities.len() == 1
            || self.trusted_for(now).is_some_and(|trusted| trusted >= self.policy.propagation)
    }

    /// The Secret's certificate, if it shall replace what is served: not before its CA is trusted, unless what is
    /// served is of no use any more.
    fn choose(&self, now: Now, keyring: &Keyring, trust: &impl Fn(&Authority) -> bool) -> Option<Serving> {
        let fresh = keyring.serving.as_ref()?;
        let Some(held) = &self.held else { return Some(fresh.clone()) };
        if held.is(fresh) {
            return None;
        }
        let useless = held.until() <= now.wall || (!trust(&held.issuer) && trust(&fresh.issuer));
        let ready = held.issuer == fresh.issuer
            || self.trusted_for(now).is_some_and(|trusted| trusted >= self.policy.propagation);
        let better = useless || (ready && fresh.until() > now.wall);
        better.then(|| fresh.clone())
    }

    /// What the Secret lacks.
    fn write<'a>(
        &'a self,
        now: Now,
        keyring: &'a Keyring,
        trusted_now: impl Iterator<Item = &'a Authority>,
    ) -> Option<Write> {
        let before = self.policy.renew_before;
        // A certificate from the future was made by a clock that was wrong.
        let useful = |validity: pki::Validity| {
            now.wall < validity.due(before) && validity.from <= now.wall.saturating_add(CLOCK_SLACK)
        };
        let current = keyring.authorities.first();
        let serves = |current: &Authority| {
            keyring.serving.as_ref().is_some_and(|s| s.issuer == *current && useful(s.leaf.validity))
        };
        match current {
            Some(current) if useful(current.validity) && serves(current) => self.forget(now, keyring),
            Some(current) if useful(current.validity) && keyring.can_sign() => Some(Write::Serving),
            _ => {
                // Whatever a replica may be serving stays trusted: what the Secret had, what we hold, and what is
                // trusted where the API server looks.
                let mut keep = Vec::new();
                let known = keyring.authorities.iter().chain(self.held.iter().map(|held| &held.issuer));
                for authority in known.chain(trusted_now) {
                    if !authority.validity.ended(now.wall) && !keep.contains(&authority.der) {
                        keep.push(authority.der.clone());
                    }
                }
                Some(Write::Authority { keep })
            }
        }
    }

    /// Whether an old CA can go: it has ended, or the new one has been in use for long enough, here and, as every
    /// replica follows the same Secret, everywhere.
    fn forget(&self, now: Now, keyring: &Keyring) -> Option<Write> {
        let (current, old) = keyring.authorities.split_first()?;
        let in_use = self.held.as_ref().is_some_and(|held| held.issuer == *current)
            && self.grace_left(now, current).is_some_and(|left| left.is_zero());
        let stays = |authority: &&Authority| !in_use && !authority.validity.ended(now.wall);
        let staying: Vec<_> = old.iter().filter(stays).collect();
        (staying.len() < old.len()).then(|| {
            let keep = std::iter::once(current).chain(staying).map(|authority| authority.der.clone());
            Write::Forget { keep: keep.collect() }
        })
    }

    /// How much longer old CAs stay after `current` came into use; `None` while it is not trusted everywhere.
    fn grace_left(&self, now: Now, current: &Authority) -> Option<Duration> {
        let (_, since) = self.trusted.as_ref().filter(|(authority, _)| authority == current)?;
        let here = self.policy.grace.saturating_sub(now.running.saturating_duration_since(*since));
        let begun = current.validity.from.saturating_add(seconds(self.policy.backdate));
        let age = u64::try_from(now.wall.saturating_sub(begun)).unwrap_or(0);
        Some(here.max(self.policy.grace.saturating_sub(Duration::from_secs(age))))
    }

    /// What is to be trusted: the CAs of the Secret, and of what is served until it is replaced.
    fn bundle(&self, now: Now, keyring: &Keyring) -> Vec<CertificateDer<'static>> {
        let mut bundle = Vec::new();
        let held = self.held.iter().map(|held| &held.issuer);
        for authority in keyring.authorities.iter().chain(held) {
            if !authority.validity.ended(now.wall) && !bundle.contains(&authority.der) {
                bundle.push(authority.der.clone());
            }
        }
        bundle
    }

    fn hindrance(&self, now: Now, plausible: bool) -> Option<String> {
        match &self.held {
            None if plausible => Some("no certificate for the webhooks yet".into()),
            None => Some("no certificate for the webhooks, and none is made while this host's clock is behind that of the API server".into()),
            Some(held) if held.until() <= now.wall => Some("the certificate for the webhooks has expired".into()),
            Some(_) if !self.injected => Some("the CA of the webhooks' certificate is not yet where the API server looks for it".into()),
            Some(_) => None,
        }
    }

    /// The time until something is due by a clock.
    fn wake(&self, now: Now, keyring: &Keyring) -> Duration {
        let policy = &self.policy;
        let mut moments = Vec::new();
        if let Some(current) = keyring.authorities.first() {
            moments.push(current.validity.due(policy.renew_before));
        }
        moments.extend(keyring.authorities.iter().map(|authority| authority.validity.until));
        if let Some(serving) = &keyring.serving {
            moments.push(serving.leaf.validity.due(policy.renew_before));
        }
        moments.extend(self.held.iter().map(Serving::until));
        let by_wall = moments.into_iter().filter(|moment| *moment > now.wall).map(|moment| {
            Duration::from_secs(u64::try_from(moment.saturating_sub(now.wall)).unwrap_or(u64::MAX))
        });

        let propagation = self.trusted_for(now).map(|trusted| policy.propagation.saturating_sub(trusted));
        let grace = keyring.authorities.split_first().filter(|(_, old)| !old.is_empty());
        let grace = grace.and_then(|(current, _)| self.grace_left(now, current));
        let by_running = propagation.into_iter().chain(grace).filter(|left| !left.is_zero());
        by_wall.chain(by_running).fold(policy.recheck, Duration::min)
    }
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
