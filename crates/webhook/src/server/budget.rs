//! Memory for the bodies of requests.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Bodies up to this size never wait for larger ones. Nearly every review is smaller.
pub(super) const SMALL: u32 = 64 << 10;

/// All small bodies together: a thousand of the largest.
const ALL_SMALL: u32 = 64 << 20;

/// All larger bodies together, unless a single one may be larger still. Parsed JSON takes many times the space of
/// its text, so this is kept low.
const ALL_LARGE: u32 = 32 << 20;

/// Bytes that the bodies of all requests may take, from their first byte until the answer is found.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u32,
    small: Semaphore,
    large: Semaphore,
}

impl Budget {
    /// `limit`: the most bytes of one body.
    pub(super) fn new(limit: u32) -> Self {
        let places = |bytes: u32| usize::try_from(bytes).expect("addresses have at least 32 bits");
        Self {
            limit,
            small: Semaphore::new(places(ALL_SMALL)),
            large: Semaphore::new(places(ALL_LARGE.max(limit))),
        }
    }

    /// Waits for the memory of a body of so many bytes; of one of unknown size, for that of the largest allowed.
    pub(super) async fn reserve(&self, size: Option<u64>) -> SemaphorePermit<'_> {
        let bytes = size.and_then(|size| u32::try_from(size).ok()).unwrap_or(self.limit).min(self.limit);
        let from = if bytes <= SMALL { &self.small } else { &self.large };
        from.acquire_many(bytes).await.expect("the semaphore is never closed")
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn large_bodies_wait_for_each_other_and_small_ones_do_not_wait_for_them() {
        let budget = Budget::new(20 << 20);
        let first = budget.reserve(Some(20 << 20)).now_or_never().expect("there is room");
        assert!(budget.reserve(Some(20 << 20)).now_or_never().is_none());
        assert!(budget.reserve(None).now_or_never().is_none(), "an unknown size counts as the largest");
        assert!(budget.reserve(Some(1000)).now_or_never().is_some());
        drop(first);
        assert!(budget.reserve(None).now_or_never().is_some());
    }

    #[test]
    fn a_body_of_the_largest_size_always_finds_room() {
        for limit in [0, 1, SMALL, SMALL + 1, 100 << 20] {
            let budget = Budget::new(limit);
            for size in [None, Some(0), Some(u64::from(limit)), Some(u64::MAX)] {
                assert!(budget.reserve(size).now_or_never().is_some(), "{limit} {size:?}");
            }
        }
    }
}
