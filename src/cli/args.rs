//! Options of every command; their doc comments are the manual.

use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::select::{self, Wanted, WhyNot, Work};
use crate::gpu::{Adapter, Choice, Gpu};
use crate::startup;
use crate::units::ByteSize;
use clap::{Parser, Subcommand, ValueEnum};
use std::sync::{Arc, OnceLock};

/// Survey images into templates and mosaics.
#[derive(Debug, Parser)]
#[command(name = "skycache-gpu", version, about, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 all done; 1 done, but some inputs were rejected (listed); 2 not done; 130 or 143 after SIGINT or SIGTERM."
)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Common {
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// Where to compute
    #[arg(long, global = true, value_enum, default_value = "auto", env = "SKYCACHE_BACKEND")]
    pub backend: Backend,
    /// Graphics card to use, by its number or a part of its name (`devices` lists them) [default: the best one]
    #[arg(long, global = true, value_name = "ADAPTER", env = "SKYCACHE_ADAPTER")]
    pub adapter: Option<Choice>,
    /// Memory to stay under on the graphics card [default: 80 % of what it has]
    #[arg(long, global = true, value_name = "BYTES")]
    pub gpu_memory_budget: Option<ByteSize>,
    /// Number of threads for computing, reading and writing [default: all cores]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<std::num::NonZeroUsize>,
    /// Memory to stay under, such as 8GiB [default: half of what is free]
    #[arg(long, global = true, value_name = "BYTES")]
    pub memory_budget: Option<ByteSize>,
    /// Where results are kept for the next time [default: skycache-gpu in the platform's cache directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub cache_dir: Option<std::path::PathBuf>,
    /// What the cache may take up on the disk, such as 20GB [default: 10GB]
    #[arg(long, global = true, value_name = "BYTES")]
    pub cache_max_size: Option<ByteSize>,
    /// Neither look for results in the cache nor keep them
    #[arg(long, global = true)]
    pub no_cache: bool,
    /// Read files again although they look unchanged, to know them in the cache
    #[arg(long, global = true)]
    pub paranoid: bool,
    /// More log lines on stderr; twice for even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What [`Common::cache`] opened.
    #[arg(skip)]
    pub opened: OnceLock<Arc<Cache>>,
    /// Only errors on stderr
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// A graphics card where one is there and sooner done, else the CPU
    Auto,
    /// All cores of this machine
    Cpu,
    /// A graphics card, or not at all
    Gpu,
}

impl From<Backend> for select::Backend {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Auto => Self::Auto,
            Backend::Cpu => Self::Cpu,
            Backend::Gpu => Self::Gpu,
        }
    }
}

impl Common {
    /// Sets what holds for the whole process: the number of threads.
    ///
    /// # Errors
    /// [`ErrorKind::Parameter`] if they cannot be started.
    pub fn apply(&self) -> Result<()> {
        let n_threads = self.threads.map_or(0, std::num::NonZeroUsize::get);
        rayon::ThreadPoolBuilder::new()
            .num_threads(n_threads)
            .build_global()
            .map_err(|cause| Error::new(ErrorKind::Parameter, "cannot start the threads").cause(cause))
    }

    /// # Errors
    /// [`ErrorKind::Unsupported`] if a graphics card was asked for, for commands that cannot use one.
    pub fn refuse_gpu(&self) -> Result<()> {
        match self.backend {
            Backend::Gpu => {
                Err(Error::new(ErrorKind::Unsupported, "this command computes on the CPU only in this version")
                    .help("use --backend cpu or auto"))
            }
            Backend::Auto | Backend::Cpu => Ok(()),
        }
    }

    /// The graphics card for this work; `None` for the CPU. Says why, if `auto` was to have a card and has none.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] or [`ErrorKind::Device`] if the card asked for cannot be had.
    pub fn gpu(&self, work: Work) -> Result<Option<Gpu>> {
        let wanted = Wanted {
            backend: self.backend.into(),
            adapter: self.adapter.clone(),
            memory_bytes: self.gpu_memory_budget.map(|size| size.0),
        };
        let asks_drivers = match wanted.backend {
            select::Backend::Cpu => false,
            select::Backend::Gpu => true,
            select::Backend::Auto => work.pays(),
        };
        let cache = if asks_drivers { self.cache()? } else { Arc::new(Cache::off()) };
        if asks_drivers && wanted.backend == select::Backend::Auto && wanted.adapter.is_none() {
            let known = startup::adapters(&cache);
            // Asking the drivers again would take longer than many a run.
            if !known.is_empty() && known.iter().all(Adapter::is_software) {
                tracing::info!("computing on the CPU: there are only software adapters");
                return Ok(None);
            }
        }
        let chosen = select::choose(&wanted, work, &cache)?;
        match chosen.why_not {
            Some(WhyNot::Failed(error)) => self.warn_of_fallback(&error),
            Some(WhyNot::Expected(why)) => tracing::info!("computing on the CPU: {why}"),
            None => {}
        }
        Ok(chosen.gpu)
    }

    /// Says that the CPU does what a card was to do.
    pub fn warn_of_fallback(&self, error: &Error) {
        let help = error.advice().unwrap_or("--backend cpu asks for no card, --backend gpu makes this an error");
        tracing::warn!(help, "no usable graphics card ({}); computing on the CPU", error.chain());
    }

    /// What is to convolve the rows of `ps1`.
    ///
    /// # Errors
    /// As [`Common::gpu`].
    pub fn ps1_backend(&self) -> Result<crate::ps1::Backend> {
        let falls_back = self.backend == Backend::Auto;
        Ok(match self.gpu(Work::Long)? {
            Some(gpu) => crate::ps1::Backend::Gpu { gpu: Arc::new(gpu), falls_back },
            None => crate::ps1::Backend::Cpu,
        })
    }

    /// Threads to use: the option, or all cores.
    pub fn n_threads(&self) -> usize {
        self.threads.map_or_else(rayon::current_num_threads, std::num::NonZeroUsize::get)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Combine, assemble and blur PS1 skycells
    Ps1(super::ps1::Options),
    /// Bring PS1 stack files (FITS) into the store that ps1 reads
    Ingest(super::ingest::Options),
    /// Blur an image with a Gaussian PSF
    Convolve(super::convolve::Options),
    /// Put an image on the pixel grid of another
    Regrid(super::regrid::Options),
    /// Print the statistics of images, and of their primary beams
    Stats(super::stats::Options),
    /// Add tiles to one image, weighted by their primary beams and noise
    Mosaic(super::mosaic::Options),
    /// Check tiles, alone, against each other and against a catalogue
    Validate(Box<super::validate::Options>),
    /// Look at the cache of results, check it, remove from it
    Cache(super::cache::Options),
    /// Make a picture of an image
    Preview(super::preview::Options),
    /// Make a small projection of skycells, run ps1 on it, and show what came out
    Demo(super::demo::Options),
    /// List the graphics cards of this machine
    Devices,
    /// Print the completions of a shell
    Completions(super::generate::Completions),
    /// Write the man pages, one a command
    ManPages(super::generate::ManPages),
}
