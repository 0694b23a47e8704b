//! What a machine must have before a cluster starts, each with its cure.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::{
        statfs::{OVERLAYFS_SUPER_MAGIC, statfs},
        statvfs::statvfs,
    },
    unistd::Uid,
};

use crate::{artifacts, go, instance::Instance, packages, process};

/// Each kubelet, containerd and shim takes some; the kernel's default is 128.
const INOTIFY_INSTANCES: u64 = 1024;
const INOTIFY_WATCHES: u64 = 65_536;
/// What the data of a cluster take at most.
const CLUSTER_MEGABYTES: u64 = 2_000;
/// What building Kubernetes takes, downloaded sources and Go's cache together.
pub(crate) const BUILD_MEGABYTES: u64 = 8_000;

/// What [`check`] found out about this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The folder of the CNI plugins.
    pub(crate) cni: PathBuf,
    /// containerd's snapshotter that works here.
    pub(crate) snapshotter: String,
}

/// Looks at everything, raises the kernel's inotify limits where they are too low, and
/// fails with the whole list of what is missing, each with its cure.
pub fn check() -> Result<Machine> {
    if !Uid::effective().is_root() {
        bail!(
            "a cluster needs root (namespaces, control groups, mounts): run it with `sudo env \"PATH=$PATH\" ...`"
        );
    }
    let mut missing = Vec::new();
    let packages = packages::missing();
    if !packages.is_empty() {
        missing.push(format!(
            "programs are missing; install them with `e2e preflight --install` or\n    {}",
            packages::command(&packages)
        ));
    }
    for (name, wanted) in [("max_user_instances", INOTIFY_INSTANCES), ("max_user_watches", INOTIFY_WATCHES)] {
        if let Err(error) = raise(&Path::new("/proc/sys/fs/inotify").join(name), wanted) {
            missing.push(format!("{error:#}; set it with `sysctl -w fs.inotify.{name}={wanted}`"));
        }
    }
    let data = existing(Instance::new("any")?.data());
    if let Err(error) = space(&data, CLUSTER_MEGABYTES) {
        missing.push(format!("{error:#}, or set METALLB_RS_DATA to another folder"));
    }
    // Kubernetes is built once; then neither is needed again.
    if let Some(folder) = artifacts::kubernetes().to_build()? {
        if let Err(error) = go::go() {
            missing.push(format!("{error:#}"));
        }
        if let Err(error) = space(&folder, BUILD_MEGABYTES) {
            missing.push(format!(
                "building Kubernetes takes disk space: {error:#}, or set XDG_CACHE_HOME, GOCACHE and GOMODCACHE to other folders"
            ));
        }
    }
    load_modules();
    if !missing.is_empty() {
        bail!("this machine cannot run a cluster yet:\n  {}", missing.join("\n  "));
    }
    let kind = statfs(&data)
        .with_context(|| format!("asking for the file system of {}", data.display()))?
        .filesystem_type();
    // An overlay cannot be the upper part of another.
    let snapshotter = if kind == OVERLAYFS_SUPER_MAGIC { "native" } else { "overlayfs" };
    let cni = packages::cni_folder().context("the CNI plugins have gone")?;
    Ok(Machine { cni, snapshotter: snapshotter.to_owned() })
}

/// Fails when the file system of `folder`, which need not exist yet, has less free.
pub(crate) fn space(folder: &Path, megabytes: u64) -> Result<()> {
    let folder = existing(folder);
    let space =
        statvfs(&folder).with_context(|| format!("asking for the free space of {}", folder.display()))?;
    let free = space.blocks_available().saturating_mul(space.fragment_size()) / 1_000_000;
    if free < megabytes {
        bail!("{} has {free} MB free and {megabytes} MB are needed: make room", folder.display());
    }
    Ok(())
}

/// The nearest folder above `path` that exists.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/")).to_owned()
}

/// Raises a kernel parameter to at least `wanted`.
fn raise(path: &Path, wanted: u64) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let now: u64 = text.trim().parse().with_context(|| format!("{} holds {text:?}", path.display()))?;
    if now < wanted {
        fs::write(path, wanted.to_string())
            .with_context(|| format!("raising {} from {now} to {wanted}", path.display()))?;
    }
    Ok(())
}

/// Loads what a namespace cannot have loaded for it. A kernel that has these built in, or
/// no modprobe, needs nothing here; one that lacks them fails later with its own words.
fn load_modules() {
    let wanted = ["br_netfilter", "overlay", "nf_tables", "veth", "bridge"];
    let names = wanted.iter().filter(|name| !Path::new("/sys/module").join(name).exists());
    Command::new("modprobe")
        .arg("--all")
        .arg("--quiet")
        .args(names)
        .env("PATH", process::path())
        .output()
        .ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_raised_and_never_lowered() {
        let file = std::env::temp_dir().join(format!("e2e-limit-{}", std::process::id()));
        let read = || fs::read_to_string(&file).expect("written before");
        fs::write(&file, "128\n").expect("writable");
        raise(&file, 1024).expect("raised");
        assert_eq!(read(), "1024");
        raise(&file, 512).expect("nothing to do");
        assert_eq!(read(), "1024");
        fs::remove_file(&file).expect("ours");
    }

    #[test]
    fn the_file_system_of_a_folder_to_be_is_that_of_its_nearest_ancestor() {
        assert_eq!(existing(Path::new("/proc/no/such/folder")), Path::new("/proc"));
    }
}
