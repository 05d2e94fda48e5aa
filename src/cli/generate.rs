//! `completions` and `man-pages`: what packagers install beside the binary, made from the options themselves.
//!
//! Both walk the one definition in [`super::args`], so a new command needs nothing here.

use super::args::{Args, Common};
use super::exit::Exit;
use super::report;
use crate::error::{Error, Result};
use crate::image::publish;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Name of the binary, of its completions and of its man pages.
const PROGRAM: &str = "skycache-gpu";

/// Options of `completions`.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// Shell to write the completions for
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Options of `man-pages`.
#[derive(Debug, clap::Args)]
pub struct ManPages {
    /// Directory to write the pages into; made if it is not there
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// Prints the completions of one shell.
pub fn run_completions(options: &Completions, common: &Common) -> Result<Exit> {
    let script = completions(options.shell);
    if common.json {
        report::object(&serde_json::json!({ "shell": options.shell.to_string(), "script": script }));
    } else {
        // A reader that went away (`| head`) is no failure.
        let _ = std::io::stdout().lock().write_all(script.as_bytes());
    }
    Ok(Exit::Done)
}

/// Writes one man page a command and prints their paths.
///
/// # Errors
/// If the directory or a page cannot be written.
pub fn run_man_pages(options: &ManPages, common: &Common) -> Result<Exit> {
    let pages = write_man_pages(&options.directory)?;
    if common.json {
        report::object(&serde_json::json!({ "pages": pages }));
    } else {
        for page in &pages {
            report::line(&page.display().to_string());
        }
    }
    Ok(Exit::Done)
}

/// The completion script of one shell.
fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), PROGRAM, &mut script);
    String::from_utf8(script).expect("the script is made of names and help texts, which are UTF-8")
}

/// Writes the pages of the program and of every command below it; gives their paths.
fn write_man_pages(directory: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(directory).map_err(|cause| Error::io("make the directory", directory, cause))?;
    // `help` is a command to clap, and would get a page for each command it explains.
    let mut program = Args::command().disable_help_subcommand(true);
    // Building gives the commands below their full names and the options that all of them take.
    program.build();
    let mut pages = Vec::new();
    write_pages_below(&program, directory, &mut pages)?;
    Ok(pages)
}

fn write_pages_below(command: &clap::Command, directory: &Path, pages: &mut Vec<PathBuf>) -> Result<()> {
    let page = clap_mangen::Man::new(command.clone())
        .source(concat!("skycache-gpu ", env!("CARGO_PKG_VERSION")))
        .manual("skycache-gpu manual");
    let file = directory.join(page.get_filename());
    let mut text = Vec::new();
    page.render(&mut text).map_err(|cause| Error::io("write the man page", &file, cause))?;
    publish::write_file(&file, &text, true)?;
    pages.push(file);
    command.get_subcommands().try_for_each(|below| write_pages_below(below, directory, pages))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    fn command_names() -> Vec<String> {
        let names: Vec<_> = Args::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        assert!(names.len() >= 3, "found only {names:?}");
        names
    }

    #[test]
    fn completions_of_every_shell_name_every_command() {
        for shell in Shell::value_variants() {
            let script = completions(*shell);
            for name in command_names() {
                assert!(script.contains(&name), "{shell} does not know {name}");
            }
            assert!(!script.contains("no-such-command"));
        }
    }

    #[test]
    fn every_command_has_a_man_page_under_its_full_name() {
        let directory = tempfile::tempdir().unwrap();
        let pages = write_man_pages(&directory.path().join("man1")).unwrap();
        for name in command_names() {
            let page = directory.path().join(format!("man1/skycache-gpu-{name}.1"));
            assert!(pages.contains(&page), "{name} is not among {pages:?}");
            let text = std::fs::read_to_string(&page).unwrap();
            assert!(text.contains(".SH SYNOPSIS"), "{name}");
            assert!(text.contains("memory\\-budget"), "{name} lacks the options that every command takes");
        }
        let program = std::fs::read_to_string(directory.path().join("man1/skycache-gpu.1")).unwrap();
        assert!(program.contains("man\\-pages"));
    }

    #[test]
    fn pages_are_replaced_whole_and_nothing_else_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let pages = write_man_pages(directory.path()).unwrap();
        std::fs::write(&pages[0], "old").unwrap();
        assert_eq!(write_man_pages(directory.path()).unwrap(), pages);
        assert_ne!(std::fs::read_to_string(&pages[0]).unwrap(), "old");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), pages.len());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let below_a_file = file.path().join("man1");
        let error = write_man_pages(&below_a_file).unwrap_err();
        assert_eq!(error.path(), Some(below_a_file.as_path()));
    }
}
