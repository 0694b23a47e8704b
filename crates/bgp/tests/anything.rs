//! A session whose driver and peer do anything in any order: it keeps to its contract.

mod peer;
mod strategies;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bgp::packet::{AfiSafi, ErrorCode, Families, Notification, RouteRefresh, Subtype, Update, keepalive};
use bgp::rib::{Change, Route};
use bgp::session::{
    Config, ConnectError, ConnectionId, Input, Opening, Output, RestartConfig, Session, State, Stop,
};
use net::Family;
use peer::{config, local, open};
use proptest::prelude::*;

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    Start,
    Stop(Stop),
    Reset,
    Configure(Box<Config>),
    Connected,
    ConnectFailed,
    Accepted,
    Message(u8, Vec<u8>),
    Bytes(u8, Vec<u8>),
    Closed(u8),
    Routes(bool),
    Leaving(bool),
    BfdDown,
    Wait(u64),
    Timer,
}

fn any_config() -> impl Strategy<Value = Config> {
    let opening = prop_oneof![Just(Opening::Active), Just(Opening::Passive), Just(Opening::Both)];
    (opening, prop_oneof![Just(0), Just(9_u64)], any::<(bool, bool, bool)>()).prop_map(
        |(opening, hold, (graceful, notification, both))| Config {
            opening,
            hold_time: Duration::from_secs(hold),
            families: if both { Families::BOTH } else { Families::V4 },
            graceful_restart: graceful
                .then_some(RestartConfig { time: Duration::from_secs(60), notification }),
            ..config()
        },
    )
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let refresh = RouteRefresh { family: AfiSafi::IPV4_UNICAST, subtype: Subtype::Request };
    prop_oneof![
        4 => Just(open().build()),
        4 => Just(keepalive()),
        1 => strategies::open().prop_map(|open| open.build()),
        1 => strategies::update(false).prop_map(|update| update.build(true)),
        1 => Just(Update::end_of_rib(Family::V6).build(true)),
        1 => Just(refresh.build()),
        1 => strategies::notification().prop_map(|notification| notification.build()),
        1 => Just(Notification::new(ErrorCode::UNSUPPORTED_CAPABILITY).build()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let stop =
        prop_oneof![Just(Stop::Shutdown("words".to_owned())), Just(Stop::Deconfigured), Just(Stop::Restart)];
    prop_oneof![
        2 => Just(Step::Start),
        1 => stop.prop_map(Step::Stop),
        1 => Just(Step::Reset),
        1 => any_config().prop_map(|config| Step::Configure(Box::new(config))),
        5 => Just(Step::Connected),
        2 => Just(Step::ConnectFailed),
        3 => Just(Step::Accepted),
        20 => (any::<u8>(), message()).prop_map(|(id, message)| Step::Message(id, message)),
        1 => (any::<u8>(), proptest::collection::vec(any::<u8>(), 1..30))
            .prop_map(|(id, bytes)| Step::Bytes(id, bytes)),
        2 => any::<u8>().prop_map(Step::Closed),
        3 => any::<bool>().prop_map(Step::Routes),
        1 => any::<bool>().prop_map(Step::Leaving),
        1 => Just(Step::BfdDown),
        3 => (0..20_000_u64).prop_map(Step::Wait),
        8 => Just(Step::Timer),
    ]
}

/// What a driver knows, and holds the session to.
struct Driver {
    session: Session,
    now: bgp::Instant,
    state: State,
    open: BTreeSet<u64>,
    connecting: bool,
    wanted: bool,
    next: u64,
}

impl Driver {
    fn input(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.session.handle(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Connect(_) => {
                    assert!(!self.connecting, "one attempt at a time");
                    self.connecting = true;
                }
                Output::CancelConnect => {
                    assert!(self.connecting, "only what was asked for is called off");
                    self.connecting = false;
                }
                Output::Send { connection, bytes } => {
                    assert!(self.open.contains(&connection.0), "only on open connections");
                    assert!(bytes.len() <= 4_096);
                }
                Output::Close { connection } => assert!(self.open.remove(&connection.0), "closed once"),
                Output::StateChanged { from, to, reason } => {
                    assert_eq!(from, self.state);
                    assert!(from != to && !reason.words.is_empty());
                    assert_eq!(to == State::Established, reason.words.starts_with("established"), "{reason}");
                    self.state = to;
                }
                Output::Established(_) => assert_eq!(self.state, State::Established),
                Output::RefreshWanted(_) | Output::EndOfRib(_) | Output::Malformed(_) => {}
            }
        }
        assert_eq!(self.session.state(), self.state);
        assert_eq!(self.session.negotiated().is_some(), self.state == State::Established);
        assert!(self.open.len() <= 4, "connections are few: {:?}", self.open);
        if self.state == State::Connect {
            assert!(self.connecting);
        }
        let waits = self.wanted && self.session.config().opening != Opening::Passive;
        if waits && self.open.is_empty() && !self.connecting {
            assert!(self.session.poll_timeout().is_some(), "it is tried again");
        }
    }

    /// An open connection, or one that never was.
    fn pick(&self, number: u8) -> ConnectionId {
        let place = usize::from(number) % (self.open.len() + 1);
        ConnectionId(self.open.iter().nth(place).copied().unwrap_or(u64::MAX))
    }

    fn opened(&mut self) -> ConnectionId {
        self.next += 1;
        self.open.insert(self.next);
        ConnectionId(self.next)
    }

    fn happens(&mut self, what: Step) {
        match what {
            Step::Start => {
                self.wanted = true;
                self.input(Input::Start);
            }
            Step::Stop(stop) => {
                self.wanted = false;
                self.input(Input::Stop(stop));
                assert!(self.open.is_empty() && !self.connecting);
                assert_eq!((self.state, self.session.poll_timeout()), (State::Idle, None));
            }
            Step::Reset => self.input(Input::Reset("words")),
            Step::Configure(config) => self.input(Input::Configure(config)),
            Step::Connected if self.connecting => {
                self.connecting = false;
                let connection = self.opened();
                self.input(Input::Connected { connection, local: local() });
            }
            Step::ConnectFailed if self.connecting => {
                self.connecting = false;
                self.input(Input::ConnectFailed(ConnectError::Unreachable));
            }
            Step::Connected | Step::ConnectFailed => {}
            Step::Accepted => {
                let connection = self.opened();
                self.input(Input::Accepted { connection, local: local() });
            }
            Step::Message(number, bytes) | Step::Bytes(number, bytes) => {
                let connection = self.pick(number);
                self.input(Input::Received { connection, bytes: &bytes });
            }
            Step::Closed(number) => {
                let connection = self.pick(number);
                self.open.remove(&connection.0);
                self.input(Input::Closed { connection, error: None });
            }
            Step::Routes(wanted) => {
                let prefix = "192.0.2.100/32".parse().expect("a prefix");
                let route = wanted.then(|| Arc::new(Route::default()));
                self.input(Input::Routes(&[Change { prefix, route }]));
            }
            Step::Leaving(leaving) => self.input(Input::Leaving(leaving)),
            Step::BfdDown => self.input(Input::BfdDown),
            Step::Wait(milliseconds) => {
                self.now = self.now + Duration::from_millis(milliseconds);
                self.timeout();
            }
            Step::Timer => {
                if let Some(at) = self.session.poll_timeout() {
                    self.now = self.now.max(at);
                    self.timeout();
                }
            }
        }
        while let Some(message) = self.session.next_message(self.now) {
            assert!(self.open.contains(&message.connection.0) && self.state == State::Established);
        }
    }

    fn timeout(&mut self) {
        self.input(Input::Timeout);
        assert!(self.session.poll_timeout().is_none_or(|at| at > self.now), "timers that are over run once");
    }
}

proptest! {
    #[test]
    fn whatever_happens_in_whatever_order_a_session_keeps_to_its_contract(
        config in any_config(), seed: u64, steps in proptest::collection::vec(step(), 0..80)
    ) {
        let mut driver = Driver {
            session: Session::new(config, seed),
            now: bgp::Instant::default(),
            state: State::Idle,
            open: BTreeSet::new(),
            connecting: false,
            wanted: false,
            next: 0,
        };
        for step in steps {
            driver.happens(step);
        }
        // And it can always be brought up.
        driver.happens(Step::Stop(Stop::Deconfigured));
        driver.happens(Step::Configure(Box::new(Config { hold_time: Duration::from_secs(9), ..peer::config() })));
        driver.happens(Step::Start);
        driver.happens(Step::Connected);
        driver.happens(Step::Message(0, open().build()));
        driver.happens(Step::Message(0, keepalive()));
        prop_assert_eq!(driver.state, State::Established);
    }
}
