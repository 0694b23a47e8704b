//! What happens in a seed, and what must be true of it.

use crate::world::{MILLI, Micros, SECOND, Scene, World};

/// What became of a seed.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What was wrong.
    pub failure: Option<String>,
    /// How many faults there were.
    pub faults: usize,
    /// How long the world existed.
    pub length: Micros,
    /// How often addresses were taken.
    pub moves: usize,
}

/// When the faults begin: a cluster that is founded takes its time (see ADR 10).
const BEGIN: Micros = 14 * SECOND;
/// When they end.
const END: Micros = 60 * SECOND;
/// How long views may differ after that, and the electorate change.
const CALM: Micros = 24 * SECOND;
/// How long nothing may move then.
const QUIET: Micros = 5 * SECOND;
/// How many intervals a takeover takes at most.
const BOUND: u32 = 5;

/// Plays the seed of that scene: faults at random for the first minute, then none, then the death of one holder.
pub fn play(scene: Scene) -> Verdict {
    let mut world = World::new(scene);
    world.run(BEGIN);
    let faults = trouble(&mut world);
    let mut verdict = Verdict { faults, ..Verdict::default() };
    if world.violation.is_none() {
        world.heal();
        for node in 0..world.nodes.len() {
            world.resume(node);
            world.start(node, true);
            world.drain(node, false);
        }
        world.run(END + CALM);
        let failure =
            everything_is_held(&world).or_else(|| nothing_moves(&mut world)).or_else(|| takeover(&mut world));
        verdict.failure = failure;
    }
    verdict.failure = world.violation.take().or(verdict.failure);
    verdict.length = world.now;
    verdict.moves = world.moves.iter().filter(|m| m.taken).count();
    verdict
}

/// Does harm until [`END`]; returns how often.
fn trouble(world: &mut World) -> usize {
    let mut faults = 0;
    while world.violation.is_none() {
        let pause = world.rng().range(50 * MILLI, 6 * SECOND);
        let at = world.now + pause;
        if at > END && faults >= 5 {
            world.run(END);
            break;
        }
        world.run(at);
        harm(world);
        faults += 1;
        if world.rng().chance(400_000) {
            let short = world.rng().range(1, 400 * MILLI);
            let at = world.now + short;
            world.run(at);
            harm(world);
            faults += 1;
        }
    }
    faults
}

/// Does one thing of those that go wrong.
fn harm(world: &mut World) {
    let count = world.nodes.len();
    let node = world.rng().index(count);
    let other = world.rng().index(count);
    // Whoever holds something is the more interesting.
    let addresses = world.addresses();
    let address = addresses[world.rng().index(addresses.len())];
    let holder = world.holders(address).first().copied();
    let node = if world.rng().chance(500_000) { holder.unwrap_or(node) } else { node };
    match world.rng().range(0, 20) {
        0 | 1 => world.crash(node),
        2 | 3 => {
            let disk = world.rng().chance(500_000);
            world.start(node, disk);
        }
        4 => {
            // A speaker that restarts within its own lease.
            world.crash(node);
            let short = world.rng().range(1, 300 * MILLI);
            let at = world.now + short;
            world.run(at);
            let disk = world.rng().chance(500_000);
            world.start(node, disk);
        }
        5 => world.pause(node),
        6 => world.resume(node),
        7 => {
            world.pause(node);
            let short = world.rng().range(50 * MILLI, SECOND);
            let at = world.now + short;
            world.run(at);
            world.resume(node);
        }
        8 => world.partition(&[node]),
        9 => world.partition(&[node, other]),
        10 if node != other => world.cut(node, other),
        11 => {
            let (loss, delay) = (world.rng().range(0, 300_000), world.rng().range(0, 150 * MILLI));
            world.disturb(loss, delay);
        }
        12 if count < 9 => {
            world.join();
        }
        13 => world.leave(node),
        14 => {
            world.toggle(address, node);
        }
        15 => {
            let drain = world.rng().chance(500_000);
            world.drain(node, drain);
        }
        16 => slow_answers(world, node),
        17 => forgetful_voter(world, node),
        18 if count < 5 => growth(world, node, other),
        _ => world.heal(),
    }
}

fn wait(world: &mut World, low: Micros, high: Micros) {
    let time = world.rng().range(low, high);
    let at = world.now + time;
    world.run(at);
}

/// What a node is sent takes long, and then it is cut off.
fn slow_answers(world: &mut World, node: usize) {
    let delay = world.rng().range(50 * MILLI, 200 * MILLI);
    world.heal();
    world.slow_down(node, delay);
    wait(world, 500 * MILLI, 2 * SECOND);
    world.partition(&[node]);
    wait(world, 300 * MILLI, SECOND);
    world.heal();
}

/// Two nodes do not hear each other, and those between them restart.
fn forgetful_voter(world: &mut World, node: usize) {
    world.heal();
    let others: Vec<usize> =
        (0..world.nodes.len()).filter(|&other| other != node && world.runs(other)).collect();
    let Some(&rival) = others.first() else { return };
    world.cut(node, rival);
    world.cut(rival, node);
    wait(world, 300 * MILLI, SECOND);
    for voter in others.into_iter().skip(1) {
        world.crash(voter);
        wait(world, MILLI, 30 * MILLI);
        world.start(voter, true);
    }
    wait(world, 100 * MILLI, SECOND);
    world.heal();
}

/// Several speakers come at once, and two of the old ones are cut off from them.
fn growth(world: &mut World, one: usize, two: usize) {
    world.heal();
    world.partition(&[one, two]);
    world.favour(&[one, two]);
    for _ in 0..4 {
        world.join();
        // The new ones belong to the others.
        world.partition(&[one, two]);
    }
    wait(world, 3 * SECOND, 8 * SECOND);
    world.favour(&[]);
    world.heal();
}

/// Liveness: the network is whole, so whatever can be held is.
fn everything_is_held(world: &World) -> Option<String> {
    world.addresses().into_iter().find_map(|address| {
        let (holders, candidates) = (world.holders(address), world.candidates(address));
        (holders.len() != usize::from(!candidates.is_empty())).then(|| {
            format!("{address} is held by {holders:?} although {candidates:?} can, at {} us", world.now)
        })
    })
}

/// Stability: nothing happens, so nothing moves.
fn nothing_moves(world: &mut World) -> Option<String> {
    let before = world.moves.len();
    world.run(world.now + QUIET);
    world.moves.get(before).map(|moved| format!("a move without a cause: {moved:?}"))
}

/// The bound: a holder dies, and all that it held is held again in time.
fn takeover(world: &mut World) -> Option<String> {
    let addresses = world.addresses();
    let address = addresses[world.rng().index(addresses.len())];
    let holder = *world.holders(address).first()?;
    if world.speakers().len() < 3 {
        return None;
    }
    // A node whose timers were late again and again uses a slower profile, which its heartbeats tell.
    let bound = Micros::try_from((world.slowest() * BOUND).as_micros()).unwrap_or(Micros::MAX);
    world.crash(holder);
    world.run(world.now + bound);
    everything_is_held(world)
}
