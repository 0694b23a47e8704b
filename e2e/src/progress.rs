//! Telling a person what happens and how long it takes.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// A line this often while a long step runs.
const INTERVAL: Duration = Duration::from_secs(15);

/// Prints steps with the time since it was made, to standard error.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    started: Instant,
    quiet: bool,
}

impl Progress {
    /// One that prints.
    pub fn new() -> Self {
        Self { started: Instant::now(), quiet: false }
    }

    /// One that only counts.
    pub fn quiet() -> Self {
        Self { quiet: true, ..Self::new() }
    }

    /// Prints one line.
    pub fn step(&self, text: &str) {
        if !self.quiet {
            eprintln!("[{:6.1}s] {text}", self.started.elapsed().as_secs_f32());
        }
    }

    /// Runs `work`, with a line about `text` every 15 s.
    pub fn during<T>(&self, text: &str, work: impl FnOnce() -> T) -> T {
        self.step(text);
        let begun = Instant::now();
        let (done, wait) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                while wait.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    self.step(&format!("{text}: {} s so far", begun.elapsed().as_secs()));
                }
            });
            let result = work();
            drop(done);
            result
        })
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
