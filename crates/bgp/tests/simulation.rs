//! Two of our sessions with each other, over connections that cut bytes anywhere, break, and stall: whatever happens,
//! when it stops happening both are established and know each other's routes.

mod router;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bgp::Instant;
use bgp::packet::{Community, Families, MessageType, Stream};
use bgp::rib::{Change, Route};
use bgp::session::{
    Config, ConnectError, ConnectionId, Input, LocalAddresses, Opening, Output, PeerAsn, RestartConfig,
    Session, State, Transport, Ttl,
};
use ipnet::IpNet;
use router::Router;

const TICK: Duration = Duration::from_millis(100);
/// How long things go wrong, in ticks.
const TROUBLE: u32 = 400;
/// How long it may take after that until everything is well, in ticks: the longest wait between attempts is a minute.
const RECOVERY: u32 = 2_000;
/// What a socket holds before its writer has to wait.
const SOCKET: usize = 6_000;

/// Random numbers, the same for each seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Something that happens once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// The writer closed it; the reader learns that after the last byte.
    ended: bool,
    tap: Stream,
}

/// One speaker and its driver.
struct Speaker {
    session: Session,
    wanted: BTreeMap<IpNet, u16>,
    /// When a connection that is asked for will be decided on, in ticks.
    dialing: Option<u32>,
    /// Stands still until this tick.
    paused: u32,
    /// What the other one told, by connection.
    heard: BTreeMap<u64, Router>,
    /// Connections that are open here.
    open: Vec<u64>,
}

struct World {
    dice: Dice,
    tick: u32,
    speakers: [Speaker; 2],
    /// By connection and reader.
    pipes: BTreeMap<(u64, usize), Pipe>,
    next_connection: u64,
}

fn config(side: usize, dice: &mut Dice, opening: Opening) -> Config {
    let id = |side: usize| Ipv4Addr::new(192, 0, 2, u8::try_from(side + 1).expect("small"));
    let restart = RestartConfig { time: Duration::from_secs(120), notification: dice.once_in(2) };
    let asn = |side: usize| 64_512 + u32::try_from(side).expect("small");
    Config {
        my_asn: asn(side),
        local_asn: None,
        peer_asn: PeerAsn::Number(asn(1 - side)),
        // Now and then the same one for both: then the AS numbers decide.
        router_id: if dice.once_in(4) { id(7) } else { id(side) },
        families: Families::BOTH,
        hold_time: Duration::from_secs(9),
        keepalive_time: Duration::from_secs(3),
        connect_time: Duration::from_secs(5),
        opening,
        graceful_restart: dice.once_in(2).then_some(restart),
        transport: Transport {
            peer: (IpAddr::V4(id(1 - side)), 179).into(),
            source: None,
            password: None,
            ttl: Ttl::System,
            device: None,
        },
    }
}

fn prefix(number: u64) -> IpNet {
    let text = if number.is_multiple_of(2) {
        format!("10.0.{}.{}/32", number / 256 % 256, number % 256)
    } else {
        format!("2001:db8::{number:x}/128")
    };
    text.parse().expect("a prefix")
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let openings = [
            [Opening::Both, Opening::Both],
            [Opening::Active, Opening::Passive],
            [Opening::Passive, Opening::Both],
            [Opening::Both, Opening::Active],
        ];
        let openings = openings[usize::try_from(dice.below(4)).expect("small")];
        let speakers = [0, 1].map(|side| Speaker {
            session: Session::new(config(side, &mut dice, openings[side]), seed * 2 + side as u64),
            wanted: BTreeMap::new(),
            dialing: None,
            paused: 0,
            heard: BTreeMap::new(),
            open: Vec::new(),
        });
        Self { dice, tick: 0, speakers, pipes: BTreeMap::new(), next_connection: 0 }
    }

    fn now(&self) -> Instant {
        Instant::from_origin(TICK * self.tick)
    }

    fn local(side: usize) -> LocalAddresses {
        LocalAddresses {
            connection: Ipv4Addr::new(192, 0, 2, u8::try_from(side + 1).expect("small")).into(),
            v4: None,
            v6: Some("2001:db8::1".parse().expect("an address")),
            link_local: None,
        }
    }

    /// Hands something to a session and does what comes out.
    fn input(&mut self, side: usize, input: Input<'_>) {
        let mut out = Vec::new();
        let now = self.now();
        self.speakers[side].session.handle(now, input, &mut out);
        for output in out {
            match output {
                Output::Connect(_) => {
                    let delay = u32::try_from(self.dice.below(10)).expect("small");
                    assert_eq!(self.speakers[side].dialing.replace(self.tick + 1 + delay), None);
                }
                Output::CancelConnect => assert!(self.speakers[side].dialing.take().is_some()),
                Output::Send { connection, bytes } => self.write(side, connection, &bytes),
                Output::Close { connection } => {
                    assert!(self.speakers[side].open.contains(&connection.0), "closed once");
                    self.speakers[side].open.retain(|open| *open != connection.0);
                    if let Some(pipe) = self.pipes.get_mut(&(connection.0, 1 - side)) {
                        pipe.ended = true;
                    }
                    self.pipes.remove(&(connection.0, side));
                }
                Output::Malformed(error) => panic!("{error}"),
                Output::StateChanged { .. }
                | Output::Established(_)
                | Output::RefreshWanted(_)
                | Output::EndOfRib(_) => {}
            }
        }
    }

    fn write(&mut self, side: usize, connection: ConnectionId, bytes: &[u8]) {
        assert!(self.speakers[side].open.contains(&connection.0), "only to connections that are open");
        assert!(bytes.len() <= 4_096);
        if let Some(pipe) = self.pipes.get_mut(&(connection.0, 1 - side)) {
            pipe.bytes.extend(bytes);
        }
    }

    /// A connection that was asked for comes about, or not.
    fn dial(&mut self, side: usize, trouble: bool) {
        self.speakers[side].dialing = None;
        if trouble && self.dice.once_in(3) {
            self.input(side, Input::ConnectFailed(ConnectError::Refused));
            return;
        }
        self.next_connection += 1;
        let id = self.next_connection;
        for side in [0, 1] {
            self.pipes.insert((id, side), Pipe::default());
            self.speakers[side].open.push(id);
            self.speakers[side].heard.insert(id, Router::new(false));
        }
        let connection = ConnectionId(id);
        self.input(1 - side, Input::Accepted { connection, local: Self::local(1 - side) });
        if self.speakers[side].open.contains(&id) {
            self.input(side, Input::Connected { connection, local: Self::local(side) });
        }
    }

    /// Some bytes, or the end, of each connection reach this side.
    fn read(&mut self, side: usize) {
        for id in self.speakers[side].open.clone() {
            if self.dice.once_in(3) {
                continue;
            }
            let limit = if self.dice.once_in(2) { 8 } else { 5_000 };
            let most = usize::try_from(self.dice.below(limit) + 1).expect("small");
            let Some(pipe) = self.pipes.get_mut(&(id, side)) else { continue };
            let bytes: Vec<u8> = pipe.bytes.drain(..most.min(pipe.bytes.len())).collect();
            if bytes.is_empty() {
                if pipe.ended {
                    self.hang_up(side, id, None);
                }
                continue;
            }
            pipe.tap.push(&bytes);
            while let Some(frame) = pipe.tap.next().expect("valid") {
                if frame.kind == MessageType::Update {
                    let router = self.speakers[side].heard.get_mut(&id).expect("one for each connection");
                    router.update(&frame.body);
                }
            }
            self.input(side, Input::Received { connection: ConnectionId(id), bytes: &bytes });
        }
    }

    /// This side sees that a connection is over.
    fn hang_up(&mut self, side: usize, id: u64, error: Option<&str>) {
        self.speakers[side].open.retain(|open| *open != id);
        if let Some(pipe) = self.pipes.get_mut(&(id, 1 - side)) {
            pipe.ended = true;
        }
        self.pipes.remove(&(id, side));
        self.input(side, Input::Closed { connection: ConnectionId(id), error });
    }

    /// Routes go out as long as the socket takes them.
    fn tell(&mut self, side: usize) {
        loop {
            let now = self.now();
            let speaker = &mut self.speakers[side];
            let full = speaker
                .open
                .iter()
                .any(|id| self.pipes.get(&(*id, 1 - side)).is_some_and(|pipe| pipe.bytes.len() > SOCKET));
            if full {
                return;
            }
            let Some(message) = speaker.session.next_message(now) else { return };
            self.write(side, message.connection, &message.bytes);
            self.input(side, Input::Written { connection: message.connection });
        }
    }

    fn change_routes(&mut self, side: usize) {
        let count = if self.dice.once_in(20) { 600 } else { 3 };
        let changes: Vec<Change> = (0..count)
            .map(|_| {
                let prefix = prefix(self.dice.below(1_000));
                let kind = u16::try_from(self.dice.below(4)).expect("small");
                let route = (kind > 0).then(|| {
                    let communities = [Community::new(64_512, kind)].into();
                    Arc::new(Route { communities, ..Route::default() })
                });
                match &route {
                    Some(_) => self.speakers[side].wanted.insert(prefix, kind),
                    None => self.speakers[side].wanted.remove(&prefix),
                };
                Change { prefix, route }
            })
            .collect();
        self.input(side, Input::Routes(&changes));
    }

    fn make_trouble(&mut self) {
        let side = usize::try_from(self.dice.below(2)).expect("small");
        match self.dice.below(200) {
            0 => {
                // Both see the connection break; what was on its way is lost.
                let ids = [self.speakers[0].open.clone(), self.speakers[1].open.clone()].concat();
                if let Some(&id) = ids.first() {
                    for side in [0, 1] {
                        if self.speakers[side].open.contains(&id) {
                            self.pipes.remove(&(id, 1 - side));
                            self.hang_up(side, id, Some("connection reset"));
                        }
                    }
                }
            }
            1 => self.speakers[side].paused = self.tick + u32::try_from(self.dice.below(150)).expect("small"),
            2 => self.input(side, Input::Reset("why not")),
            3 => self.input(side, Input::BfdDown),
            4..30 => self.change_routes(side),
            _ => {}
        }
    }

    fn step(&mut self, trouble: bool) {
        self.tick += 1;
        if trouble {
            self.make_trouble();
        }
        for side in [0, 1] {
            if trouble && self.speakers[side].paused > self.tick {
                continue;
            }
            self.read(side);
            if self.speakers[side].dialing.is_some_and(|at| at <= self.tick) {
                self.dial(side, trouble);
            }
            let now = self.now();
            if self.speakers[side].session.poll_timeout().is_some_and(|at| at <= now) {
                self.input(side, Input::Timeout);
                let next = self.speakers[side].session.poll_timeout();
                assert!(next.is_none_or(|at| at > now), "timers that are over run once");
            }
            self.tell(side);
        }
    }

    /// Whether both are established, on the same connection, and know each other's routes.
    fn is_well(&self) -> bool {
        let [one, two] = &self.speakers;
        one.open.len() == 1
            && one.open == two.open
            && self.speakers.iter().all(|speaker| speaker.session.state() == State::Established)
            && self.pipes.values().all(|pipe| pipe.bytes.is_empty())
            && [(one, two), (two, one)].into_iter().all(|(teller, listener)| {
                let heard = &listener.heard[&listener.open[0]].routes;
                let kinds = heard.iter().map(|(prefix, told)| {
                    (*prefix, told.communities.iter().map(|c| c.0 & 0xffff).sum::<u32>())
                });
                teller.session.rib().is_settled()
                    && kinds.eq(teller.wanted.iter().map(|(prefix, kind)| (*prefix, u32::from(*kind))))
            })
    }
}

#[test]
fn whatever_happens_both_end_established_with_equal_routes() {
    let (mut connections, mut slowest) = (0, 0);
    for seed in 0..500 {
        let mut world = World::new(seed);
        for side in [0, 1] {
            world.change_routes(side);
            world.input(side, Input::Start);
        }
        for _ in 0..TROUBLE {
            world.step(true);
        }
        let mut ticks = 0;
        while !world.is_well() {
            world.step(false);
            ticks += 1;
            let states = world.speakers.each_ref().map(|speaker| {
                (speaker.session.state(), speaker.session.last_error().cloned(), speaker.open.clone())
            });
            assert!(ticks < RECOVERY, "seed {seed} does not recover: {states:#?}");
        }
        connections += world.next_connection;
        slowest = slowest.max(ticks);
    }
    assert!(connections > 2_000, "there was trouble: {connections} connections");
    println!("500 runs, {connections} connections, the slowest recovery took {:?}", TICK * slowest);
}
