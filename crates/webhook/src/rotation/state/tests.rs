//! Tables first, then several replicas against one API server, in every order that chance gives.

mod replicas;

use k8s_openapi::ByteString;

use super::*;
use crate::rotation::{keyring::*, names};

pub(super) const START: i64 = 1_800_000_000;
pub(super) const HOST: &str = "metallb-webhook-service.metallb-system.svc";

/// Lives of seconds, so that a test passes through several of them.
pub(super) fn policy() -> RotationPolicy {
    let seconds = Duration::from_secs;
    RotationPolicy {
        authority: seconds(1000),
        serving: seconds(300),
        renew_before: seconds(100),
        backdate: Duration::ZERO,
        propagation: seconds(5),
        grace: seconds(40),
        recheck: seconds(60),
    }
}

fn our_names() -> Vec<String> {
    names("metallb-webhook-service", "metallb-system")
}

/// One replica, the Secret and one target, driven by hand.
struct Scene {
    state: State,
    begun: Instant,
    now: i64,
    secret: Option<SecretView>,
    bundle: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let state = State::new(policy(), HOST.to_owned());
        Self { state, begun: Instant::now(), now: START, secret: None, bundle: Vec::new() }
    }

    fn now(&self) -> Now {
        let run = u64::try_from(self.now - START).unwrap_or(0);
        Now { wall: self.now, running: self.begun + Duration::from_secs(run) }
    }

    fn plan(&mut self) -> Plan {
        let bundles = [pki::authorities(&self.bundle)];
        self.state.plan(self.now(), self.secret.as_ref(), &[&bundles])
    }

    fn write(&mut self, write: &Write) {
        let secret =
            self.secret.get_or_insert_with(|| SecretView { created: START, ..SecretView::default() });
        let keyring = Keyring::read(&secret.data, HOST);
        let data = keyring.carry_out(write, &our_names(), &policy(), self.now).expect("can be made");
        secret.data.extend(data);
    }

    /// Does what is planned, effect after effect, until nothing is left. Gives the last plan and what was written.
    fn settle(&mut self) -> (Plan, Vec<Write>) {
        let mut written = Vec::new();
        for _ in 0..8 {
            let plan = self.plan();
            if let Some(write) = &plan.write {
                self.write(write);
                written.push(write.clone());
            } else if plan.inject.is_empty() {
                return (plan, written);
            } else {
                self.bundle = pki::to_pem(&plan.bundle).into_bytes();
            }
        }
        panic!("never settles, writing {written:?}");
    }

    fn data(&mut self) -> &mut Data {
        &mut self.secret.as_mut().expect("a Secret").data
    }

    fn keyring(&self) -> Keyring {
        Keyring::read(&self.secret.as_ref().expect("a Secret").data, HOST)
    }
}

#[test]
fn from_nothing_everything_is_made_served_and_trusted() {
    for secret in [None, Some(SecretView { created: START - 50, ..SecretView::default() })] {
        let mut scene = Scene::new();
        scene.secret = secret;
        let first = scene.plan();
        assert_eq!(first.write, Some(Write::Authority { keep: vec![] }));
        assert_eq!(first.hindrance.as_deref(), Some("no certificate for the webhooks yet"));
        assert!(first.inject.is_empty(), "nothing is trusted before the Secret has it");

        scene.write(&Write::Authority { keep: vec![] });
        let second = scene.plan();
        assert!(second.serve.is_some() && second.write.is_none());
        assert_eq!(second.inject, [0]);
        assert_eq!(
            second.hindrance.as_deref(),
            Some("the CA of the webhooks' certificate is not yet where the API server looks for it")
        );

        let (last, written) = scene.settle();
        assert_eq!((last.hindrance, written.len()), (None, 0));
        assert!(last.wake <= policy().recheck);
    }
}

#[test]
fn without_targets_it_is_ready_once_it_serves() {
    let mut scene = Scene::new();
    scene.settle();
    let mut state = State::new(policy(), HOST.to_owned());
    let plan = state.plan(scene.now(), scene.secret.as_ref(), &[]);
    assert!(plan.serve.is_some());
    assert_eq!((plan.hindrance, plan.inject.len()), (None, 0));
}

#[test]
fn a_valid_secret_is_taken_over_as_it_is() {
    let mut scene = Scene::new();
    scene.settle();
    let mut other = Scene::new();
    other.secret = scene.secret.clone();
    let (plan, written) = other.settle();
    assert_eq!((plan.hindrance, written), (None, vec![]));
}

#[test]
fn a_serving_certificate_is_replaced_before_its_end_and_shown_at_once() {
    let mut scene = Scene::new();
    scene.settle();
    let before = scene.keyring();
    scene.now += 199;
    assert_eq!(scene.settle().1, []);
    scene.now += 1;
    let plan = scene.plan();
    assert_eq!(plan.write, Some(Write::Serving));
    scene.write(&Write::Serving);
    let plan = scene.plan();
    assert!(plan.serve.is_some_and(|new| new.until() == scene.now + 300));
    assert_eq!(scene.keyring().authorities, before.authorities);
}

#[test]
fn a_new_ca_is_served_only_when_it_is_trusted_and_the_old_one_goes_only_after_the_grace() {
    let mut scene = Scene::new();
    scene.settle();
    let old = scene.keyring().authorities.remove(0);
    while scene.plan().write.is_none_or(|write| write == Write::Serving) {
        scene.settle();
        scene.now += 10;
    }
    assert_eq!(scene.now, START + 900, "100 s before its end");
    let write = scene.plan().write.expect("a write");
    assert_eq!(write, Write::Authority { keep: vec![old.der.clone()] });
    scene.write(&write);
    let new = scene.keyring().authorities.remove(0);

    let plan = scene.plan();
    assert!(plan.serve.is_none(), "nobody trusts the new CA yet");
    assert_eq!((plan.inject.clone(), plan.bundle.clone()), (vec![0], vec![new.der.clone(), old.der.clone()]));
    assert_eq!(plan.hindrance, None);
    scene.bundle = pki::to_pem(&plan.bundle).into_bytes();

    let plan = scene.plan();
    assert!(plan.serve.is_none() && plan.inject.is_empty(), "API servers need time to hear of it");
    assert_eq!(plan.wake, policy().propagation);
    scene.now += 5;
    assert!(scene.plan().serve.is_some_and(|serving| serving.issuer == new));

    let plan = scene.plan();
    assert_eq!((plan.write, plan.wake), (None, Duration::from_secs(35)));
    scene.now += 35;
    let write = scene.plan().write;
    assert_eq!(write, Some(Write::Forget { keep: vec![new.der.clone()] }));
    let (plan, _) = scene.settle();
    assert_eq!(plan.bundle, [new.der]);
    assert_eq!(pki::authorities(&scene.bundle).len(), 1);
}

#[test]
fn what_is_spoiled_in_the_secret_is_made_anew_and_no_more_than_that() {
    let garbage = || ByteString(b"garbage".to_vec());
    let other = {
        let mut scene = Scene::new();
        scene.settle();
        scene.data().clone()
    };
    let foreign = |key: &str| other[key].clone();
    // What is put under which key, and whether a new CA is needed.
    let cases = [
        (vec![(CERTIFICATE, garbage())], false),
        (vec![(KEY, garbage())], false),
        (vec![(KEY, ByteString(vec![]))], false),
        (vec![(CERTIFICATE, foreign(CERTIFICATE))], false),
        (vec![(CERTIFICATE, foreign(CERTIFICATE)), (KEY, foreign(KEY))], false),
        (vec![(CA_CERTIFICATE, garbage())], true),
        (vec![(CA_CERTIFICATE, foreign(CA_CERTIFICATE))], true),
        (vec![(CA_CERTIFICATE, ByteString(vec![0xff; 9])), (KEY, garbage())], true),
        (vec![(CA_KEY, garbage()), (CERTIFICATE, garbage())], true),
    ];
    for (spoiled, needs_authority) in cases {
        let mut scene = Scene::new();
        scene.settle();
        let held = scene.keyring().serving.expect("a certificate").issuer;
        let what: Vec<_> = spoiled.iter().map(|(key, _)| *key).collect();
        for (key, value) in spoiled {
            scene.data().insert(key.to_owned(), value);
        }
        let plan = scene.plan();
        assert_eq!(plan.hindrance, None, "{what:?}: what was served is served on");
        match plan.write {
            Some(Write::Serving) => assert!(!needs_authority, "{what:?}"),
            Some(Write::Authority { keep }) => {
                assert!(
                    needs_authority && keep.contains(&held.der),
                    "{what:?}: what is served stays trusted"
                );
            }
            other => panic!("{what:?}: {other:?}"),
        }
        let (plan, _) = scene.settle();
        assert_eq!(plan.hindrance, None, "{what:?}");
    }
}

#[test]
fn a_ca_whose_key_is_of_no_use_serves_on_until_a_certificate_is_due() {
    let mut scene = Scene::new();
    scene.settle();
    scene.data().remove(CA_KEY);
    assert_eq!(scene.settle().1, []);
    scene.now += 200;
    let write = scene.plan().write;
    assert!(matches!(&write, Some(Write::Authority { keep }) if keep.len() == 1), "{write:?}");
}

#[test]
fn a_certificate_for_another_name_is_replaced() {
    let mut scene = Scene::new();
    scene.secret = Some(SecretView { created: START, ..SecretView::default() });
    let empty = Keyring::read(&Data::new(), HOST);
    let other = names("elsewhere", "metallb-system");
    let made = empty.carry_out(&Write::Authority { keep: vec![] }, &other, &policy(), START);
    scene.data().extend(made.expect("can be made"));
    assert_eq!(scene.plan().write, Some(Write::Serving));
}

#[test]
fn after_a_year_switched_off_all_is_made_anew() {
    let mut scene = Scene::new();
    scene.settle();
    let begun = scene.begun;
    let mut later =
        Scene { begun, now: START + 400_000, state: State::new(policy(), HOST.to_owned()), ..scene };
    let plan = later.plan();
    assert_eq!(plan.write, Some(Write::Authority { keep: vec![] }), "what has ended is not kept");
    let (plan, _) = later.settle();
    assert_eq!(plan.hindrance, None);
    assert_eq!(pki::authorities(&later.bundle).len(), 1);
}

#[test]
fn an_expired_certificate_is_a_hindrance_until_it_is_replaced() {
    let mut scene = Scene::new();
    scene.settle();
    scene.now += 300;
    let plan = scene.plan();
    assert_eq!(plan.hindrance.as_deref(), Some("the certificate for the webhooks has expired"));
    assert_eq!(plan.write, Some(Write::Serving));
    assert_eq!(scene.settle().0.hindrance, None);
}

#[test]
fn a_clock_behind_that_of_the_api_server_writes_nothing() {
    let mut scene = Scene::new();
    scene.settle();
    scene.now = 1_000;
    let plan = scene.plan();
    assert_eq!((plan.write, plan.hindrance), (None, None), "what is served may well be valid");
    // Started with such a clock, and with an empty Secret.
    let mut scene = Scene::new();
    scene.secret = Some(SecretView { created: START, ..SecretView::default() });
    scene.now = 1_000;
    let plan = scene.plan();
    assert_eq!(plan.write, None);
    assert!(plan.hindrance.expect("not ready").contains("clock"));
}

#[test]
fn a_certificate_from_the_future_was_made_by_a_wrong_clock_and_is_replaced() {
    let mut scene = Scene::new();
    scene.now = START + 500_000;
    scene.settle();
    scene.now = START + 10;
    assert!(matches!(scene.plan().write, Some(Write::Authority { .. })));
    assert_eq!(scene.settle().0.hindrance, None);
}

#[test]
fn a_bundle_that_someone_emptied_is_filled_again_and_nothing_else_changes() {
    let mut scene = Scene::new();
    scene.settle();
    for bundle in [&b""[..], b"\n", b"garbage"] {
        scene.bundle = bundle.to_vec();
        let plan = scene.plan();
        assert_eq!((plan.serve.is_some(), plan.write.clone(), plan.inject), (false, None, vec![0]));
        assert_eq!(plan.hindrance, None, "the others may still be asked");
        scene.settle();
    }
}

#[test]
fn what_others_trusted_there_before_stays_trusted_for_the_grace() {
    let mut before = Scene::new();
    before.settle();
    let mut scene = Scene::new();
    scene.bundle = before.bundle;
    let (plan, _) = scene.settle();
    assert_eq!(plan.bundle.len(), 2);
    scene.now += 60;
    assert_eq!(scene.settle().0.bundle.len(), 1);
}

#[test]
fn no_policy_and_no_time_leads_to_endless_writing() {
    let spans = [0, 1, 2, 3600, 1 << 40, u64::MAX].map(Duration::from_secs);
    for authority in spans {
        for serving in spans {
            for renew_before in spans {
                let policy =
                    RotationPolicy { authority, serving, renew_before, backdate: spans[3], ..policy() };
                let mut state = State::new(policy, HOST.to_owned());
                let mut secret = None;
                let now = Now { wall: START, running: Instant::now() };
                let writes = (0..4).filter(|_| {
                    let write = state.plan(now, secret.as_ref(), &[]).write;
                    if let Some(write) = &write {
                        let seen = secret.get_or_insert_with(SecretView::default);
                        let keyring = Keyring::read(&seen.data, HOST);
                        let made = keyring.carry_out(write, &our_names(), &policy, START);
                        seen.data.extend(made.expect("can be made"));
                    }
                    write.is_some()
                });
                assert_eq!(writes.count(), 1, "{policy:?}");
            }
        }
    }
}
