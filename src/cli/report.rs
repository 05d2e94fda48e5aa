//! All printing: results to stdout, everything else to stderr.

use crate::error::Error;
use crate::ps1::Rejected;
use std::io::{IsTerminal, Write};

/// Starts the log on stderr: warnings, with `-v` progress, with `-vv` everything; `-q` errors only.
pub fn start_logging(verbose: u8, quiet: bool) {
    use tracing::Level;
    let level = match (quiet, verbose) {
        (true, _) => Level::ERROR,
        (false, 0) => Level::WARN,
        (false, 1) => Level::INFO,
        (false, _) => Level::DEBUG,
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .event_format(super::log::Lines);
    // A second start in one process (tests do it) keeps the first log.
    let _ = log.try_init();
}

/// Prints rows of one length as columns on stdout: the first to the left, the others to the right.
pub fn table(rows: &[Vec<String>]) {
    let Some(first) = rows.first() else { return };
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..first.len()).map(width).collect();
    for row in rows {
        let mut text = format!("{:<1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            text.push_str(&format!("  {cell:>width$}"));
        }
        line(&text);
    }
}

/// Prints a failure as `error:`, `file:` and `help:` lines on stderr, with `--json` also as an object on stdout.
pub fn failure(error: &Error, json: bool) {
    let mut text = format!("error: {}\n", error.chain());
    if let Some(file) = error.path().filter(|file| !file.as_os_str().is_empty()) {
        text.push_str(&format!("  file: {}\n", file.display()));
    }
    if let Some(help) = error.advice() {
        text.push_str(&format!("  help: {help}\n"));
    }
    // Nobody is left to tell if stderr is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
    if json {
        object(&serde_json::json!({ "error": describe(error) }));
    }
}

/// Prints lines on stderr.
pub fn notes(lines: impl Iterator<Item = String>) {
    let mut stderr = std::io::stderr().lock();
    for line in lines {
        // Nobody is left to tell if stderr is closed.
        let _ = writeln!(stderr, "{line}");
    }
}

/// Lists inputs that were refused on stderr, each with its reason, file and what to do.
pub fn rejected(list: &[Rejected]) {
    let mut text = String::new();
    for rejected in list {
        text.push_str(&format!("rejected: {}: {}\n", rejected.name, rejected.reason));
        if let Some(file) = &rejected.file {
            text.push_str(&format!("  file: {}\n", file.display()));
        }
        if let Some(help) = &rejected.help {
            text.push_str(&format!("  help: {help}\n"));
        }
    }
    // Nobody is left to tell if stderr is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// An error as JSON: `reason`, `file`, `help`.
pub fn describe(error: &Error) -> serde_json::Value {
    serde_json::json!({
        "reason": error.chain(),
        "file": error.path().map(|file| file.display().to_string()),
        "help": error.advice(),
    })
}

/// Prints one JSON object as a line on stdout.
pub fn object(value: &serde_json::Value) {
    line(&value.to_string());
}

/// Prints one line on stdout; a reader that went away (`| head`) is no failure.
pub fn line(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // Whoever follows a run wants each line when it is printed.
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
