//! The task of one interface: its sockets at one side, its [`Responder`] at the other.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use l2::{Cause, Input, Instant, Output, Responder};
use net::{Family, MacAddr};
use sockets::{Groups, PacketSocket, Traffic, boot_time};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use crate::core::Command;
use crate::counts::{AddressCounts, Counts};

/// Frames of the protocols here are shorter than 100 bytes; options of other vendors may follow.
const FRAME: usize = 2048;

/// How long to wait before broken sockets are opened again.
const REOPEN: Duration = Duration::from_secs(1);

/// Whether this node may say at this moment that an address is here: asked right before each frame about it is
/// sent, by the thread that sends it, so it has to be quick. What may not be said is dropped: the address stays
/// held, and what is said of it goes on as soon as the answer is yes again.
pub type MayAnswer = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// How an interface announces what it answers for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announcing {
    /// The most frames a second that announce addresses which were just taken; 0 for as many as there are.
    pub frames_per_second: u32,
    /// How often an address is announced that stays.
    pub refresh: Option<Duration>,
}

/// Another host on the interface's network insists on an address of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The name of the interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// The other host.
    pub mac: MacAddr,
    /// Whether it is another speaker, with which it is agreed who has the address.
    pub member: bool,
}

/// A running task. It stops answering at once when this is dropped.
#[derive(Debug)]
pub struct Interface {
    commands: mpsc::UnboundedSender<Order>,
    counts: Counts,
    task: JoinHandle<()>,
}

/// A command with the counters of the address that it takes, if it takes one.
type Order = (Command, Option<AddressCounts>);

impl Interface {
    /// Starts to answer on the interface with this number and name, for what is taken and `may_answer` allows;
    /// conflicts are reported to `reports`.
    pub fn open(
        index: u32,
        name: String,
        link: l2::Link,
        counts: Counts,
        reports: mpsc::Sender<Conflict>,
        may_answer: MayAnswer,
        announcing: Announcing,
    ) -> Self {
        // Unbounded, so that whoever decides is never held up by one slow interface; there are only as many
        // commands as changes.
        let (commands, queue) = mpsc::unbounded_channel();
        let responder =
            Responder::new(link).paced(announcing.frames_per_second).refreshing(announcing.refresh);
        let held = HashMap::new();
        let driver = Driver { index, name, responder, counts: held, reports, may_answer };
        Self { commands, counts, task: tokio::spawn(driver.run(queue)) }
    }

    /// Hands a command to the task; they are carried out in order.
    pub fn tell(&self, command: Command) {
        // Made here and not by the task, which may come to it when the address is let go already.
        let counts = match &command {
            Command::Take(address) => Some(self.counts.address(*address)),
            Command::Release(_) | Command::Link(_) | Command::Allies(_) | Command::Members(_) => None,
        };
        // The task ends only when this is dropped, or by a panic, which the log has told already.
        if self.commands.send((command, counts)).is_err() {
            debug!("the task of an interface has ended");
        }
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Driver {
    index: u32,
    name: String,
    responder: Responder,
    /// Of each address held.
    counts: HashMap<IpAddr, AddressCounts>,
    reports: mpsc::Sender<Conflict>,
    may_answer: MayAnswer,
}

/// What the task waits for.
enum Event {
    Order(Option<Order>),
    Timeout,
    Frame(Family, io::Result<usize>),
}

struct Sockets {
    arp: PacketSocket,
    ndp: PacketSocket,
    groups: Groups,
}

impl Sockets {
    fn open(index: u32) -> io::Result<Self> {
        Ok(Self {
            arp: PacketSocket::open(index, Traffic::Arp)?,
            ndp: PacketSocket::open(index, Traffic::NeighborDiscovery)?,
            groups: Groups::new(index),
        })
    }
}

fn now() -> Instant {
    Instant::from_origin(boot_time())
}

impl Driver {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Order>) {
        loop {
            match Sockets::open(self.index) {
                Ok(sockets) => match self.answer(sockets, &mut commands).await {
                    Ok(()) => return,
                    Err(error) => warn!(interface = self.name, %error, "sockets broke, opening them again"),
                },
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    error!(
                        interface = self.name,
                        "cannot open raw sockets: the container needs the capability NET_RAW"
                    );
                }
                // Told by the kernel soon; this task ends then.
                Err(error) => info!(interface = self.name, %error, "cannot open sockets yet"),
            }
            sleep(REOPEN).await;
        }
    }

    /// Answers until there are no more commands, or with the error of a socket that broke.
    async fn answer(
        &mut self,
        mut sockets: Sockets,
        commands: &mut mpsc::UnboundedReceiver<Order>,
    ) -> io::Result<()> {
        let mut out = Vec::new();
        // What was decided while there were no sockets counts, too: an address that was released meanwhile is
        // another node's and must not be announced once more.
        while let Ok((command, counts)) = commands.try_recv() {
            let input = self.order(&command, counts);
            self.responder.handle(now(), input, &mut out);
        }
        self.begin(&mut out);
        self.narrow(&sockets);
        self.carry_out(&mut sockets, &mut out).await?;
        // Whether addresses came or went that the sockets' filters do not know.
        let mut changed = false;
        let (mut arp, mut ndp) = ([0; FRAME], [0; FRAME]);
        loop {
            let wait = self.responder.poll_timeout().map(|at| at.saturating_since(now()));
            let timeout = async {
                match wait {
                    Some(time) => sleep(time).await,
                    None => std::future::pending().await,
                }
            };
            // Once for many commands.
            if changed && commands.is_empty() {
                self.narrow(&sockets);
                changed = false;
            }
            // What is to be answered for is decided before what is asked.
            let event = tokio::select! {
                biased;
                order = commands.recv() => Event::Order(order),
                () = timeout => Event::Timeout,
                result = sockets.arp.receive(&mut arp) => Event::Frame(Family::V4, result),
                result = sockets.ndp.receive(&mut ndp) => Event::Frame(Family::V6, result),
            };
            let input = match &event {
                Event::Order(None) => return Ok(()),
                Event::Order(Some((command, counts))) => self.order(command, counts.clone()),
                Event::Timeout => Input::Timeout,
                Event::Frame(Family::V4, Ok(length)) => Input::Frame(arp.get(..*length).unwrap_or_default()),
                Event::Frame(Family::V6, Ok(length)) => Input::Frame(ndp.get(..*length).unwrap_or_default()),
                // The interface went down and may come up again, which the kernel tells by netlink.
                Event::Frame(_, Err(error)) if error.kind() == io::ErrorKind::NetworkDown => continue,
                Event::Frame(_, Err(error)) => return Err(io::Error::new(error.kind(), error.to_string())),
            };
            changed |= matches!(input, Input::Take(_) | Input::Release(_));
            self.responder.handle(now(), input, &mut out);
            self.carry_out(&mut sockets, &mut out).await?;
        }
    }

    /// Lets the kernel drop what concerns no address that is held.
    fn narrow(&self, sockets: &Sockets) {
        let held: Vec<IpAddr> = self.responder.held().collect();
        for socket in [&sockets.arp, &sockets.ndp] {
            if let Err(error) = socket.narrow(&held) {
                // The filter before this one goes on; it may not know an address that was taken.
                warn!(interface = self.name, %error, "failed to filter frames: hosts may not find an address until the next change");
            }
        }
    }

    /// A command as the responder takes it.
    fn order(&mut self, command: &Command, counts: Option<AddressCounts>) -> Input<'static> {
        match command {
            Command::Take(address) => {
                self.counts.extend(counts.map(|counts| (*address, counts)));
                Input::Take(*address)
            }
            Command::Release(address) => {
                self.counts.remove(address);
                Input::Release(*address)
            }
            Command::Link(link) => Input::Link(*link),
            Command::Allies(allies) => Input::Allies(allies.clone()),
            Command::Members(members) => Input::Members(members.clone()),
        }
    }

    /// Takes everything that is held anew, for sockets that know of nothing.
    fn begin(&mut self, out: &mut Vec<Output>) {
        let now = now();
        let held: Vec<IpAddr> = self.responder.held().collect();
        for &address in &held {
            self.responder.handle(now, Input::Release(address), out);
        }
        out.clear();
        for &address in &held {
            self.responder.handle(now, Input::Take(address), out);
        }
    }

    async fn carry_out(&self, sockets: &mut Sockets, out: &mut Vec<Output>) -> io::Result<()> {
        for output in out.drain(..) {
            match output {
                Output::Send { address, cause, frame } => {
                    let counts = self.counts.get(&address);
                    if let (Cause::Reply, Some(counts)) = (cause, counts) {
                        counts.asked();
                    }
                    let socket = match Family::of(address) {
                        Family::V4 => &sockets.arp,
                        Family::V6 => &sockets.ndp,
                    };
                    match socket.send(&frame, || (self.may_answer)(address)).await {
                        Ok(true) => {
                            debug!(interface = self.name, %address, cause = cause_text(cause), "sent");
                            counts.inspect(|counts| counts.sent(cause));
                        }
                        Ok(false) => {
                            debug!(interface = self.name, %address, "not sent: no right to answer now");
                        }
                        // A full queue or a link that just went down: the next announcement or question
                        // makes up for it.
                        Err(error) => debug!(interface = self.name, %address, %error, "not sent"),
                    }
                }
                Output::Join(group) => {
                    if let Err(error) = sockets.groups.join(group) {
                        warn!(interface = self.name, %group, %error, "failed to join a multicast group: hosts may not find its IPv6 addresses");
                    }
                }
                Output::Leave(group) => {
                    if let Err(error) = sockets.groups.leave(group) {
                        debug!(interface = self.name, %group, %error, "failed to leave a multicast group");
                    }
                }
                Output::Claimed { address, mac } => {
                    debug!(interface = self.name, %address, %mac, "claimed by another speaker");
                    let interface = self.name.clone();
                    if self.reports.send(Conflict { interface, address, mac, member: true }).await.is_err() {
                        return Ok(());
                    }
                }
                Output::Conflict { address, mac } => {
                    self.counts.get(&address).inspect(|counts| counts.contested());
                    let interface = self.name.clone();
                    let conflict = Conflict { interface, address, mac, member: false };
                    if self.reports.send(conflict).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

fn cause_text(cause: Cause) -> &'static str {
    match cause {
        Cause::Reply => "reply",
        Cause::Announcement => "announcement",
        Cause::Defence => "defence",
        Cause::Probe => "probe",
    }
}
