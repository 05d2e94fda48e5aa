//! `auto`, `cpu` or `gpu`: the choice, and its reason.
//!
//! `cpu` asks no driver for anything. `gpu` takes a card or fails. `auto` takes one where the work is long enough
//! ([`Work`]) and a card is there: never a software adapter, unless that is named.

use super::{Choice, Gpu};
use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result};
use std::sync::Arc;

/// Where a user wants it computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// On a card if that is sooner done, else on the CPU.
    #[default]
    Auto,
    Cpu,
    /// On a card or not at all.
    Gpu,
}

/// What a user asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub backend: Backend,
    /// The adapter, if one was named.
    pub adapter: Option<Choice>,
    /// Of its memory; `None` for 80 %.
    pub memory_bytes: Option<u64>,
}

/// What there is to do, as far as the choice needs it; seconds are estimates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// So much that opening a card is nothing beside it.
    Long,
    /// Less than reading the files that it is done on.
    Reading,
    /// On the CPU, and on a card that is open.
    Estimated { cpu_seconds: f64, gpu_seconds: f64 },
}

/// Of loading a driver, opening a card and compiling shaders. An estimate: cards differ.
pub const OPEN_SECONDS: f64 = 0.5;

/// Of a pixel up to the card and its result back, on one link of 10 GB/s; computing is little beside it.
pub const TRANSFER_SECONDS_PER_PX: f64 = 8.0 / 10e9;

impl Work {
    /// Whether a card is sooner done, opening it included.
    pub fn pays(&self) -> bool {
        match self {
            Self::Long => true,
            Self::Reading => false,
            Self::Estimated { cpu_seconds, gpu_seconds } => OPEN_SECONDS + gpu_seconds < *cpu_seconds,
        }
    }
}

/// What computes, and why.
#[derive(Debug)]
pub struct Chosen {
    /// `None` is the CPU.
    pub gpu: Option<Gpu>,
    /// Why not a card, with `auto`.
    pub why_not: Option<WhyNot>,
}

/// Why `auto` took the CPU.
#[derive(Debug)]
pub enum WhyNot {
    /// As it should be: nobody needs to be told.
    Expected(String),
    /// A card was to be expected, and cannot be had.
    Failed(Error),
}

/// Takes what was asked for; a card keeps its compiled pipelines in `cache`.
///
/// # Errors
/// If a card must be had and cannot: as [`Gpu::open`].
pub fn choose(wanted: &Wanted, work: Work, cache: &Arc<Cache>) -> Result<Chosen> {
    let cpu = |why_not| Ok(Chosen { gpu: None, why_not });
    let open = || Gpu::open(&wanted.adapter.clone().unwrap_or_default(), wanted.memory_bytes, cache);
    match wanted.backend {
        Backend::Cpu => cpu(None),
        Backend::Gpu => Ok(Chosen { gpu: Some(open()?), why_not: None }),
        Backend::Auto if !work.pays() => {
            cpu(Some(WhyNot::Expected("the CPU is done before a card has been opened and filled".to_owned())))
        }
        Backend::Auto => match open() {
            Ok(gpu) => Ok(Chosen { gpu: Some(gpu), why_not: None }),
            // A machine without cards is as good as any; a card or driver that fails is news.
            Err(error) if error.kind() == ErrorKind::Unsupported => cpu(Some(WhyNot::Expected(error.to_string()))),
            Err(error) => cpu(Some(WhyNot::Failed(error))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wanted: &Wanted, work: Work) -> Result<Chosen> {
        choose(wanted, work, &Arc::new(Cache::off()))
    }

    #[test]
    fn the_cpu_is_taken_without_asking_a_driver_and_short_work_goes_there() {
        let cpu = Wanted { backend: Backend::Cpu, adapter: Some(Choice::Index(999)), memory_bytes: None };
        let taken = chosen(&cpu, Work::Long).unwrap();
        assert!(taken.gpu.is_none() && taken.why_not.is_none());
        let short = Work::Estimated { cpu_seconds: OPEN_SECONDS, gpu_seconds: 0.0 };
        let taken = chosen(&Wanted { adapter: Some(Choice::Index(999)), ..Wanted::default() }, short).unwrap();
        assert!(matches!(taken.why_not, Some(WhyNot::Expected(_))), "{taken:?}");
        assert!(Work::Estimated { cpu_seconds: OPEN_SECONDS + 0.2, gpu_seconds: 0.1 }.pays());
    }

    #[test]
    fn a_card_that_was_named_and_is_not_there_is_news_to_auto_and_an_error_to_gpu() {
        let wanted = |backend| Wanted { backend, adapter: Some(Choice::Index(999)), memory_bytes: None };
        let taken = chosen(&wanted(Backend::Auto), Work::Long).unwrap();
        let is_news = matches!(&taken.why_not, Some(WhyNot::Failed(error)) if error.advice().is_some());
        assert!(taken.gpu.is_none() && (is_news || cfg!(not(feature = "gpu"))), "{taken:?}");
        assert!(chosen(&wanted(Backend::Gpu), Work::Long).is_err());
    }
}
