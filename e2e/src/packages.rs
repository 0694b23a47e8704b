//! The Debian packages that a cluster takes its programs from.

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{SigSet, Signal},
    unistd::Uid,
};

use crate::{process, progress::Progress};

/// A program and the package that has it.
const PROGRAMS: [(&str, &str); 22] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("socat", "socat"),
    ("arping", "arping"),
    ("ndisc6", "ndisc6"),
    ("tcpdump", "tcpdump"),
    ("curl", "curl"),
    ("mount", "mount"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("sysctl", "procps"),
    // The routers of the tests of BGP.
    ("vtysh", "frr"),
    ("bird", "bird2"),
    ("birdc", "bird2"),
    ("gobgpd", "gobgpd"),
    ("gobgp", "gobgpd"),
];
const CNI_PACKAGE: &str = "containernetworking-plugins";
const CNI_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_KEPT: &str = "/usr/sbin/policy-rc.d.before-metallb-rs";
const POLICY_TEXT: &str =
    "#!/bin/sh\n# metallb-rs: packages start no services while they are installed.\nexit 101\n";

/// The packages whose programs are not there, each once.
pub(crate) fn missing() -> Vec<&'static str> {
    let mut missing: Vec<_> =
        PROGRAMS.iter().filter(|(program, _)| !is_there(program)).map(|&(_, package)| package).collect();
    if cni_folder().is_none() {
        missing.push(CNI_PACKAGE);
    }
    missing.dedup();
    missing
}

/// The folder that has the CNI plugins.
pub(crate) fn cni_folder() -> Option<PathBuf> {
    CNI_FOLDERS
        .iter()
        .map(PathBuf::from)
        .find(|folder| ["bridge", "host-local", "portmap"].iter().all(|name| folder.join(name).is_file()))
}

/// The one command that a person can run instead.
pub(crate) fn command(packages: &[&str]) -> String {
    format!(
        "sudo apt-get update && sudo apt-get install --no-remove --no-install-recommends {}",
        packages.join(" ")
    )
}

/// Installs what is missing, without letting any package start a service.
///
/// Fails, naming the command to run, when not root or where there is no apt.
pub fn install(progress: &Progress) -> Result<()> {
    let packages = missing();
    if packages.is_empty() {
        progress.step("every program is there");
        return Ok(());
    }
    if !Uid::effective().is_root() || !is_there("apt-get") {
        bail!("programs are missing; as root on Debian 12 run\n    {}", command(&packages));
    }
    progress.step(&format!("installing {}", packages.join(" ")));
    // The policy must go again even when someone is impatient.
    let impatience: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    impatience.thread_block().context("holding signals back")?;
    let result = Policy::set().and_then(|policy| {
        let result = apt(progress, &["update"]).and_then(|()| {
            let options = ["install", "--yes", "--no-remove", "--no-install-recommends"];
            apt(progress, &options.iter().chain(&packages).copied().collect::<Vec<_>>())
        });
        policy.restore().and(result)
    });
    impatience.thread_unblock().context("letting signals through")?;
    result?;
    match missing().as_slice() {
        [] => Ok(()),
        still => bail!("apt is content, but programs of {} are still missing", still.join(", ")),
    }
}

fn apt(progress: &Progress, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    let told = format!("apt-get {}", arguments.join(" "));
    let output = progress.during(&told, || command.output()).context("starting apt-get")?;
    if !output.status.success() {
        bail!("{told} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn is_there(program: &str) -> bool {
    env::split_paths(&process::path()).any(|folder| folder.join(program).is_file())
}

/// A policy-rc.d(8) that forbids services to start, in force until restored.
struct Policy {
    path: PathBuf,
    kept: PathBuf,
}

impl Policy {
    fn set() -> Result<Self> {
        Self::set_at(Path::new(POLICY), Path::new(POLICY_KEPT))
    }

    fn set_at(path: &Path, kept: &Path) -> Result<Self> {
        // An earlier run that was killed left ours: what it kept is the real one.
        let ours = fs::read_to_string(path).is_ok_and(|text| text == POLICY_TEXT);
        if !ours && path.exists() {
            fs::rename(path, kept).with_context(|| format!("keeping {}", path.display()))?;
        }
        fs::write(path, POLICY_TEXT).with_context(|| format!("writing {}", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            .context("making the policy executable")?;
        Ok(Self { path: path.to_owned(), kept: kept.to_owned() })
    }

    fn restore(self) -> Result<()> {
        match fs::rename(&self.kept, &self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::remove_file(&self.path).with_context(|| format!("removing {}", self.path.display()))
            }
            result => result.with_context(|| format!("restoring {}", self.path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_policy_comes_back_even_after_a_killed_run() {
        let folder = env::temp_dir().join(format!("e2e-policy-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("writable");
        let (path, kept) = (folder.join("policy"), folder.join("kept"));
        let set = || Policy::set_at(&path, &kept).expect("writable");

        set().restore().expect("restored");
        assert!(!path.exists(), "there was none before");

        fs::write(&path, "the machine's").expect("writable");
        let _killed = set();
        set().restore().expect("restored");
        assert_eq!(fs::read_to_string(&path).expect("restored"), "the machine's");
        assert!(!kept.exists());
        fs::remove_dir_all(&folder).expect("ours");
    }

    #[test]
    fn the_command_for_people_removes_nothing() {
        let command = command(&["runc", "socat"]);
        assert!(command.contains("--no-remove") && command.ends_with("runc socat"), "{command}");
    }
}
