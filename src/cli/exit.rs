//! Exit codes, stated once.

use crate::error::{Error, ErrorKind};
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for was done.
    Done,
    /// Done, but some inputs were rejected; each is listed with its reason.
    SomeRejected,
    /// Not done.
    NotDone,
    /// Stopped by SIGINT (2) or SIGTERM (15).
    Signal(i32),
}

impl Exit {
    /// 0, 1, 2, or 128 plus the signal's number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::SomeRejected => 1,
            Self::NotDone => 2,
            Self::Signal(number) => u8::try_from(128 + number).unwrap_or(255),
        }
    }

    /// The exit of a command that failed.
    pub fn of(error: &Error) -> Self {
        match (error.kind(), crate::interrupt::signal()) {
            (ErrorKind::Interrupted, Some(number)) => Self::Signal(number),
            _ => Self::NotDone,
        }
    }

    /// The exit of a run over many inputs that came to a report: `n_done` outputs are there at its end.
    pub fn of_run(interrupted: bool, n_done: usize, n_rejected: usize) -> Self {
        match crate::interrupt::signal() {
            Some(number) if interrupted => Self::Signal(number),
            _ if n_rejected == 0 => Self::Done,
            _ if n_done == 0 => Self::NotDone,
            _ => Self::SomeRejected,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_inputs_set_the_exit_code() {
        let code = |n_done, n_rejected| Exit::of_run(false, n_done, n_rejected).code();
        assert_eq!([code(0, 0), code(3, 0), code(3, 1), code(0, 1)], [0, 0, 1, 2]);
    }
}
