//! Waiting for a fact, with an error that says what was there instead.

use std::{
    process,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Calls `look` until it returns a value, and returns the value.
///
/// `look` fails while the fact does not hold, with an error that says in a few words what it saw
/// instead; being unable to look counts as that too, so that an API server that is away
/// for a moment fails nothing.
///
/// Fails after `timeout` with `what` and the last error.
pub fn wait_for<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        let error = match look() {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if started.elapsed() >= timeout {
            bail!("{what} did not happen within {} s; last seen: {error:#}", timeout.as_secs_f32());
        }
        // Looking is a program of its own, with no way to be told of changes.
        thread::sleep(pause.min(timeout.saturating_sub(started.elapsed())));
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

/// Ends this process with a failure when it still runs after `budget`, so that what hangs is a failure and not
/// a wait for ever. Before that `last` is called, to tell or keep what it was like; it may take a minute.
pub fn end_after(budget: Duration, last: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        thread::sleep(budget);
        eprintln!("this took longer than {budget:?}, which it may not");
        let (done, wait) = mpsc::channel();
        thread::spawn(move || {
            last();
            // Whoever waited may have lost patience.
            done.send(()).ok();
        });
        wait.recv_timeout(Duration::from_secs(60)).ok();
        // Clusters of this process end with it.
        process::exit(1);
    });
}

#[cfg(test)]
mod tests {
    use anyhow::{anyhow, ensure};

    use super::*;

    #[test]
    fn the_value_comes_back_as_soon_as_it_is_there() {
        let mut looks = 0;
        let value = wait_for("three looks", Duration::from_secs(5), || {
            looks += 1;
            ensure!(looks == 3, "{looks} looks");
            Ok(looks)
        });
        assert_eq!(value.expect("it happens"), 3);
    }

    #[test]
    fn the_error_says_what_was_waited_for_and_what_was_seen_last() {
        let error = wait_for::<()>("the Pod to be Ready", Duration::from_millis(50), || {
            Err(anyhow!("phase Pending"))
        })
        .expect_err("it never happens")
        .to_string();
        assert!(error.contains("the Pod to be Ready") && error.contains("phase Pending"), "{error}");
    }
}
