//! What every thread of a run did when, for the viewers of Chrome and Perfetto.
//!
//! Spans come through [`super::progress::StageClock`], so that every stage appears; two counters are sampled beside
//! them. All is kept in memory, up to a limit, and written as one file at the end of the run. Source of the form:
//! the "Trace Event Format" document of the Chromium project, in its JSON object form.

use crate::error::{Error, ErrorKind, Result};
use crate::image::publish;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Spans and samples kept: some 100 MB in memory. What comes later is only counted.
const MAX_EVENTS: usize = 1_000_000;
/// How every trace of this program begins.
const HEAD: &[u8; 19] = b"{\"displayTimeUnit\":";
/// Time between two samples of the counters.
const BETWEEN_SAMPLES: Duration = Duration::from_millis(20);

/// The record of a run.
#[derive(Debug)]
pub struct Trace {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they were first seen; the place is the number in the file.
    threads: Vec<ThreadRecord>,
    numbers: HashMap<ThreadId, usize>,
    events: Vec<Event>,
    n_dropped: usize,
}

#[derive(Debug)]
struct ThreadRecord {
    name: String,
    /// What the thread works on, for the spans that follow.
    subject: Option<Subject>,
}

/// A skycell, and the bytes of it that are worked on.
#[derive(Clone, Debug)]
struct Subject {
    name: Arc<str>,
    bytes: u64,
}

#[derive(Debug)]
enum Event {
    Span {
        thread: usize,
        category: &'static str,
        name: &'static str,
        from: Instant,
        to: Instant,
        subject: Option<Subject>,
    },
    Counters {
        at: Instant,
        bytes_in_flight: u64,
        memory_bytes: u64,
    },
}

/// What a span is about.
#[derive(Clone, Copy, Debug)]
pub enum About<'a> {
    Nothing,
    /// What [`Trace::subject`] was told last on this thread.
    Subject,
    /// The skycell of this name.
    Cell(&'a str),
}

impl Trace {
    /// An empty record, whose time begins now.
    #[expect(clippy::new_without_default, reason = "it holds the time of its making")]
    pub fn new() -> Self {
        Self { start: Instant::now(), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves at worst one event out.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what this thread works on from now on.
    pub fn subject(&self, name: &str, bytes: u64) {
        let mut state = self.lock();
        let thread = state.this_thread();
        state.threads[thread].subject = Some(Subject { name: name.into(), bytes });
    }

    /// Notes what this thread has just done, `category` being its stage. Spans of a thread may lie in one another.
    pub fn span(&self, category: &'static str, name: &'static str, from: Instant, about: About<'_>) {
        let to = Instant::now();
        let mut state = self.lock();
        let thread = state.this_thread();
        let subject = match about {
            About::Nothing => None,
            About::Subject => state.threads[thread].subject.clone(),
            About::Cell(name) => Some(Subject { name: name.into(), bytes: 0 }),
        };
        state.add(Event::Span { thread, category, name, from, to, subject });
    }

    fn sample(&self, bytes_in_flight: u64) {
        let memory_bytes = super::progress::memory_in_use().unwrap_or(0);
        self.lock().add(Event::Counters { at: Instant::now(), bytes_in_flight, memory_bytes });
    }

    /// Refuses a place where a trace cannot go, before the work: an earlier trace may be replaced, other files not.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] for another file; as [`publish::ensure_free`] where there is no folder.
    pub fn ensure_replaceable(path: &Path) -> Result<()> {
        publish::ensure_free(path, true)?;
        let mut start = [0; HEAD.len()];
        let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
        match read {
            Ok(()) if start == *HEAD => Ok(()),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(Error::new(ErrorKind::Exists, "a file that is no trace is there already")
                .file(path)
                .help("choose another --trace file, or remove this one")),
        }
    }

    /// Writes all that was recorded as one JSON object; the file appears whole or not at all, in place of an earlier
    /// one.
    ///
    /// # Errors
    /// As [`publish::write_file`].
    pub fn write(&self, path: &Path) -> Result<()> {
        publish::write_file(path, self.to_json().to_string().as_bytes(), true)
    }

    pub(super) fn to_json(&self) -> Value {
        let state = self.lock();
        let pid = std::process::id();
        let mut events = vec![json!({
            "ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": "skycache-gpu ps1"},
        })];
        for (number, thread) in state.threads.iter().enumerate() {
            let tid = number + 1;
            events
                .push(json!({"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": thread.name}}));
            events.push(json!({
                "ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid, "args": {"sort_index": tid},
            }));
        }
        events.extend(state.events.iter().map(|event| self.event_json(pid, event)));
        json!({
            // First, so that every trace begins as HEAD says.
            "displayTimeUnit": "ms",
            "traceEvents": events,
            "otherData": {"program": concat!("skycache-gpu ", env!("CARGO_PKG_VERSION")), "n_dropped": state.n_dropped},
        })
    }

    fn event_json(&self, pid: u32, event: &Event) -> Value {
        let microseconds = |at: Instant| at.saturating_duration_since(self.start).as_nanos() as f64 / 1e3;
        match event {
            Event::Span { thread, category, name, from, to, subject } => {
                let mut span = json!({
                    "ph": "X", "name": name, "cat": category, "pid": pid, "tid": thread + 1,
                    "ts": microseconds(*from), "dur": microseconds(*to) - microseconds(*from),
                });
                if let Some(Subject { name, bytes }) = subject {
                    span["args"] =
                        if *bytes == 0 { json!({"name": **name}) } else { json!({"name": **name, "bytes": bytes}) };
                }
                span
            }
            Event::Counters { at, bytes_in_flight, memory_bytes } => json!({
                "ph": "C", "name": "memory", "pid": pid, "tid": 0, "ts": microseconds(*at),
                "args": {"bytes in flight": bytes_in_flight, "resident bytes": memory_bytes},
            }),
        }
    }
}

impl State {
    fn this_thread(&mut self) -> usize {
        let thread = std::thread::current();
        if let Some(number) = self.numbers.get(&thread.id()) {
            return *number;
        }
        // Threads of a stage share its name; they are told apart by number.
        let name = thread.name().unwrap_or("unnamed");
        let n_alike = self.threads.iter().filter(|known| known.name.split(' ').next() == Some(name)).count();
        self.threads.push(ThreadRecord { name: format!("{name} {}", n_alike + 1), subject: None });
        self.numbers.insert(thread.id(), self.threads.len() - 1);
        self.threads.len() - 1
    }

    fn add(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push(event);
        } else {
            self.n_dropped += 1;
        }
    }
}

/// Samples the counters of a trace until it is dropped.
pub struct Sampler {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Sampler {
    /// Starts sampling; `bytes_in_flight` is asked on a thread of its own.
    pub fn start(trace: Arc<Trace>, bytes_in_flight: impl Fn() -> u64 + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let sample = move || {
            loop {
                // Once at least, and once at the end.
                trace.sample(bytes_in_flight());
                if until.load(Relaxed) {
                    break;
                }
                std::thread::park_timeout(BETWEEN_SAMPLES);
            }
        };
        // Without a thread there are no counters; the spans are there.
        Self { over, thread: std::thread::Builder::new().name("sampler".to_owned()).spawn(sample).ok() }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A sampler that broke down is no reason to fail.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_bear_their_thread_time_and_subject() {
        let trace = Arc::new(Trace::new());
        let of_other = Arc::clone(&trace);
        let work = move || {
            of_other.subject("skycell.2556.080", 7);
            let outer = Instant::now();
            let inner = Instant::now();
            std::thread::sleep(Duration::from_millis(2));
            of_other.span("reader", "inflate", inner, About::Cell("skycell.2556.079"));
            of_other.span("reader", "busy", outer, About::Subject);
        };
        for _ in 0..2 {
            let thread = std::thread::Builder::new().name("reader".to_owned()).spawn(work.clone()).unwrap();
            thread.join().unwrap();
        }
        let json = trace.to_json();
        let events = json["traceEvents"].as_array().unwrap();
        let names: Vec<_> = events.iter().filter(|e| e["name"] == "thread_name").map(|e| &e["args"]["name"]).collect();
        assert_eq!(names, ["reader 1", "reader 2"]);
        let spans: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
        assert_eq!(spans.len(), 4);
        assert_eq!(spans[0]["args"], json!({"name": "skycell.2556.079"}));
        assert_eq!(spans[1]["args"], json!({"name": "skycell.2556.080", "bytes": 7}));
        assert!(spans[1]["dur"].as_f64().unwrap() >= spans[0]["dur"].as_f64().unwrap());
        assert!(spans[0]["dur"].as_f64().unwrap() > 1e3, "times are in microseconds");
    }

    #[test]
    fn a_trace_replaces_a_trace_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.json");
        for _ in 0..2 {
            Trace::ensure_replaceable(&path).unwrap();
            Trace::new().write(&path).unwrap();
        }
        for other in ["", "SIMPLE  =                    T"] {
            std::fs::write(&path, other).unwrap();
            assert_eq!(Trace::ensure_replaceable(&path).unwrap_err().kind(), ErrorKind::Exists);
        }
    }

    #[test]
    fn a_sampler_notes_counters_until_it_goes() {
        let trace = Arc::new(Trace::new());
        drop(Sampler::start(Arc::clone(&trace), || 42));
        let Some(Event::Counters { bytes_in_flight: 42, memory_bytes, .. }) = trace.lock().events.pop() else {
            panic!("no sample")
        };
        assert!(memory_bytes > 1 << 20 || !cfg!(target_os = "linux"));
    }
}
