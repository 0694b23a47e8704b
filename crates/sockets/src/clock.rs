//! The clock that everything with a deadline goes by.

use std::mem::MaybeUninit;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time since the machine booted, the time that it slept included (`CLOCK_BOOTTIME`).
///
/// # Panics
/// On a kernel older than 2.6.39, which has no such clock.
pub fn boot_time() -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: `time` is valid for writing one timespec, which is all that the call writes.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, time.as_mut_ptr()) };
    assert_eq!(result, 0, "the kernel has CLOCK_BOOTTIME");
    // SAFETY: the call succeeded, so it has written the timespec.
    let time = unsafe { time.assume_init() };
    let seconds = u64::try_from(time.tv_sec).expect("the time since boot is not negative");
    let nanos = u32::try_from(time.tv_nsec).expect("nanoseconds are below a second");
    Duration::new(seconds, nanos)
}

/// The time since 1970 (`CLOCK_REALTIME`), which people set. Nothing with a deadline goes by it; the kernel stamps frames
/// with it.
pub(crate) fn wall_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_does_not_go_backwards() {
        let earlier = boot_time();
        assert!(earlier > Duration::ZERO);
        assert!(boot_time() >= earlier);
    }
}
