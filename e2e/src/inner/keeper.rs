//! The process outside a cluster that outlives its owner long enough to clean up. Should it be
//! killed itself, its [reaper](super::reaper) does that.

use std::{
    env,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    process::{Command, Stdio, id},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, setsid},
};

use crate::{
    certificates,
    cgroup::Cgroups,
    inner::{
        control_plane::{self, Identity},
        forward, node,
        reaper::Reaper,
        signals,
        spec::Spec,
    },
    instance::{Instance, Lock, Record, write_private},
    plan::Host,
    process,
};

/// What the owner says on the keeper's standard input to be outlived.
pub(crate) const DETACH: &str = "detach";
/// What the keeper says on its standard output when the hosts are there.
pub(crate) const READY: &str = "ready";

/// A cluster whose first process has been started.
struct Started {
    /// Process id of the `unshare` above the supervisor.
    unshare: u32,
    /// What is on record, without the supervisor's process id as yet.
    record: Record,
}

enum Event {
    Detach,
    OwnerGone,
    Signal,
    /// The supervisor's line: [`READY`], or why it fails.
    Said(String),
    SupervisorEnded,
}

/// Runs a cluster until its owner goes, a signal comes or its processes end, then
/// removes what it left.
///
/// Fails, without having changed anything, when the instance is up already.
pub(crate) fn run(spec: &Spec) -> Result<()> {
    // Out of the owner's process group: a Ctrl-C is the owner's to take.
    setsid().context("starting a session")?;
    let (events, incoming) = mpsc::channel();
    let ends = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
    signals::forward(&ends, events.clone(), |_| Event::Signal)?;
    listen_to_owner(events.clone());

    Instance::sweep()?;
    let instance = spec.instance()?;
    let lock = take(&instance)?;
    let reaper = Reaper::start(&instance)?;
    let result = start(spec, &instance, events).and_then(|started| watch(&instance, started, &incoming));
    instance.remove(lock)?;
    reaper.dismiss()?;
    result
}

fn listen_to_owner(events: Sender<Event>) {
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if line == DETACH {
                events.send(Event::Detach).ok();
            }
        }
        events.send(Event::OwnerGone).ok();
    });
}

fn take(instance: &Instance) -> Result<Lock> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(lock) = instance.lock()? {
            return Ok(lock);
        }
        // Someone who sweeps, reaps or only looks holds the lock for a while, without a record.
        if instance.record().is_ok() || Instant::now() > deadline {
            let name = instance.name();
            bail!(
                "instance {name} is up already: `e2e --instance {name} down` ends it, another --instance NAME runs beside it"
            );
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Writes all files, makes the control groups and starts the supervisor.
fn start(spec: &Spec, instance: &Instance, events: Sender<Event>) -> Result<Started> {
    let logs = instance.logs();
    instance.claim_data()?;
    fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
    certificates::write(&instance.certificates())?;
    let loopback = TcpListener::bind("127.0.0.1:0").context("looking for a free loopback port")?;
    let port = loopback.local_addr().context("reading the loopback port")?.port();
    write_files(spec, instance, port)?;
    let api = instance.socket("api");
    forward::from_tcp(loopback, move || UnixStream::connect(&api));

    let (cgroups, root) = (Cgroups::detect()?, instance.cgroup());
    for host in Host::all(spec.nodes) {
        cgroups.create(&root, &host.name)?;
        let folder = instance.host_dir(&host.name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    }

    let log = File::create(logs.join("inner.log")).context("creating inner.log")?;
    let mut child = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "--"])
        .arg(env::current_exe().context("finding this program")?)
        .args(["__supervisor", &spec.to_json()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("starting unshare")?;
    let unshare = child.id();
    let stdout = child.stdout.take().expect("stdout is piped");
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            events.send(Event::Said(line)).ok();
        }
        // `child` holds the pipe whose end tells the supervisor that we are gone.
        child.wait().ok();
        events.send(Event::SupervisorEnded).ok();
    });
    let record = Record { keeper: id(), supervisor: 0, nodes: spec.nodes, port, kube: spec.kube.clone() };
    instance.write_record(&record)?;
    Ok(Started { unshare, record })
}

/// Kubeconfigs and the configuration of every host.
fn write_files(spec: &Spec, instance: &Instance, port: u16) -> Result<()> {
    let pki = instance.certificates();
    let put = |path: std::path::PathBuf, text: &str| {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        write_private(&path, text)
    };
    let ca = pki.join("ca.crt");
    let identities = control_plane::identities(spec, control_plane::random_secret)?;
    for Identity { user, token, .. } in &identities {
        let text = control_plane::kubeconfig(&control_plane::server(), &ca, token);
        put(pki.join(control_plane::kubeconfig_name(user)), &text)?;
        if user == control_plane::ADMIN {
            let outside = format!("https://127.0.0.1:{port}");
            put(instance.kubeconfig(), &control_plane::kubeconfig(&outside, &ca, token))?;
        }
    }
    let folder = instance.host_dir("control-plane");
    put(folder.join("tokens.csv"), &control_plane::tokens(&identities))?;
    put(folder.join("audit-policy.yaml"), &control_plane::audit_policy(spec.audit_reads))?;

    // kubectl and kube-proxy are the same binary; the first argument says which.
    let kubectl = instance.bin().join("kubectl");
    let (kube, config) = (spec.kube.display(), instance.kubeconfig());
    // Its cache goes with the cluster.
    let script = format!(
        "#!/bin/sh\nexport KUBECONFIG=\"${{KUBECONFIG:-{}}}\" KUBECACHEDIR='{}'\nexec '{kube}' kubectl \"$@\"\n",
        config.display(),
        instance.kubectl_cache().display()
    );
    put(kubectl.clone(), &script)?;
    fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).context("making kubectl executable")?;

    for host in Host::all(spec.nodes).iter().filter(|host| host.number().is_some()) {
        node::write(spec, instance, host)?;
    }
    Ok(())
}

/// Waits for what ends a cluster, then ends its processes.
fn watch(
    instance: &Instance,
    Started { unshare, mut record }: Started,
    incoming: &Receiver<Event>,
) -> Result<()> {
    let mut detached = false;
    let mut reason = "nobody knows why".to_owned();
    let ended = loop {
        // Senders live as long as this process.
        match incoming.recv().context("waiting for events")? {
            Event::Detach => detached = true,
            Event::OwnerGone if detached => {}
            Event::OwnerGone | Event::Signal => break false,
            Event::SupervisorEnded => break true,
            Event::Said(line) if line != READY => reason = line,
            Event::Said(_) => {
                record.supervisor = process::children(unshare).first().copied().unwrap_or_default();
                instance.write_record(&record)?;
                // The owner may have gone; its pipe says so next.
                writeln!(io::stdout(), "{READY}").ok();
            }
        }
    };
    if ended {
        bail!("the processes of the cluster ended by themselves: {reason}");
    }
    // Frozen processes cannot die.
    Cgroups::detect()?.thaw_all(&instance.cgroup())?;
    // The init of the namespaces takes everything with it, and `unshare` waits for that.
    let victim = process::children(unshare).first().copied().unwrap_or(unshare);
    kill(Pid::from_raw(i32::try_from(victim).context("a process id")?), Signal::SIGKILL)
        .context("ending the cluster")?;
    while !matches!(incoming.recv().context("waiting for the end")?, Event::SupervisorEnded) {}
    Ok(())
}
