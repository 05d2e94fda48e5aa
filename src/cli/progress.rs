//! Shows a run while it goes on: a bar on a terminal, else a line at most every ten seconds.

use crate::ps1::Progress;
use crate::ps1::progress::memory_in_use;
use crate::units::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const BETWEEN_LINES: Duration = Duration::from_secs(10);
const BETWEEN_DRAWS: Duration = Duration::from_millis(200);

/// The display of one run; gone when dropped.
pub struct Display {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How far a command is.
pub struct Shown {
    /// The command, and what it counts.
    pub command: &'static str,
    pub items: &'static str,
    pub done: u64,
    pub wanted: u64,
    /// What else there is to say.
    pub text: String,
}

impl Display {
    /// Starts showing a run of `ps1` on stderr; shows nothing if `quiet`.
    pub fn start(progress: Arc<Progress>, quiet: bool) -> Self {
        Self::of(quiet, move |elapsed| Shown {
            command: "ps1",
            items: "cells",
            done: progress.cells_done.load(Relaxed),
            wanted: progress.cells_wanted.load(Relaxed),
            text: line(&progress, elapsed),
        })
    }

    /// Starts showing what `look` sees, given the time since the start; shows nothing if `quiet`.
    pub fn of(quiet: bool, look: impl Fn(Duration) -> Shown + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let thread = (!quiet).then(|| std::thread::spawn(move || show(look, &until)));
        Self { over, thread }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A display that broke down is no reason to fail.
            let _ = thread.join();
        }
    }
}

fn show(look: impl Fn(Duration) -> Shown, over: &AtomicBool) {
    let start = Instant::now();
    let bar = std::io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {prefix}  {msg}");
        ProgressBar::new(0).with_style(style.expect("the template is a constant that was tried"))
    });
    let mut last_line = Instant::now();
    while !over.load(Relaxed) {
        std::thread::park_timeout(BETWEEN_DRAWS);
        match &bar {
            Some(bar) => {
                let Shown { items, done, wanted, text, .. } = look(start.elapsed());
                bar.set_length(wanted);
                bar.set_position(done);
                bar.set_prefix(items);
                bar.set_message(text);
            }
            None if last_line.elapsed() >= BETWEEN_LINES => {
                let Shown { command, items, done, wanted, text } = look(start.elapsed());
                let text = if text.is_empty() { text } else { format!(", {text}") };
                eprintln!("{command}: {done}/{wanted} {items}{text}");
                last_line = Instant::now();
            }
            None => {}
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

/// Rows, rates, queue and memory, and the time left at the rate so far.
fn line(progress: &Progress, elapsed: Duration) -> String {
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    let per_second = |bytes: u64| ByteSize((bytes as f64 / elapsed.as_secs_f64().max(1e-3)) as u64);
    let (done, wanted) = (count(&progress.cells_done), count(&progress.cells_wanted));
    let left = match done {
        0 => String::new(),
        done => {
            let seconds = elapsed.as_secs_f64() / done as f64 * wanted.saturating_sub(done) as f64;
            format!(", {:.0} s left", seconds)
        }
    };
    format!(
        "{}/{} rows, read {}/s, {} cells waiting, {} in memory{left}",
        count(&progress.rows_done),
        count(&progress.rows_wanted),
        per_second(count(&progress.bytes_read)),
        count(&progress.cells_in_memory),
        memory_in_use().map_or_else(|| "?".to_owned(), |bytes| ByteSize(bytes).to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_ends_without_waiting_for_its_next_draw() {
        let start = Instant::now();
        for _ in 0..20 {
            let display = Display::start(Arc::new(Progress::default()), false);
            // The thread is asleep by now.
            std::thread::sleep(Duration::from_millis(10));
            drop(display);
        }
        assert!(start.elapsed() < 10 * BETWEEN_DRAWS, "{:?}", start.elapsed());
    }
}
