//! The library's one error type: what happened, to which file, and what to do about it.
//!
//! The message starts in lower case and has no full stop; the command line prints it after
//! `error: `, then the chain of causes, then `file:` and `help:` lines.

use std::path::{Path, PathBuf};

/// Result of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure an [`Error`] is, for callers that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused a read or a write.
    Io,
    /// No space is left where the output goes.
    NoSpace,
    /// A file, group, array or column that is needed is not there.
    Missing,
    /// An output is already there and may not be replaced.
    Exists,
    /// Bytes that are there cannot be understood: damaged, truncated or of another format.
    Damaged,
    /// A header keyword is absent or has an impossible value.
    Header,
    /// Shapes, sizes or positions do not fit each other.
    Shape,
    /// A parameter, or a pair of them, makes no sense.
    Parameter,
    /// The format or feature is known but not supported.
    Unsupported,
    /// The memory budget is too small.
    Memory,
    /// A graphics card, or its driver, failed.
    Device,
    /// Storage did not answer in time.
    TimedOut,
    /// The user asked the program to stop.
    Interrupted,
}

/// A failure: its kind, one sentence, the file it is about, what to do, and the cause.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    kind: ErrorKind,
    what: String,
    file: Option<PathBuf>,
    help: Option<String>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure of `kind`; `what` is one lower-case sentence without a full stop.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), file: None, help: None, source: None }
    }

    /// A failed system call on `file`; `doing` completes "cannot ...", as in "read the chunk".
    ///
    /// The kind is [`ErrorKind::NoSpace`], [`ErrorKind::Missing`] or [`ErrorKind::Io`] by the cause.
    pub fn io(doing: &str, file: impl AsRef<Path>, cause: std::io::Error) -> Self {
        use std::io::ErrorKind as Os;
        let (kind, help) = match cause.kind() {
            Os::StorageFull | Os::QuotaExceeded | Os::FileTooLarge => {
                (ErrorKind::NoSpace, Some("make space there, or choose another place, and run again"))
            }
            Os::NotFound => (ErrorKind::Missing, None),
            Os::PermissionDenied | Os::ReadOnlyFilesystem => {
                (ErrorKind::Io, Some("check the permissions, or choose another place"))
            }
            _ => (ErrorKind::Io, None),
        };
        let mut error = Self::new(kind, format!("cannot {doing}")).file(file).cause(cause);
        error.help = help.map(String::from);
        error
    }

    /// Names the file the failure is about.
    #[must_use]
    pub fn file(mut self, file: impl AsRef<Path>) -> Self {
        self.file = Some(file.as_ref().to_path_buf());
        self
    }

    /// Says what the user can do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Attaches the underlying error.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(cause.into());
        self
    }

    /// The sort of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The file the failure is about.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What the user can do.
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The sentence with all its causes, on one line: "cannot read the chunk: input/output error".
    pub fn chain(&self) -> String {
        let mut text = self.what.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            let inner_text = inner.to_string();
            if !text.contains(&inner_text) {
                text.push_str(": ");
                text.push_str(&inner_text);
            }
            cause = inner.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_its_own_kind_with_advice() {
        let cause = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = Error::io("write the chunk", "out.zarr/c/0/0", cause);
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert!(error.advice().is_some());
    }

    #[test]
    fn the_chain_names_each_cause_once() {
        let cause = std::io::Error::other("the wire broke");
        let error = Error::io("read the chunk", "a", cause);
        assert_eq!(error.chain(), "cannot read the chunk: the wire broke");
    }
}
