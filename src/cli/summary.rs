//! How a run of `ps1` ended: as text, as JSON, as an exit code.

use super::args::Common;
use super::exit::Exit;
use super::report;
use crate::ps1::backend::CardFigures;
use crate::ps1::{Report, figures};
use crate::units::ByteSize;

/// Prints how a run ended, as text or as JSON.
pub fn show(found: &Report, common: &Common) {
    if common.json {
        report::object(&serde_json::to_value(found).expect("reports have text keys only"));
    } else {
        summary(found);
    }
}

/// The exit code of a run that came to a report.
pub fn exit_of(found: &Report) -> Exit {
    // A shard without cells is done when it finds out.
    let is_empty_shard = found.shard.is_some() && found.asked == 0;
    Exit::of_run(found.interrupted, found.written + found.kept + usize::from(is_empty_shard), found.rejected.len())
}

/// Prints what was done, and where the time of each stage went.
pub fn summary(found: &Report) {
    let state = if found.interrupted { "stopped" } else { "done" };
    let of_shard = found.shard.map_or_else(String::new, |shard| match found.asked {
        0 => format!(", shard {shard} is empty"),
        _ => format!(", shard {shard}"),
    });
    let of_cache = match found.restored {
        0 => String::new(),
        n => format!(" ({n} of them copied from earlier runs)"),
    };
    report::line(&format!(
        "{state}{of_shard}: {} cells written{of_cache}, {} kept, {} rejected, {} left, in {:.1} s",
        found.written,
        found.kept,
        found.rejected.len(),
        found.left,
        found.seconds
    ));
    report::line(&format!(
        "read {}, wrote {}; memory: at most {} in all, {} expected, {} of it cells in flight",
        ByteSize(found.bytes_read),
        ByteSize(found.bytes_written),
        ByteSize(found.peak_resident_bytes),
        ByteSize(found.estimated_resident_bytes),
        ByteSize(found.peak_cell_bytes)
    ));
    let padding = &found.padding;
    if padding.neighbours_read + padding.neighbours_missing > 0 {
        report::line(&format!(
            "padding {}: {} neighbouring skycells read, {} of the list missing, {} pixels filled from other projections",
            padding.mode.name(),
            padding.neighbours_read,
            padding.neighbours_missing,
            padding.pixels
        ));
    }
    stage_table(found);
    if let Some(card) = &found.gpu {
        card_line(card);
    }
    report::line(&format!("results: {}", found.store.display()));
    if found.interrupted {
        report::line("start the same command again to finish what is left");
    }
}

/// What went to a graphics card and back, and who waited.
fn card_line(card: &CardFigures) {
    let CardFigures { adapter, traffic, peak_memory_bytes, .. } = card;
    let timed = |seconds: Option<f64>| seconds.map_or_else(|| "not timed".to_owned(), |s| format!("{s:.2} s"));
    report::line(&format!(
        "{adapter}: {} handed over in {:.2} s, up in {}, shaders {}, {} down in {}, waited for {:.2} s; at most {} of its memory",
        ByteSize(traffic.bytes_up),
        traffic.handing_over_seconds,
        timed(traffic.upload_seconds),
        timed(traffic.shaders_seconds),
        ByteSize(traffic.bytes_down),
        timed(traffic.download_seconds),
        traffic.wait_seconds,
        ByteSize(*peak_memory_bytes)
    ));
}

/// Where the time and the bytes of each stage went, and which stage held up the others.
fn stage_table(found: &Report) {
    let figures = &found.figures;
    report::line(
        "stage            busy s    CPU s   waiting for input s   waiting for output s     bytes in    bytes out   items",
    );
    for stage in figures::STAGES {
        let of = &figures.stages[stage];
        let seconds = |what: &str| of[what].as_f64().unwrap_or_default();
        let bytes = |what: &str| ByteSize(of[what].as_u64().unwrap_or_default()).to_string();
        report::line(&format!(
            "{stage:<14} {:>8.2} {:>8.2} {:>21.2} {:>22.2} {:>12} {:>12} {:>7}",
            seconds("busy"),
            seconds("cpu"),
            seconds("waiting_for_input"),
            seconds("waiting_for_output"),
            bytes("bytes_in"),
            bytes("bytes_out"),
            of["items"].as_u64().unwrap_or_default()
        ));
    }
    report::line(&format!("{:<23} {:>8.2}", "on all cores", figures.shared_cpu_seconds));
    report::line(&format!("{:<23} {:>8.2}", "in all", figures.cpu_seconds));
    report::line(&format!("limited by {}", figures.limited_by));
}
