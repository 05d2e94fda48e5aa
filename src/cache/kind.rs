//! The kinds of results, and how long each stays valid.

use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long it stays known that something is absent.
pub const NEGATIVE_TTL: Duration = Duration::from_secs(10 * 60);

/// What a result is. Each kind is a column family of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// The numbers of an image, or of a primary beam.
    Stats = 1,
    /// A part of an image on another grid.
    Regrid = 2,
    /// What was found when a tile was checked.
    Validation = 3,
    /// The sources of a piece of sky.
    Catalogue = 4,
    /// A remote file.
    Download = 5,
    /// The differences of two images.
    Comparison = 6,
    /// What a process finds out when it starts: adapters, the index of a store.
    StartUp = 7,
    /// A skycell that `ps1` made.
    Skycell = 8,
    /// The content hash of a file that has not changed.
    Fingerprint = 9,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Stats,
        Self::Regrid,
        Self::Validation,
        Self::Catalogue,
        Self::Download,
        Self::Comparison,
        Self::StartUp,
        Self::Skycell,
        Self::Fingerprint,
    ];

    /// As the command line, the JSON and the column family call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stats => "stats",
            Self::Regrid => "regrid",
            Self::Validation => "validation",
            Self::Catalogue => "catalogue",
            Self::Download => "download",
            Self::Comparison => "comparison",
            Self::StartUp => "start-up",
            Self::Skycell => "skycell",
            Self::Fingerprint => "fingerprint",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    #[cfg_attr(not(any(feature = "rocksdb", test)), expect(dead_code, reason = "only a store on a disk has codes"))]
    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }

    /// How long a result is taken for valid after it was made, where the user says nothing else.
    ///
    /// Most are named by the content they come from and cannot become wrong; what comes from elsewhere can.
    pub fn ttl(self) -> Duration {
        match self {
            Self::Download => 24 * HOUR,
            Self::Comparison | Self::StartUp => 7 * DAY,
            _ => 30 * DAY,
        }
    }

    /// Whether it spares computing something. A fingerprint only spares reading: it is no lookup of its own, so
    /// that counted lookups are those of results.
    pub fn is_result(self) -> bool {
        self != Self::Fingerprint
    }
}

impl serde::Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name_and_code() {
        for kind in Kind::ALL {
            assert_eq!((Kind::from_name(kind.name()), Kind::from_code(kind as u8)), (Some(kind), Some(kind)));
        }
        assert_eq!((Kind::from_name("images"), Kind::from_code(0)), (None, None));
    }
}
