//! PID 1 of a cluster's namespaces: makes the switches, starts the hosts and plugs
//! their cables in. Ends, and everything with it, when the keeper does.

use std::{
    collections::HashMap,
    env,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process::{ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::{
    inner::{signals, spec::Spec},
    instance::Instance,
    plan::{Host, Lan},
    process,
};

enum Event {
    Child,
    KeeperGone,
    Request(String, UnixStream),
}

struct Supervisor {
    spec: Spec,
    instance: Instance,
    /// This program, by its name at the start: a later build may replace the file.
    program: PathBuf,
    /// Running hosts by the id of the `unshare` above their init.
    hosts: HashMap<u32, Host>,
}

/// A host between its first word and its last cable.
struct Booting {
    host: Host,
    /// Id of its `unshare`, which is in the host's network namespace.
    unshare: u32,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// Runs until the keeper goes. Says `ready` when every host can be used.
pub(crate) fn run(spec: &Spec) -> Result<()> {
    let (events, incoming) = mpsc::channel();
    signals::forward(&[Signal::SIGCHLD], events.clone(), |_| Event::Child)?;
    let instance = spec.instance()?;
    let program = env::current_exe().context("finding this program")?;
    let mut supervisor = Supervisor { spec: spec.clone(), instance, program, hosts: HashMap::new() };

    let control =
        UnixListener::bind(supervisor.instance.socket("supervisor")).context("listening for requests")?;
    make_switches()?;
    supervisor.boot(Host::all(spec.nodes))?;
    writeln!(io::stdout(), "ready").context("answering the keeper")?;

    let keeper = events.clone();
    thread::spawn(move || {
        // The keeper never writes: this ends when it does.
        io::stdin().read_to_end(&mut Vec::new()).ok();
        keeper.send(Event::KeeperGone).ok();
    });
    thread::spawn(move || {
        for stream in control.incoming().flatten() {
            let mut line = String::new();
            if BufReader::new(&stream).read_line(&mut line).is_ok() {
                events.send(Event::Request(line.trim().to_owned(), stream)).ok();
            }
        }
    });
    for event in incoming {
        match event {
            Event::Child => supervisor.reap(),
            Event::KeeperGone => return Ok(()),
            Event::Request(line, mut stream) => {
                // Who asked may have gone.
                match supervisor.obey(&line) {
                    Ok(text) => writeln!(stream, "ok {text}").ok(),
                    Err(error) => writeln!(stream, "error {error:#}").ok(),
                };
            }
        }
    }
    Ok(())
}

/// SIGKILL to the supervisor of that instance as seen from outside, and so to all in its namespaces. Usually
/// there is none: it ends with its keeper.
pub(crate) fn end(instance: &str) {
    for pid in process::all() {
        let arguments = process::arguments(pid);
        let role = arguments.get(1).is_some_and(|role| role == "__supervisor");
        let ours = || Spec::from_json(arguments.get(2)?).ok().filter(|spec| spec.instance == instance);
        // One above it, `unshare`, has other arguments. It may have ended by now.
        if role && ours().is_some() {
            i32::try_from(pid).ok().and_then(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL).ok());
        }
    }
}

fn make_switches() -> Result<()> {
    let mut batch = String::from("link set lo up\n");
    for lan in Lan::ALL {
        let bridge = lan.bridge();
        // A switch that floods what it has not learned, at once.
        batch += &format!(
            "link add {bridge} type bridge forward_delay 0 mcast_snooping 0\nlink set {bridge} up\n"
        );
    }
    process::run_with_stdin(Command::new("ip").args(["-batch", "-"]), batch.as_bytes())
        .context("making the switches")?;
    Ok(())
}

impl Supervisor {
    /// Starts hosts and returns when all of them can be used.
    fn boot(&mut self, hosts: Vec<Host>) -> Result<()> {
        let mut booting = hosts.into_iter().map(|host| self.start(host)).collect::<Result<Vec<_>>>()?;
        let mut batch = String::new();
        for Booting { host, unshare, stdout, .. } in &mut booting {
            expect(stdout, "hello", host)?;
            for &lan in host.lans() {
                let (port, interface, mac) = (host.port(lan), lan.interface(), host.mac(lan));
                batch += &format!(
                    "link add {port} type veth peer name {interface} address {mac} netns {unshare}\n\
                     link set {port} master {} up\n",
                    lan.bridge()
                );
            }
        }
        process::run_with_stdin(Command::new("ip").args(["-batch", "-"]), batch.as_bytes())
            .context("plugging cables in")?;
        for host in &mut booting {
            writeln!(host.stdin, "go").with_context(|| format!("starting {}", host.host.name))?;
        }
        for host in &mut booting {
            expect(&mut host.stdout, "up", &host.host)?;
        }
        Ok(())
    }

    fn start(&mut self, host: Host) -> Result<Booting> {
        let mut child = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child", "--"])
            .arg(&self.program)
            .args(["__host", &self.spec.to_json(), &host.name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", host.name))?;
        let unshare = child.id();
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        self.hosts.insert(unshare, host.clone());
        Ok(Booting { host, unshare, stdin, stdout })
    }

    /// Takes note of hosts that have ended, and of orphans.
    fn reap(&mut self) {
        loop {
            let pid = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => pid,
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            if let Some(host) = u32::try_from(pid.as_raw()).ok().and_then(|pid| self.hosts.remove(&pid)) {
                unplug(&host);
                self.instance.note(&format!("{} has ended, with everything that ran on it", host.name));
            }
        }
    }

    /// `boot HOST` starts a host that was killed; `hosts` lists those that run.
    fn obey(&mut self, line: &str) -> Result<String> {
        // A host killed a moment ago must not count as running.
        self.reap();
        let running = |name: &str| self.hosts.values().any(|host| host.name == name);
        match line.split_once(' ') {
            Some(("boot", name)) if running(name) => bail!("{name} is up"),
            Some(("boot", name)) => {
                let host = Host::by_name(name)?;
                if host.number().is_some_and(|number| number > self.spec.nodes) {
                    bail!("this cluster has {} nodes, {name} is not one of them", self.spec.nodes);
                }
                self.boot(vec![host])?;
                Ok(format!("{name} is up"))
            }
            None if line == "hosts" => {
                let mut names: Vec<_> = self.hosts.values().map(|host| host.name.as_str()).collect();
                names.sort_unstable();
                Ok(names.join(" "))
            }
            _ => bail!("{line:?} is not hosts or boot HOST"),
        }
    }
}

/// Removes a dead host's cables. Connections that still wait for an answer keep its
/// network namespace for minutes, and with it the cables' far ends.
fn unplug(host: &Host) {
    for &lan in host.lans() {
        // A host that died before it had cables has none to remove.
        process::run(Command::new("ip").args(["link", "delete", &host.port(lan)])).ok();
    }
}

fn expect(stdout: &mut BufReader<ChildStdout>, word: &str, host: &Host) -> Result<()> {
    let mut line = String::new();
    stdout.read_line(&mut line).with_context(|| format!("listening to {}", host.name))?;
    if line.trim() != word {
        bail!("{} did not say {word} but {:?}", host.name, line.trim());
    }
    Ok(())
}
