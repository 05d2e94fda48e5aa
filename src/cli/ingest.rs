//! `ingest`: PS1 stack files into the store that `ps1` reads.

use super::args::Common;
use super::exit::Exit;
use super::{inputs, report};
use crate::error::{Error, ErrorKind};
use crate::ps1::ingest::{self, Report};
use std::path::PathBuf;

/// Options of `ingest`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Stack, mask and variance files of the bands r, i, z and y: files, directories (searched to any depth),
    /// quoted globs, @list.txt, or - for names on stdin
    #[arg(required = true, value_name = "FITS")]
    pub inputs: Vec<String>,
    /// Folder that holds the store, ps1_skycells_zarr/ps1_skycells.zarr
    #[arg(long, default_value = "data", value_name = "DIR")]
    pub data_root: PathBuf,
    /// Take float pixels without BSOFTEN and BOFFSET as linear counts; cut-outs of the archive's server are known
    /// to be linear without it
    #[arg(long)]
    pub linear: bool,
    /// Write arrays again that are there already, made from the same files
    #[arg(long)]
    pub overwrite: bool,
}

/// Runs the command.
///
/// # Errors
/// If there is no input at all, or the store cannot be written.
pub fn run(options: &Options, common: &Common) -> crate::Result<Exit> {
    let mut found = inputs::find(&options.inputs, inputs::Wanted::Fits)?;
    if found.files.is_empty() && found.rejected.is_empty() {
        return Err(Error::new(ErrorKind::Missing, "the lists name no input file").help("name at least one FITS file"));
    }
    let library = ingest::Options {
        data_root: options.data_root.clone(),
        linear: options.linear,
        overwrite: options.overwrite,
        n_threads: common.n_threads(),
        memory_budget: common.memory_budget,
    };
    let mut done = ingest::run(&found.files, &library)?;
    found.rejected.append(&mut done.rejected);
    done.rejected = found.rejected;
    if !common.quiet {
        report::notes(done.warnings.iter().map(|text| format!("warning: {text}")));
        report::notes(done.skipped.iter().map(|skipped| format!("skipped: {}: {}", skipped.name, skipped.reason)));
    }
    report::rejected(&done.rejected);
    if common.json {
        report::object(&serde_json::to_value(&done).expect("reports have text keys only"));
    } else {
        summary(&done);
    }
    Ok(Exit::of_run(done.interrupted, done.written + done.kept, done.rejected.len()))
}

fn summary(done: &Report) {
    let state = if done.interrupted { "stopped" } else { "done" };
    report::line(&format!(
        "{state}: {} arrays written, {} kept, {} files skipped, {} rejected, {} left",
        done.written,
        done.kept,
        done.skipped.len(),
        done.rejected.len(),
        done.left
    ));
    report::line(&format!("store: {}", done.store.display()));
    if done.interrupted {
        report::line("start the same command again to finish what is left");
    }
}
