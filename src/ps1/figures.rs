//! What a run used, and which part of it the others waited for.

use super::progress::Progress;
use serde::Serialize;
use serde_json::json;
use std::time::Duration;

/// What one stage did, summed over its threads; times in seconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct StageFigures {
    pub busy: f64,
    /// Of busy time, what the CPU worked for the stage: its own threads, and those that make its chunks. Other work
    /// that it shares out to all cores is not in it, but in [`Figures::shared_cpu_seconds`].
    pub cpu: f64,
    pub waiting_for_input: f64,
    pub waiting_for_output: f64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub items: u64,
}

/// What a run used.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// By stage, in the order of the work.
    pub stages: serde_json::Value,
    /// Of the whole process, since the run began.
    pub cpu_seconds: f64,
    /// Of those, what no stage booked: work that is shared out to all cores.
    pub shared_cpu_seconds: f64,
    /// Which stage held up the others, in words.
    pub limited_by: String,
}

/// The stages in the order of the work.
pub const STAGES: [&str; 4] = ["reader", "preprocessor", "assembler", "saver"];

/// A run whose threads use this part of all cores cannot become faster by another order of work.
const ALL_CORES_BUSY: f64 = 0.85;
/// A stage that is busy, or a reader that waits for memory, this part of the time holds up the others.
const HOLDS_UP: f64 = 0.6;

impl Figures {
    /// What was used since `cpu_before`; reading and computing have `n_threads` threads each. `budget_binds`: whether a
    /// larger memory budget would let more in.
    ///
    /// `card_wait_seconds`: what the assembler waited for a graphics card.
    pub fn of(
        progress: &Progress,
        n_threads: usize,
        budget_binds: bool,
        seconds: f64,
        cpu_before: Duration,
        card_wait_seconds: f64,
    ) -> Self {
        let clocks = [&progress.reader, &progress.preprocessor, &progress.assembler, &progress.saver];
        let stages = clocks.map(super::progress::StageClock::figures);
        let cpu_seconds = process_cpu().saturating_sub(cpu_before).as_secs_f64();
        let shared_cpu_seconds = (cpu_seconds - stages.iter().map(|stage| stage.cpu).sum::<f64>()).max(0.0);
        let by_name = STAGES.iter().zip(stages).map(|(name, stage)| ((*name).to_owned(), json!(stage)));
        let n_cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let limited_by = if card_wait_seconds >= HOLDS_UP * seconds {
            let percent = (100.0 * card_wait_seconds / seconds).round();
            format!("the graphics card: waited for it {percent} % of the time; --backend cpu may be as fast")
        } else {
            limited_by(&stages, n_threads.max(1), n_cores, budget_binds, seconds, cpu_seconds)
        };
        let stages = serde_json::Value::Object(by_name.collect());
        Self { stages, cpu_seconds, shared_cpu_seconds, limited_by }
    }
}

/// Which part of a run the others waited for, as a sentence without a full stop.
fn limited_by(
    stages: &[StageFigures; 4],
    n_threads: usize,
    n_cores: usize,
    budget_binds: bool,
    seconds: f64,
    cpu_seconds: f64,
) -> String {
    let seconds = seconds.max(1e-9);
    let percent = |part: f64| (100.0 * part).round().min(100.0);
    let part_of_cores = cpu_seconds / (seconds * n_cores as f64);
    // Chunks are made for the assembler by all threads.
    let threads = [n_threads, n_threads, n_threads, 1];
    let busy = std::array::from_fn::<f64, 4, _>(|index| stages[index].busy / (seconds * threads[index] as f64));
    let (busiest, part) = busy.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0));
    if stages.iter().all(|stage| stage.items == 0) {
        return "nothing: there was no skycell to make".to_owned();
    }
    if part_of_cores >= ALL_CORES_BUSY {
        let stage_cpu = stages.map(|stage| stage.cpu);
        let shared = cpu_seconds - stage_cpu.iter().sum::<f64>();
        let most = stage_cpu.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        let most = match most {
            Some((index, cpu)) if cpu > shared => format!("the {}", STAGES[index]),
            _ => "work that all cores share (the coarse grid of the blur)".to_owned(),
        };
        return format!("computing: {n_cores} cores were {} % busy, most of it with {most}", percent(part_of_cores));
    }
    // For a tile's buffer.
    let waited_for_memory = stages[0].waiting_for_output / (seconds * n_threads as f64);
    if budget_binds && waited_for_memory >= HOLDS_UP && part < HOLDS_UP {
        return format!(
            "the memory budget: the reader waited {} % of the time for room; a larger --memory-budget helps",
            percent(waited_for_memory)
        );
    }
    let remedy = match busiest {
        0 => "the storage of the inputs, or more --threads for it",
        1 => "more cores and --threads",
        2 => "more cores, or --shard on several machines",
        _ => "faster storage for the results, or --shard on several machines",
    };
    format!("the {}: busy {} % of the time; what would help is {remedy}", STAGES[busiest], percent(part))
}

/// Time that the CPU has worked for this process, on all threads.
pub fn process_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(change: impl Fn(&mut [StageFigures; 4])) -> [StageFigures; 4] {
        let mut stages = [StageFigures { busy: 1.0, items: 4, ..StageFigures::default() }; 4];
        change(&mut stages);
        stages
    }

    #[test]
    fn the_stage_that_is_always_busy_is_named() {
        for (index, name) in STAGES.iter().enumerate() {
            // Two threads for each stage but the last: 18 s of 20.
            let busy = if index < 3 { 18.0 } else { 9.0 };
            let text = limited_by(&stages(|stages| stages[index].busy = busy), 2, 4, true, 10.0, 5.0);
            assert!(text.starts_with(&format!("the {name}: busy 90 %")), "{text}");
        }
    }

    #[test]
    fn full_cores_a_full_budget_and_nothing_to_do_are_named() {
        let text = limited_by(&stages(|stages| stages[1].cpu = 30.0), 2, 4, true, 10.0, 39.0);
        assert!(text.contains("4 cores were 98 %") && text.contains("the preprocessor"), "{text}");
        let text = limited_by(&stages(|_| ()), 2, 4, true, 10.0, 39.0);
        assert!(text.contains("blur"), "{text}");
        let waiting = stages(|stages| stages[0].waiting_for_output = 19.0);
        let text = limited_by(&waiting, 2, 4, true, 10.0, 9.0);
        assert!(text.contains("--memory-budget"), "{text}");
        let text = limited_by(&waiting, 2, 4, false, 10.0, 9.0);
        assert!(!text.contains("--memory-budget"), "{text}");
        let text =
            limited_by(&stages(|stages| stages.iter_mut().for_each(|stage| stage.items = 0)), 2, 4, true, 10.0, 9.0);
        assert!(text.contains("nothing"), "{text}");
    }

    #[test]
    fn the_process_has_used_time_and_memory() {
        let held = vec![1_u8; 32 << 20];
        assert!(crate::ps1::memory::peak_resident_bytes() >= held.iter().map(|byte| u64::from(*byte)).sum());
        assert!(process_cpu() > Duration::ZERO);
    }
}
