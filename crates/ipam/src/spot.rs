//! Where an address is in the pools.

/// The place of an address: its pool, its range there, its number in the range. Spots of a pool sort as addresses are
/// tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    /// The place of the pool in the order in which pools are tried.
    pub(crate) pool: usize,
    /// The place of the range in the pool's list.
    pub(crate) range: usize,
    /// The number of the address in the range: see [`Slots`](crate::slots::Slots).
    pub(crate) number: u128,
}
