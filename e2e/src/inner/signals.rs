//! Signals as events: blocked everywhere, taken by one thread.

use std::{sync::mpsc::Sender, thread};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

/// Blocks `signals` for this thread and all that it starts, and sends `event(signal)` for
/// each that arrives. To be called before any other thread is started.
pub(crate) fn forward<E: Send + 'static>(
    signals: &[Signal],
    events: Sender<E>,
    event: impl Fn(Signal) -> E + Send + 'static,
) -> Result<()> {
    let set: SigSet = signals.iter().copied().collect();
    set.thread_block().context("blocking signals")?;
    thread::spawn(move || {
        while let Ok(signal) = set.wait() {
            if events.send(event(signal)).is_err() {
                return;
            }
        }
    });
    Ok(())
}
