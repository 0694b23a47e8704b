//! Runs the programs of one host: starts each when what it needs is there, reaps,
//! tells when one ends that should not, and obeys `start`, `stop` and `status` on a socket.
//!
//! One thread owns all state; the others turn the outside world into events:
//!
//! ```text
//! SIGCHLD ──┐
//! needs ────┼──> Event ──> Runner ──> fork, kill, answer
//! socket ───┘
//! ```

use std::{
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    os::unix::net::{UnixListener, UnixStream},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use crate::{
    inner::unit::{Condition, Kind, Unit},
    instance::Instance,
};

/// Between two looks at another program's port or path, which tell nobody of their coming.
const PAUSE: Duration = Duration::from_millis(25);

/// What a [`Runner`] reacts to.
#[derive(Debug)]
pub(crate) enum Event {
    /// Some child has ended.
    Child,
    /// What the unit of this index needs from outside is there.
    Ready(usize),
    /// A line from the control socket; the answer goes to the stream.
    Request(String, UnixStream),
}

/// A program's state, as `status` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitStatus {
    /// Name of the program.
    pub name: String,
    /// `waiting`, `running`, `done`, `stopped` or `failed`.
    pub state: String,
    /// How it ended, for `failed`.
    pub detail: String,
}

enum State {
    /// `true` when what it needs from outside is there and only other units are missing.
    Waiting(bool),
    Running(Pid),
    /// Killed on request; who asked gets an answer when it is gone.
    Stopping(Pid, UnixStream),
    Stopped,
    Done,
    Failed(String),
}

pub(crate) struct Runner {
    instance: Instance,
    host: String,
    units: Vec<(Unit, State)>,
    events: Sender<Event>,
    started: Instant,
}

impl Runner {
    /// Watches what every unit needs; the events go to the other end of `events`.
    pub(crate) fn new(instance: Instance, host: String, units: Vec<Unit>, events: Sender<Event>) -> Self {
        let units = units.into_iter().map(|unit| (unit, State::Waiting(false))).collect();
        Self { instance, host, units, events, started: Instant::now() }
    }

    /// Runs for ever, or until nothing can send events any more.
    pub(crate) fn run(mut self, control: UnixListener, incoming: &Receiver<Event>) {
        for (index, (unit, _)) in self.units.iter().enumerate() {
            let (needs, events) = (unit.after.clone(), self.events.clone());
            thread::spawn(move || {
                needs.iter().for_each(wait_for);
                // The runner lives as long as this process.
                events.send(Event::Ready(index)).ok();
            });
        }
        let events = self.events.clone();
        thread::spawn(move || {
            for stream in control.incoming().flatten() {
                let mut line = String::new();
                if BufReader::new(&stream).read_line(&mut line).is_ok() {
                    events.send(Event::Request(line.trim().to_owned(), stream)).ok();
                }
            }
        });
        while let Ok(event) = incoming.recv() {
            match event {
                Event::Child => self.reap(),
                Event::Ready(index) => {
                    if let State::Waiting(ready) = &mut self.units[index].1 {
                        *ready = true;
                    }
                    self.start_ready();
                }
                Event::Request(line, stream) => self.obey(&line, stream),
            }
        }
    }

    /// Starts every unit that waits for nothing any more.
    fn start_ready(&mut self) {
        for index in 0..self.units.len() {
            let (unit, state) = &self.units[index];
            let others_done = || {
                unit.after.iter().all(|need| match need {
                    Condition::Done(name) => self
                        .units
                        .iter()
                        .any(|(other, state)| other.name == *name && matches!(state, State::Done)),
                    Condition::Listens(_) | Condition::Exists(_) => true,
                })
            };
            if matches!(state, State::Waiting(true)) && others_done() {
                self.start(index);
            }
        }
    }

    fn start(&mut self, index: usize) {
        let (unit, state) = &mut self.units[index];
        *state = match spawn(&self.instance, &self.host, unit) {
            Ok(pid) => State::Running(pid),
            Err(error) => {
                self.instance.note(&format!("{}: {} does not start: {error:#}", self.host, unit.name));
                State::Failed(format!("{error:#}"))
            }
        };
    }

    /// Takes note of every child that has ended. Orphans of the host end here too.
    fn reap(&mut self) {
        loop {
            let (pid, how) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Ok(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Err(signal)),
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => continue,
            };
            let ended = self.units.iter_mut().enumerate().find(|(_, (_, state))| match state {
                State::Running(running) | State::Stopping(running, _) => *running == pid,
                _ => false,
            });
            let Some((index, (unit, state))) = ended else { continue };
            let old = std::mem::replace(state, State::Stopped);
            *state = match (old, how) {
                (State::Stopping(_, stream), _) => {
                    answer(stream, &Ok(format!("{} has stopped", unit.name)));
                    State::Stopped
                }
                (_, Ok(0)) if unit.kind != Kind::Daemon => State::Done,
                (_, _) if unit.kind == Kind::Patient => {
                    let events = self.events.clone();
                    thread::spawn(move || {
                        thread::sleep(PAUSE);
                        events.send(Event::Ready(index)).ok();
                    });
                    State::Waiting(false)
                }
                (_, how) => {
                    let how = match how {
                        Ok(code) => format!("exit status {code}"),
                        Err(signal) => signal.to_string(),
                    };
                    let seconds = self.started.elapsed().as_secs();
                    let log = self.instance.logs().join(&self.host).join(format!("{}.log", unit.name));
                    let (host, name) = (&self.host, &unit.name);
                    self.instance.note(&format!(
                        "{host}: {name} ended after {seconds} s with {how}; its last words are in {}",
                        log.display()
                    ));
                    State::Failed(how)
                }
            };
        }
        self.start_ready();
    }

    /// `status`, `start UNIT` or `stop UNIT`.
    fn obey(&mut self, line: &str, stream: UnixStream) {
        let result = match line.split_once(' ') {
            None if line == "status" => self.status(),
            Some((verb @ ("start" | "stop"), name)) => {
                match self.units.iter().position(|(unit, _)| unit.name == name) {
                    Some(index) if verb == "start" => self.start_again(index),
                    Some(index) => return self.stop(index, stream),
                    None => Err(self.no_such(name)),
                }
            }
            _ => Err(anyhow::anyhow!("{line:?} is not status, start UNIT or stop UNIT")),
        };
        answer(stream, &result);
    }

    fn no_such(&self, name: &str) -> anyhow::Error {
        let names: Vec<_> = self.units.iter().map(|(unit, _)| unit.name.as_str()).collect();
        anyhow::anyhow!("{} runs no {name:?}: it runs {}", self.host, names.join(", "))
    }

    fn status(&self) -> Result<String> {
        let list: Vec<UnitStatus> = self
            .units
            .iter()
            .map(|(unit, state)| {
                let (state, detail) = match state {
                    State::Waiting(_) => ("waiting", ""),
                    State::Running(_) => ("running", ""),
                    State::Stopping(..) | State::Stopped => ("stopped", ""),
                    State::Done => ("done", ""),
                    State::Failed(how) => ("failed", how.as_str()),
                };
                UnitStatus { name: unit.name.clone(), state: state.to_owned(), detail: detail.to_owned() }
            })
            .collect();
        serde_json::to_string(&list).context("rendering the status")
    }

    fn start_again(&mut self, index: usize) -> Result<String> {
        let name = self.units[index].0.name.clone();
        match self.units[index].1 {
            State::Stopped | State::Failed(_) | State::Done => {}
            State::Waiting(_) | State::Running(_) | State::Stopping(..) => bail!("{name} is not stopped"),
        }
        self.start(index);
        match &self.units[index].1 {
            State::Failed(how) => bail!("{name} does not start: {how}"),
            _ => Ok(format!("{name} has started")),
        }
    }

    /// Kills a unit. The answer follows when it is gone.
    fn stop(&mut self, index: usize, stream: UnixStream) {
        let (unit, state) = &mut self.units[index];
        let State::Running(pid) = *state else {
            return answer(stream, &Err(anyhow::anyhow!("{} does not run", unit.name)));
        };
        *state = match kill(pid, Signal::SIGKILL) {
            Ok(()) => State::Stopping(pid, stream),
            Err(error) => {
                answer(stream, &Err(anyhow::anyhow!("{} cannot be killed: {error}", unit.name)));
                State::Running(pid)
            }
        };
    }
}

/// Starts a program with its output in the host's log folder.
fn spawn(instance: &Instance, host: &str, unit: &Unit) -> Result<Pid> {
    let folder = instance.logs().join(host);
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let path = folder.join(format!("{}.log", unit.name));
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    let (program, arguments) = unit.argv.split_first().context("a unit without a program")?;
    let child = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("sharing the log")?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    // Reaped by `Runner::reap`, as all children of a PID 1 are.
    Ok(Pid::from_raw(i32::try_from(child.id()).expect("process ids are positive i32")))
}

/// One line: `ok ` or `error `, then the text. Who asked may have gone.
fn answer(mut stream: UnixStream, result: &Result<String>) {
    match result {
        Ok(text) => writeln!(stream, "ok {text}").ok(),
        Err(error) => writeln!(stream, "error {error:#}").ok(),
    };
}

/// Blocks until the condition holds. `Done` is the runner's own to judge.
fn wait_for(condition: &Condition) {
    match condition {
        Condition::Listens(address) => {
            while TcpStream::connect_timeout(address, Duration::from_secs(1)).is_err() {
                thread::sleep(PAUSE);
            }
        }
        Condition::Exists(path) => {
            while !path.exists() {
                thread::sleep(PAUSE);
            }
        }
        Condition::Done(_) => {}
    }
}

/// Sends one line to a control socket and returns the answer.
pub(crate) fn ask(socket: &std::path::Path, line: &str) -> Result<String> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("connecting to {}", socket.display()))?;
    writeln!(stream, "{line}").context("asking")?;
    let mut reply = String::new();
    BufReader::new(&stream).read_line(&mut reply).context("reading the answer")?;
    match reply.trim_end().split_once(' ') {
        Some(("ok", text)) => Ok(text.to_owned()),
        Some(("error", text)) => bail!("{text}"),
        _ => bail!("no answer to {line:?} on {}", socket.display()),
    }
}
