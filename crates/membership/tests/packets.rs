//! Packets: what is written is read again, whatever else comes is refused, and only those with the key are heard.

use std::net::IpAddr;
use std::time::Duration;

use l2::Instant;
use membership::packet::{
    self, Ack, Beat, Body, Change, Flags, HEADER, Header, LinkId, MAX_LIST, MAX_MACS, MAX_PACKET, Malformed,
    OLDEST_VERSION, Packet, Sync, VERSION, Vote,
};
use membership::{
    Electorate, Incarnation, Input, Keyring, Life, Machine, NodeId, Output, Rejected, Settings,
};
use net::MacAddr;
use proptest::prelude::*;

fn life(node: u64) -> Life {
    Life { node: NodeId(node), incarnation: Incarnation(node * 100) }
}

fn packet(body: Body) -> Packet {
    let voters = vec![NodeId(1), NodeId(2), NodeId(3)];
    Packet {
        from: life(1),
        sequence: 9,
        to: NodeId(2),
        link: LinkId(0),
        echo: Some((Incarnation(200), 7)),
        flags: Flags { draining: true, founding: false },
        chain: vec![Electorate { revision: 5, speakers: 3, voters }],
        body,
    }
}

fn address(number: u16) -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, number])
}

/// One of each kind, each list in use.
fn samples() -> Vec<Packet> {
    let sync = Sync {
        generation: 3,
        base: 4,
        upto: 6,
        changes: vec![
            Change { address: address(1), wanted: true },
            Change { address: IpAddr::from([192, 0, 2, 1]), wanted: false },
        ],
        again: vec![address(2)],
    };
    let beat = Beat {
        interval: 100,
        span: 200,
        watch: 2,
        watchers: vec![life(2), life(3)],
        links: vec![(LinkId(8), true), (LinkId(9), false)],
        sync: Some(sync),
        macs: vec![MacAddr([2, 0, 0, 0, 1, 11]), MacAddr([2, 0, 0, 0, 2, 11])],
    };
    let ack = Ack {
        of: Some(4),
        generation: 2,
        version: 8,
        voted: 1,
        refused: vec![(address(3), NodeId(3))],
        granted: vec![address(4)],
    };
    vec![
        packet(Body::Beat(beat)),
        packet(Body::Beat(Beat { interval: 50, span: 50, ..Beat::default() })),
        packet(Body::Ack(ack)),
        packet(Body::Ack(Ack::default())),
        packet(Body::Vote(Vote { down: life(3), watch: 4, watchers: vec![life(1), life(2)] })),
        packet(Body::Holding(vec![address(5), address(6)])),
    ]
}

fn clear(packet: &Packet) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet::write_header(
        &Header { version: VERSION, from: packet.from, sequence: packet.sequence },
        &mut bytes,
    );
    packet::write_body(VERSION, packet, &mut bytes);
    bytes
}

fn parse(bytes: &[u8]) -> Result<Packet, Malformed> {
    let (header, body) = packet::parse_header(bytes, VERSION)?;
    packet::parse_body(&header, body)
}

/// Whatever parses is written back to itself, and a machine takes it.
fn take(bytes: &[u8]) {
    let Ok(packet) = parse(bytes) else { return };
    assert_eq!(parse(&clear(&packet)), Ok(packet.clone()));
    let mut machine = Machine::new(Settings { node: packet.to, ..Settings::default() }, Instant::default());
    let now = Instant::from_origin(Duration::from_secs(10));
    let mut outputs = Vec::new();
    machine.handle(now, Input::Speakers { revision: 1, nodes: vec![packet.to, NodeId(7)] }, &mut outputs);
    machine.handle(now, Input::Packet { link: packet.link, packet }, &mut outputs);
}

#[test]
fn every_kind_is_read_as_it_was_written_and_no_truncation_is() {
    for packet in samples() {
        let bytes = clear(&packet);
        assert_eq!(parse(&bytes), Ok(packet));
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), Err(Malformed::Truncated), "{length}");
        }
        // A later version adds at the end.
        let longer = [bytes, vec![1, 2, 3]].concat();
        assert!(parse(&longer).is_ok());
    }
}

#[test]
fn fields_out_of_bounds_are_refused_by_name() {
    let many = vec![address(1); MAX_LIST + 1];
    let beat = |beat: Beat| packet(Body::Beat(beat));
    let fine = Beat { interval: 100, span: 100, ..Beat::default() };
    let unsorted = Electorate { revision: 1, speakers: 2, voters: vec![NodeId(2), NodeId(1)] };
    for (bad, field) in [
        (packet(Body::Holding(many)), "holding"),
        (beat(Beat { span: 0, ..fine.clone() }), "span"),
        (beat(Beat { span: 60_001, ..fine.clone() }), "span"),
        (beat(Beat { watchers: vec![life(1); 7], ..fine.clone() }), "watchers"),
        (beat(Beat { macs: vec![MacAddr::ZERO; MAX_MACS + 1], ..fine.clone() }), "macs"),
        (beat(Beat { sync: Some(Sync { base: 2, upto: 1, ..Sync::default() }), ..fine }), "upto"),
        (Packet { chain: vec![unsorted], ..packet(Body::Holding(Vec::new())) }, "voters"),
    ] {
        assert_eq!(parse(&clear(&bad)), Err(Malformed::Field(field)));
    }
}

#[test]
fn the_next_version_is_read_and_the_one_after_is_refused_by_number() {
    let mut bytes = clear(&packet(Body::Holding(Vec::new())));
    bytes[2] = VERSION + 1;
    assert!(parse(&bytes).is_ok());
    bytes[2] = VERSION + 2;
    let refused = Malformed::Version { version: VERSION + 2, latest: VERSION + 1 };
    assert_eq!(parse(&bytes), Err(refused));
    bytes[0] = b'X';
    assert_eq!(parse(&bytes), Err(Malformed::Foreign));
}

/// The packet as a node of version `writes` sends it, read by one of version `reads`.
fn across(packet: &Packet, writes: u8, reads: u8) -> Packet {
    let header = Header { version: writes, from: packet.from, sequence: packet.sequence };
    let mut bytes = Vec::new();
    packet::write_header(&header, &mut bytes);
    packet::write_body(writes, packet, &mut bytes);
    if writes > VERSION {
        bytes.extend_from_slice(b"fields of the next version");
    }
    let (header, body) = packet::parse_header(&bytes, reads).expect("the neighbouring versions are taken");
    packet::parse_body(&header, body).expect("the neighbouring versions are understood")
}

/// What of a packet is known to a version.
fn known_to(packet: &Packet, version: u8) -> Packet {
    let mut known = packet.clone();
    if let Body::Beat(beat) = &mut known.body
        && version < 2
    {
        beat.macs.clear();
    }
    known
}

#[test]
fn every_kind_goes_between_two_neighbouring_versions_with_what_both_know() {
    for packet in samples() {
        for (writes, reads) in [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2)] {
            let arrived = across(&packet, writes, reads);
            assert_eq!(arrived, known_to(&packet, writes.min(reads)), "{writes} to {reads}");
        }
    }
    let mut bytes = clear(&samples()[0]);
    bytes[2] = 3;
    assert!(packet::parse_header(&bytes, 1).is_err(), "two versions lie between");
}

#[test]
fn a_speaker_that_is_held_at_a_version_speaks_it_and_understands_the_next() {
    let newest = Keyring::new(NodeId(1), b"secret");
    let held = |node| Keyring::new(NodeId(node), b"secret").speaking(OLDEST_VERSION);
    let packet = &samples()[0];
    assert_eq!(newest.seal(packet)[2], VERSION);
    assert_eq!(held(1).seal(packet)[2], OLDEST_VERSION);
    let old = known_to(packet, OLDEST_VERSION);
    assert_ne!(*packet, old);
    assert_eq!(held(2).open(&newest.seal(packet)), Ok(old.clone()));
    assert_eq!(Keyring::new(NodeId(2), b"secret").open(&held(1).seal(packet)), Ok(old.clone()));
    // A version that this speaker does not know is the nearest that it knows.
    assert_eq!(Keyring::new(NodeId(1), b"secret").speaking(200).seal(packet)[2], VERSION);
    assert_eq!(Keyring::new(NodeId(1), b"secret").speaking(0).seal(packet)[2], OLDEST_VERSION);
}

#[test]
fn the_others_learn_a_speaker_s_hardware_addresses_and_that_they_have_changed() {
    let first = MacAddr([2, 0, 0, 0, 1, 11]);
    let nodes = [NodeId(1), NodeId(2)];
    let electorate = Electorate { revision: 1, speakers: 2, voters: nodes.to_vec() };
    let start = |node: NodeId| {
        let remembered = vec![electorate.clone()];
        let settings = Settings { node, incarnation: Incarnation(node.0), remembered, ..Settings::default() };
        Machine::new(settings, Instant::default())
    };
    let mut machines = nodes.map(start);
    let (mut outputs, mut learned) = (Vec::new(), Vec::new());
    for now in 0..2_000 {
        let at = Instant::from_origin(Duration::from_millis(now));
        if now == 0 || now == 1_000 {
            let macs = if now == 0 { vec![first] } else { Vec::new() };
            machines[0].handle(at, Input::Macs(macs), &mut outputs);
        }
        for machine in &mut machines {
            machine.handle(at, Input::Timeout, &mut outputs);
        }
        while let Some(output) = outputs.pop() {
            match output {
                Output::Send { link, packet } => {
                    let to = usize::from(packet.to == nodes[1]);
                    machines[to].handle(at, Input::Packet { link, packet }, &mut outputs);
                }
                Output::Macs { node, macs } => learned.push((node, macs)),
                _ => {}
            }
        }
    }
    assert_eq!(learned, [(nodes[0], vec![first]), (nodes[0], Vec::new())], "each change is told once");
}

#[test]
fn nodes_of_neighbouring_versions_agree_on_one_holder_and_replace_it() {
    let (old, new, next) = (OLDEST_VERSION, VERSION, VERSION + 1);
    for versions in [[old, new, new], [new, old, old], [new, new, old], [new, new, next], [next, next, new]] {
        agree(versions);
    }
}

/// Three nodes that speak these versions agree on a holder, and on another one when it is gone.
fn agree(versions: [u8; 3]) {
    let nodes = [NodeId(1), NodeId(2), NodeId(3)];
    let electorate = Electorate { revision: 1, speakers: 3, voters: nodes.to_vec() };
    let start = |node: &NodeId| {
        let incarnation = Incarnation(node.0 * 100);
        let remembered = vec![electorate.clone()];
        let settings = Settings { node: *node, incarnation, remembered, seed: node.0, ..Settings::default() };
        Some(Machine::new(settings, Instant::default()))
    };
    let mut machines: Vec<Option<Machine>> = nodes.iter().map(start).collect();
    let at = |ms| Instant::from_origin(Duration::from_millis(ms));
    let holders = |machines: &[Option<Machine>], now: u64| -> Vec<usize> {
        let may = |m: &Option<Machine>| m.as_ref().is_some_and(|m| m.may_answer(address(1), at(now)));
        (0..machines.len()).filter(|&number| may(&machines[number])).collect()
    };
    let mut outputs = Vec::new();
    for now in 0..6_000 {
        if now == 3_000 {
            assert_eq!(holders(&machines, now), [2], "the first in order holds it, {versions:?}");
            machines[2] = None;
        }
        let mut sent = Vec::new();
        for machine in machines.iter_mut().flatten() {
            if now == 0 {
                let order = nodes.iter().rev().copied().collect();
                let speakers = Input::Speakers { revision: 1, nodes: nodes.to_vec() };
                machine.handle(at(now), speakers, &mut outputs);
                let input = Input::Address { address: address(1), order, links: Vec::new() };
                machine.handle(at(now), input, &mut outputs);
            }
            machine.handle(at(now), Input::Timeout, &mut outputs);
            sent.append(&mut outputs);
        }
        while let Some(output) = sent.pop() {
            let Output::Send { packet, link } = output else { continue };
            let (from, to) = (packet.from.node.0 - 1, packet.to.0 - 1);
            let index = |node| usize::try_from(node).expect("small");
            // What a later version understands beyond this crate's is not known here.
            let packet = across(&packet, versions[index(from)], versions[index(to)].min(VERSION));
            if let Some(machine) = &mut machines[index(to)] {
                machine.handle(at(now), Input::Packet { link, packet }, &mut outputs);
                sent.append(&mut outputs);
            }
        }
    }
    assert_eq!(holders(&machines, 5_999), [1], "the next in order has taken over, {versions:?}");
}

#[test]
fn only_the_key_opens_and_only_for_the_receiver() {
    let sealed = Keyring::new(NodeId(1), b"secret").seal(&samples()[0]);
    let mut receiver = Keyring::new(NodeId(2), b"secret");
    assert_eq!(receiver.open(&sealed), Ok(samples()[0].clone()));
    assert_eq!(Keyring::new(NodeId(2), b"another").open(&sealed), Err(Rejected::Key));
    assert_eq!(Keyring::new(NodeId(3), b"secret").open(&sealed), Err(Rejected::Key));
    for index in (0..sealed.len()).filter(|index| *index > 2) {
        let mut forged = sealed.clone();
        forged[index] ^= 1;
        assert_eq!(receiver.open(&forged), Err(Rejected::Key), "byte {index}");
    }
    assert_eq!(receiver.open(&vec![0; MAX_PACKET + 1]), Err(Rejected::Oversized));
    assert!(matches!(receiver.open(&sealed[..HEADER - 1]), Err(Rejected::Malformed(Malformed::Truncated))));
}

/// Whether `to` takes what `from` sends.
fn hears(from: &Keyring, to: &mut Keyring) -> bool {
    let packet = &samples()[0];
    to.open(&from.seal(packet)).as_ref() == Ok(packet)
}

#[test]
fn nodes_understand_each_other_at_every_step_of_a_rotation() {
    // Both go through the same steps, each at its own time, but none is a whole step ahead of the other's next one.
    let step = |keys: &mut Keyring, number| match number {
        1 => keys.rotate(b"new"),
        2 => keys.switch(),
        3 => keys.forget(),
        _ => {}
    };
    for order in [[1, 1, 2, 2, 3, 3], [-1, -1, -2, -2, -3, -3]] {
        // The samples go from node 1 to node 2; `order` says who is first at each step.
        let (mut sender, mut receiver) = (Keyring::new(NodeId(1), b"old"), Keyring::new(NodeId(2), b"old"));
        for (at, number) in order.into_iter().enumerate() {
            let first = at % 2 == 0;
            let keys = if (number > 0) == first { &mut sender } else { &mut receiver };
            step(keys, i32::abs(number));
            assert!(hears(&sender, &mut receiver), "{order:?}, after step {at}");
        }
        assert!(!hears(&Keyring::new(NodeId(1), b"old"), &mut receiver), "the rotation is over");
    }
}

#[test]
fn who_was_restarted_during_a_rotation_is_understood_and_understands() {
    let mut old = Keyring::new(NodeId(2), b"old");
    old.rotate(b"new");
    // It was restarted with the new value and knows no other.
    let restarted = Keyring::new(NodeId(1), b"new");
    assert!(hears(&restarted, &mut old));
    let answer = Packet { from: life(2), to: NodeId(1), ..samples()[0].clone() };
    assert_eq!(Keyring::new(NodeId(1), b"new").open(&old.seal(&answer)), Ok(answer));
}

#[test]
fn the_largest_packets_are_not_fragmented() {
    // Larger than a machine makes them: 32 changes, 8 repeated questions; 32 refusals; the longest chain.
    let epoch = |revision| Electorate { revision, speakers: 500, voters: (1..8).map(NodeId).collect() };
    let sync = Sync {
        changes: vec![Change { address: address(1), wanted: true }; 32],
        again: vec![address(1); 8],
        ..Sync::default()
    };
    let beat = Beat {
        interval: 100,
        span: 100,
        watch: 1,
        watchers: vec![life(1); 6],
        links: vec![(LinkId(1), true); 8],
        sync: Some(sync),
        macs: vec![MacAddr::BROADCAST; MAX_MACS],
    };
    let ack = Ack { refused: vec![(address(1), NodeId(1)); 32], ..Ack::default() };
    for body in [Body::Beat(beat), Body::Ack(ack)] {
        let packet = Packet { chain: (1..7).map(epoch).collect(), ..packet(body) };
        let sealed = Keyring::new(NodeId(1), b"secret").seal(&packet);
        assert!(sealed.len() <= MAX_PACKET, "{}", sealed.len());
    }
}

#[test]
fn the_corpus_of_the_fuzz_target_is_taken() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/membership");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is in the project") {
        let bytes = std::fs::read(entry.expect("the folder can be read").path()).expect("a file");
        take(&bytes);
        count += 1;
    }
    if std::env::var_os("WRITE_CORPUS").is_some() {
        for (number, packet) in samples().iter().enumerate() {
            std::fs::write(format!("{folder}/sample-{number}"), clear(packet))
                .expect("the corpus can be written");
        }
        return;
    }
    assert!(count >= samples().len(), "WRITE_CORPUS=1 writes the samples");
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_or_a_machine_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        take(&bytes);
    }

    #[test]
    fn no_mutation_of_a_packet_makes_the_parser_or_a_machine_panic(
        sample in 0_usize..6,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        truncate: bool,
    ) {
        let mut bytes = clear(&samples()[sample]);
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        if truncate {
            bytes.truncate(cut.index(bytes.len()));
        }
        take(&bytes);
    }
}
