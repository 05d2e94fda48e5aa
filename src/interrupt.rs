//! SIGINT and SIGTERM as a flag that long work asks for, so that it can stop at a whole step.

use crate::error::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

static SIGNAL: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// Installs the handlers; a second signal of either kind ends the process at once.
///
/// # Errors
/// If the operating system refuses a handler.
pub fn install() -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
    let refused = |cause| Error::io("install the signal handlers", "", cause);
    for signal in [SIGINT, SIGTERM] {
        let exit_code = 128 + signal;
        // Order matters: the conditional exit sees the flag as the first signal left it.
        let already = Arc::clone(&SECOND);
        signal_hook::flag::register_conditional_shutdown(signal, exit_code, already).map_err(refused)?;
        signal_hook::flag::register(signal, Arc::clone(&SECOND)).map_err(refused)?;
        let number = usize::try_from(signal).expect("signal numbers are small and positive");
        signal_hook::flag::register_usize(signal, Arc::clone(&SIGNAL), number).map_err(refused)?;
    }
    // A file size limit must end in an error of the write, which is reported, not in a dead process.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map_err(refused)?;
    Ok(())
}

static SECOND: LazyLock<Arc<std::sync::atomic::AtomicBool>> = LazyLock::new(Arc::default);

/// The signal that asked the program to stop, if one came.
pub fn signal() -> Option<i32> {
    match SIGNAL.load(Ordering::Relaxed) {
        0 => None,
        number => i32::try_from(number).ok(),
    }
}

/// Ends with [`ErrorKind::Interrupted`] once a signal has come; called between steps of long work.
///
/// # Errors
/// [`ErrorKind::Interrupted`] after SIGINT or SIGTERM.
pub fn check() -> Result<()> {
    signal().map_or(Ok(()), |_| Err(error()))
}

/// The error of work that a signal has stopped.
pub fn error() -> Error {
    Error::new(ErrorKind::Interrupted, "stopped by a signal before the end")
}
