//! One line a figure, with the bound that it is held to.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::Cluster;

/// The figures so far.
pub(crate) struct Figures {
    /// What they are of, said on each line.
    subject: &'static str,
    missed: Vec<String>,
}

impl Figures {
    /// None so far.
    pub(crate) fn of(subject: &'static str) -> Self {
        Self { subject, missed: Vec::new() }
    }

    /// Says something that has no bound.
    pub(crate) fn note(&self, text: &str) {
        println!("{}: {text}", self.subject);
    }

    /// A time that has one.
    pub(crate) fn time(&mut self, what: &str, took: Duration, bound: Duration) {
        self.say(what, &format!("{took:.1?}"), &format!("{bound:?}"), took <= bound);
    }

    /// A number that has one.
    pub(crate) fn count(&mut self, what: &str, count: u64, bound: u64) {
        self.say(what, &count.to_string(), &bound.to_string(), count <= bound);
    }

    /// Memory in bytes, with a bound in MB.
    pub(crate) fn memory(&mut self, what: &str, bytes: u64, bound: u64) {
        let text = format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10);
        self.say(what, &text, &format!("{bound} MB"), bytes <= bound * 1_000_000);
    }

    fn say(&mut self, what: &str, value: &str, bound: &str, holds: bool) {
        let verdict = if holds { "" } else { " MISSED" };
        println!("{}: {what}: {value} (bound {bound}){verdict}", self.subject);
        if !holds {
            self.missed.push(what.to_owned());
        }
    }

    /// An error where a bound was missed.
    pub(crate) fn verdict(self) -> Result<()> {
        ensure!(self.missed.is_empty(), "missed: {}", self.missed.join("; "));
        Ok(())
    }
}

/// The one in the middle.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The resident memory, in bytes, of the one process of this cluster that runs `program` with that argument.
pub(crate) fn resident(cluster: &Cluster, program: &str, argument: &str) -> Result<u64> {
    let found = residents(cluster, program, argument)?;
    ensure!(found.len() == 1, "{} such processes run", found.len());
    Ok(found[0])
}

/// The same of all such processes.
pub(crate) fn residents(cluster: &Cluster, program: &str, argument: &str) -> Result<Vec<u64>> {
    let program = format!("{program}\0");
    let ours = format!("metallb-rs-{}", cluster.instance().name());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let folder = entry?.path();
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
        let command = read("cmdline");
        let is_it = command.starts_with(&program) && command.contains(argument);
        if is_it && read("cgroup").contains(&ours) {
            let status = read("status");
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            found.push(kilobytes.context("a process has memory")? * 1024);
        }
    }
    Ok(found)
}
