//! `ps1 plan`: what a run would do, as a table or as JSON.

use super::args::Common;
use super::exit::Exit;
use super::report;
use crate::error::Result;
use crate::ps1;
use crate::ps1::survey::{Counts, MissingInputs, Survey};
use crate::units::ByteSize;

/// Runs the command.
///
/// # Errors
/// As [`ps1::survey`].
pub fn run(options: &ps1::Options, common: &Common) -> Result<Exit> {
    let survey = ps1::survey(options)?;
    report::rejected(&survey.rejected);
    if common.json {
        report::object(&serde_json::to_value(&survey).expect("surveys have text keys only"));
    } else {
        print(&survey);
    }
    Ok(Exit::Done)
}

fn print(survey: &Survey) {
    report::line("projection   rows  cells   kept  to check  to make  missing       to read      to write");
    for projection in &survey.projections {
        report::line(&row(&projection.projection.to_string(), &projection.counts));
    }
    report::line(&row("in all", &survey.totals));
    for missing in &survey.missing {
        report::line(&format!("missing: {}: {}", missing.name, lacks(missing)));
    }
    let totals = &survey.totals;
    if totals.neighbours > 0 || !survey.missing_neighbours.is_empty() {
        report::line(&format!(
            "padding: {} skycells are read only because the PSF sees them from others, {} of what is to read; {} that \
             the list names are not in the store",
            totals.neighbours,
            ByteSize(totals.bytes_of_neighbours),
            survey.missing_neighbours.len()
        ));
    }
    if totals.to_copy > 0 {
        report::line(&format!(
            "to copy: {} cells lie finished in other folders, with the same inputs and parameters",
            totals.to_copy
        ));
    }
    if totals.to_check > 0 {
        report::line(&format!(
            "to check: the files of {} finished cells or their neighbours are not known from an earlier run; up to {} \
             are read first to see whether they changed",
            totals.to_check,
            ByteSize(totals.bytes_to_check)
        ));
    }
    report::line(&format!(
        "to write: {} of pixels and masks, about {} compressed",
        ByteSize(totals.bytes_to_write),
        ByteSize(totals.bytes_to_store)
    ));
    let memory = &survey.memory;
    report::line(&format!(
        "memory: about {} of a budget of {}; the smallest --memory-budget is {}MiB",
        ByteSize(memory.predicted_peak_bytes),
        ByteSize(memory.budget_bytes),
        memory.smallest_budget_bytes >> 20
    ));
    if let Some(shard) = survey.shard {
        let what = if totals.cells == 0 { "it is empty, there is nothing to do" } else { "the table shows it alone" };
        report::line(&format!("shard {shard}: {what}"));
    }
    report::line(&format!("results: {}", survey.output.display()));
}

/// A line of the table; `missing` are cells that cannot be made, or only without a band.
fn row(name: &str, counts: &Counts) -> String {
    format!(
        "{name:<10} {:>6} {:>6} {:>6} {:>9} {:>8} {:>8} {:>13} {:>13}",
        counts.rows,
        counts.cells,
        counts.kept,
        counts.to_check,
        counts.to_make,
        counts.not_in_store + counts.without_bands,
        ByteSize(counts.bytes_to_read).to_string(),
        ByteSize(counts.bytes_to_write).to_string()
    )
}

fn lacks(missing: &MissingInputs) -> String {
    if !missing.in_store {
        return "it is not in the store".to_owned();
    }
    let list = |what: &str, names: &[String]| (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")));
    let lists = [list("bands", &missing.bands), list("masks of bands", &missing.masks)];
    lists.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned() {
        let counts = Counts { rows: 10, cells: 100, bytes_to_read: 1 << 40, ..Counts::default() };
        let header = "projection   rows  cells   kept  to check  to make  missing       to read      to write";
        assert_eq!(row("2556", &counts).len(), header.len());
    }

    #[test]
    fn what_a_cell_lacks_is_said_in_words() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let missing =
            MissingInputs { name: "a".to_owned(), in_store: true, bands: names(&["i"]), masks: names(&["i", "z"]) };
        assert_eq!(lacks(&missing), "bands i; masks of bands i, z");
        assert_eq!(lacks(&MissingInputs { in_store: false, ..missing }), "it is not in the store");
    }
}
