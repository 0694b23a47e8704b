//! Starting a cluster, taking hold of one, and speaking to it.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    artifacts,
    cgroup::Cgroups,
    inner::{
        keeper::{DETACH, READY},
        runner, signals,
        spec::Spec,
    },
    instance::{Instance, Record},
    plan::{Host, MAX_NODES},
    preflight, process,
    progress::Progress,
    wait::wait_for,
};

/// How a cluster is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name; clusters of different names run side by side.
    pub instance: String,
    /// Number of Kubernetes nodes, 1 to 5.
    pub nodes: u8,
    /// Image archives that every node has before its kubelet starts. The sandbox
    /// image of Pods, `metallb-rs.test/pause:dev`, must be among them.
    pub images: Vec<PathBuf>,
    /// Whether the audit log has all that Pods ask of the API server, and not only what is written.
    pub audit_reads: bool,
    /// What prints the steps.
    pub progress: Progress,
}

impl Options {
    /// Three nodes and every image of `build/images`, printing its steps.
    pub fn new(instance: &str) -> Self {
        Self {
            instance: instance.to_owned(),
            nodes: 3,
            images: artifacts::test_images(),
            audit_reads: false,
            progress: Progress::new(),
        }
    }
}

/// A running cluster.
///
/// One made by [`Cluster::up`] ends when this value is dropped or its process dies,
/// unless [`Cluster::detach`] is called or the environment has `E2E_KEEP`.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) instance: Instance,
    pub(crate) record: Record,
    /// The keeper and the pipe that tells it that we live.
    keeper: Option<(Child, ChildStdin)>,
}

/// A command that runs on a host until it is stopped or dropped.
#[derive(Debug)]
pub struct Spawned {
    child: Child,
}

impl Cluster {
    /// Starts a cluster and returns when all its nodes are Ready.
    ///
    /// Builds and caches Kubernetes first where that has not happened. Fails with the
    /// cure when the machine lacks something, and with the last words of the programs
    /// when they do not come up.
    pub fn up(options: &Options) -> Result<Self> {
        if !(1..=MAX_NODES).contains(&options.nodes) {
            bail!("a cluster has 1 to {MAX_NODES} nodes, not {}", options.nodes);
        }
        let progress = options.progress;
        let machine = preflight::check()?;
        let kube = artifacts::kube(&progress)?;
        let spec = Spec {
            instance: options.instance.clone(),
            nodes: options.nodes,
            kube: kube.clone(),
            cni: machine.cni,
            images: artifacts::absolute(&options.images)?,
            audit_reads: options.audit_reads,
            snapshotter: machine.snapshotter,
            cgroup_v1: Cgroups::detect()?.v1(),
        };
        let instance = spec.instance()?;
        progress.step(&format!("starting cluster {}, nodes: {}", options.instance, options.nodes));
        let (child, stdin) = start_keeper(&spec)?;
        let cluster = Self { record: instance.record()?, instance, keeper: Some((child, stdin)) };
        progress.step("hosts and network are up");
        cluster.wait_until_ready(&progress)?;
        Ok(cluster)
    }

    /// Takes hold of a running cluster, without becoming its owner.
    pub fn attach(instance: &str) -> Result<Self> {
        let instance = Instance::new(instance)?;
        let record = instance.record()?;
        if record.supervisor == 0 {
            bail!("instance {} is still starting", instance.name());
        }
        Ok(Self { instance, record, keeper: None })
    }

    /// Ends a cluster by name and removes every trace of it; also what a dead one left.
    pub fn down_by_name(instance: &str) -> Result<()> {
        let instance = Instance::new(instance)?;
        let mut told = false;
        wait_for("the end of the cluster", Duration::from_secs(60), || {
            if !instance.is_alive()? {
                return Ok(());
            }
            // Without a record there is a keeper that has just begun, or someone who removes the rest.
            let keeper = i32::try_from(instance.record()?.keeper).context("a process id")?;
            if !told {
                kill(Pid::from_raw(keeper), Signal::SIGTERM).context("ending the keeper")?;
                told = true;
            }
            bail!("its keeper still runs")
        })?;
        Instance::sweep()?;
        Ok(())
    }

    /// Ends the cluster and removes every trace of it.
    pub fn down(mut self) -> Result<()> {
        let name = self.instance.name().to_owned();
        let keeper = self.keeper.take();
        Self::down_by_name(&name)?;
        if let Some((mut child, stdin)) = keeper {
            drop(stdin);
            child.wait().context("waiting for the keeper")?;
        }
        Ok(())
    }

    /// Lets the cluster outlive this process: it then stays until `e2e down`.
    pub fn detach(mut self) -> Result<()> {
        if let Some((_, mut stdin)) = self.keeper.take() {
            writeln!(stdin, "{DETACH}").context("detaching from the keeper")?;
        }
        Ok(())
    }

    /// Blocks until the cluster ends by itself or a signal (SIGINT, SIGTERM, SIGHUP) asks
    /// for its end, and returns when every trace is removed. Only for its owner, and only
    /// while this process has no other thread.
    pub fn run_until_signal(mut self) -> Result<()> {
        let Some((mut child, stdin)) = self.keeper.take() else { return Ok(()) };
        let (events, incoming) = mpsc::channel();
        let ends = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
        signals::forward(&ends, events.clone(), |_| None)?;
        let waiter = thread::spawn(move || {
            let status = child.wait();
            // The receiver may be content with a signal.
            events.send(Some(())).ok();
            status
        });
        let ended = incoming.recv().context("waiting for the end")?.is_some();
        drop(stdin);
        waiter.join().expect("waiting does not panic").context("waiting for the keeper")?;
        if ended {
            bail!("the cluster ended by itself");
        }
        Ok(())
    }

    /// Its files.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Names of the Kubernetes nodes.
    pub fn node_names(&self) -> Vec<String> {
        self.hosts().into_iter().filter(|host| host.number().is_some()).map(|host| host.name).collect()
    }

    /// All machines on the LAN: their addresses and MACs are in [`Host`].
    pub fn hosts(&self) -> Vec<Host> {
        Host::all(self.record.nodes)
    }

    /// The host of that name in this cluster.
    pub fn host(&self, name: &str) -> Result<Host> {
        let host = Host::by_name(name)?;
        if host.number().is_some_and(|number| number > self.record.nodes) {
            bail!("this cluster has {} nodes, {name} is not one of them", self.record.nodes);
        }
        Ok(host)
    }

    /// A `kubectl` command for the cluster's administrator, to be run on the outer machine.
    pub fn kubectl_command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.record.kube);
        command
            .arg("kubectl")
            .args(arguments)
            .env("KUBECONFIG", self.instance.kubeconfig())
            .env("KUBECACHEDIR", self.instance.kubectl_cache());
        command
    }

    /// As [`Self::kubectl_command`], but an API server that does not answer fails it.
    fn bounded_kubectl<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut words: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
        if !may_take_long(&words) {
            words.insert(0, "--request-timeout=30s".as_ref());
        }
        self.kubectl_command(&words)
    }

    /// Runs `kubectl` and returns its standard output; its standard error when it fails.
    pub fn kubectl<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        process::run(&mut self.bounded_kubectl(arguments))
    }

    /// Runs `kubectl` with text on its standard input, as in `kubectl apply -f -`.
    pub fn kubectl_with_stdin<S: AsRef<OsStr>>(&self, arguments: &[S], stdin: &str) -> Result<String> {
        process::run_with_stdin(&mut self.bounded_kubectl(arguments), stdin.as_bytes())
    }

    /// Runs `kubectl ... -o json` and parses the answer.
    pub fn kubectl_json<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Value> {
        let mut command = self.bounded_kubectl(arguments);
        let text = process::run(command.args(["-o", "json"]))?;
        serde_json::from_str(&text).context("kubectl did not answer with JSON")
    }

    /// A command that will run in a host's namespaces (mount, network, PID and host name).
    ///
    /// Killing it kills the program on the host. Fails when the host does not run.
    pub fn command<S: AsRef<OsStr>>(&self, host: &str, words: &[S]) -> Result<Command> {
        self.host(host)?;
        let pid = self.host_pid(host)?;
        let mut command = Command::new("nsenter");
        command
            .env("PATH", process::path())
            .args(["--target", &pid.to_string(), "--mount", "--net", "--pid", "--uts", "--"])
            // The program's parent is out of sight of its PID namespace; without
            // this it would survive it.
            .args(["setpriv", "--pdeathsig", "KILL", "--"])
            .args(words);
        Ok(command)
    }

    /// Runs a command on a host to its end, whatever its exit status.
    pub fn exec<S: AsRef<OsStr>>(&self, host: &str, words: &[S]) -> Result<Output> {
        self.command(host, words)?.output().with_context(|| format!("starting a command on {host}"))
    }

    /// Runs a command on a host and returns its standard output; fails unless it succeeds.
    pub fn run<S: AsRef<OsStr>>(&self, host: &str, words: &[S]) -> Result<String> {
        process::run(&mut self.command(host, words)?).with_context(|| format!("on {host}"))
    }

    /// Starts a long-running command on a host, its output going to a file.
    pub fn spawn<S: AsRef<OsStr>>(&self, host: &str, words: &[S], output: &Path) -> Result<Spawned> {
        let file = File::create(output).with_context(|| format!("creating {}", output.display()))?;
        let mut command = self.command(host, words)?;
        command.stdin(Stdio::null()).stdout(file.try_clone().context("sharing the output")?).stderr(file);
        let child = command.spawn().with_context(|| format!("starting a command on {host}"))?;
        Ok(Spawned { child })
    }

    /// Loads an image archive (OCI or docker-archive) into every node's containerd.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        thread::scope(|scope| {
            let loads: Vec<_> = self
                .node_names()
                .into_iter()
                .map(|node| scope.spawn(move || self.load_image_into(&node, archive)))
                .collect();
            loads.into_iter().try_for_each(|load| load.join().expect("loading does not panic"))
        })
    }

    fn load_image_into(&self, node: &str, archive: &Path) -> Result<()> {
        let file = File::open(archive).with_context(|| format!("opening {}", archive.display()))?;
        let mut command = self.command(node, &["ctr", "--namespace", "k8s.io", "images", "import", "-"])?;
        process::run(command.stdin(file))
            .with_context(|| format!("loading {} into {node}", archive.display()))?;
        Ok(())
    }

    /// The state of every program of a host.
    pub fn status(&self, host: &str) -> Result<Vec<crate::UnitStatus>> {
        let text = runner::ask(&self.instance.socket(&self.host(host)?.name), "status")?;
        serde_json::from_str(&text).context("reading the status")
    }

    /// Process id of a host's init on the outer machine.
    pub(crate) fn host_pid(&self, host: &str) -> Result<u32> {
        process::host_init(self.record.supervisor, host)
            .with_context(|| format!("{host} does not run: `e2e start {host}` boots it"))
    }

    fn wait_until_ready(&self, progress: &Progress) -> Result<()> {
        self.wait_for_programs("an answer of the API server", Duration::from_secs(60), || {
            self.kubectl(&["get", "--raw=/readyz"]).map(drop)
        })?;
        progress.step("the API server answers");
        self.wait_for_programs("every node to be Ready", Duration::from_secs(120), || {
            let nodes = self.kubectl_json(&["get", "nodes"])?;
            let ready = ready_nodes(&nodes);
            let missing: Vec<_> =
                self.node_names().into_iter().filter(|name| !ready.contains(name)).collect();
            ensure!(missing.is_empty(), "not Ready: {}", missing.join(", "));
            Ok(())
        })?;
        progress.step(&format!("Ready: {}", self.node_names().join(", ")));
        self.wait_for_programs("the default service account", Duration::from_secs(30), || {
            self.kubectl(&["get", "serviceaccount", "default"]).map(drop)
        })
    }

    /// [`wait_for`], but fails at once when a program of the cluster has failed.
    fn wait_for_programs(
        &self,
        what: &str,
        timeout: Duration,
        mut look: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let failure = wait_for(what, timeout, || match self.failed_program() {
            Some(failure) => Ok(Some(failure)),
            None => look().map(|()| None),
        })?;
        failure.map_or(Ok(()), |failure| bail!("waiting for {what}: {failure}"))
    }

    /// The first program that ended with an error, and the end of its log.
    fn failed_program(&self) -> Option<String> {
        let hosts = self.hosts();
        let (host, program) = hosts.iter().find_map(|host| {
            let programs = self.status(&host.name).ok()?;
            programs.into_iter().find(|program| program.state == "failed").map(|program| (host, program))
        })?;
        let log = self.instance.logs().join(&host.name).join(format!("{}.log", program.name));
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(5)..].join("\n");
        Some(format!(
            "{} of {} has failed ({}); the end of its log:\n{last}",
            program.name, host.name, program.detail
        ))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some((mut child, mut stdin)) = self.keeper.take() else { return };
        if env::var_os("E2E_KEEP").is_some() {
            // Should the pipe be broken the cluster has ended already.
            writeln!(stdin, "{DETACH}").ok();
            eprintln!("E2E_KEEP: cluster {0} stays; `e2e --instance {0} down` ends it", self.instance.name());
            return;
        }
        drop(stdin);
        child.wait().ok();
    }
}

impl Spawned {
    /// Sends SIGINT to the program on the host and waits for its end, as `tcpdump` likes it.
    pub fn interrupt(mut self) -> Result<()> {
        for pid in process::children(self.child.id()) {
            let pid = Pid::from_raw(i32::try_from(pid).context("a process id")?);
            kill(pid, Signal::SIGINT).context("interrupting the program")?;
        }
        self.child.wait().context("waiting for the program")?;
        Ok(())
    }

    /// Waits for its end by itself.
    pub fn wait(mut self) -> Result<()> {
        self.child.wait().context("waiting for the program")?;
        Ok(())
    }

    /// Whether the program still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("asking for the program's state")?.is_none())
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Starts the keeper and returns when the hosts are there.
fn start_keeper(spec: &Spec) -> Result<(Child, ChildStdin)> {
    let mut child = Command::new(artifacts::program()?)
        .args(["__keeper", &spec.to_json()])
        .current_dir("/")
        .env("PATH", process::path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("starting the keeper")?;
    let stdin = child.stdin.take().expect("stdin is piped");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    match lines.next() {
        Some(Ok(line)) if line == READY => Ok((child, stdin)),
        Some(Ok(line)) => {
            child.wait().context("waiting for the keeper")?;
            bail!("{line}")
        }
        _ => bail!("the keeper ended without a word ({})", child.wait().context("waiting for the keeper")?),
    }
}

/// Whether a kubectl command waits for what happens in the cluster, or has a limit already.
fn may_take_long(arguments: &[&OsStr]) -> bool {
    let verb = arguments.first().is_some_and(|verb| {
        ["wait", "rollout", "delete", "exec", "attach", "port-forward", "drain"]
            .iter()
            .any(|long| verb == long)
    });
    // For `logs` -f means --follow, elsewhere it names a file.
    let logs = arguments.first().is_some_and(|verb| *verb == "logs");
    let option = |word: &&OsStr| {
        let word = word.to_string_lossy();
        matches!(&*word, "-w" | "--watch") || (logs && word == "-f") || word.starts_with("--request-timeout")
    };
    verb || arguments.iter().any(option)
}

/// Names of the nodes of a `kubectl get nodes -o json` that are Ready.
fn ready_nodes(nodes: &Value) -> Vec<String> {
    let items = nodes["items"].as_array().into_iter().flatten();
    items
        .filter(|node| {
            let conditions = node["status"]["conditions"].as_array();
            conditions
                .into_iter()
                .flatten()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        })
        .filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_commands_that_wait_for_the_cluster_have_no_limit() {
        for (line, long) in [
            ("get pods -A -o json", false),
            ("apply -f file.yaml", false),
            ("create -f file.yaml", false),
            ("logs -n a pod", false),
            ("logs -f pod", true),
            ("get pods -w", true),
            ("wait --for=condition=Ready node/node1", true),
            ("rollout status deployment web", true),
            ("delete service web", true),
            ("get nodes --request-timeout=10s", true),
        ] {
            let words: Vec<&OsStr> = line.split(' ').map(OsStr::new).collect();
            assert_eq!(may_take_long(&words), long, "{line}");
        }
    }

    #[test]
    fn only_nodes_whose_ready_condition_is_true_count() {
        let node = |name: &str, status: &str| {
            json!({"metadata": {"name": name}, "status": {"conditions": [
                {"type": "DiskPressure", "status": "True"},
                {"type": "Ready", "status": status},
            ]}})
        };
        let nodes = json!({"items": [node("node1", "True"), node("node2", "Unknown"), {"metadata": {"name": "node3"}}]});
        assert_eq!(ready_nodes(&nodes), ["node1"]);
    }
}
