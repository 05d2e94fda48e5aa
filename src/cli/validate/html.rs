//! Findings as one page with pictures: no scripts, no other files, nothing fetched.

use super::text;
use crate::cache::{Cache, Operation};
use crate::catalog::Catalog;
use crate::cli::stats;
use crate::error::Result;
use crate::image::{self, fits};
use crate::interrupt;
use crate::preview;
use crate::validate::facts::Known;
use crate::validate::{Checked, Finding, Measured, Options, Report};
use base64::prelude::*;
use std::fmt::Write as _;

/// Raise the version when the same image gives another picture.
const PICTURE: Operation = Operation { name: "picture of a tile", version: 1 };
const LONGEST_SIDE_PX: usize = 360;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8886; --bad: #c62828; --odd: #b26a00; --good: #2e7d32 }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.05rem; margin: 0; overflow-wrap: anywhere }
section { border-top: 1px solid var(--line); display: flex; flex-wrap: wrap; gap: 1.25rem; padding: 1.25rem 0 }
section > div { flex: 1 1 26rem; min-width: 0 }
figure { flex: 0 0 auto; margin: 0; width: 360px; max-width: 100% }
img { display: block; max-width: 100%; image-rendering: pixelated }
figcaption, .small { font-size: .85rem; opacity: .75 }
table { border-collapse: collapse; margin-top: .6rem; width: 100% }
td, th { border-top: 1px solid var(--line); padding: .25rem .6rem .25rem 0; text-align: left; vertical-align: top }
td:nth-child(-n+2) { white-space: nowrap }
.error, .fail { color: var(--bad) } .warning { color: var(--odd) } .pass { color: var(--good) }
.verdict { font-weight: 600; margin-right: .5rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 .8rem; margin: .5rem 0 0; font-size: .9rem }
dd { margin: 0; overflow-wrap: anywhere }
";

/// The page. A tile whose picture cannot be made has none.
///
/// # Errors
/// If a signal comes.
pub fn page(report: &Report, options: &Options, catalog: Option<&Catalog>, cache: &Cache) -> Result<String> {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>\n",
        title = escaped(&text::summary(report))
    );
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let _ = writeln!(page, "<p class=\"small\">{}, {now}{}</p>", escaped(fits::PROGRAM), of_catalog(catalog));
    let failed: Vec<(usize, &Checked)> = report.tiles.iter().enumerate().filter(|(_, tile)| !tile.passes()).collect();
    if !failed.is_empty() {
        page.push_str("<p>Failed: ");
        for (index, tile) in failed {
            let _ = write!(page, "<a href=\"#t{index}\">{}</a> ", escaped(short(&tile.path)));
        }
        page.push_str("</p>\n");
    }
    if !report.findings.is_empty() {
        let _ = writeln!(page, "<section><div><h2>All tiles together</h2>{}</div></section>", table(&report.findings));
    }
    for (index, tile) in report.tiles.iter().enumerate() {
        interrupt::check()?;
        let (class, verdict) = if tile.passes() { ("pass", "pass") } else { ("fail", "FAIL") };
        let _ = write!(page, "<section id=\"t{index}\">{}", figure(tile, options, cache));
        let _ = writeln!(
            page,
            "<div><h2><span class=\"verdict {class}\">{verdict}</span>{}</h2>{}{}</div></section>",
            escaped(&tile.path),
            tile.measured.as_ref().map(|measured| numbers(tile, measured, options)).unwrap_or_default(),
            table(&tile.findings)
        );
    }
    page.push_str("</html>\n");
    Ok(page)
}

fn of_catalog(catalog: Option<&Catalog>) -> String {
    catalog.map_or(String::new(), |catalog| {
        let path = catalog.path().display().to_string();
        format!("; catalogue {} of {} sources", escaped(&path), catalog.summary().n_sources)
    })
}

fn figure(tile: &Checked, options: &Options, cache: &Cache) -> String {
    let Some(measured) = &tile.measured else { return String::new() };
    let (stats, plane) = (&measured.stats, options.measure.plane);
    let picture = Known::new(cache, &stats.path, plane, stats.content_hash).and_then(|known| {
        known.find::<Vec<u8>>(known.key(PICTURE), || {
            let (image, _) = image::read_plane(known.name, plane)?;
            let wanted = preview::Options { max_size: LONGEST_SIDE_PX, ..preview::Options::default() };
            preview::picture(image.pixels.view(), &wanted)?.to_png()
        })
    });
    let Ok(png) = picture else { return String::new() };
    let (ny, nx) = stats.shape;
    format!(
        "<figure><img alt=\"{name}\" src=\"data:image/png;base64,{data}\"><figcaption>{nx} x {ny} px, zscale; \
         missing pixels are blue</figcaption></figure>",
        name = escaped(short(&tile.path)),
        data = BASE64_STANDARD.encode(png)
    )
}

fn numbers(tile: &Checked, measured: &Measured, options: &Options) -> String {
    let (plane, facts) = (&measured.stats.plane, &measured.facts);
    let unit = measured.stats.unit.as_deref().unwrap_or_default();
    let mut rows = vec![
        ("noise", format!("{} {unit} (1.4826 MAD)", stats::short(&plane.mad_sigma.into()))),
        ("rms", format!("{} {unit} (standard deviation)", stats::short(&plane.rms_noise.into()))),
        ("dynamic range", format!("{:.2}", plane.dynamic_range)),
        ("missing", format!("{} of {} pixels", plane.num_nan, plane.num_nan + plane.num_pixels + plane.num_infinite)),
    ];
    if let Ok(Some(sky)) = &measured.stats.sky
        && let Some(center) = sky.center
    {
        let place = format!("RA {:.5}, Dec {:+.5} degrees, {}", center.lon_deg(), center.lat_deg(), sky.projection);
        rows.push(("centre", place));
    }
    if let Ok(Some((major, minor))) = facts.beam_arcsec {
        rows.push(("synthesized beam", format!("{major:.2} x {minor:.2} arcsec")));
    }
    if let Some(beam) = &measured.stats.beam {
        let part = beam.stats.pb_fraction_above_cut;
        rows.push(("primary beam", format!("{}, {part:.3} of it above {}", beam.path, options.measure.beam_cut)));
    }
    if let Some(ghz) = facts.frequency_ghz {
        rows.push(("frequency", format!("{ghz:.6} GHz")));
    }
    rows.extend(text::astrometry(tile, &options.limits).map(|found| ("astrometry", found)));
    let row = |(name, value): (&str, String)| format!("<dt>{name}</dt><dd>{}</dd>", escaped(&value));
    format!("<dl>{}</dl>", rows.into_iter().map(row).collect::<String>())
}

fn table(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return String::new();
    }
    let row = |finding: &Finding| {
        let severity = text::severity(finding.severity);
        let help = finding
            .help
            .as_deref()
            .map_or(String::new(), |help| format!("<div class=\"small\">{}</div>", escaped(help)));
        let message = escaped(&finding.message);
        format!(
            "<tr><td class=\"{severity}\">{severity}</td><td>{}</td><td>{message}{help}</td></tr>",
            finding.code.name()
        )
    };
    format!("<table>{}</table>", findings.iter().map(row).collect::<String>())
}

fn short(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Text as HTML has it, also within quotes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_stays_text() {
        assert_eq!(escaped("<a href='x'>\"&\""), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;&quot;");
    }
}
