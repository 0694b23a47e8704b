//! What makes a lease, with the other voter played by hand.

use std::time::Duration;

use l2::Instant;
use membership::packet::{Ack, Beat, Body, Flags, LinkId, Packet};
use membership::{Electorate, Event, Incarnation, Input, Life, Machine, NodeId, Output, Settings};

const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);
const LIFE: Incarnation = Incarnation(11);

fn at(ms: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(ms))
}

fn electorate() -> Electorate {
    Electorate { revision: 1, speakers: 3, voters: vec![ME, OTHER, NodeId(3)] }
}

/// Runs the machine for three seconds while the other voter answers every heartbeat after `delay`, as if it had come
/// from that life; returns until when, in milliseconds, there was a lease.
fn leased_until(answers_to: Incarnation, delay: u64, last: u64) -> Option<u64> {
    let settings =
        Settings { node: ME, incarnation: LIFE, remembered: vec![electorate()], ..Settings::default() };
    let mut machine = Machine::new(settings, at(0));
    let (mut answers, mut sequence, mut until, mut leased) = (Vec::new(), 0, None, false);
    for now in 0..3_000 {
        let mut outputs = Vec::new();
        machine.handle(at(now), Input::Timeout, &mut outputs);
        while let Some((_, packet)) = answers.pop_if(|(due, _)| *due <= now) {
            machine.handle(at(now), Input::Packet { link: LinkId(0), packet }, &mut outputs);
        }
        for output in outputs {
            match output {
                Output::Event(Event::Quorum(has)) => leased = has,
                Output::Send { packet, .. } if packet.to == OTHER && now <= last => {
                    let Body::Beat(_) = packet.body else { continue };
                    sequence += 1;
                    // The first answer makes the two known to each other.
                    let life = if sequence == 1 { LIFE } else { answers_to };
                    let ack = Ack { of: Some(packet.sequence), generation: 1, ..Ack::default() };
                    let answer = Packet {
                        from: Life { node: OTHER, incarnation: Incarnation(22) },
                        sequence,
                        to: ME,
                        link: LinkId(0),
                        echo: Some((life, packet.sequence)),
                        flags: Flags::default(),
                        chain: vec![electorate()],
                        body: Body::Ack(ack),
                    };
                    answers.insert(0, (now + delay, answer));
                }
                _ => {}
            }
        }
        if leased {
            until = Some(now);
        }
    }
    until
}

#[test]
fn a_lease_counts_from_when_the_heartbeat_was_sent() {
    let soon = leased_until(LIFE, 1, 2_000).expect("there was a lease");
    assert!((2_100..=2_250).contains(&soon), "{soon}");
    // The answer to the same heartbeat takes longer, and makes the lease no longer.
    let late = leased_until(LIFE, 90, 2_000).expect("there was a lease");
    assert!((2_100..=2_250).contains(&late), "{late}");
}

#[test]
fn an_answer_that_takes_longer_than_the_lease_gives_none() {
    assert_eq!(leased_until(LIFE, 251, 3_000), None);
}

#[test]
fn an_answer_to_a_former_life_gives_no_lease() {
    assert_eq!(leased_until(Incarnation(10), 1, 3_000), None);
}

/// When the machine gives up a node whose heartbeats, at these times in milliseconds, promised these intervals.
fn given_up(beats: &[(u64, u16)]) -> Option<u64> {
    let settings =
        Settings { node: ME, incarnation: LIFE, remembered: vec![electorate()], ..Settings::default() };
    let mut machine = Machine::new(settings, at(0));
    let (mut echo, mut known) = (None, false);
    for now in 0..4_000 {
        let mut outputs = Vec::new();
        machine.handle(at(now), Input::Timeout, &mut outputs);
        let due = beats.iter().position(|&(time, _)| time == now);
        if let (Some(number), Some(echo)) = (due, echo) {
            let beat = Beat { interval: beats[number].1, span: 100, ..Beat::default() };
            let packet = Packet {
                from: Life { node: OTHER, incarnation: Incarnation(22) },
                sequence: 1 + u64::try_from(number).expect("a small number"),
                to: ME,
                link: LinkId(0),
                echo: Some((LIFE, echo)),
                flags: Flags::default(),
                chain: vec![electorate()],
                body: Body::Beat(beat),
            };
            machine.handle(at(now), Input::Packet { link: LinkId(0), packet }, &mut outputs);
            known = true;
        }
        for output in outputs {
            match output {
                Output::Send { packet, .. } if packet.to == OTHER => echo = Some(packet.sequence),
                Output::Event(Event::Down(OTHER)) if known => return Some(now),
                _ => {}
            }
        }
    }
    None
}

#[test]
fn a_silent_node_is_given_up_after_three_of_its_intervals_and_not_while_a_former_lease_may_last() {
    assert_eq!(given_up(&[(1_000, 100)]), Some(1_300));
    assert_eq!(given_up(&[(1_000, 300)]), Some(1_900));
    assert_eq!(given_up(&[(1_000, 300), (1_100, 100)]), Some(1_900), "the slower profile's lease may last");
    assert_eq!(given_up(&[(1_000, 300), (1_700, 100)]), Some(2_000));
}
