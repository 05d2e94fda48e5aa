//! Counters that the stages keep and anyone may read while a run goes on, and those who are told of each cell.
//!
//! A stage books its time through its [`StageClock`]; what is made of the figures stands in [`super::figures`], and
//! each booking is a span of the [`Trace`] if there is one. Showing any of it is left to others.

use super::Rejected;
use super::trace::Trace;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How one stage spends its time, summed over its threads, and what went through it.
#[derive(Debug, Default)]
pub struct StageClock {
    name: &'static str,
    trace: Option<Arc<Trace>>,
    busy_ns: AtomicU64,
    cpu_ns: AtomicU64,
    waiting_for_input_ns: AtomicU64,
    waiting_for_output_ns: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    items: AtomicU64,
}

/// What a stage's time went into.
#[derive(Clone, Copy, Debug)]
pub enum Spent {
    Busy,
    WaitingForInput,
    WaitingForOutput,
}

impl Spent {
    fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::WaitingForInput => "waiting for input",
            Self::WaitingForOutput => "waiting for output",
        }
    }
}

impl StageClock {
    fn new(name: &'static str, trace: Option<&Arc<Trace>>) -> Self {
        Self { name, trace: trace.cloned(), ..Self::default() }
    }

    /// Runs `work` and books its time; of busy time also what this thread's CPU worked.
    pub fn time<T>(&self, spent: Spent, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let is_busy = matches!(spent, Spent::Busy);
        let cpu_start = if is_busy { thread_cpu() } else { Duration::ZERO };
        let result = work();
        let account = match spent {
            Spent::Busy => &self.busy_ns,
            Spent::WaitingForInput => &self.waiting_for_input_ns,
            Spent::WaitingForOutput => &self.waiting_for_output_ns,
        };
        add_nanoseconds(account, start.elapsed());
        if is_busy {
            add_nanoseconds(&self.cpu_ns, thread_cpu().saturating_sub(cpu_start));
        }
        if let Some(trace) = &self.trace {
            trace.span(self.name, spent.name(), start, is_busy);
        }
        result
    }

    /// Says which skycell the busy time of this thread goes to from now on, and how many bytes of it, for the trace.
    pub fn about(&self, cell: &str, bytes: u64) {
        if let Some(trace) = &self.trace {
            trace.subject(cell, bytes);
        }
    }

    /// Counts bytes that came into the stage.
    pub fn add_bytes_in(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes that left the stage.
    pub fn add_bytes_out(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Relaxed);
    }

    /// Counts a skycell that the stage is done with.
    pub fn add_item(&self) {
        self.items.fetch_add(1, Relaxed);
    }

    /// What was booked so far.
    pub fn figures(&self) -> super::figures::StageFigures {
        let seconds = |ns: &AtomicU64| Duration::from_nanos(ns.load(Relaxed)).as_secs_f64();
        super::figures::StageFigures {
            busy: seconds(&self.busy_ns),
            cpu: seconds(&self.cpu_ns),
            waiting_for_input: seconds(&self.waiting_for_input_ns),
            waiting_for_output: seconds(&self.waiting_for_output_ns),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            items: self.items.load(Relaxed),
        }
    }
}

fn add_nanoseconds(account: &AtomicU64, time: Duration) {
    account.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
}

/// Time that the CPU has worked for this thread.
fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Bytes of this process in memory now, where the system tells.
pub fn memory_in_use() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = status.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// A skycell that is settled.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Its result is on the disk.
    Written { name: &'a str, projection: u32 },
    /// An earlier run had finished it with the same inputs and parameters.
    Kept { name: &'a str, projection: u32 },
    /// It could not be used.
    Rejected(&'a Rejected),
}

/// Who is told of every skycell as it is settled, on whichever thread that happens.
type Observer = Box<dyn Fn(Event<'_>) + Send + Sync>;
/// Tells the bytes of skycells in flight.
type Gauge = Box<dyn Fn() -> u64 + Send + Sync>;

/// The state of a run.
#[derive(Default)]
pub struct Progress {
    pub cells_wanted: AtomicU64,
    pub cells_done: AtomicU64,
    pub cells_kept: AtomicU64,
    pub cells_rejected: AtomicU64,
    pub rows_wanted: AtomicU64,
    pub rows_done: AtomicU64,
    pub bytes_read: AtomicU64,
    pub bytes_written: AtomicU64,
    pub cells_in_memory: AtomicU64,
    pub reader: StageClock,
    pub preprocessor: StageClock,
    pub assembler: StageClock,
    pub saver: StageClock,
    /// Why the graphics card was given up, if it was.
    pub fell_back: OnceLock<String>,
    observer: Option<Observer>,
    bytes_in_flight: OnceLock<Gauge>,
}

impl Progress {
    /// A state that tells `observer` of each skycell, and leaves the stages' spans in `trace`.
    pub fn watched(observer: Option<Observer>, trace: Option<&Arc<Trace>>) -> Self {
        Self {
            reader: StageClock::new("reader", trace),
            preprocessor: StageClock::new("preprocessor", trace),
            assembler: StageClock::new("assembler", trace),
            saver: StageClock::new("saver", trace),
            observer,
            ..Self::default()
        }
    }

    /// Tells the observer, if there is one.
    pub fn tell(&self, event: Event<'_>) {
        if let Some(observer) = &self.observer {
            observer(event);
        }
    }

    /// Says who knows the bytes in flight; the first to say so counts.
    pub fn set_bytes_in_flight(&self, gauge: impl Fn() -> u64 + Send + Sync + 'static) {
        let _ = self.bytes_in_flight.set(Box::new(gauge));
    }

    /// Bytes of skycells in flight; 0 before anybody knows.
    pub fn bytes_in_flight(&self) -> u64 {
        self.bytes_in_flight.get().map_or(0, |gauge| gauge())
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = (&self.cells_done, &self.cells_wanted, &self.cells_kept, &self.cells_rejected);
        f.debug_struct("Progress").field("done, wanted, kept, rejected", &counters).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_has_cpu_time_and_waiting_has_none() {
        let clock = StageClock::default();
        clock.time(Spent::WaitingForInput, || std::thread::sleep(Duration::from_millis(20)));
        let slept = clock.figures();
        assert!(slept.waiting_for_input >= 0.02 && slept.cpu == 0.0 && slept.busy == 0.0);
        clock.time(Spent::Busy, || std::thread::sleep(Duration::from_millis(20)));
        let idle = clock.figures();
        assert!(idle.busy >= 0.02 && idle.cpu < 0.01, "{idle:?}");
        clock.time(Spent::Busy, || {
            let until = thread_cpu() + Duration::from_millis(20);
            while thread_cpu() < until {}
        });
        let worked = clock.figures();
        assert!(worked.cpu >= 0.02 && worked.busy >= idle.busy + 0.02, "{worked:?}");
    }

    #[test]
    fn busy_spans_of_the_trace_bear_their_skycell_and_waiting_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.json");
        let trace = Arc::new(Trace::create(&path).unwrap());
        let progress = Progress::watched(None, Some(&trace));
        progress.saver.about("skycell.2556.080", 9);
        progress.saver.time(Spent::WaitingForInput, || ());
        progress.saver.time(Spent::Busy, || ());
        trace.finish().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let spans: Vec<_> = json["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X").collect();
        let names: Vec<_> = spans.iter().map(|span| (span["cat"].as_str(), span["name"].as_str())).collect();
        assert_eq!(names, [(Some("saver"), Some("waiting for input")), (Some("saver"), Some("busy"))]);
        assert_eq!(spans[0].get("args"), None);
        assert_eq!(spans[1]["args"], serde_json::json!({"name": "skycell.2556.080", "bytes": 9}));
    }

    #[test]
    fn without_a_trace_a_booking_costs_next_to_nothing() {
        let clock = StageClock::default();
        let n = 100_000;
        let start = thread_cpu();
        for _ in 0..n {
            clock.time(Spent::Busy, || ());
            clock.about("skycell.2556.080", 1);
        }
        let each = (thread_cpu() - start) / n;
        // Two readings of two clocks; a cell takes a few of them and tens of milliseconds at least.
        assert!(each < Duration::from_micros(20), "{each:?}");
    }
}
