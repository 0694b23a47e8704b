//! Notice of changes in a folder, from the kernel.

use std::{
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};
use tokio::net::unix::pipe;

/// Room for at least one event with the longest name that a file can have.
const EVENTS: usize = 4096;

/// Watches one folder, also through its removal and return.
///
/// A mounted Secret changes by the renaming of a link in the folder; other writers create, write and rename files.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    /// The reading end of the same inotify. It is no pipe, but is polled and read as one, and this is tokio's only
    /// type for a foreign descriptor that takes no `unsafe`.
    events: pipe::Receiver,
    folder: PathBuf,
}

impl Watch {
    /// Changes from now on. The folder need not exist yet. Needs a tokio runtime.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let events = pipe::Receiver::from_owned_fd_unchecked(inotify.as_fd().try_clone_to_owned()?)?;
        let watch = Self { inotify, events, folder: std::path::absolute(folder)? };
        watch.arm()?;
        Ok(watch)
    }

    /// Waits until something may have changed since the last call.
    pub async fn changed(&self) -> io::Result<()> {
        // Which file it was does not matter: all are read again.
        let mut events = [0; EVENTS];
        loop {
            self.events.readable().await?;
            match self.events.try_read(&mut events) {
                Ok(_) => return self.arm(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Watches the folder, or while it does not exist the nearest one above in which it may appear.
    fn arm(&self) -> io::Result<()> {
        let mut last = None;
        loop {
            let nearest = self.folder.ancestors().find_map(|path| match self.add(path) {
                Err(Errno::ENOENT | Errno::ENOTDIR) => None,
                added => Some(added.map(|()| path)),
            });
            let nearest = nearest.ok_or(Errno::ENOENT)??;
            // Something below it may have come into being just before the watch on it did: look once more.
            if nearest == self.folder || last == Some(nearest) {
                return Ok(());
            }
            last = Some(nearest);
        }
    }

    /// Watching a folder that is watched already changes nothing.
    fn add(&self, path: &Path) -> Result<(), Errno> {
        let what = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        self.inotify.add_watch(path, what).map(drop)
    }
}
