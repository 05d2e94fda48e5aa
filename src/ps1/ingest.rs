//! PS1 stack files (FITS) into the store that [`super::run`] reads, one array a file.
//!
//! [`identity`] says which array a file is, [`pixels`] what it becomes, [`target`] writes it, `work` drives them.
//! An array whose file has not changed is left alone, so a run that was stopped goes on where it was. Finding
//! files on a command line is left to the command line.

pub mod identity;
pub mod pixels;
pub mod target;
mod work;

use super::Rejected;
use super::budget::{self, Budget};
use super::store;
use crate::error::{Error, ErrorKind, Result};
use crate::interrupt;
use crate::skycell::{Band, SkycellId};
use crate::units::ByteSize;
use identity::Identity;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use work::{Item, Outcome, Outcomes, Unit, Work};

/// How to ingest.
#[derive(Clone, Debug)]
pub struct Options {
    pub data_root: PathBuf,
    /// Take float pixels without BSOFTEN and BOFFSET as linear counts.
    pub linear: bool,
    /// Write arrays again whose file has not changed.
    pub overwrite: bool,
    pub n_threads: usize,
    /// Whole planes are held, so one file at a time is done however small this is: 250 MB for a skycell.
    pub memory_budget: Option<ByteSize>,
}

/// A file that has no place in the store, or is there twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    pub name: String,
    pub reason: String,
}

/// What a run did, files in the order in which they were given.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Arrays written by this run.
    pub written: usize,
    /// Arrays that were there already, made from the same bytes.
    pub kept: usize,
    pub skipped: Vec<Skipped>,
    pub rejected: Vec<Rejected>,
    /// What is odd about files that were taken.
    pub warnings: Vec<String>,
    /// Files not done because a signal came.
    pub left: usize,
    pub interrupted: bool,
    pub store: PathBuf,
}

/// Brings files into the store below the data root.
///
/// Images and variances are stored as asinh pixels (f32, NaN where there is no data) with BSCALE, BZERO and BLANK
/// applied and taken out of the header; masks as 16 bits. Where two files are one array, the first is taken. Image,
/// mask and variance of one band must have one shape; the first that is taken sets it.
///
/// # Errors
/// [`ErrorKind::NoSpace`] or [`ErrorKind::Io`] if the store cannot be written, [`ErrorKind::Interrupted`] if a
/// signal comes before anything is done. A file that cannot be taken is only [`Report::rejected`].
pub fn run(files: &[PathBuf], options: &Options) -> Result<Report> {
    let store = store::path_below(&options.data_root);
    let files = without_repeats(files);
    let (mut outcomes, units) = sort_out(&files)?;
    target::remove_leftovers(&store, units.iter().flatten().map(|item| &item.id.cell))?;
    let budget_bytes = options.memory_budget.map_or_else(budget::default_bytes, |bytes| bytes.0);
    let budget = Budget::new(budget_bytes);
    let work = Work { store: &store, options, budget: &budget, budget_bytes };
    outcomes.extend(work.all(&units)?);
    outcomes.sort_by_key(|(index, _)| *index);
    Ok(report(&files, outcomes, store))
}

fn without_repeats(files: &[PathBuf]) -> Vec<&Path> {
    let mut seen = HashSet::new();
    let is_new = |file: &&Path| seen.insert(file.canonicalize().unwrap_or_else(|_| file.to_path_buf()));
    files.iter().map(PathBuf::as_path).filter(is_new).collect()
}

/// Says what each file is; the second list holds those that are arrays.
fn sort_out<'a>(files: &[&'a Path]) -> Result<(Outcomes, Vec<Unit<'a>>)> {
    let identified: Vec<Result<Identity>> = files
        .par_iter()
        .map(|file| interrupt::check().map(|()| identity::identify(file)))
        .collect::<Result<Vec<_>>>()?;
    let mut outcomes = Vec::new();
    let mut units: BTreeMap<(SkycellId, Band), Unit> = BTreeMap::new();
    for (index, (file, identity)) in files.iter().zip(identified).enumerate() {
        match identity {
            Ok(Identity::Array(id)) => {
                units.entry((id.cell.id, id.band)).or_default().push(Item { index, file, id });
            }
            Ok(Identity::NotWanted(why)) => outcomes.push((index, Outcome::Skipped(why))),
            Err(error) => outcomes.push((index, Outcome::Rejected(error))),
        }
    }
    let mut units: Vec<Unit> = units.into_values().collect();
    for unit in &mut units {
        unit.sort_by_key(|item| (item.id.kind, item.index));
    }
    Ok((outcomes, units))
}

fn report(files: &[&Path], outcomes: Outcomes, store: PathBuf) -> Report {
    let interrupted = interrupt::signal().is_some();
    let (skipped, rejected, warnings) = (Vec::new(), Vec::new(), Vec::new());
    let mut report = Report { written: 0, kept: 0, skipped, rejected, warnings, left: 0, interrupted, store };
    for (index, outcome) in outcomes {
        let name = files[index].display().to_string();
        match outcome {
            Outcome::Written { warning } => {
                report.written += 1;
                report.warnings.extend(warning.map(|text| format!("{name}: {text}")));
            }
            Outcome::Kept => report.kept += 1,
            Outcome::Skipped(reason) => report.skipped.push(Skipped { name, reason }),
            Outcome::Rejected(error) => {
                let file = error.path().unwrap_or(files[index]).to_path_buf();
                report.rejected.push(Rejected::new(&name, &error.file(file)));
            }
            Outcome::Left => report.left += 1,
        }
    }
    report
}

/// A path as the image room takes it.
fn spelt(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Parameter, "the file's name is not UTF-8").file(path).help("rename the file")
    })
}
