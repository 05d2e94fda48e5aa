//! Catalogues that are text: CSV, tab or blank separated tables with a header line, and HEASARC's dumps with `|`.

use super::columns::{Chosen, ColumnNames};
use super::table::Rows;
use super::text::{self, Preamble};
use crate::error::{Error, ErrorKind, Result};
use ::csv::{self, StringRecord};
use std::collections::VecDeque;
use std::io::BufRead;
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

/// What stands for a value that is not known, in letters of any case.
const MISSING: [&str; 7] = ["", "--", "null", "na", "n/a", "nan", "masked"];

/// Reads the sources of a text table, gzip'ed or not. Lines that begin with `#` are comments.
///
/// # Errors
/// As [`ColumnNames::choose`] and [`Preamble::read`]; [`ErrorKind::Damaged`] for a position or flux that is no number,
/// by its line.
pub fn read(path: &Path, names: &ColumnNames) -> Result<Rows> {
    let preamble = Preamble::read(path)?;
    let first = &preamble.first;
    let is_dump = first.starts_with("<HEADER>") || first.starts_with('|') || first.matches('|').count() > 1;
    if is_dump { read_dump(path, names) } else { read_delimited(path, names, &preamble) }
}

fn read_delimited(path: &Path, names: &ColumnNames, preamble: &Preamble) -> Result<Rows> {
    let mut records = Records::open(path, preamble.delimiter())?;
    let damaged = || Error::new(ErrorKind::Damaged, "the catalogue has no line of values").file(path);
    let (first, first_line) = records.next()?.ok_or_else(damaged)?;
    let header = if first.iter().all(is_number) { commented_header(preamble, names, first.len()) } else { None };
    let mut waiting = VecDeque::new();
    let header = header.inspect(|_| waiting.push_back((first.clone(), first_line))).unwrap_or(first);
    let told = preamble.units();
    let unit = |name: &str| told.iter().find(|(of, _)| of == name).map(|(_, unit)| unit.clone());
    let mut columns: Vec<_> = header.iter().map(|name| (name.to_owned(), unit(name))).collect();
    let mut chosen = names.choose(&columns).map_err(|error| error.file(path))?;
    // VizieR puts units, or an empty line, and a line of dashes below the names.
    while waiting.len() < 2 {
        match records.next()? {
            Some(record) => waiting.push_back(record),
            None => break,
        }
    }
    if let Some(at) = waiting.iter().position(|(record, _)| is_rule(record)) {
        let has_units = at == 1 && waiting[0].0.get(chosen.ra).is_some_and(|field| !is_number(field));
        if has_units {
            for ((_, unit), given) in columns.iter_mut().zip(waiting[0].0.iter()) {
                *unit = Some(given.to_owned()).filter(|given| !given.is_empty());
            }
            chosen = names.choose(&columns).map_err(|error| error.file(path))?;
        }
        if has_units || at == 0 {
            waiting.drain(..=at);
        }
    }
    let mut rows = Rows::of(&chosen);
    while let Some((record, line)) = waiting.pop_front().map_or_else(|| records.next(), |record| Ok(Some(record)))? {
        if record.len() != columns.len() {
            let text = format!("line {line} has {} fields, the line of names {}", record.len(), columns.len());
            return Err(Error::new(ErrorKind::Damaged, text).file(path));
        }
        add(&mut rows, &chosen, |column| record.get(column), path, line)?;
    }
    Ok(rows)
}

/// The line of names where it is the last comment that could be one.
fn commented_header(preamble: &Preamble, names: &ColumnNames, n_columns: usize) -> Option<StringRecord> {
    let delimiters = [preamble.delimiter(), b' ', b','];
    preamble.comments.iter().rev().find_map(|comment| {
        delimiters.into_iter().map(|delimiter| split(comment, delimiter)).find(|header| {
            let columns: Vec<_> = header.iter().map(|name| (name.to_owned(), None)).collect();
            header.len() == n_columns && names.choose(&columns).is_ok()
        })
    })
}

fn is_number(field: &str) -> bool {
    field.parse::<f64>().is_ok()
}

/// Whether a record is the line below the names: dashes alone.
fn is_rule(record: &StringRecord) -> bool {
    record.iter().all(|field| !field.is_empty() && field.bytes().all(|byte| byte == b'-'))
        && record.iter().any(|field| field.len() > 2)
}

/// A line by itself.
fn split(line: &str, delimiter: u8) -> StringRecord {
    if delimiter == b' ' {
        return StringRecord::from(blank_separated(line));
    }
    StringRecord::from(line.split(char::from(delimiter)).map(str::trim).collect::<Vec<_>>())
}

/// Fields between runs of blanks; quotes hold those together that have blanks, or nothing, in them.
fn blank_separated(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut field: Option<String> = None;
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '"' => {
                is_quoted = !is_quoted;
                field.get_or_insert_default();
            }
            c if c.is_whitespace() && !is_quoted => fields.extend(field.take()),
            c => field.get_or_insert_default().push(c),
        }
    }
    fields.extend(field);
    fields
}

/// The lines of a table that are no comments, in fields.
enum Records<'p> {
    Separated(csv::Reader<Box<dyn BufRead>>, &'p Path),
    Blank(std::io::Lines<Box<dyn BufRead>>, u64, &'p Path),
}

impl<'p> Records<'p> {
    fn open(path: &'p Path, delimiter: u8) -> Result<Self> {
        let text = text::open(path)?;
        if delimiter == b' ' {
            return Ok(Self::Blank(text.lines(), 0, path));
        }
        let mut builder = csv::ReaderBuilder::new();
        builder.delimiter(delimiter).comment(Some(b'#')).trim(csv::Trim::All).has_headers(false).flexible(true);
        Ok(Self::Separated(builder.from_reader(text), path))
    }

    /// The next record and its line, from 1.
    fn next(&mut self) -> Result<Option<(StringRecord, u64)>> {
        match self {
            Self::Separated(reader, path) => {
                let mut record = StringRecord::new();
                let is_there = reader.read_record(&mut record).map_err(|cause| {
                    Error::new(ErrorKind::Damaged, "the catalogue is no table").file(*path).cause(cause)
                })?;
                let line = record.position().map_or(0, csv::Position::line);
                Ok(is_there.then_some((record, line)))
            }
            Self::Blank(lines, number, path) => {
                for line in lines {
                    let line = line.map_err(|cause| Error::io("read the catalogue", *path, cause))?;
                    *number += 1;
                    if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
                        return Ok(Some((split(&line, b' '), *number)));
                    }
                }
                Ok(None)
            }
        }
    }
}

/// A dump is a header of any lines, lines of values between `|`, and a trailer. `line[1] = ra dec ...` in the header
/// names the columns, or a line of names between `|`; those of the NVSS are taken without either.
fn read_dump(path: &Path, names: &ColumnNames) -> Result<Rows> {
    let refused = |cause| Error::io("read the catalogue", path, cause);
    let mut columns: Vec<(String, Option<String>)> =
        NVSS.iter().map(|name| ((*name).to_owned(), unit_of(name))).collect();
    let mut chosen: Option<Chosen> = None;
    let mut rows = Rows::default();
    for (index, line) in text::open(path)?.lines().enumerate() {
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
        text if MISSING.iter().any(|missing| text.eq_ignore_ascii_case(missing)) => Ok(f64::NAN),
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
    fn runs_of_blanks_and_words_for_nothing_are_read() {
        let rows = of("  ra     dec   flux_mjy\n  10.5  -20    3.0\n 11    2.25  --\n").unwrap();
        assert_eq!((numbers(&rows)[0], rows.sources.len()), ([10.5, -20.0, 3.0], 2));
        for missing in ["", "--", "null", "NULL", "NA", "N/A", "nan", "masked"] {
            let rows = of(&format!("ra,dec,flux_mjy\n1,2,{missing}\n{missing},2,3\n5,6,7\n")).unwrap();
            assert_eq!((rows.sources.len(), rows.n_without_position), (2, 1), "{missing}");
            assert!(rows.sources[0].flux_mjy.is_nan());
        }
        assert!(of("ra,dec,flux_mjy\n1,2,bright\n").is_err());
    }

    #[test]
    fn units_of_ecsv_and_of_vizier_are_applied() {
        let ecsv = |columns: &str| of(&format!("# %ECSV 1.0\n# ---\n# datatype:\n{columns}ra dec flux\n1 2 0.5\n"));
        let rows = ecsv("# - {name: ra, unit: hourangle}\n# - {name: dec, unit: deg}\n# - {name: flux, unit: Jy}\n");
        assert_eq!(numbers(&rows.unwrap()), [[15.0, 2.0, 500.0]]);
        let rows = ecsv("# - name: ra\n#   unit: deg\n# - {name: flux, description: 'a, unit: Jy', unit: mJy}\n");
        assert_eq!(numbers(&rows.unwrap()), [[1.0, 2.0, 0.5]]);
        assert!(ecsv("# - {name: ra, unit: pix}\n").is_err());
        let commas =
            "# %ECSV 1.0\n# ---\n# delimiter: ','\n# datatype:\n# - {name: flux, unit: Jy}\nra,dec,flux\n1,2,3\n";
        assert_eq!(numbers(&of(commas).unwrap()), [[1.0, 2.0, 3000.0]]);
        let vizier = "#RESOURCE=x\n#\nRAJ2000\tDEJ2000\tS1.4\ndeg\tdeg\tmJy\n-----\t-----\t---\n1\t2\t3\n4\t5\t\n";
        let rows = of(vizier).unwrap();
        assert_eq!((numbers(&rows)[0], rows.sources.len(), rows.has_flux), ([1.0, 2.0, 3.0], 2, true));
        assert!(of(&vizier.replace("deg\tdeg", "\"h:m:s\"\t\"d:m:s\"")).is_err());
        assert_eq!(numbers(&of("ra;dec\n----;----\n1;2\n").unwrap())[0][..2], [1.0, 2.0]);
    }

    #[test]
    fn the_line_of_names_may_be_a_comment() {
        let rows = of("# made by hand\n# ra dec flux_mjy\n1 2 3\n4 5 6\n").unwrap();
        assert_eq!(numbers(&rows), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        assert_eq!(numbers(&of("#dec,ra,flux_mjy\n1,2,3\n").unwrap()), [[2.0, 1.0, 3.0]]);
        assert!(of("# no names\n1 2\n").is_err());
    }

    #[test]
    fn packed_texts_are_read_and_xml_is_refused_by_name() {
        use std::io::Write;
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut packed = flate2::write::GzEncoder::new(file.reopen().unwrap(), flate2::Compression::fast());
        packed.write_all("\u{feff}ra,dec\n1,2\n".as_bytes()).unwrap();
        packed.finish().unwrap();
        assert!(!text::is_packed_fits(file.path()).unwrap());
        assert_eq!(read(file.path(), &ColumnNames::default()).unwrap().sources.len(), 1);
        let error = of("<?xml version=\"1.0\"?>\n<VOTABLE/>\n").err().unwrap();
        assert!(error.kind() == ErrorKind::Unsupported && error.chain().contains("VOTable"));
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
