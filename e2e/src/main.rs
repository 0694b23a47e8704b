//! The cluster harness on the command line.

use std::{
    env, fs,
    io::{self, Write as _},
    net::IpAddr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use e2e::flows::Flows;
use e2e::{Cluster, Instance, Options, Progress};

/// Real Kubernetes clusters on this machine, for tests and to try things: nodes, a client and a
/// router on one LAN, without Docker or virtual machines.
#[derive(Parser)]
#[command(name = "e2e", version)]
struct Arguments {
    /// Which cluster; clusters of different names run side by side.
    #[arg(long, global = true, default_value = "dev", env = "E2E_INSTANCE")]
    instance: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start the cluster; it stays until `down`.
    Up {
        /// Number of Kubernetes nodes, 1 to 5.
        #[arg(long, default_value_t = 3)]
        nodes: u8,
        /// Stay in the foreground: Ctrl-C ends the cluster.
        #[arg(long)]
        foreground: bool,
        /// Image archives to load instead of all of build/images.
        #[arg(long, value_name = "TAR")]
        image: Vec<PathBuf>,
    },
    /// End the cluster and remove every trace of it.
    Down,
    /// Say what runs.
    Status,
    /// Run kubectl against the cluster.
    Kubectl {
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run a command on a host: client, router, control-plane, node1 and so on.
    Exec {
        /// Where.
        host: String,
        /// What; `bash` for a look around.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Load image archives into every node.
    Load {
        /// OCI or docker-archive tar files.
        #[arg(required = true)]
        images: Vec<PathBuf>,
    },
    /// Show the log of a program; without a name, what has ended and which logs there are.
    Logs {
        /// `HOST/PROGRAM`, or PROGRAM where only one host runs it: node1/kubelet, etcd.
        program: Option<String>,
        /// Go on showing what is added.
        #[arg(short, long)]
        follow: bool,
    },
    /// Print the path of the administrator's kubeconfig.
    Kubeconfig,
    /// Write all that explains a fault into a folder.
    Collect {
        /// The folder.
        folder: PathBuf,
    },
    /// Pull a host's cables, or plug them in.
    Link {
        /// Whose.
        host: String,
        /// down or up.
        state: Link,
    },
    /// Stop all processes of a host, its Pods included.
    Pause {
        /// Which.
        host: String,
    },
    /// Let a paused host go on.
    Resume {
        /// Which.
        host: String,
    },
    /// End a host as a power cut does.
    Kill {
        /// Which.
        host: String,
    },
    /// Boot a host that was killed.
    Start {
        /// Which.
        host: String,
    },
    /// Drop packets to and from a host.
    Loss {
        /// Whose.
        host: String,
        /// How many of a hundred; 0 ends it.
        percent: f64,
    },
    /// Take the API server away, or bring it back.
    Api {
        /// stop or start.
        state: Power,
    },
    /// Kill or start a program of a host.
    Program {
        /// Where.
        host: String,
        /// Its name as in `status`.
        program: String,
        /// stop or start.
        state: Power,
    },
    /// Build and cache Kubernetes.
    Build {
        /// And the Operator Lifecycle Manager.
        #[arg(long)]
        olm: bool,
    },
    /// Show the load balancer at work on the cluster, which is started first, and leave it up.
    Demo,
    /// Open new flows to an address and print which got no answer; what the tests run on the client.
    Flows {
        /// The address.
        address: IpAddr,
        /// A TCP port that answers HTTP.
        #[arg(long, default_value_t = 80)]
        tcp: u16,
        /// A UDP port that answers anything.
        #[arg(long, default_value_t = 80)]
        udp: u16,
        /// Flows a second.
        #[arg(long, default_value_t = 100)]
        rate: u32,
        /// Flows in all.
        #[arg(long, default_value_t = 1_000)]
        count: usize,
    },
    /// Check that this machine can run a cluster.
    Preflight {
        /// Install missing Debian packages, without starting services.
        #[arg(long)]
        install: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Link {
    Down,
    Up,
}

#[derive(Clone, Copy, ValueEnum)]
enum Power {
    Stop,
    Start,
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let inner = words.first().is_some_and(|word| word.starts_with("__"));
    let result = if inner { e2e::run_inner(&words) } else { run(Arguments::parse()) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if inner {
                // The process above reads one line. It may have gone.
                writeln!(io::stdout(), "{}", format!("{error:#}").replace('\n', " ")).ok();
            }
            eprintln!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(Arguments { instance, verb }: Arguments) -> Result<()> {
    let attach = || Cluster::attach(&instance);
    match verb {
        Verb::Up { nodes, foreground, image } => up(&instance, nodes, foreground, image),
        Verb::Down => Cluster::down_by_name(&instance),
        Verb::Status => status(&instance),
        Verb::Kubectl { arguments } => become_(attach()?.kubectl_command(&arguments)),
        Verb::Exec { host, command } => become_(attach()?.command(&host, &command)?),
        Verb::Load { images } => {
            let cluster = attach()?;
            images.iter().try_for_each(|image| cluster.load_image(image))
        }
        Verb::Logs { program, follow } => logs(&instance, program.as_deref(), follow),
        Verb::Kubeconfig => {
            println!("{}", attach()?.instance().kubeconfig().display());
            Ok(())
        }
        Verb::Collect { folder } => attach()?.collect(&folder),
        Verb::Link { host, state: Link::Down } => attach()?.cut(&host),
        Verb::Link { host, state: Link::Up } => attach()?.restore(&host),
        Verb::Pause { host } => attach()?.pause(&host),
        Verb::Resume { host } => attach()?.resume(&host),
        Verb::Kill { host } => attach()?.kill(&host),
        Verb::Start { host } => attach()?.boot(&host),
        Verb::Loss { host, percent } => attach()?.set_loss(&host, percent),
        Verb::Api { state: Power::Stop } => attach()?.stop_api(),
        Verb::Api { state: Power::Start } => attach()?.start_api(),
        Verb::Program { host, program, state: Power::Stop } => attach()?.stop_program(&host, &program),
        Verb::Program { host, program, state: Power::Start } => attach()?.start_program(&host, &program),
        Verb::Demo => e2e::demo::run(&instance),
        Verb::Flows { address, tcp, udp, rate, count } => {
            e2e::flows::run(&Flows { address, ports: (tcp, udp), rate, count })
        }
        Verb::Build { olm } => {
            e2e::build(&Progress::new())?;
            if olm {
                e2e::OlmPrograms::built(&Progress::new())?;
            }
            Ok(())
        }
        Verb::Preflight { install } => {
            if install {
                e2e::install_packages(&Progress::new())?;
            }
            e2e::preflight()?;
            println!("this machine can run a cluster");
            Ok(())
        }
    }
}

/// Replaces this process, so that signals and the exit status are the command's own.
fn become_(mut command: Command) -> Result<()> {
    Err(command.exec()).with_context(|| format!("starting {}", command.get_program().to_string_lossy()))
}

fn up(instance: &str, nodes: u8, foreground: bool, images: Vec<PathBuf>) -> Result<()> {
    let mut options = Options { nodes, ..Options::new(instance) };
    if !images.is_empty() {
        options.images = images;
    }
    let cluster = Cluster::up(&options)?;
    let files = cluster.instance();
    println!("export KUBECONFIG={}", files.kubeconfig().display());
    println!("export PATH={}:$PATH    # has kubectl", files.bin().display());
    if foreground {
        eprintln!("Ctrl-C ends the cluster");
        cluster.run_until_signal()
    } else {
        eprintln!("`e2e --instance {instance} down` ends the cluster");
        cluster.detach()
    }
}

fn status(instance: &str) -> Result<()> {
    let cluster = Cluster::attach(instance)?;
    let mut text = format!(
        "kubeconfig  {}\nlogs        {}\n",
        cluster.instance().kubeconfig().display(),
        cluster.instance().logs().display()
    );
    for host in cluster.hosts() {
        let (v4, v6) = (host.v4(), host.v6());
        let paused = if cluster.is_paused(&host.name)? { "  paused" } else { "" };
        text += &format!("{:<14} {v4:<12} {v6:<15}{paused}\n", host.name);
        // A host that was killed has nobody to ask, a paused one does not answer.
        if !paused.is_empty() {
            continue;
        }
        match cluster.status(&host.name) {
            Ok(programs) => {
                for program in programs {
                    text += &format!("  {:<26} {} {}\n", program.name, program.state, program.detail);
                }
            }
            Err(_) => {
                text +=
                    &format!("  does not run: `e2e --instance {instance} start {}` boots it\n", host.name);
            }
        }
    }
    print(&text)
}

fn logs(instance: &str, program: Option<&str>, follow: bool) -> Result<()> {
    let folder = Instance::new(instance)?.logs();
    let all = log_files(&folder)?;
    let Some(program) = program else {
        let ended = fs::read_to_string(folder.join("cluster.log")).unwrap_or_default();
        return print(&format!("{ended}logs: {}\n", all.join(" ")));
    };
    let matching: Vec<_> =
        all.iter().filter(|name| *name == program || name.rsplit('/').next() == Some(program)).collect();
    match matching.as_slice() {
        [one] => {
            let path = folder.join(format!("{one}.log"));
            let mut command = Command::new("tail");
            command.args(["-n", "+1"]).args(follow.then_some("-F")).arg(path);
            become_(command)
        }
        [] => bail!("no log {program:?}; there are {}", all.join(" ")),
        several => bail!("{program:?} runs on several hosts: {several:?}"),
    }
}

/// Writes to standard output, where nobody may be listening any more (`| head`).
fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("writing to standard output")
        }
        _ => Ok(()),
    }
}

/// Names like `node1/kubelet`, sorted.
fn log_files(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let hosts =
        fs::read_dir(folder).with_context(|| format!("reading {}: is the cluster up?", folder.display()))?;
    for host in hosts.flatten().filter(|entry| entry.path().is_dir()) {
        for log in fs::read_dir(host.path()).into_iter().flatten().flatten() {
            if let Some(name) = log.file_name().to_string_lossy().strip_suffix(".log") {
                names.push(format!("{}/{name}", host.file_name().to_string_lossy()));
            }
        }
    }
    names.sort();
    Ok(names)
}
