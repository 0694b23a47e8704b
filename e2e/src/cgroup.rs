//! Control groups of an instance, on cgroup v1, v2 and the mix of both.
//!
//! Every host has `/<root>/<host>`: its own processes in the child `host`, its Pods
//! in `kubepods`. Freezing `/<root>/<host>` pauses both.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    path: PathBuf,
    v2: bool,
}

/// The mounted hierarchies of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

impl Cgroups {
    /// Reads what is mounted below `/sys/fs/cgroup`.
    pub(crate) fn detect() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
        let found = Self::parse(&mounts);
        if found.hierarchies.is_empty() {
            bail!(
                "no cgroup file system is mounted below /sys/fs/cgroup: mount one (`mount -t cgroup2 none /sys/fs/cgroup`)"
            );
        }
        Ok(found)
    }

    /// `mountinfo` as in proc_pid_mountinfo(5).
    fn parse(mountinfo: &str) -> Self {
        let hierarchies = mountinfo
            .lines()
            .filter_map(|line| {
                let (left, right) = line.split_once(" - ")?;
                let path = PathBuf::from(left.split(' ').nth(4)?);
                let v2 = match right.split(' ').next()? {
                    "cgroup" => false,
                    "cgroup2" => true,
                    _ => return None,
                };
                path.starts_with("/sys/fs/cgroup").then_some(Hierarchy { path, v2 })
            })
            .collect();
        Self { hierarchies }
    }

    /// Whether controllers are those of cgroup v1, as the kubelet sees it: the root
    /// of `/sys/fs/cgroup` is not a cgroup2.
    pub(crate) fn v1(&self) -> bool {
        self.hierarchies.iter().any(|hierarchy| !hierarchy.v2)
    }

    /// Makes `root/host/host` for one host in every hierarchy, ready to take processes
    /// and the kubelet's own groups below `root/host`.
    pub(crate) fn create(&self, root: &str, host: &str) -> Result<()> {
        for hierarchy in &self.hierarchies {
            let mut path = hierarchy.path.clone();
            for part in [root, host, "host"] {
                let parent = path.clone();
                path.push(part);
                match fs::create_dir(&path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error).with_context(|| format!("creating the cgroup {}", path.display()));
                    }
                    _ => {}
                }
                if hierarchy.v2 {
                    enable_controllers(&parent)?;
                } else {
                    inherit_cpuset(&parent, &path)?;
                }
            }
        }
        Ok(())
    }

    /// Moves the calling process into `root/host/host`.
    pub(crate) fn join(&self, root: &str, host: &str) -> Result<()> {
        for hierarchy in &self.hierarchies {
            let procs = hierarchy.path.join(root).join(host).join("host/cgroup.procs");
            fs::write(&procs, "0").with_context(|| format!("joining {}", procs.display()))?;
        }
        Ok(())
    }

    /// Freezes or thaws all processes below `root/host`, and waits until the kernel
    /// has done so.
    pub(crate) fn freeze(&self, root: &str, host: &str, frozen: bool) -> Result<()> {
        let Some(knob) = self.freezer(&Path::new(root).join(host)) else {
            bail!("no freezer cgroup of {host} in {root}: is the cluster up?");
        };
        knob.set(frozen)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while !knob.is(frozen)? {
            if Instant::now() > deadline {
                bail!("{} did not take effect within 10 s", knob.file.display());
            }
            // The kernel offers no event for this on cgroup v1.
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Whether `root/host` is frozen by [`Self::freeze`].
    pub(crate) fn is_frozen(&self, root: &str, host: &str) -> bool {
        self.freezer(&Path::new(root).join(host)).is_some_and(|knob| knob.is(true).unwrap_or(false))
    }

    fn freezer(&self, group: &Path) -> Option<Knob> {
        self.hierarchies.iter().find_map(|hierarchy| {
            let file =
                hierarchy.path.join(group).join(if hierarchy.v2 { "cgroup.freeze" } else { "freezer.state" });
            // On a mixed machine the hierarchy with the v1 freezer decides.
            (hierarchy.v2 != self.v1() && file.exists()).then_some(Knob { file, v2: hierarchy.v2 })
        })
    }

    /// Names of all groups directly below the hierarchies' roots that start with `prefix`.
    pub(crate) fn roots(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .hierarchies
            .iter()
            .filter_map(|hierarchy| fs::read_dir(&hierarchy.path).ok())
            .flat_map(Iterator::flatten)
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with(prefix))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// Thaws everything below `root`: frozen processes cannot die.
    pub(crate) fn thaw_all(&self, root: &str) -> Result<()> {
        for hierarchy in &self.hierarchies {
            for group in groups_below(&hierarchy.path.join(root)) {
                let file = group.join(if hierarchy.v2 { "cgroup.freeze" } else { "freezer.state" });
                if file.exists() {
                    Knob { file, v2: hierarchy.v2 }.set(false)?;
                }
            }
        }
        Ok(())
    }

    /// Ends what still runs below `root` and removes all its groups.
    pub(crate) fn remove(&self, root: &str) -> Result<()> {
        self.thaw_all(root)?;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut left = Vec::new();
            for hierarchy in &self.hierarchies {
                // Children stand after their parents.
                for group in groups_below(&hierarchy.path.join(root)).into_iter().rev() {
                    if let Err(error) = fs::remove_dir(&group)
                        && error.kind() != io::ErrorKind::NotFound
                    {
                        kill_all(&group);
                        left.push(group);
                    }
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the cgroup {} is still busy after 20 s: see its cgroup.procs", left[0].display());
            }
            // A dying process leaves its group at a moment the kernel does not announce.
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The file that freezes one group.
struct Knob {
    file: PathBuf,
    v2: bool,
}

impl Knob {
    fn set(&self, frozen: bool) -> Result<()> {
        let text = match (self.v2, frozen) {
            (true, true) => "1",
            (true, false) => "0",
            (false, true) => "FROZEN",
            (false, false) => "THAWED",
        };
        fs::write(&self.file, text).with_context(|| format!("writing {text} to {}", self.file.display()))
    }

    fn is(&self, frozen: bool) -> Result<bool> {
        let (file, wanted) = match (self.v2, frozen) {
            (true, true) => (self.file.with_file_name("cgroup.events"), "frozen 1"),
            (true, false) => (self.file.with_file_name("cgroup.events"), "frozen 0"),
            (false, true) => (self.file.clone(), "FROZEN"),
            (false, false) => (self.file.clone(), "THAWED"),
        };
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        Ok(text.lines().any(|line| line == wanted))
    }
}

/// `root` and every group below it, parents before their children.
fn groups_below(root: &Path) -> Vec<PathBuf> {
    if !root.is_dir() {
        return Vec::new();
    }
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while next < found.len() {
        let children = fs::read_dir(&found[next])
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_dir());
        found.extend(children.collect::<Vec<_>>());
        next += 1;
    }
    found
}

/// SIGKILL to every process of one group. A process that is gone already is no error.
fn kill_all(group: &Path) {
    let procs = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in procs.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|&pid| pid > 1) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).ok();
    }
}

/// Lets the children of `group` have every controller that it has itself.
fn enable_controllers(group: &Path) -> Result<()> {
    let available = group.join("cgroup.controllers");
    let Ok(names) = fs::read_to_string(&available) else { return Ok(()) };
    let wanted: String = names.split_whitespace().map(|name| format!("+{name} ")).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let file = group.join("cgroup.subtree_control");
    fs::write(&file, wanted.trim_end()).with_context(|| {
        format!(
            "enabling {names:?} in {}: in a container, start with processes moved out of the root group (`--cgroupns=host` or a private one with an init)",
            file.display()
        )
    })
}

/// A new cpuset of cgroup v1 is empty and takes no process before it is filled.
fn inherit_cpuset(parent: &Path, group: &Path) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (parent.join(name), group.join(name));
        if !to.exists() {
            continue;
        }
        let value = fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?;
        fs::write(&to, value.trim()).with_context(|| format!("writing {}", to.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
52 24 0:45 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
53 52 0:46 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
54 52 0:47 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
55 52 0:48 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
60 24 0:48 / /run/elsewhere rw,relatime - cgroup2 cgroup2 rw
";
    const V2: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn a_machine_with_any_v1_hierarchy_counts_as_v1() {
        let mixed = Cgroups::parse(V1);
        assert_eq!(mixed.hierarchies.len(), 3);
        assert!(mixed.v1());
        let unified = Cgroups::parse(V2);
        assert_eq!(unified.hierarchies, [Hierarchy { path: "/sys/fs/cgroup".into(), v2: true }]);
        assert!(!unified.v1());
        assert!(Cgroups::parse("").hierarchies.is_empty());
    }

    /// A folder that looks like a hierarchy, removed at the end of the test.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("e2e-cgroup-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("the temporary folder is writable");
            Self(path)
        }

        fn file(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().expect("a file has a folder")).expect("writable");
            fs::write(path, text).expect("writable");
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(self.0.join(path)).expect("the file exists")
        }

        fn cgroups(&self, v2: bool) -> Cgroups {
            Cgroups { hierarchies: vec![Hierarchy { path: self.0.clone(), v2 }] }
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn on_v1_the_cpuset_goes_down_to_every_new_group() {
        let tree = Tree::new("cpuset");
        tree.file("cpuset.cpus", "0-1\n");
        tree.file("cpuset.mems", "0\n");
        for group in ["r", "r/node1", "r/node1/host"] {
            tree.file(&format!("{group}/cpuset.cpus"), "");
            tree.file(&format!("{group}/cpuset.mems"), "");
        }
        tree.cgroups(false).create("r", "node1").expect("created");
        assert_eq!(tree.read("r/node1/host/cpuset.cpus"), "0-1");
        assert_eq!(tree.read("r/node1/cpuset.mems"), "0");
    }

    #[test]
    fn on_v2_controllers_are_enabled_down_to_the_parent_of_the_processes() {
        let tree = Tree::new("v2");
        for group in ["", "r/", "r/node1/", "r/node1/host/"] {
            tree.file(&format!("{group}cgroup.controllers"), "cpu memory pids\n");
            tree.file(&format!("{group}cgroup.subtree_control"), "");
        }
        tree.cgroups(true).create("r", "node1").expect("created");
        assert_eq!(tree.read("r/node1/cgroup.subtree_control"), "+cpu +memory +pids");
        // A v2 group that holds processes may not hand out controllers.
        assert_eq!(tree.read("r/node1/host/cgroup.subtree_control"), "");
    }

    #[test]
    fn freezing_writes_what_each_version_understands() {
        let tree = Tree::new("freeze");
        tree.file("r/node1/freezer.state", "THAWED\n");
        let v1 = tree.cgroups(false);
        v1.freeze("r", "node1", true).expect("a plain file takes it at once");
        assert_eq!(tree.read("r/node1/freezer.state"), "FROZEN");
        assert!(v1.is_frozen("r", "node1"));
        v1.thaw_all("r").expect("thawed");
        assert!(!v1.is_frozen("r", "node1"));

        tree.file("r/node2/cgroup.freeze", "0\n");
        tree.file("r/node2/cgroup.events", "populated 1\nfrozen 1\n");
        let v2 = tree.cgroups(true);
        v2.freeze("r", "node2", true).expect("events say frozen");
        assert_eq!(tree.read("r/node2/cgroup.freeze"), "1");
        assert!(v2.freeze("r", "node3", true).expect_err("no such host").to_string().contains("node3"));
    }

    #[test]
    fn removing_takes_groups_from_the_leaves_up() {
        let tree = Tree::new("remove");
        fs::create_dir_all(tree.0.join("metallb-rs-a/node1/kubepods/pod1")).expect("writable");
        fs::create_dir_all(tree.0.join("other")).expect("writable");
        let cgroups = tree.cgroups(true);
        assert_eq!(cgroups.roots("metallb-rs-"), ["metallb-rs-a"]);
        cgroups.remove("metallb-rs-a").expect("removed");
        assert!(!tree.0.join("metallb-rs-a").exists());
        assert!(tree.0.join("other").exists());
    }
}
