//! The end of a program.

use tokio::signal::unix::{SignalKind, signal};

/// Completes with the first SIGTERM or SIGINT (what a kubelet and a terminal send) and says which it was.
///
/// From the first poll on, these signals no longer end the process by themselves.
///
/// # Panics
/// When the process may not install signal handlers, which no kernel refuses for these two.
pub async fn shutdown_signal() -> &'static str {
    let mut terminate = signal(SignalKind::terminate()).expect("a handler for SIGTERM can be installed");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a handler for SIGINT can be installed");
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, process::Command};

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn either_signal_ends_the_wait_and_not_the_process() {
        for name in ["SIGTERM", "SIGINT"] {
            let mut waiting = pin!(shutdown_signal());
            assert_eq!(waiting.as_mut().now_or_never(), None, "the handlers are in place, no signal yet");
            let script = format!("kill -{} {}", name.trim_start_matches("SIG"), std::process::id());
            let status = Command::new("sh").args(["-c", &script]).status().expect("there is a shell");
            assert!(status.success());
            assert_eq!(waiting.await, name);
        }
    }
}
