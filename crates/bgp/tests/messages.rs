//! Messages: what is written is read as the same, and nothing that a peer may send does harm.

mod checks;
mod strategies;

use std::fs;
use std::path::{Path, PathBuf};

use bgp::packet::{Context, Families, HEADER_LEN, Open, Update};
use proptest::prelude::*;

/// What must hold of any bytes.
type Check = fn(&[u8]);

/// A fuzz target, and what it checks.
const TARGETS: [(&str, Check); 6] = [
    ("bgp_open", checks::open),
    ("bgp_update", checks::update),
    ("bgp_notification", checks::notification),
    ("bgp_refresh", checks::refresh),
    ("bgp_stream", checks::stream),
    ("bgp_session", checks::session),
];

/// The kept inputs of a fuzz target.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    paths.map(|path| (path.clone(), fs::read(path).expect("the file can be read"))).collect()
}

#[test]
fn every_kept_input_of_the_fuzz_targets_does_no_harm() {
    for (target, check) in TARGETS {
        let inputs = corpus(target);
        assert!(!inputs.is_empty(), "{target} has no corpus");
        for (_, bytes) in inputs {
            check(&bytes);
        }
    }
}

/// How an input is spoiled.
#[derive(Clone, Copy, Debug)]
enum Mutation {
    Set(u16, u8),
    Insert(u16, u8),
    Remove(u16),
    Truncate(u16),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    // Lengths, flags and small counts are what parsers stumble over.
    let byte = || prop_oneof![any::<u8>(), Just(0), Just(1), Just(255), 0..40_u8];
    prop_oneof![
        4 => (any::<u16>(), byte()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        1 => (any::<u16>(), byte()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        1 => any::<u16>().prop_map(Mutation::Remove),
        1 => any::<u16>().prop_map(Mutation::Truncate),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutations: Vec<Mutation>) {
    let place = |at: u16, length: usize| usize::from(at) % length.max(1);
    for mutation in mutations {
        let length = bytes.len();
        match mutation {
            Mutation::Insert(at, byte) => bytes.insert(place(at, length + 1), byte),
            _ if length == 0 => {}
            Mutation::Set(at, byte) => bytes[place(at, length)] = byte,
            Mutation::Remove(at) => drop(bytes.remove(place(at, length))),
            Mutation::Truncate(at) => bytes.truncate(place(at, length)),
        }
    }
}

fn context(internal: bool) -> Context {
    Context { four_octet_as: true, internal, families: Families::BOTH, extended_next_hop: true }
}

proptest! {
    #[test]
    fn opens_are_read_as_they_were_written(open in strategies::open()) {
        prop_assert_eq!(Open::parse(&open.build()[HEADER_LEN..]), Ok(open));
    }

    #[test]
    fn updates_are_read_as_they_were_written(
        (internal, update) in any::<bool>().prop_flat_map(|i| (Just(i), strategies::update(i)))
    ) {
        let received = Update::parse(&update.build(true)[HEADER_LEN..], context(internal));
        let received = received.expect("valid");
        prop_assert_eq!(received.faults, []);
        prop_assert_eq!(received.update, update);
    }

    #[test]
    fn spoiled_updates_do_no_harm(
        update in strategies::update(true), spoil in proptest::collection::vec(mutation(), 0..6)
    ) {
        let mut bytes = update.build(true).split_off(HEADER_LEN);
        mutate(&mut bytes, spoil);
        checks::update(&bytes);
    }

    #[test]
    fn spoiled_opens_do_no_harm(
        open in strategies::open(), spoil in proptest::collection::vec(mutation(), 0..6)
    ) {
        let mut bytes = open.build().split_off(HEADER_LEN);
        mutate(&mut bytes, spoil);
        checks::open(&bytes);
    }

    #[test]
    fn notifications_do_no_harm(notification in strategies::notification()) {
        checks::notification(&notification.build()[HEADER_LEN..]);
    }

    #[test]
    fn spoiled_inputs_of_the_fuzz_targets_do_no_harm(
        target in 0..TARGETS.len(), input: proptest::sample::Index,
        spoil in proptest::collection::vec(mutation(), 1..8)
    ) {
        let (name, check) = TARGETS[target];
        let inputs = corpus(name);
        let mut bytes = input.get(&inputs).1.clone();
        mutate(&mut bytes, spoil);
        check(&bytes);
    }

    #[test]
    fn bytes_of_no_meaning_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for (_, check) in TARGETS {
            check(&bytes);
        }
    }
}
