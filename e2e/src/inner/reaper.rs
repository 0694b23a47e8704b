//! The process that cleans up after a keeper that could not.
//!
//! A killed keeper takes its cluster's processes with it, but not those that are frozen, and neither
//! control groups nor files. The reaper waits for the end of the pipe from the keeper and removes them.

use std::{
    env,
    io::{self, Read as _, Write as _},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::unistd::setsid;

use crate::instance::Instance;

/// What a keeper says that has cleaned up itself.
const DONE: &[u8] = b"done";
/// How long removing may fail: what is dying still writes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The keeper's hold on its reaper: when it goes in any other way than by [`Self::dismiss`], the reaper works.
pub(crate) struct Reaper {
    child: Child,
}

impl Reaper {
    /// Starts the reaper of an instance that the caller holds.
    pub(crate) fn start(instance: &Instance) -> Result<Self> {
        let child = Command::new(env::current_exe().context("finding this program")?)
            .args(["__reaper", instance.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("starting the reaper")?;
        Ok(Self { child })
    }

    /// Ends the reaper: there is nothing left for it to do.
    pub(crate) fn dismiss(mut self) -> Result<()> {
        let mut pipe = self.child.stdin.take().expect("stdin is piped");
        pipe.write_all(DONE).context("dismissing the reaper")?;
        drop(pipe);
        self.child.wait().context("waiting for the reaper")?;
        Ok(())
    }
}

/// Waits for the keeper's end, then removes what it left.
pub(crate) fn run(name: &str) -> Result<()> {
    // Out of the keeper's process group: what kills that must not kill this.
    setsid().context("starting a session")?;
    let mut said = Vec::new();
    io::stdin().read_to_end(&mut said).context("waiting for the end of the keeper")?;
    if said == DONE {
        return Ok(());
    }
    let instance = Instance::new(name)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The keeper's lock ends with its process, a moment after its pipe. A lock that is not to
        // be had is that of another who removes the same, or of the next cluster of this name.
        if let Some(lock) = instance.lock()? {
            match instance.remove(lock) {
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        } else if Instant::now() > deadline {
            bail!("instance {name} is another's");
        }
        thread::sleep(Duration::from_millis(20));
    }
}
