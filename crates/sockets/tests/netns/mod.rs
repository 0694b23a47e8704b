//! A LAN of two hosts for tests: the calling thread and a peer, each in a network namespace of its own, joined
//! by a pair of virtual interfaces.

#![allow(dead_code, reason = "each test binary uses another part")]

use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, gettid};

/// The name of this host's interface on the LAN.
pub(crate) const OWN: &str = "lan0";
/// The name of the peer's interface.
pub(crate) const PEER: &str = "peer0";
/// The hardware addresses of both.
pub(crate) const OWN_MAC: &str = "02:00:00:00:00:01";
pub(crate) const PEER_MAC: &str = "02:00:00:00:00:09";

type Job = Box<dyn FnOnce() + Send>;

/// Both hosts. Ends with the test's thread.
pub(crate) struct Lan {
    peer: Option<(mpsc::Sender<Job>, JoinHandle<()>)>,
    peer_namespace: String,
}

impl Lan {
    /// Moves the calling thread to a new network namespace and connects it to a peer. Both interfaces
    /// are up when this returns, the peer has 192.0.2.9/24 and 2001:db8::9/64.
    pub(crate) fn new() -> Self {
        assert!(
            Uid::effective().is_root(),
            "this test makes network namespaces and needs root: run it as root, or in `unshare -r`"
        );
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        let (jobs, queue) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
            tell.send(gettid()).expect("the test waits for it");
            for job in queue {
                job();
            }
        });
        let id = told.recv().expect("the peer's thread has begun");
        let peer_namespace = format!("/proc/{}/task/{id}/ns/net", std::process::id());
        let lan = Self { peer: Some((jobs, thread)), peer_namespace };
        // Addresses are usable at once: nobody else is here.
        let at_once = "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0";
        lan.run(at_once);
        lan.peer(at_once);
        lan.run(&format!(
            "ip link add {OWN} address {OWN_MAC} type veth peer name {PEER} address {PEER_MAC} netns {id}"
        ));
        lan.peer(&format!("ip address add 192.0.2.9/24 dev {PEER}"));
        lan.peer(&format!("ip address add 2001:db8::9/64 dev {PEER} nodad"));
        lan.peer(&format!("ip link set {PEER} up"));
        lan.run(&format!("ip link set {OWN} up"));
        lan
    }

    /// Runs a command on this host; fails the test where it fails.
    #[expect(clippy::unused_self, reason = "there is no LAN to run it on before this one is made")]
    pub(crate) fn run(&self, command: &str) -> String {
        let words: Vec<&str> = command.split_whitespace().collect();
        text(command, &execute(&words))
    }

    /// Runs a command on the peer; fails the test where it fails.
    pub(crate) fn peer(&self, command: &str) -> String {
        text(command, &self.try_peer(command))
    }

    /// Runs a command on the peer.
    pub(crate) fn try_peer(&self, command: &str) -> Output {
        let enter = format!("--net={}", self.peer_namespace);
        let words: Vec<&str> =
            ["nsenter", &enter, "--"].into_iter().chain(command.split_whitespace()).collect();
        execute(&words)
    }

    /// The words of a command that runs `command` on the peer.
    pub(crate) fn peer_words(&self, command: &str) -> Vec<String> {
        let enter = format!("--net={}", self.peer_namespace);
        let words = command.split_whitespace().map(str::to_owned);
        ["nsenter".to_owned(), enter, "--".to_owned()].into_iter().chain(words).collect()
    }

    /// Calls a function in the peer's namespace: sockets that it opens are the peer's.
    pub(crate) fn in_peer<T: Send + 'static>(&self, function: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        let (jobs, _) = self.peer.as_ref().expect("the peer lives as long as the LAN");
        let job = Box::new(move || tell.send(function()).expect("the test waits for it"));
        jobs.send(job).expect("the peer's thread runs");
        told.recv().expect("the peer's thread answers")
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        if let Some((jobs, thread)) = self.peer.take() {
            drop(jobs);
            thread.join().expect("the peer's thread ends");
        }
    }
}

/// Runs an asynchronous test on this thread, whose namespace the sockets have to be in.
pub(crate) fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
}

fn execute(words: &[&str]) -> Output {
    let (program, arguments) = words.split_first().expect("a command");
    Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!("cannot run {program}: {error}; install iproute2, util-linux, procps, arping and ndisc6")
    })
}

fn text(command: &str, output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {}\n{out}\n{errors}", output.status);
    out
}
