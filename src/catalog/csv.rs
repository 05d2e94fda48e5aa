//! Catalogues that are text: CSV, tab or blank separated tables with a header line, and HEASARC's dumps with `|`.

use super::columns::{Chosen, ColumnNames};
use super::table::Rows;
use crate::error::{Error, ErrorKind, Result};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// The columns of HEASARC's dump of the NVSS, which has no line of names.
const NVSS: [&str; 25] = [
    "ra",
    "dec",
    "lii",
    "bii",
    "ra_error",
    "dec_error",
    "flux_20_cm",
    "flux_20_cm_error",
    "limit_major_axis",
    "major_axis",
    "major_axis_error",
    "limit_minor_axis",
    "minor_axis",
    "minor_axis_error",
    "position_angle",
    "position_angle_error",
    "residual_code",
    "residual_flux",
    "pol_flux",
    "pol_flux_error",
    "pol_angle",
    "pol_angle_error",
    "field_name",
    "x_pixel",
    "y_pixel",
];

/// Reads the sources of a text table. Lines that begin with `#` are comments.
///
/// # Errors
/// As [`ColumnNames::choose`]; [`ErrorKind::Damaged`] for a position or flux that is no number, by its line.
pub fn read(path: &Path, names: &ColumnNames) -> Result<Rows> {
    let refused = |cause| Error::io("read the catalogue", path, cause);
    let mut first = Vec::new();
    let mut lines = BufReader::new(File::open(path).map_err(refused)?);
    while first.is_empty() || first.starts_with(b"#") {
        first.clear();
        if lines.read_until(b'\n', &mut first).map_err(refused)? == 0 {
            return Err(Error::new(ErrorKind::Damaged, "the catalogue has no line but comments").file(path));
        }
    }
    let is_dump = first.starts_with(b"<HEADER>") || first.starts_with(b"|") || count(&first, b'|') > 1;
    if is_dump {
        return read_dump(path, names);
    }
    let delimiter = [b',', b'\t', b';'].into_iter().find(|byte| first.contains(byte)).unwrap_or(b' ');
    read_delimited(path, names, delimiter)
}

fn count(line: &[u8], wanted: u8) -> usize {
    line.iter().filter(|byte| **byte == wanted).count()
}

fn read_delimited(path: &Path, names: &ColumnNames, delimiter: u8) -> Result<Rows> {
    let damaged =
        |cause: csv::Error| Error::new(ErrorKind::Damaged, "the catalogue is no table").file(path).cause(cause);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(damaged)?;
    let columns: Vec<_> = reader.headers().map_err(damaged)?.iter().map(|name| (name.to_owned(), None)).collect();
    let chosen = names.choose(&columns).map_err(|error| error.file(path))?;
    let mut rows = Rows::of(&chosen);
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(damaged)? {
        let line = record.position().map_or(0, csv::Position::line);
        add(&mut rows, &chosen, |column| record.get(column), path, line)?;
    }
    Ok(rows)
}

/// A dump is a header of any lines, lines of values between `|`, and a trailer. `line[1] = ra dec ...` in the header
/// names the columns, or a line of names between `|`; those of the NVSS are taken without either.
fn read_dump(path: &Path, names: &ColumnNames) -> Result<Rows> {
    let refused = |cause| Error::io("read the catalogue", path, cause);
    let mut columns: Vec<(String, Option<String>)> =
        NVSS.iter().map(|name| ((*name).to_owned(), unit_of(name))).collect();
    let mut chosen: Option<Chosen> = None;
    let mut rows = Rows::default();
    for (index, line) in BufReader::new(File::open(path).map_err(refused)?).lines().enumerate() {
        let line = line.map_err(refused)?;
        if let Some(list) = line.strip_prefix("line[1]").and_then(|rest| rest.trim_start().strip_prefix('=')) {
            columns = list.split_whitespace().map(|name| (name.to_owned(), unit_of(name))).collect();
            continue;
        }
        if line.starts_with('#') || !line.contains('|') {
            continue;
        }
        let fields: Vec<&str> = line.strip_prefix('|').unwrap_or(&line).split('|').map(str::trim).collect();
        let Some(chosen) = &chosen else {
            let is_names = fields.iter().any(|field| field.eq_ignore_ascii_case("ra"));
            if is_names {
                columns = fields.iter().map(|name| ((*name).to_owned(), unit_of(name))).collect();
            }
            let found = names.choose(&columns).map_err(|error| error.file(path))?;
            let is_number = |column: usize| fields.get(column).is_some_and(|field| field.parse::<f64>().is_ok());
            if is_names || (is_number(found.ra) && is_number(found.dec)) {
                rows = Rows::of(&found);
                if !is_names {
                    add(&mut rows, &found, |column| fields.get(column).copied(), path, index as u64 + 1)?;
                }
                chosen = Some(found);
            }
            continue;
        };
        add(&mut rows, chosen, |column| fields.get(column).copied(), path, index as u64 + 1)?;
    }
    if chosen.is_none() {
        return Err(Error::new(ErrorKind::Damaged, "the catalogue has no line of values between |").file(path));
    }
    Ok(rows)
}

fn unit_of(name: &str) -> Option<String> {
    (name == "flux_20_cm").then(|| "mJy".to_owned())
}

fn add<'r>(
    rows: &mut Rows,
    chosen: &Chosen,
    field: impl Fn(usize) -> Option<&'r str>,
    path: &Path,
    line: u64,
) -> Result<()> {
    let number = |column: usize| match field(column).unwrap_or_default() {
        "" => Ok(f64::NAN),
        text => text.parse::<f64>().map_err(|_| {
            Error::new(ErrorKind::Damaged, format!("line {line} has '{text}', expected a number"))
                .file(path)
                .help("positions are numbers in degrees; name other columns with --catalog-columns")
        }),
    };
    let flux = chosen.flux.map_or(Ok(f64::NAN), |(column, _)| number(column))?;
    rows.add(chosen, number(chosen.ra)?, number(chosen.dec)?, flux);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Rows> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path(), &ColumnNames::default())
    }

    fn numbers(rows: &Rows) -> Vec<[f64; 3]> {
        rows.sources.iter().map(|source| [source.sky.lon_deg(), source.sky.lat_deg(), source.flux_mjy]).collect()
    }

    #[test]
    fn tables_of_any_separator_are_read() {
        for separator in [",", "\t", ";", " "] {
            let text = "# a comment\nid,ra,dec,flux_jy\n1,10.5,-20,0.25\n2,370,+30,nan\n".replace(',', separator);
            let rows = of(&text).unwrap();
            assert_eq!(numbers(&rows)[0], [10.5, -20.0, 250.0], "{separator:?}");
            assert!(rows.sources[1].flux_mjy.is_nan() && rows.sources[1].sky.lon_deg() == 10.0);
        }
    }

    #[test]
    fn rows_without_a_position_are_counted_and_words_refused() {
        let rows = of("ra,dec\n1,2\n,3\n4,95\nnan,1\n").unwrap();
        assert_eq!((rows.sources.len(), rows.n_without_position, rows.has_flux), (1, 3, false));
        let error = of("ra,dec\n1,2\n12:30:00,-5\n").err().unwrap();
        assert!(error.chain().contains("line 3 has '12:30:00'"), "{}", error.chain());
        assert_eq!(of("ra,dec\n1,2,3\n").err().unwrap().kind(), ErrorKind::Damaged);
        assert_eq!(of("").err().unwrap().kind(), ErrorKind::Damaged);
    }

    #[test]
    fn a_dump_is_read_with_and_without_names() {
        let values = "10.5|-20.25|1.0|2.0|0.1|0.1|12.5|0.4|";
        let rows = of(&format!("<HEADER>\ntable_name = heasarc_nvss\n<DATA>\n{values}\n{values}\n<END>\n")).unwrap();
        assert_eq!(numbers(&rows), [[10.5, -20.25, 12.5]; 2]);
        let rows = of("<HEADER>\nline[1] = name dec ra flux_20_cm\n<DATA>\na|-20.25|10.5|3|\n<END>\n").unwrap();
        assert_eq!(numbers(&rows), [[10.5, -20.25, 3.0]]);
        let rows = of("|dec|ra|flux_mjy|\n|-1|2|3|\n").unwrap();
        assert_eq!(numbers(&rows), [[2.0, -1.0, 3.0]]);
        assert!(of("<HEADER>\n<DATA>\n<END>\n").is_err());
        let error = of(&format!("<HEADER>\n{values}\n{}\n", values.replace("-20.25", "south"))).err().unwrap();
        assert!(error.chain().contains("line 3"), "{}", error.chain());
    }
}
