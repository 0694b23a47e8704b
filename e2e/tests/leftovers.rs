//! What is left of a cluster whose owner or keeper was killed: nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::{Cluster, Instance, end_after, wait_for};
use libtest_mimic::{Arguments, Failed, Trial};

/// How long the suite may take, with its images built.
const BUDGET: Duration = Duration::from_secs(4 * 60);
/// How long after the kill something may still be there.
const GONE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Interfaces and mounts are the machine's: two clusters at once would see each other come and go.
    arguments.test_threads = Some(1);
    let start = Instant::now();
    end_after(BUDGET, || {});
    let cases: [(&str, Victim, bool); 3] = [
        ("nothing_is_left_when_the_owner_is_killed", Victim::Owner, false),
        ("nothing_is_left_when_the_owner_of_a_frozen_node_is_killed", Victim::Owner, true),
        ("nothing_is_left_when_the_keeper_of_a_frozen_node_is_killed", Victim::Keeper, true),
    ];
    let trials = cases.into_iter().enumerate().map(|(number, (name, victim, frozen))| {
        let instance = format!("left-{}-{number}", std::process::id());
        Trial::test(name, move || test(&instance, victim, frozen).map_err(|e| Failed::from(format!("{e:?}"))))
    });
    let failed = libtest_mimic::run(&arguments, trials.collect()).has_failed();
    println!("suite leftovers took {:.0?} of {BUDGET:?}", start.elapsed());
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Which process is killed.
#[derive(Clone, Copy)]
enum Victim {
    Owner,
    Keeper,
}

/// An `e2e up --foreground`, ended when dropped, and what it prints.
struct Owner(Child, BufReader<ChildStdout>);

impl Drop for Owner {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn test(instance: &str, victim: Victim, frozen: bool) -> Result<()> {
    let before = traces(instance)?;
    let mut owner = up(instance)?;
    let during = traces(instance)?;
    for kind in ["process", "cgroup", "folder"] {
        ensure!(
            during.iter().any(|trace| trace.starts_with(kind)),
            "no {kind} of a running cluster was seen"
        );
    }
    if frozen {
        Cluster::attach(instance)?.pause("node1")?;
    }
    ensure!(owner.0.try_wait()?.is_none(), "the owner has ended by itself");
    match victim {
        Victim::Owner => owner.0.kill().context("killing the owner")?,
        Victim::Keeper => {
            let keeper = keeper(instance)?;
            let killed = Command::new("kill").args(["-KILL", &keeper.to_string()]).status()?;
            ensure!(killed.success(), "killing the keeper: {killed}");
        }
    }
    wait_for("the end of every trace", GONE, || {
        let left: Vec<_> = traces(instance)?.difference(&before).cloned().collect();
        ensure!(left.is_empty(), "left: {left:#?}");
        Ok(())
    })
}

fn up(instance: &str) -> Result<Owner> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_e2e"))
        .args(["--instance", instance, "up", "--nodes", "1", "--foreground"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting e2e")?;
    let output = child.stdout.take().context("stdout is piped")?;
    let mut owner = Owner(child, BufReader::new(output));
    // It says how to use the cluster when that is ready.
    let mut line = String::new();
    owner.1.read_line(&mut line)?;
    ensure!(line.starts_with("export KUBECONFIG="), "e2e up ended early: {line:?}");
    Ok(owner)
}

/// Processes that name the instance, in their arguments or by their control groups, with their arguments.
fn processes(instance: &str) -> Vec<(u32, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&pid| pid != std::process::id())
        .filter_map(|pid| {
            let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            let groups = String::from_utf8_lossy(&read("cgroup")).into_owned();
            (arguments.contains(instance) || groups.contains(instance)).then_some((pid, arguments))
        })
        .collect()
}

fn keeper(instance: &str) -> Result<u32> {
    match processes(instance)
        .iter()
        .filter(|(_, arguments)| arguments.contains(" __keeper "))
        .collect::<Vec<_>>()[..]
    {
        [(pid, _)] => Ok(*pid),
        ref others => bail!("not one keeper: {others:?}"),
    }
}

/// What can be seen on this machine of an instance, and all interfaces and mounts.
fn traces(instance: &str) -> Result<BTreeSet<String>> {
    let mut found: BTreeSet<String> = processes(instance)
        .into_iter()
        .map(|(pid, arguments)| format!("process {pid} {arguments}"))
        .collect();
    for interface in fs::read_dir("/sys/class/net").context("reading the interfaces")?.flatten() {
        found.insert(format!("interface {}", interface.file_name().display()));
    }
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
    found.extend(mounts.lines().map(|line| format!("mount {line}")));
    let mut groups = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = groups.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // The hierarchies of cgroup v1 are folders of the root, and an instance's groups folders of theirs.
            let name = entry.file_name().display().to_string();
            if name.ends_with(instance) {
                found.insert(format!("cgroup {}", entry.path().display()));
            } else if folder == Path::new("/sys/fs/cgroup") && entry.path().is_dir() {
                groups.push(entry.path());
            }
        }
    }
    let state = Path::new("/run/metallb-rs").join(instance);
    // The data of a cluster that runs are where its logs are.
    let logs = Instance::new(instance)?.logs();
    for folder in [state.as_path(), logs.parent().context("logs are in the data")?] {
        if folder.exists() {
            found.insert(format!("folder {}", folder.display()));
        }
    }
    Ok(found)
}
