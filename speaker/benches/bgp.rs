//! How fast Services become routes at a router, and what that takes: `cargo xtask bench bgp`.
//!
//! The core and the peers' tasks are the speaker's own; the routers are threads, or for the memory another process, on
//! the loopback interface of a network namespace made for it. What the whole program takes is measured on its own
//! process, with an API server made for it.

#[path = "bgp/api.rs"]
mod api;
#[path = "bgp/memory.rs"]
mod memory;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use announce::{Node, Service, ServiceKey, Settings, Slice};
use bgp::packet::{AfiSafi, Capability, Context, Families, HEADER_LEN, MAX_MESSAGE, Open, Update, keepalive};
use kube_ext::{Change, ObjectKey};
use metrics::Metrics;
use nix::sched::{CloneFlags, unshare};
use serde_json::json;
use sockets::{LinkChange, boot_time};
use speaker::bgp::Peers;
use speaker::core::{BgpEffect, Core, Effect, Input, NodeFacts, ServiceView};
use speaker::exclude::Exclude;

const NODE: &str = "iris1";
/// Where the other speakers would reach it.
const CONTACT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 11)), 7946);
const SERVICES: u32 = 10_000;
const CHANGES: u32 = 500;
const PEERS: u16 = 100;
const PREFIXES: u32 = 1_000;
/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// What a router saw of one UPDATE, and when.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    announced: usize,
    withdrawn: usize,
    length: usize,
    /// When the session was established.
    established: Instant,
}

/// One session as a router keeps it: takes in everything and tells of each UPDATE.
fn serve(mut stream: TcpStream, seen: &mpsc::Sender<Seen>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let context = Context {
        four_octet_as: true,
        internal: false,
        families: Families { v4: true, v6: false },
        extended_next_hop: false,
    };
    let mut established = Instant::now();
    let mut message = vec![0; MAX_MESSAGE];
    loop {
        stream.read_exact(&mut message[..HEADER_LEN])?;
        let length = usize::from(u16::from_be_bytes([message[16], message[17]]));
        if length > MAX_MESSAGE {
            return Err(io::Error::other("a message of more than 4,096 bytes"));
        }
        stream.read_exact(&mut message[HEADER_LEN..length])?;
        match message[18] {
            1 => {
                let all =
                    vec![Capability::Multiprotocol(AfiSafi::IPV4_UNICAST), Capability::FourOctetAs(64_513)];
                let open = Open::new(64_513, 90, Ipv4Addr::new(192, 0, 2, 254), all);
                stream.write_all(&open.build())?;
                stream.write_all(&keepalive())?;
            }
            2 => {
                let update = Update::parse(&message[HEADER_LEN..length], context)
                    .map_err(|error| io::Error::other(error.to_string()))?
                    .update;
                let (announced, withdrawn) = (update.announced.len(), update.withdrawn.len());
                let told = Seen { at: Instant::now(), announced, withdrawn, length, established };
                // At the end nobody listens.
                seen.send(told).ok();
            }
            4 => established = Instant::now(),
            _ => {}
        }
    }
}

/// Routers on these ports, each a thread.
fn routers(ports: impl Iterator<Item = u16>) -> mpsc::Receiver<Seen> {
    let (sender, seen) = mpsc::channel();
    for port in ports {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        let sender = sender.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                thread::spawn(move || {
                    if let Err(error) = serve(stream, &sender)
                        && error.kind() != io::ErrorKind::UnexpectedEof
                    {
                        eprintln!("a router: {error}");
                    }
                });
            }
        });
    }
    seen
}

/// The speaker without Kubernetes.
struct Speaker {
    core: Core,
    peers: Peers,
    metrics: Metrics,
}

fn key(name: String) -> ObjectKey {
    ObjectKey::new("metallb-system", name)
}

fn service_key(number: u32) -> ServiceKey {
    ServiceKey { namespace: "shop".into(), name: format!("service-{number}") }
}

fn slice(number: u32, ready: bool) -> Input {
    let serving: BTreeSet<Option<String>> = ready.then(|| Some(NODE.to_owned())).into_iter().collect();
    let slice = Slice { service: Some(service_key(number)), serving };
    Input::Slice(Change::Apply(ObjectKey::new("shop", format!("service-{number}-1")), slice))
}

impl Speaker {
    /// A speaker that knows these Services and a router on each of these ports, but has not begun.
    fn new(services: u32, ports: impl Iterator<Item = u16>) -> Self {
        let settings = Settings { node: NODE.into(), ..Settings::default() };
        let facts =
            NodeFacts { name: NODE.into(), address: Some(Ipv4Addr::LOCALHOST), ..NodeFacts::default() };
        let metrics = Metrics::new();
        let (peers, _) = Peers::new(&metrics, NODE);
        let core = Core::new(settings, Exclude::new(["^none"]).expect("valid"), CONTACT).on_node(facts);
        let mut speaker = Self { core, peers, metrics };
        let object = |name: &str, spec: serde_json::Value| json!({"metadata": {"name": name}, "spec": spec});
        let pool =
            serde_json::from_value(object("blue", json!({"addresses": ["10.0.0.0/8"]}))).expect("a pool");
        speaker.tell(Input::Pool(Change::Apply(key("blue".into()), pool)));
        let all = serde_json::from_value(object("all", json!({"communities": ["64512:1"]}))).expect("valid");
        speaker.tell(Input::BgpAdvertisement(Change::Apply(key("all".into()), all)));
        for port in ports {
            let name = format!("tor-{port}");
            let spec = json!({"myASN": 64512, "peerASN": 64513, "peerAddress": "127.0.0.1", "peerPort": port, "ebgpMultiHop": true});
            let peer = serde_json::from_value(object(&name, spec)).expect("a peer");
            speaker.tell(Input::Peer(Change::Apply(key(name), peer)));
        }
        speaker.tell(Input::Node(Change::Apply(ObjectKey::new("", NODE), Node::default())));
        for number in 0..services {
            let service = Service {
                load_balancer: true,
                addresses: vec![Ipv4Addr::from_bits(0x0a00_0000 + number).into()],
                ..Service::default()
            };
            let view = ServiceView { service, uid: None };
            let key = service_key(number);
            speaker.tell(Input::Service(Change::Apply(ObjectKey::new(key.namespace, key.name), view)));
            speaker.tell(slice(number, true));
        }
        for synced in Input::lists_read() {
            speaker.tell(synced);
        }
        speaker
    }

    fn begin(&mut self) {
        self.tell(Input::Link(LinkChange::Synced));
    }

    fn tell(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.core.handle(l2::Instant::from_origin(boot_time()), input, &mut effects);
        for effect in effects {
            if let Effect::Bgp(
                effect @ (BgpEffect::Routes { .. } | BgpEffect::Session { .. } | BgpEffect::End { .. }),
            ) = effect
            {
                self.peers.carry_out(effect);
            }
        }
    }

    /// How many prefixes all routers know, by the speaker's own count.
    fn told(&self) -> u64 {
        let text = self.metrics.text();
        let lines = text.lines().filter(|line| line.starts_with("metallb_bgp_announced_prefixes_total{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

/// All that routers see until so many prefixes were announced and withdrawn.
fn until(seen: &mpsc::Receiver<Seen>, announced: usize, withdrawn: usize) -> Vec<Seen> {
    let mut all: Vec<Seen> = Vec::new();
    let (mut in_all, mut out) = (0, 0);
    while in_all < announced || out < withdrawn {
        let next = seen.recv_timeout(LIMIT).expect("the routers hear of everything in time");
        in_all += next.announced;
        out += next.withdrawn;
        all.push(next);
    }
    all
}

/// The memory of a process (its id, or `self`) that is resident, in kilobytes.
fn resident(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has some");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Prints a figure beside its bound; whether it keeps it.
fn figure(what: &str, value: f64, bound: f64, unit: &str) -> bool {
    let kept = value <= bound;
    println!(
        "{:<72} {value:>9.1} {unit:<3} (at most {bound} {unit}){}",
        what,
        if kept { "" } else { "  MISSED" }
    );
    kept
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// One router and ten thousand Services.
fn one_router() -> bool {
    let seen = routers(2_000..2_001);
    let mut speaker = Speaker::new(SERVICES, 2_000..2_001);
    speaker.begin();
    let services = usize::try_from(SERVICES).expect("few");
    let first = until(&seen, services, 0);
    let (last, longest) =
        (first[first.len() - 1], first.iter().map(|update| update.length).max().unwrap_or(0));
    let updates = first.iter().filter(|update| update.announced > 0).count();
    let mut kept = figure("UPDATEs for 10,000 Services of one attribute set", count(updates), 60.0, "");
    let after = milliseconds(last.at.saturating_duration_since(last.established));
    kept &= figure("from Established to the last of them", after, 100.0, "ms");
    let mut times: Vec<Duration> = Vec::new();
    for number in 0..CHANGES {
        let service = number * (SERVICES / CHANGES);
        for ready in [false, true] {
            let start = Instant::now();
            speaker.tell(slice(service, ready));
            let told = until(&seen, usize::from(ready), usize::from(!ready));
            times.push(told[told.len() - 1].at.saturating_duration_since(start));
        }
    }
    times.sort_unstable();
    kept &= figure(
        "from a change of one Service to the router, 99 % of them",
        milliseconds(times[times.len() * 99 / 100]),
        10.0,
        "ms",
    );
    let gone = serde_json::from_value(json!({"metadata": {"name": "all"}, "spec": {"peers": ["nobody"]}}))
        .expect("valid");
    let start = Instant::now();
    speaker.tell(Input::BgpAdvertisement(Change::Apply(key("all".into()), gone)));
    let decided = start.elapsed();
    let last = until(&seen, 0, services);
    let took = last[last.len() - 1].at.saturating_duration_since(start);
    println!("{:<72} {:>9.1} ms", "deciding about 10,000 Services anew", milliseconds(decided));
    kept &= figure(
        "from then to the last withdrawal at the router",
        milliseconds(took.saturating_sub(decided)),
        50.0,
        "ms",
    );
    let longest = last.iter().map(|update| update.length).max().unwrap_or(0).max(longest);
    kept & figure("bytes of the longest message", count(longest), 4_096.0, "")
}

/// A hundred routers and a thousand Services, with the routers in another process.
fn many_routers() -> bool {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .arg("routers")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut ready = [0; 1];
    child.stdout.as_mut().expect("piped").read_exact(&mut ready).expect("the routers listen");
    let before = resident("self") / 1_024;
    let mut speaker = Speaker::new(PREFIXES, ports());
    let start = Instant::now();
    speaker.begin();
    let wanted = u64::from(PREFIXES) * u64::from(PEERS);
    while speaker.told() < wanted {
        assert!(start.elapsed() < LIMIT, "{} of {wanted} prefixes are told", speaker.told());
        thread::yield_now();
    }
    let took = start.elapsed();
    let all = resident("self") / 1_024;
    let kept =
        figure("100 routers with 1,000 prefixes each, from the start on", milliseconds(took), 1_000.0, "ms")
            & figure(
                "memory with them, of the process without Kubernetes",
                count(usize::try_from(all).unwrap_or(usize::MAX)),
                60.0,
                "MB",
            );
    println!("{:<72} {before:>9} MB", "memory before");
    drop(child.stdin.take());
    child.wait().expect("the routers end with their standard input");
    kept
}

fn ports() -> std::ops::Range<u16> {
    3_000..3_000 + PEERS
}

#[expect(clippy::cast_precision_loss, reason = "figures are small")]
fn count(number: usize) -> f64 {
    number as f64
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "routers") {
        let _seen = routers(ports());
        io::stdout().write_all(b"!").expect("someone listens");
        io::stdout().flush().expect("someone listens");
        // Until the other end is gone.
        io::copy(&mut io::stdin(), &mut io::sink()).ok();
        return ExitCode::SUCCESS;
    }
    unshare(CloneFlags::CLONE_NEWNET).expect("root, for a network namespace");
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("iproute2");
    assert!(up.success(), "the loopback interface comes up");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    // Memory first: what others gave back would not be seen to be taken.
    let kept = many_routers() & memory::one_router() & one_router();
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
