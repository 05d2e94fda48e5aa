//! The command line: the only room that knows clap, the terminal and exit codes.
//!
//! [`args`] says what can be asked for, one file a command turns options into a library call,
//! [`report`] prints, [`exit`] names the exit codes.

pub mod args;
pub mod exit;
pub mod report;

mod cache;
mod convolve;
mod demo;
mod devices;
mod generate;
mod ingest;
mod inputs;
mod lines;
mod log;
mod mosaic;
mod plan;
mod preview;
mod progress;
mod ps1;
mod regrid;
mod settings;
mod stats;
mod summary;
mod validate;

use args::{Args, Command};
use clap::Parser;
use exit::Exit;
use std::process::ExitCode;

/// Parses the command line, runs the command, reports its failure, and gives the exit code.
pub fn main() -> ExitCode {
    ask_no_display_server();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(refusal) => {
            let asked_for_help = !refusal.use_stderr();
            // A closed pipe while printing help is no failure.
            let _ = refusal.print();
            return if asked_for_help { Exit::Done } else { Exit::NotDone }.into();
        }
    };
    report::start_logging(args.common.verbose, args.common.quiet);
    let outcome = crate::interrupt::install().and_then(|()| run(&args));
    match outcome {
        Ok(exit) => exit,
        Err(error) => {
            let exit = Exit::of(&error);
            report::failure(&error, args.common.json);
            exit
        }
    }
    .into()
}

/// Mesa's layer that sorts graphics cards asks the display server which one it uses, and complains on stderr where there
/// is none, as on most servers. Cards are chosen by their kind here, whatever their order.
fn ask_no_display_server() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: this is the first that the program does, in its only thread.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

fn run(args: &Args) -> crate::Result<Exit> {
    args.common.apply()?;
    let may_use_a_card = matches!(
        args.command,
        Command::Convolve(_)
            | Command::Demo(_)
            | Command::Devices
            | Command::Ps1(_)
            | Command::Regrid(_)
            | Command::Stats(_)
            | Command::Validate(_)
    );
    if !may_use_a_card {
        args.common.refuse_gpu()?;
    }
    match &args.command {
        Command::Convolve(options) => convolve::run(options, &args.common),
        Command::Devices => devices::run(&args.common),
        Command::Completions(options) => generate::run_completions(options, &args.common),
        Command::ManPages(options) => generate::run_man_pages(options, &args.common),
        Command::Ps1(options) => ps1::run(options, &args.common),
        Command::Ingest(options) => ingest::run(options, &args.common),
        Command::Demo(options) => demo::run(options, &args.common),
        Command::Cache(options) => cache::run(options, &args.common),
        Command::Regrid(options) => regrid::run(options, &args.common),
        Command::Stats(options) => stats::run(options, &args.common),
        Command::Mosaic(options) => mosaic::run(options, &args.common),
        Command::Validate(options) => validate::run(options, &args.common),
        Command::Preview(options) => preview::run(options, &args.common),
    }
}
