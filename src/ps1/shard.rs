//! A part of a run for one job of many: which part, and how work is divided.
//!
//! The division is made of the list alone, before anybody looks at what is finished: the same list, options and
//! number of shards give the same parts on every machine and at any time. What a part is made of is left to the
//! caller; here it is a row of items that come in groups.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// One of several parts: `1/4` is the first of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1 on.
    index: usize,
    of: usize,
}

/// What a user asked for: a shard by number, or that of the array job this process belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardChoice {
    Given(Shard),
    Auto,
}

/// More jobs than any cluster runs; a larger number is a slip.
const MAX_SHARDS: usize = 1_000_000;

/// A part of the work may be this much smaller or larger than its share, as 1 / `SLACK`, to end with a group.
const SLACK: usize = 8;

impl Shard {
    /// # Errors
    /// [`ErrorKind::Parameter`] unless `index` is from 1 to `of`.
    pub fn new(index: usize, of: usize) -> Result<Self> {
        if (1..=of).contains(&index) && of <= MAX_SHARDS {
            return Ok(Self { index, of });
        }
        Err(Error::new(ErrorKind::Parameter, format!("there is no shard {index} of {of}")).help(SPELLING))
    }

    /// The items of this shard, of as many as all groups have together; they come in the order of the groups.
    ///
    /// Shards are runs of items that follow each other, together all of them and none twice. Each has its share of
    /// the items but for an eighth of a share at either end, which it may give or take to begin and end with a group.
    pub fn part(&self, group_sizes: &[usize]) -> Range<usize> {
        let n_items: usize = group_sizes.iter().sum();
        let mut group_ends = vec![0];
        for size in group_sizes {
            group_ends.push(group_ends[group_ends.len() - 1] + size);
        }
        let boundary = |index: usize| {
            // All in units of 1 / `of` items, so that nothing is rounded before the end.
            let ideal = index * n_items;
            let distance = |end: usize| (end * self.of).abs_diff(ideal);
            let nearest = group_ends.iter().copied().min_by_key(|end| distance(*end)).unwrap_or(0);
            if distance(nearest) * SLACK <= n_items { nearest } else { ideal / self.of }
        };
        boundary(self.index - 1)..boundary(self.index)
    }
}

const SPELLING: &str = "write it as I/N with I from 1 to N, as in --shard 1/4, or --shard auto in an array job";

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl serde::Serialize for Shard {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for ShardChoice {
    type Err = Error;

    /// `I/N`, or `auto`.
    fn from_str(text: &str) -> Result<Self> {
        if text.trim().eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        let numbers = text
            .split_once('/')
            .and_then(|(index, of)| Some((index.trim().parse::<usize>().ok()?, of.trim().parse::<usize>().ok()?)));
        let (index, of) = numbers
            .ok_or_else(|| Error::new(ErrorKind::Parameter, format!("{text:?} is not a shard")).help(SPELLING))?;
        Shard::new(index, of).map(Self::Given)
    }
}

impl ShardChoice {
    /// The shard given, or that of this process's place in its array job.
    ///
    /// # Errors
    /// [`ErrorKind::Parameter`] for `auto` outside of an array job, or in one whose place cannot be told.
    pub fn resolve(self) -> Result<Shard> {
        match self {
            Self::Given(shard) => Ok(shard),
            Self::Auto => Shard::of_environment(&|name| std::env::var(name).ok()),
        }
    }
}

/// How a scheduler tells a process its place: variables for the task's number, the first, the last and the step.
struct Scheduler {
    name: &'static str,
    task: &'static str,
    first: &'static str,
    last: &'static str,
    step: &'static str,
    /// Tasks in all, where the scheduler tells.
    count: Option<&'static str>,
}

const SCHEDULERS: [Scheduler; 2] = [
    // Source: sbatch(1), "Job arrays".
    Scheduler {
        name: "SLURM",
        task: "SLURM_ARRAY_TASK_ID",
        first: "SLURM_ARRAY_TASK_MIN",
        last: "SLURM_ARRAY_TASK_MAX",
        step: "SLURM_ARRAY_TASK_STEP",
        count: Some("SLURM_ARRAY_TASK_COUNT"),
    },
    // Source: qsub(1) of Grid Engine, option -t.
    Scheduler {
        name: "Grid Engine",
        task: "SGE_TASK_ID",
        first: "SGE_TASK_FIRST",
        last: "SGE_TASK_LAST",
        step: "SGE_TASK_STEPSIZE",
        count: None,
    },
];

/// Schedulers that tell a task its number, but not how many there are.
const NUMBER_ONLY: [&str; 3] = ["PBS_ARRAY_INDEX", "PBS_ARRAYID", "LSB_JOBINDEX"];

impl Shard {
    fn of_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let number = |name: &str| variable(name).and_then(|text| text.trim().parse::<usize>().ok());
        for scheduler in &SCHEDULERS {
            if let Some(task) = number(scheduler.task) {
                return scheduler.shard(task, &number);
            }
        }
        let without = Error::new(ErrorKind::Parameter, "--shard auto needs an array job, and this process is in none");
        match NUMBER_ONLY.iter().find(|name| number(name).is_some_and(|task| task > 0)) {
            Some(name) => Err(Error::new(
                ErrorKind::Parameter,
                format!("--shard auto knows {name}, but not how many tasks there are"),
            )
            .help(format!("give --shard \"${name}/N\" with the array's number of tasks for N, numbered from 1"))),
            None => Err(without.help("start it with sbatch --array or qsub -t, or give --shard I/N")),
        }
    }
}

impl Scheduler {
    fn shard(&self, task: usize, number: &dyn Fn(&str) -> Option<usize>) -> Result<Shard> {
        let unclear = |why: String| {
            Error::new(ErrorKind::Parameter, format!("the place in the {} array job is not clear: {why}", self.name))
                .help("number the tasks evenly, as in --array=1-16, or give --shard I/N")
        };
        let first = number(self.first).ok_or_else(|| unclear(format!("{} is not set", self.first)))?;
        let last = number(self.last);
        let count = self.count.and_then(number);
        let step = number(self.step).filter(|step| *step > 0);
        let of = match (count, last) {
            (Some(count), _) => count,
            (None, Some(last)) => last.saturating_sub(first) / step.unwrap_or(1) + 1,
            (None, None) => return Err(unclear(format!("{} is not set", self.last))),
        };
        let step = step.or_else(|| last?.checked_sub(first)?.checked_div(of.checked_sub(1)?)).unwrap_or(1).max(1);
        // A list such as 1,3,7 does not tell which place 3 has in it.
        let end = first.saturating_add(step.saturating_mul(of.saturating_sub(1)));
        let is_even = last.is_none_or(|last| (end..end.saturating_add(step)).contains(&last));
        let offset = task.checked_sub(first).filter(|offset| offset.is_multiple_of(step) && offset / step < of);
        match offset {
            Some(offset) if is_even => Shard::new(offset / step + 1, of),
            _ => Err(unclear(format!("task {task} of {of} from {first} on"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(n_shards: usize, groups: &[usize]) -> Vec<Range<usize>> {
        (1..=n_shards).map(|index| Shard::new(index, n_shards).unwrap().part(groups)).collect()
    }

    #[test]
    fn parts_are_all_of_the_work_and_nothing_twice() {
        for groups in [vec![], vec![1], vec![10; 10], vec![3, 1, 4, 1, 5, 9, 2, 6], vec![1; 7], vec![40, 1, 1]] {
            for n_shards in [1, 2, 3, 4, 7, 60] {
                let parts = parts(n_shards, &groups);
                assert_eq!(parts[0].start, 0);
                assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start), "{parts:?}");
                assert_eq!(parts[n_shards - 1].end, groups.iter().sum::<usize>());
            }
        }
    }

    #[test]
    fn parts_are_alike_and_end_with_rows_where_that_costs_little() {
        // 100 cells in rows of 10: whole rows for 2 and 5 shards, and for 3 with a third of a row to give.
        assert_eq!(parts(2, &[10; 10]), [0..50, 50..100]);
        assert_eq!(parts(3, &[10; 10]), [0..30, 30..70, 70..100]);
        // Fewer rows than shards: rows are split.
        assert_eq!(parts(4, &[4, 4]), [0..2, 2..4, 4..6, 6..8]);
        assert_eq!(parts(3, &[1]), [0..0, 0..0, 0..1]);
        for n_shards in 1..40 {
            let share = 1036.0 / n_shards as f64;
            let groups = [7, 9, 10, 10, 10, 10, 8, 10].repeat(14);
            assert_eq!(groups.iter().sum::<usize>(), 1036);
            for part in parts(n_shards, &groups) {
                let n = part.len() as f64;
                assert!((n - share).abs() <= share / 4.0 + 1.0, "{n} of a share of {share}");
            }
        }
    }

    #[test]
    fn only_shards_that_exist_are_read() {
        assert_eq!("2/4".parse::<ShardChoice>().unwrap(), ShardChoice::Given(Shard { index: 2, of: 4 }));
        assert_eq!("auto".parse::<ShardChoice>().unwrap(), ShardChoice::Auto);
        for text in ["", "0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/2/3"] {
            let error = text.parse::<ShardChoice>().unwrap_err();
            assert!(error.advice().unwrap().contains("I/N"), "{text}: {error}");
        }
    }

    fn environment(pairs: &[(&str, &str)]) -> Result<Shard> {
        let find = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Shard::of_environment(&find)
    }

    #[test]
    fn array_jobs_tell_their_shard() {
        let slurm = |id, count, min, max, step| {
            environment(&[
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_COUNT", count),
                ("SLURM_ARRAY_TASK_MIN", min),
                ("SLURM_ARRAY_TASK_MAX", max),
                ("SLURM_ARRAY_TASK_STEP", step),
            ])
        };
        assert_eq!(slurm("0", "4", "0", "3", "1").unwrap().to_string(), "1/4");
        assert_eq!(slurm("9", "4", "3", "9", "2").unwrap().to_string(), "4/4");
        let few = [("SLURM_ARRAY_TASK_ID", "5"), ("SLURM_ARRAY_TASK_COUNT", "8"), ("SLURM_ARRAY_TASK_MIN", "1")];
        assert_eq!(environment(&few).unwrap().to_string(), "5/8");
        // The list 1,3,7.
        assert!(slurm("3", "3", "1", "7", "1").is_err());
        let sge = |id, last, step| {
            environment(&[
                ("SGE_TASK_ID", id),
                ("SGE_TASK_FIRST", "1"),
                ("SGE_TASK_LAST", last),
                ("SGE_TASK_STEPSIZE", step),
            ])
        };
        assert_eq!(sge("7", "10", "3").unwrap().to_string(), "3/4");
        assert_eq!(sge("4", "5", "3").unwrap().to_string(), "2/2");
        // Outside of an array Grid Engine says "undefined".
        assert!(sge("undefined", "undefined", "undefined").is_err());
    }

    #[test]
    fn outside_of_an_array_job_the_help_says_what_to_give() {
        assert!(environment(&[]).unwrap_err().advice().unwrap().contains("--shard I/N"));
        let pbs = environment(&[("PBS_ARRAY_INDEX", "3")]).unwrap_err();
        assert!(pbs.advice().unwrap().contains("$PBS_ARRAY_INDEX/N"), "{:?}", pbs.advice());
    }
}
