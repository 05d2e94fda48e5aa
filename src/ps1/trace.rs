//! What every thread of a run did when, for the viewers of Chrome and Perfetto.
//!
//! Spans come through [`super::progress::StageClock`], so that every stage appears; two counters are sampled beside
//! them. Each goes to the file at once, through a buffer: memory is for the run. The file stays hidden until the run
//! ends. Source of the form: the "Trace Event Format" document of the Chromium project, in its JSON object form.

use crate::error::{Error, ErrorKind, Result};
use crate::image::publish::{self, Staged};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Spans and samples written: some 150 MB. What comes later is only counted.
const MAX_EVENTS: usize = 1_000_000;
/// Bytes that wait in memory: some 400 events.
const BUFFER_BYTES: usize = 1 << 16;
/// How every trace of this program begins.
const HEAD: &[u8; 19] = b"{\"displayTimeUnit\":";
/// Time between two samples of the counters.
const BETWEEN_SAMPLES: Duration = Duration::from_millis(20);

/// The record of a run.
#[derive(Debug)]
pub struct Trace {
    start: Instant,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` when all is written.
    staged: Option<Staged>,
    /// An error when one write failed, after which nothing is written any more.
    file: io::Result<BufWriter<File>>,
    /// In the order in which they were first seen; the place is the number in the file, from 1.
    threads: Vec<ThreadRecord>,
    numbers: HashMap<ThreadId, usize>,
    /// Events that may still be written.
    n_left: usize,
    n_dropped: usize,
}

#[derive(Debug)]
struct ThreadRecord {
    name: String,
    /// What the thread works on, for the spans that follow: the name of a skycell, and the bytes of it.
    subject: Option<(String, u64)>,
}

impl Trace {
    /// Begins a record, whose time begins now, in the place of an earlier trace but of no other file.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] for another file; as [`Staged::file`] where none can be made.
    pub fn create(path: &Path) -> Result<Self> {
        ensure_replaceable(path)?;
        let staged = Staged::file(path)?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, staged.open_file()?);
        let (staged, file) = (Some(staged), Ok(file));
        let (threads, numbers) = (Vec::new(), HashMap::new());
        let mut state = State { staged, file, threads, numbers, n_left: MAX_EVENTS, n_dropped: 0 };
        let process =
            json!({"ph": "M", "name": "process_name", "pid": pid(), "tid": 0, "args": {"name": "skycache-gpu ps1"}});
        state.write(|file| {
            file.write_all(HEAD)?;
            write!(file, "\"ms\",\"traceEvents\":[\n{process}")
        });
        Ok(Self { start: Instant::now(), path: path.to_path_buf(), state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves at worst one event out.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what this thread works on from now on.
    pub fn subject(&self, name: &str, bytes: u64) {
        let mut state = self.lock();
        let thread = state.this_thread();
        state.threads[thread].subject = Some((name.to_owned(), bytes));
    }

    /// Notes what this thread has just done, `category` being its stage; `has_subject` if it was done to what
    /// [`Self::subject`] was told last. Spans of a thread may lie in one another.
    pub fn span(&self, category: &'static str, name: &'static str, from: Instant, has_subject: bool) {
        let (from, to) = (self.microseconds(from), self.microseconds(Instant::now()));
        let mut state = self.lock();
        let thread = state.this_thread();
        let mut span = json!({
            "ph": "X", "name": name, "cat": category, "pid": pid(), "tid": thread + 1, "ts": from, "dur": to - from,
        });
        if let Some((name, bytes)) = state.threads[thread].subject.as_ref().filter(|_| has_subject) {
            span["args"] = json!({"name": name, "bytes": bytes});
        }
        state.add(&span);
    }

    fn sample(&self, bytes_in_flight: u64) {
        let memory_bytes = super::progress::memory_in_use().unwrap_or(0);
        self.lock().add(&json!({
            "ph": "C", "name": "memory", "pid": pid(), "tid": 0, "ts": self.microseconds(Instant::now()),
            "args": {"bytes in flight": bytes_in_flight, "resident bytes": memory_bytes},
        }));
    }

    fn microseconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.start).as_nanos() as f64 / 1e3
    }

    /// Ends the record, and gives the file its name; later spans are left out.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`] or [`ErrorKind::Io`] if any write has failed; then there is no file.
    pub fn finish(&self) -> Result<()> {
        let mut state = self.lock();
        let Some(staged) = state.staged.take() else { return Ok(()) };
        let program = concat!("skycache-gpu ", env!("CARGO_PKG_VERSION"));
        let facts = json!({"program": program, "n_dropped": state.n_dropped});
        state.write(|file| {
            write!(file, "\n],\"otherData\":{facts}}}")?;
            file.flush()
        });
        let file = std::mem::replace(&mut state.file, Err(io::ErrorKind::BrokenPipe.into()));
        drop(file.map_err(|cause| Error::io("write the trace", &self.path, cause))?);
        staged.publish(true)
    }
}

/// Refuses a place where a trace cannot go: an earlier trace may be replaced, other files not.
fn ensure_replaceable(path: &Path) -> Result<()> {
    publish::ensure_free(path, true)?;
    let mut start = [0; HEAD.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    match read {
        Ok(()) if start == *HEAD => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(Error::new(ErrorKind::Exists, "a file that is no trace is there already")
            .file(path)
            .help("choose another --trace file, or remove this one")),
    }
}

fn pid() -> u32 {
    std::process::id()
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
        let name = format!("{name} {}", n_alike + 1);
        let (number, tid) = (self.threads.len(), self.threads.len() + 1);
        self.describe(&json!({"ph": "M", "name": "thread_name", "pid": pid(), "tid": tid, "args": {"name": name}}));
        let sort_index = json!({"sort_index": tid});
        self.describe(&json!({"ph": "M", "name": "thread_sort_index", "pid": pid(), "tid": tid, "args": sort_index}));
        self.threads.push(ThreadRecord { name, subject: None });
        self.numbers.insert(thread.id(), number);
        number
    }

    /// Writes a span or a sample, unless there are too many.
    fn add(&mut self, event: &Value) {
        match self.n_left.checked_sub(1) {
            Some(n_left) => {
                self.n_left = n_left;
                self.describe(event);
            }
            None => self.n_dropped += 1,
        }
    }

    /// Writes an event that does not count.
    fn describe(&mut self, event: &Value) {
        self.write(|file| write!(file, ",\n{event}"));
    }

    fn write(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        if let Ok(file) = &mut self.file
            && let Err(cause) = write(file)
        {
            self.file = Err(cause);
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

    fn in_new_folder() -> (tempfile::TempDir, PathBuf, Arc<Trace>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.json");
        let trace = Arc::new(Trace::create(&path).unwrap());
        (dir, path, trace)
    }

    fn read(path: &Path) -> Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn spans_bear_their_thread_time_and_subject() {
        let (_dir, path, trace) = in_new_folder();
        let of_other = Arc::clone(&trace);
        let work = move || {
            of_other.subject("skycell.2556.080", 7);
            let outer = Instant::now();
            let inner = Instant::now();
            std::thread::sleep(Duration::from_millis(2));
            of_other.span("reader", "waiting for input", inner, false);
            of_other.span("reader", "busy", outer, true);
        };
        for _ in 0..2 {
            let thread = std::thread::Builder::new().name("reader".to_owned()).spawn(work.clone()).unwrap();
            thread.join().unwrap();
        }
        trace.finish().unwrap();
        let json = read(&path);
        let events = json["traceEvents"].as_array().unwrap();
        let names: Vec<_> = events.iter().filter(|e| e["name"] == "thread_name").map(|e| &e["args"]["name"]).collect();
        assert_eq!(names, ["reader 1", "reader 2"]);
        let spans: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
        assert_eq!(spans.len(), 4);
        assert_eq!(spans[0].get("args"), None);
        assert_eq!(spans[1]["args"], json!({"name": "skycell.2556.080", "bytes": 7}));
        assert!(spans[1]["dur"].as_f64().unwrap() >= spans[0]["dur"].as_f64().unwrap());
        assert!(spans[0]["dur"].as_f64().unwrap() > 1e3, "times are in microseconds");
    }

    #[test]
    fn events_go_to_the_disk_while_the_run_goes_on() {
        let (dir, path, trace) = in_new_folder();
        let n_events = 5_000;
        (0..n_events).for_each(|_| trace.span("reader", "busy", Instant::now(), false));
        let hidden = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap();
        let n_bytes = hidden.metadata().unwrap().len();
        assert!(!path.exists());
        trace.finish().unwrap();
        let n_in_all = path.metadata().unwrap().len();
        assert!(n_in_all > 5 * BUFFER_BYTES as u64, "{n_in_all}");
        assert!(n_in_all - n_bytes <= 2 * BUFFER_BYTES as u64, "{n_bytes} of {n_in_all} bytes were on the disk");
        let spans = |json: &Value| json["traceEvents"].as_array().unwrap().iter().filter(|e| e["ph"] == "X").count();
        assert_eq!(spans(&read(&path)), n_events);
    }

    #[test]
    fn events_beyond_the_limit_are_counted_and_left_out() {
        let (_dir, path, trace) = in_new_folder();
        trace.lock().n_left = 2;
        (0..5).for_each(|_| trace.span("reader", "busy", Instant::now(), false));
        trace.finish().unwrap();
        let json = read(&path);
        // The process, two events of the thread, and two spans.
        assert_eq!((json["traceEvents"].as_array().unwrap().len(), &json["otherData"]["n_dropped"]), (5, &json!(3)));
    }

    #[test]
    fn a_full_disk_is_told_in_the_end() {
        let (dir, path, trace) = in_new_folder();
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        trace.lock().file = Ok(BufWriter::new(full));
        (0..500).for_each(|_| trace.span("reader", "busy", Instant::now(), false));
        let error = trace.finish().unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::NoSpace, Some(path.as_path())));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        trace.finish().unwrap();
    }

    #[test]
    fn a_trace_replaces_a_trace_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.json");
        for _ in 0..2 {
            Trace::create(&path).unwrap().finish().unwrap();
        }
        for other in ["", "SIMPLE  =                    T"] {
            std::fs::write(&path, other).unwrap();
            assert_eq!(Trace::create(&path).unwrap_err().kind(), ErrorKind::Exists);
        }
    }

    #[test]
    fn a_sampler_notes_counters_until_it_goes() {
        let (_dir, path, trace) = in_new_folder();
        drop(Sampler::start(Arc::clone(&trace), || 42));
        trace.finish().unwrap();
        let json = read(&path);
        let sample = json["traceEvents"].as_array().unwrap().iter().find(|event| event["ph"] == "C").unwrap();
        assert_eq!(sample["args"]["bytes in flight"], 42);
        assert!(sample["args"]["resident bytes"].as_u64().unwrap() > 1 << 20 || !cfg!(target_os = "linux"));
    }
}
