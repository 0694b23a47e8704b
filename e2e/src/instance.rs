//! Where a named cluster keeps its files, whether it lives, and how what it left is removed.
//!
//! `/run/metallb-rs/NAME` holds sockets, the kubeconfig and the record; `/var/lib/metallb-rs/NAME`
//! (or `metallb-rs/NAME` below `METALLB_RS_DATA`) holds images, etcd and logs. The keeper of a living
//! instance holds a lock on `lock` in the first: whoever gets that lock may remove everything. A data
//! folder is a cluster's, and may be removed, only where the keeper's marker is in it.

use std::{
    env,
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, symlink},
    path::{self, Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{cgroup::Cgroups, inner::supervisor};

const STATE: &str = "/run/metallb-rs";
const DATA: &str = "/var/lib/metallb-rs";
/// The file by which a data folder is known to be a cluster's.
const MARKER: &str = ".metallb-rs-cluster";
const CGROUP_PREFIX: &str = "metallb-rs-";

/// The files of one named cluster, existing or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    name: String,
    state: PathBuf,
    data: PathBuf,
}

/// What the keeper writes down for those who attach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Process id of the keeper. It holds the lock.
    pub(crate) keeper: u32,
    /// Process id of the init of the cluster's namespaces, as seen from outside.
    pub(crate) supervisor: u32,
    /// Number of nodes.
    pub(crate) nodes: u8,
    /// Port of the API server on the outer machine's loopback.
    pub(crate) port: u16,
    /// The multi-call Kubernetes binary.
    pub(crate) kube: PathBuf,
}

/// Proof that no other process works on the instance. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Held for its lock.
    _file: File,
}

impl Instance {
    /// The instance of that name: lower-case letters, digits and `-`, at most 20.
    pub fn new(name: &str) -> Result<Self> {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        // The name is part of socket paths, which the kernel limits to 107 characters.
        if name.is_empty() || name.len() > 20 || !name.chars().all(fine) || name.starts_with('-') {
            bail!("{name:?} cannot name an instance: use 1 to 20 of a-z, 0-9 and -, not starting with -");
        }
        let state = Path::new(STATE).join(name);
        // One that lives knows best, whatever the environment says now.
        let data = fs::read_link(state.join("data")).unwrap_or_else(|_| data_root().join(name));
        Ok(Self { name: name.to_owned(), state, data })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kubeconfig of its administrator, for use on the outer machine.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// The folder of all logs: one folder per host in it, and `cluster.log`.
    pub fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    /// A host's folder for what its programs write: images, volumes, the database.
    pub fn host_dir(&self, host: &str) -> PathBuf {
        self.data.join(host)
    }

    /// A folder that holds a `kubectl` for this cluster, to be put on the PATH.
    pub fn bin(&self) -> PathBuf {
        self.data.join("bin")
    }

    /// The administrator's kubeconfig for programs on the cluster's hosts, which
    /// reach the API server by the LAN.
    pub fn lan_kubeconfig(&self) -> PathBuf {
        self.certificates().join("admin.kubeconfig")
    }

    /// Where kubectl keeps what it learns of the API.
    pub(crate) fn kubectl_cache(&self) -> PathBuf {
        self.data.join("kubectl-cache")
    }

    /// Makes the data folder, for root only, and lets others find it wherever it lies.
    ///
    /// Fails when the folder is there and holds something that no cluster left.
    pub(crate) fn claim_data(&self) -> Result<()> {
        claim(&self.data)?;
        symlink(&self.data, self.state.join("data")).context("linking the data folder")
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn certificates(&self) -> PathBuf {
        self.data.join("pki")
    }

    pub(crate) fn socket(&self, of: &str) -> PathBuf {
        self.state.join(format!("{of}.sock"))
    }

    pub(crate) fn cgroup(&self) -> String {
        format!("{CGROUP_PREFIX}{}", self.name)
    }

    /// Writes one line with the time of day (UTC) to the cluster's log. Losing a
    /// line must not end what wanted to tell it, so errors go nowhere.
    pub(crate) fn note(&self, text: &str) {
        let seconds =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        if let Ok(mut file) =
            OpenOptions::new().append(true).create(true).open(self.logs().join("cluster.log"))
        {
            writeln!(file, "{hour:02}:{minute:02}:{second:02} {text}").ok();
        }
    }

    pub(crate) fn write_record(&self, record: &Record) -> Result<()> {
        let path = self.state.join("instance.json");
        let text = serde_json::to_vec_pretty(record).context("rendering the record")?;
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// The record of the living instance. Its supervisor is 0 while it starts.
    ///
    /// Fails when it does not live, with the command that starts it.
    pub(crate) fn record(&self) -> Result<Record> {
        let name = &self.name;
        if !self.is_alive()? {
            bail!("instance {name} is not up: start it with `e2e --instance {name} up`");
        }
        let path = self.state.join("instance.json");
        let text = fs::read(&path)
            .with_context(|| format!("instance {name} is still starting: reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Whether a keeper holds the instance.
    pub(crate) fn is_alive(&self) -> Result<bool> {
        let path = self.state.join("lock");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", path.display()))
            }
        }
    }

    /// Takes the instance for this process; `None` when another holds it.
    pub(crate) fn lock(&self) -> Result<Option<Lock>> {
        let path = self.state.join("lock");
        loop {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.state)
                .with_context(|| format!("creating {}", self.state.display()))?;
            let file = match OpenOptions::new().write(true).create(true).truncate(false).open(&path) {
                Ok(file) => file,
                // Another process removed the folder in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()));
                }
            }
            // The file may have been removed between opening and locking it; then
            // this lock protects nothing.
            let ours = file.metadata().context("reading the lock's metadata")?.ino();
            if fs::metadata(&path).is_ok_and(|now| now.ino() == ours) {
                return Ok(Some(Lock { _file: file }));
            }
        }
    }

    /// Ends what still runs of an instance without a keeper and removes every trace of it; `lock`
    /// says that nobody else does the same.
    pub(crate) fn remove(&self, lock: Lock) -> Result<()> {
        // Without a record nobody takes this lock for that of a living instance.
        if let Err(error) = fs::remove_file(self.state.join("instance.json"))
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error).context("removing the record");
        }
        supervisor::end(&self.name);
        Cgroups::detect()?.remove(&self.cgroup())?;
        remove_claimed(&self.data)?;
        remove_folder(&self.state)?;
        for folder in [&self.data, &self.state] {
            if let Some(parent) = folder.parent() {
                // Stays while another instance has something in it.
                fs::remove_dir(parent).ok();
            }
        }
        drop(lock);
        Ok(())
    }

    /// All instances with any trace, dead or alive, by name.
    pub fn all() -> Result<Vec<Self>> {
        let mut names = entries(Path::new(STATE));
        let data = data_root();
        names.extend(entries(&data).into_iter().filter(|name| is_claimed(&data.join(name))));
        let groups = Cgroups::detect()?.roots(CGROUP_PREFIX);
        names.extend(groups.iter().filter_map(|name| name.strip_prefix(CGROUP_PREFIX)).map(str::to_owned));
        names.sort();
        names.dedup();
        // What does not parse was not made here.
        Ok(names.iter().filter_map(|name| Self::new(name).ok()).collect())
    }

    /// Removes what dead instances left. Returns their names.
    pub(crate) fn sweep() -> Result<Vec<String>> {
        let mut swept = Vec::new();
        for instance in Self::all()? {
            if let Some(lock) = instance.lock()? {
                instance.remove(lock)?;
                swept.push(instance.name);
            }
        }
        Ok(swept)
    }
}

/// The folder of all instances' data.
fn data_root() -> PathBuf {
    data_root_in(env::var_os("METALLB_RS_DATA"))
}

/// What a person names may be shared with others: ours is a folder in it.
fn data_root_in(wanted: Option<OsString>) -> PathBuf {
    // The processes of a cluster run in /. An empty variable has no absolute form.
    wanted
        .and_then(|wanted| path::absolute(wanted).ok())
        .map_or_else(|| PathBuf::from(DATA), |folder| folder.join("metallb-rs"))
}

/// Names of what is in a folder; none where it cannot be read.
fn entries(folder: &Path) -> Vec<String> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn is_claimed(folder: &Path) -> bool {
    // A link would lead the removal elsewhere.
    fs::symlink_metadata(folder).is_ok_and(|kind| kind.is_dir()) && folder.join(MARKER).is_file()
}

fn claim(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder).context("creating the data folder")?;
    if !is_claimed(folder) && fs::read_dir(folder).context("reading the data folder")?.next().is_some() {
        bail!(
            "{} holds what no cluster left: move it away, or set METALLB_RS_DATA to another folder",
            folder.display()
        );
    }
    write_private(&folder.join(MARKER), "The cluster that wrote this removes the folder when it ends.\n")
}

/// Removes a data folder if the marker is in it. The marker goes last, so that whoever is
/// interrupted leaves a folder that is known.
fn remove_claimed(folder: &Path) -> Result<()> {
    if !is_claimed(folder) {
        return Ok(());
    }
    let context = || format!("removing {}", folder.display());
    for entry in fs::read_dir(folder).with_context(context)?.flatten() {
        if entry.file_name() == MARKER {
            continue;
        }
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
            .with_context(|| format!("removing {}", path.display()))?;
    }
    remove_folder(folder)
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Writes a file that only root can read, from its first byte on.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for name in ["", "..", "a/b", "Demo", "-a", "a_b", "a-name-that-is-too-long-for-it"] {
            let error = Instance::new(name).expect_err(name).to_string();
            assert!(error.contains("cannot name an instance"), "{error}");
        }
        assert_eq!(Instance::new("test-2").expect("a fine name").cgroup(), "metallb-rs-test-2");
    }

    #[test]
    fn socket_paths_fit_into_the_kernels_limit() {
        let instance = Instance::new("abcdefghijklmnopqrst").expect("20 characters are fine");
        assert!(instance.socket("control-plane").as_os_str().len() < 108);
    }

    #[test]
    fn a_shared_folder_keeps_everything_that_is_not_a_clusters() {
        let shared = env::temp_dir().join(format!("e2e-shared-{}", std::process::id()));
        let root = data_root_in(Some(shared.clone().into()));
        assert_eq!(root, shared.join("metallb-rs"));
        for (path, text) in [("alice/thesis", "years of work"), ("metallb-rs/bob/notes", "his"), ("todo", "")]
        {
            let path = shared.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
            fs::write(path, text).expect("writable");
        }
        claim(&root.join("dev")).expect("a new folder");
        fs::write(root.join("dev/log"), "").expect("writable");
        claim(&root.join("dev")).expect("one that a killed cluster left");
        std::os::unix::fs::symlink(shared.join("alice"), root.join("link")).expect("writable");

        let refused = claim(&root.join("bob")).expect_err("it is bob's").to_string();
        assert!(refused.contains("move it away"), "{refused}");
        for name in
            ["alice", "metallb-rs/bob", "metallb-rs/link", "metallb-rs/dev", "metallb-rs/gone", "todo"]
        {
            remove_claimed(&shared.join(name)).expect(name);
        }
        assert!(!root.join("dev").exists());
        assert_eq!(fs::read_to_string(shared.join("alice/thesis")).expect("kept"), "years of work");
        assert_eq!(fs::read_to_string(root.join("bob/notes")).expect("kept"), "his");
        assert!(shared.join("todo").exists() && root.join("link").is_symlink());
        fs::remove_dir_all(&shared).expect("ours");
    }

    #[test]
    fn without_the_variable_data_are_in_var_lib() {
        assert_eq!(data_root_in(None), Path::new(DATA));
        assert_eq!(data_root_in(Some("".into())), Path::new(DATA));
    }

    #[test]
    fn private_files_and_folders_are_for_their_owner_only() {
        let folder = env::temp_dir().join(format!("e2e-private-{}", std::process::id()));
        claim(&folder).expect("a new folder");
        let file = folder.join("token");
        write_private(&file, "secret").expect("writable");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o777;
        assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600));
        remove_claimed(&folder).expect("ours");
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let record = Record { keeper: 7, supervisor: 9, nodes: 3, port: 40_001, kube: "/x/kube".into() };
        let text = serde_json::to_string(&record).expect("a record renders");
        assert_eq!(serde_json::from_str::<Record>(&text).expect("it parses"), record);
    }
}
