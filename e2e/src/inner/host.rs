//! PID 1 of one host: gives it addresses, routes and private folders, then runs its
//! programs.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    net::TcpStream,
    os::{fd::AsRawFd as _, unix::net::UnixListener},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
};

use anyhow::{Context, Result, bail};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::Signal,
};

use crate::{
    cgroup::Cgroups,
    inner::{
        control_plane, forward, node,
        runner::{Event, Runner},
        signals,
        spec::Spec,
    },
    instance::Instance,
    plan::{API_PORT, Host, Kind},
    process,
};

/// Runs until the host is killed. Says `hello` when its namespaces are there, waits for
/// a line once its cables are plugged in, and says `up` when it can be used.
pub(crate) fn run(spec: &Spec, name: &str) -> Result<()> {
    let instance = spec.instance()?;
    let host = Host::by_name(name)?;
    let (events, incoming) = mpsc::channel();
    signals::forward(&[Signal::SIGCHLD], events.clone(), |_| Event::Child)?;
    say("hello")?;
    let mut line = String::new();
    if io::stdin().read_line(&mut line).context("waiting for the cables")? == 0 {
        bail!("the supervisor has gone");
    }

    // Sockets first: their folder is out of sight after the mounts.
    let control = listen(&instance.socket(name))?;
    if host.kind == Kind::ControlPlane {
        let api = (host.v4(), API_PORT);
        forward::from_unix(listen(&instance.socket("api"))?, move || TcpStream::connect(api));
    }
    Cgroups::detect()?.join(&instance.cgroup(), name)?;
    fs::write("/proc/sys/kernel/hostname", name).context("setting the host's name")?;
    mount_private_folders(&instance, &host)?;
    set_kernel_parameters(&host)?;
    configure_network(spec.nodes, &host)?;
    say("up")?;

    let units = match host.kind {
        Kind::ControlPlane => control_plane::units(spec, &instance),
        Kind::Node => node::units(spec, &instance, &host),
        Kind::Client | Kind::Router => Vec::new(),
    };
    Runner::new(instance, host.name, units, events).run(control, &incoming);
    Ok(())
}

fn say(word: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{word}").and_then(|()| out.flush()).context("answering the supervisor")
}

fn listen(path: &Path) -> Result<UnixListener> {
    // A host that was killed and boots again leaves its socket.
    fs::remove_file(path).ok();
    UnixListener::bind(path).with_context(|| format!("listening on {}", path.display()))
}

/// Gives the host its own /sys and /run, and nodes their own /var/log and what
/// kubelet, containerd and CNI keep in /var/lib.
fn mount_private_folders(instance: &Instance, host: &Host) -> Result<()> {
    remount_sys(&instance.host_dir(&host.name))?;
    if host.kind == Kind::Node {
        let folder = instance.host_dir(&host.name);
        hide_sysctls(&folder.join("sysctl"))?;
        let log = folder.join("log");
        fs::create_dir_all(&log).with_context(|| format!("creating {}", log.display()))?;
        bind(&log, Path::new("/var/log"), MsFlags::empty())?;
        own_var_lib(&folder)?;
    }
    tmpfs("/run")?;
    if host.kind == Kind::Node {
        // Pods may ask for mounts that propagate, which needs a shared root.
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SHARED, None::<&str>)
            .context("sharing the mounts of the node with its Pods")?;
    }
    Ok(())
}

/// /sys shows the network namespace that it was mounted in: mount one that shows ours,
/// and put the control groups back into it.
fn remount_sys(folder: &Path) -> Result<()> {
    let keep = folder.join("cgroup");
    fs::create_dir_all(&keep).with_context(|| format!("creating {}", keep.display()))?;
    bind(Path::new("/sys/fs/cgroup"), &keep, MsFlags::MS_REC)?;
    umount2("/sys", MntFlags::MNT_DETACH).context("unmounting /sys")?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>).context("mounting /sys")?;
    bind(&keep, Path::new("/sys/fs/cgroup"), MsFlags::MS_REC)?;
    umount2(&keep, MntFlags::MNT_DETACH).context("unmounting the spare control groups")
}

/// The kubelet wants these kernel parameters and would change them for the whole
/// machine: show it files that have the values already.
fn hide_sysctls(folder: &Path) -> Result<()> {
    const WANTED: [(&str, &str); 6] = [
        ("vm/overcommit_memory", "1"),
        ("vm/panic_on_oom", "0"),
        ("kernel/panic", "10"),
        ("kernel/panic_on_oops", "1"),
        ("kernel/keys/root_maxkeys", "1000000"),
        ("kernel/keys/root_maxbytes", "25000000"),
    ];
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    for (name, value) in WANTED {
        let real = Path::new("/proc/sys").join(name);
        if real.exists() {
            let shown = folder.join(name.replace('/', "."));
            fs::write(&shown, format!("{value}\n"))
                .with_context(|| format!("writing {}", shown.display()))?;
            bind(&shown, &real, MsFlags::empty())?;
        }
    }
    Ok(())
}

/// A new /var/lib that has everything of the old one, but own folders for what the
/// node's programs write.
fn own_var_lib(folder: &Path) -> Result<()> {
    const OWN: [&str; 3] = ["kubelet", "cni", "containerd"];
    let lib = Path::new("/var/lib");
    // An open folder stays reachable when something is mounted over its name.
    let open = File::open(lib).context("opening /var/lib")?;
    let old = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
    let entries: Vec<_> = fs::read_dir(&old).context("reading /var/lib")?.flatten().collect();
    tmpfs("/var/lib")?;
    for entry in entries {
        let name = entry.file_name();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir && !OWN.iter().any(|own| name == **own) {
            fs::create_dir(lib.join(&name)).context("filling /var/lib")?;
            bind(&old.join(&name), &lib.join(&name), MsFlags::MS_REC)?;
        }
    }
    for name in OWN {
        let (from, to) = (folder.join("lib").join(name), lib.join(name));
        for folder in [&from, &to] {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        bind(&from, &to, MsFlags::empty())?;
    }
    fs::create_dir_all(node::STATIC_PODS).context("creating the folder of static Pods")
}

fn bind(from: &Path, to: &Path, flags: MsFlags) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | flags, None::<&str>)
        .with_context(|| format!("mounting {} on {}", from.display(), to.display()))
}

fn tmpfs(path: &str) -> Result<()> {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
        .with_context(|| format!("mounting a private {path}"))
}

fn set_kernel_parameters(host: &Host) -> Result<()> {
    let mut wanted = vec![
        // Several prefixes and legs: answer ARP for an address only where it is.
        ("ipv4/conf/all/arp_ignore", "1"),
        ("ipv4/conf/all/arp_announce", "2"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv6/conf/all/accept_ra", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        // Addresses are unique by plan; do not wait a second to find out.
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
    ];
    if matches!(host.kind, Kind::Node | Kind::Router) {
        wanted.extend([("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")]);
    }
    if host.kind == Kind::Node {
        // A Pod that calls a Service served by its neighbour on the same bridge.
        wanted.extend([("bridge/bridge-nf-call-iptables", "1"), ("bridge/bridge-nf-call-ip6tables", "1")]);
    }
    for (name, value) in wanted {
        let path = Path::new("/proc/sys/net").join(name);
        if path.exists() {
            fs::write(&path, value).with_context(|| format!("writing {value} to {}", path.display()))?;
        }
    }
    Ok(())
}

fn configure_network(nodes: u8, host: &Host) -> Result<()> {
    let batch = network(nodes, host);
    process::run_with_stdin(Command::new("ip").args(["-batch", "-"]), batch.as_bytes())
        .with_context(|| format!("configuring the network of {}", host.name))?;
    Ok(())
}

/// Addresses and routes of a host as a batch for `ip`.
fn network(nodes: u8, host: &Host) -> String {
    let mut lines = vec!["link set lo up".to_owned()];
    for &lan in host.lans() {
        let interface = lan.interface();
        lines.push(format!("link set {interface} up"));
        for address in host.addresses(lan) {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            lines.push(format!("address add {address} dev {interface}{nodad}"));
        }
    }
    if host.kind != Kind::Router {
        let router = Host::by_name("router").expect("by_name knows this name");
        lines.push(format!("route add 0.0.0.0/0 via {}", router.v4()));
        lines.push(format!("route add ::/0 via {}", router.v6()));
    }
    if matches!(host.kind, Kind::Node | Kind::ControlPlane) {
        for other in Host::all(nodes).iter().filter(|other| *other != host) {
            if let Some([v4, v6]) = other.pod_cidrs() {
                lines.push(format!("route add {v4} via {}", other.v4()));
                lines.push(format!("route add {v6} via {}", other.v6()));
            }
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(name: &str) -> Vec<String> {
        let host = Host::by_name(name).expect("a host");
        network(3, &host).lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_client_knows_the_lan_and_the_router_and_nothing_else() {
        let lines = lines("client");
        let routes: Vec<_> = lines.iter().filter(|line| line.starts_with("route")).collect();
        assert_eq!(routes, ["route add 0.0.0.0/0 via 192.0.2.254", "route add ::/0 via 2001:db8::254"]);
        assert!(lines.contains(&"address add 10.101.0.250/24 dev eth0".to_owned()), "{lines:?}");
    }

    #[test]
    fn nodes_reach_the_pods_of_all_other_nodes() {
        let lines = lines("node2");
        assert!(lines.contains(&"route add 10.244.1.0/24 via 192.0.2.11".to_owned()), "{lines:?}");
        assert!(lines.contains(&"route add fd00:10:244:3::/64 via 2001:db8::13".to_owned()), "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains("10.244.2.0")), "{lines:?}");
    }

    #[test]
    fn the_control_plane_reaches_the_pods_of_every_node() {
        assert_eq!(lines("control-plane").iter().filter(|line| line.contains("10.244.")).count(), 3);
    }
}
