//! The first process of every Pod of the tests: holds the Pod's namespaces open, reaps
//! orphans where it is their PID 1, and ends when it is told to.

use nix::{
    sys::{
        signal::{SigSet, Signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

fn main() {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD].into_iter().collect();
    signals.thread_block().expect("these signals can be blocked");
    while signals.wait().expect("waiting for signals that exist") == Signal::SIGCHLD {
        while let Ok(status) = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
    }
}
