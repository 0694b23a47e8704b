//! What must survive a restart: which electorates this node agreed to, and where the other speakers are.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use membership::{Electorate, NodeId};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::core::RosterView;

/// The file.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    complained: bool,
}

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) electorates: Vec<Electorate>,
    pub(super) speakers: RosterView,
    /// Where those are reached who are not in that list any more, and vote still.
    pub(super) former: BTreeMap<NodeId, IpAddr>,
}

/// The same as it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Text {
    electorates: Vec<ElectorateText>,
    revision: u64,
    speakers: BTreeMap<String, IpAddr>,
    #[serde(default)]
    former: BTreeMap<u64, IpAddr>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ElectorateText {
    revision: u64,
    speakers: u16,
    voters: Vec<u64>,
}

impl Store {
    pub(super) fn new(folder: &Path) -> Self {
        Self { path: folder.join("electorate.json"), complained: false }
    }

    /// What the former life of this node left, or nothing.
    pub(super) fn read(&self) -> Kept {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Kept::default(),
            Err(error) => {
                warn!(file = %self.path.display(), %error, "cannot read who the speakers were; the API has it");
                return Kept::default();
            }
        };
        match serde_json::from_slice::<Text>(&text) {
            Ok(text) => text.into(),
            Err(error) => {
                warn!(file = %self.path.display(), %error, "what the file says of the speakers is not readable; the API has it");
                Kept::default()
            }
        }
    }

    /// Keeps this, on the disk when it returns. Without a disk that works the API still has the speakers; what that
    /// leaves open is in docs/adr/0010.
    pub(super) fn write(&mut self, kept: &Kept) {
        match self.replace(&Text::from(kept)) {
            Ok(()) => self.complained = false,
            Err(error) if !self.complained => {
                self.complained = true;
                warn!(file = %self.path.display(), %error, "cannot keep who the speakers are for the time after a restart");
            }
            Err(_) => {}
        }
    }

    fn replace(&self, text: &Text) -> io::Result<()> {
        let partial = self.path.with_extension("partial");
        let mut file = File::create(&partial)?;
        file.write_all(&serde_json::to_vec(text)?)?;
        file.sync_data()?;
        fs::rename(&partial, &self.path)?;
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

impl From<Text> for Kept {
    fn from(text: Text) -> Self {
        let electorate = |e: ElectorateText| Electorate {
            revision: e.revision,
            speakers: e.speakers,
            voters: e.voters.into_iter().map(NodeId).collect(),
        };
        Self {
            electorates: text.electorates.into_iter().map(electorate).collect(),
            speakers: RosterView { revision: text.revision, speakers: text.speakers },
            former: text.former.into_iter().map(|(node, address)| (NodeId(node), address)).collect(),
        }
    }
}

impl From<&Kept> for Text {
    fn from(kept: &Kept) -> Self {
        let electorate = |e: &Electorate| ElectorateText {
            revision: e.revision,
            speakers: e.speakers,
            voters: e.voters.iter().map(|node| node.0).collect(),
        };
        Self {
            electorates: kept.electorates.iter().map(electorate).collect(),
            revision: kept.speakers.revision,
            speakers: kept.speakers.speakers.clone(),
            former: kept.former.iter().map(|(node, address)| (node.0, *address)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_broken_is_nothing() {
        let folder = std::env::temp_dir().join(format!("metallb-store-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let mut store = Store::new(&folder);
        assert_eq!(store.read(), Kept::default());
        let kept = Kept {
            electorates: vec![Electorate::of(7, &[NodeId::of("n1"), NodeId(u64::MAX)])],
            speakers: RosterView {
                revision: 8,
                speakers: [("n1".to_owned(), "192.0.2.1".parse().expect("an address"))].into(),
            },
            former: [(NodeId(u64::MAX), "192.0.2.2".parse().expect("an address"))].into(),
        };
        store.write(&kept);
        assert_eq!(Store::new(&folder).read(), kept);
        fs::write(folder.join("electorate.json"), b"{").expect("written");
        assert_eq!(store.read(), Kept::default());
        fs::remove_dir_all(&folder).expect("removed");
        // A disk that does not work stops nothing.
        store.write(&kept);
    }
}
