//! Replicas that see old states, are interrupted between any two steps, restart, and have clocks that differ, while an
//! API server, that hears late of what it shall trust, calls them all the time.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// The API server: objects at versions, and what it trusts, with a delay.
#[derive(Default)]
struct Server {
    secret: Option<(u64, Data)>,
    bundles: [(u64, Vec<Authority>); 2],
    version: u64,
    /// What the part that calls webhooks believes, and since when.
    believed: VecDeque<(i64, [Vec<Authority>; 2])>,
}

impl Server {
    fn next(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn view(&self) -> Option<SecretView> {
        let (version, data) = self.secret.clone()?;
        Some(SecretView { resource_version: version.to_string(), created: START - 1000, data })
    }

    fn believe(&mut self, now: i64) {
        let bundles = [0, 1].map(|target| self.bundles[target].1.clone());
        if self.believed.back().is_none_or(|(_, last)| *last != bundles) {
            self.believed.push_back((now, bundles));
        }
        // What was believed longer ago than news takes to travel is believed by nobody.
        let travel = i64::try_from(policy().propagation.as_secs()).expect("small") - 1;
        while self.believed.get(1).is_some_and(|(since, _)| *since + travel < now) {
            self.believed.pop_front();
        }
    }
}

/// What a replica does next.
#[derive(Debug, Clone)]
enum Step {
    Decide,
    Write(Write),
    /// The Secret is read, then the targets are written.
    Check(Vec<usize>, Vec<CertificateDer<'static>>),
    Inject(Vec<usize>, Vec<CertificateDer<'static>>),
}

#[derive(Default)]
struct Heard {
    /// At most one: the last.
    secret: Vec<Option<SecretView>>,
    bundles: [Option<(u64, Vec<Authority>)>; 2],
}

struct Replica {
    state: State,
    skew: i64,
    /// What it has seen, perhaps long ago.
    secret: Option<SecretView>,
    bundles: [(u64, Vec<Authority>); 2],
    /// What watches have told since the last decision: heard before the next, not between decision and deed.
    heard: Heard,
    step: Step,
    serving: Option<Serving>,
    ready: bool,
}

impl Replica {
    fn new(skew: i64, server: &Server) -> Self {
        Self {
            state: State::new(policy(), HOST.to_owned()),
            skew,
            secret: server.view(),
            bundles: server.bundles.clone(),
            heard: Heard::default(),
            step: Step::Decide,
            serving: None,
            ready: false,
        }
    }

    fn hear_secret(&mut self, server: &Server) {
        self.heard.secret = vec![server.view()];
    }

    fn hear_target(&mut self, target: usize, server: &Server) {
        self.heard.bundles[target] = Some(server.bundles[target].clone());
    }

    fn hear(&mut self, server: &Server) {
        self.hear_secret(server);
        self.hear_target(0, server);
        self.hear_target(1, server);
    }

    /// One step; another replica may take one before this one's next.
    fn go(&mut self, now: Now, server: &mut Server) {
        let now = Now { wall: now.wall + self.skew, ..now };
        self.step = match std::mem::replace(&mut self.step, Step::Decide) {
            Step::Decide => {
                let heard = std::mem::take(&mut self.heard);
                for secret in heard.secret {
                    self.secret = secret;
                }
                for (seen, heard) in self.bundles.iter_mut().zip(heard.bundles) {
                    *seen = heard.unwrap_or_else(|| seen.clone());
                }
                let bundles = [0, 1].map(|target| [self.bundles[target].1.clone()]);
                let targets = [&bundles[0][..], &bundles[1][..]];
                let plan = self.state.plan(now, self.secret.as_ref(), &targets);
                if plan.serve.is_some() {
                    self.serving = plan.serve;
                }
                self.ready = plan.hindrance.is_none();
                match plan.write {
                    Some(write) => Step::Write(write),
                    None if !plan.inject.is_empty() => Step::Check(plan.inject, plan.bundle),
                    None => Step::Decide,
                }
            }
            Step::Write(write) => {
                let none = Data::new();
                let seen = self.secret.as_ref().map_or(&none, |secret| &secret.data);
                let made = Keyring::read(seen, HOST).carry_out(&write, &our_names(), &policy(), now.wall);
                if self.secret == server.view() {
                    let mut data = seen.clone();
                    data.extend(made.expect("can be made"));
                    server.secret = Some((server.next(), data));
                }
                self.secret = server.view();
                Step::Decide
            }
            Step::Check(targets, bundle) => {
                let fresh = server.view();
                let same = self.secret == fresh;
                self.secret = fresh;
                if same { Step::Inject(targets, bundle) } else { Step::Decide }
            }
            Step::Inject(mut targets, bundle) => {
                let Some(target) = targets.pop() else { return };
                if self.bundles[target].0 == server.bundles[target].0 {
                    server.bundles[target] =
                        (server.next(), pki::authorities(pki::to_pem(&bundle).as_bytes()));
                    self.bundles[target] = server.bundles[target].clone();
                }
                if targets.is_empty() { Step::Decide } else { Step::Inject(targets, bundle) }
            }
        };
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// A replica takes a step.
    Go(usize),
    /// A replica hears of the Secret, or of a target.
    HearSecret(usize),
    HearTarget(usize, usize),
    /// A replica is started anew.
    Restart(usize),
    /// Seconds pass.
    Wait(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let replica = || 0..3usize;
    prop_oneof![
        12 => replica().prop_map(Event::Go),
        4 => replica().prop_map(Event::HearSecret),
        4 => (replica(), 0..2usize).prop_map(|(replica, target)| Event::HearTarget(replica, target)),
        1 => replica().prop_map(Event::Restart),
        3 => (1..8i64).prop_map(Event::Wait),
    ]
}

/// Every replica hears everything and does what is left to do.
fn settle(replicas: &mut [Replica], server: &mut Server, now: Now) {
    for _ in 0..30 {
        for replica in replicas.iter_mut() {
            replica.hear(server);
            replica.go(now, server);
        }
    }
    server.believe(now.wall);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_ready_replica_is_trusted_whatever_the_order(
        events in prop::collection::vec(event(), 1..250),
        skews in prop::array::uniform3(-2..3i64),
    ) {
        let mut server = Server::default();
        let begun = Instant::now();
        let at = |wall: i64| {
            Now { wall, running: begun + Duration::from_secs(u64::try_from(wall - START).expect("forward")) }
        };
        let mut wall = START;
        let mut replicas = skews.map(|skew| Replica::new(skew, &server));
        settle(&mut replicas, &mut server, at(wall));
        // Everything is learnt before the first call; just before the CA is due.
        wall += 890;
        settle(&mut replicas, &mut server, at(wall));
        wall += 6;
        settle(&mut replicas, &mut server, at(wall));

        let mut told = wall;
        for event in events {
            match event {
                Event::Go(n) => replicas[n].go(at(wall), &mut server),
                Event::HearSecret(n) => replicas[n].hear_secret(&server),
                Event::HearTarget(n, target) => replicas[n].hear_target(target, &server),
                Event::Restart(n) => {
                    // Not ready, and so not called, before it has read the present state.
                    replicas[n] = Replica::new(skews[n], &server);
                }
                Event::Wait(seconds) => {
                    wall += seconds;
                    // News does arrive, if late.
                    if wall >= told + 10 {
                        told = wall;
                        for replica in &mut replicas {
                            replica.hear(&server);
                        }
                    }
                    for replica in &mut replicas {
                        for _ in 0..3 {
                            replica.go(at(wall), &mut server);
                        }
                    }
                }
            }
            server.believe(wall);
            for (n, replica) in replicas.iter().enumerate().filter(|(_, replica)| replica.ready) {
                let serving = replica.serving.as_ref().expect("a ready replica serves");
                prop_assert!(serving.until() > wall, "replica {n} serves what has ended");
                for (since, bundles) in &server.believed {
                    for bundle in bundles {
                        prop_assert!(
                            bundle.contains(&serving.issuer),
                            "replica {n} at {wall} is not trusted by who heard last at {since}"
                        );
                    }
                }
            }
        }

        // Left alone, they come to rest with one CA, that all serve.
        for _ in 0..30 {
            settle(&mut replicas, &mut server, at(wall));
            wall += 6;
        }
        let keyring = Keyring::read(&server.view().expect("a Secret").data, HOST);
        for replica in &replicas {
            let serving = replica.serving.as_ref().expect("a certificate");
            prop_assert!(replica.ready && serving.is(keyring.serving.as_ref().expect("a certificate")));
        }
        prop_assert_eq!(keyring.authorities.len(), 1);
        for (_, bundle) in &server.bundles {
            prop_assert_eq!(bundle, &keyring.authorities);
        }
    }
}
