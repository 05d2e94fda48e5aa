//! The list of skycells that a sector, camera and CCD of TESS touches: one CSV, as the mapping
//! step writes it.

use super::Rejected;
use crate::error::{Error, ErrorKind, Result};
use crate::skycell::{Skycell, SkycellId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which TESS detector's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Detector {
    pub sector: u32,
    pub camera: u32,
    pub ccd: u32,
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedCell {
    pub cell: Skycell,
    /// (NAXIS2, NAXIS1).
    pub shape: (usize, usize),
}

/// The list: cells by projection, each sorted by (y, x), and the lines that were refused.
#[derive(Clone, Debug, Default)]
pub struct List {
    pub projections: Vec<(u32, Vec<ListedCell>)>,
    /// By cell: the neighbours of any projection that its pads come from, as the mapping step names them.
    pub pads: BTreeMap<SkycellId, Vec<Skycell>>,
    pub rejected: Vec<Rejected>,
}

const COLUMNS: [&str; 6] = ["projection", "NAME", "x", "y", "NAXIS1", "NAXIS2"];

/// Columns that may be there: neighbours of a cell, two of them with a `/` between.
const PAD_COLUMNS: [&str; 8] = [
    "pad_skycell_top",
    "pad_skycell_right",
    "pad_skycell_top_right",
    "pad_skycell_bottom",
    "pad_skycell_left",
    "pad_skycell_bottom_left",
    "pad_skycell_bottom_right",
    "pad_skycell_top_left",
];

impl Detector {
    /// `sector_0020/camera_3/ccd_3`, the folders used on both sides.
    pub fn folder(&self) -> PathBuf {
        PathBuf::from(format!("sector_{:04}", self.sector))
            .join(format!("camera_{}", self.camera))
            .join(format!("ccd_{}", self.ccd))
    }

    /// Where the list of this detector lies below a data root.
    pub fn list_path(&self, data_root: &Path) -> PathBuf {
        let Self { sector, camera, ccd } = self;
        let file = format!("tess_s{sector:04}_{camera}_{ccd}_master_skycells_list.csv");
        data_root.join("skycell_pixel_mapping").join(self.folder()).join(file)
    }

    /// All detectors that have a list below the data root.
    pub fn all_below(data_root: &Path) -> Vec<Self> {
        let root = glob::Pattern::escape(&data_root.to_string_lossy());
        let pattern = format!("{root}/skycell_pixel_mapping/sector_*/camera_*/ccd_*/tess_s*_master_skycells_list.csv");
        let paths = glob::glob(&pattern).into_iter().flatten().flatten();
        let detector = |path: PathBuf| {
            let name = path
                .file_name()?
                .to_str()?
                .strip_prefix("tess_s")?
                .strip_suffix("_master_skycells_list.csv")?
                .to_owned();
            let mut numbers = name.split('_').map(str::parse);
            let found =
                Self { sector: numbers.next()?.ok()?, camera: numbers.next()?.ok()?, ccd: numbers.next()?.ok()? };
            (found.list_path(data_root) == path).then_some(found)
        };
        let mut found: Vec<Self> = paths.filter_map(detector).collect();
        found.sort();
        found
    }

    /// The one detector asked for, or the only one there is.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] if there is no list that fits; [`ErrorKind::Parameter`] if several
    /// do, with their names.
    pub fn choose(data_root: &Path, sector: Option<u32>, camera: Option<u32>, ccd: Option<u32>) -> Result<Self> {
        if let (Some(sector), Some(camera), Some(ccd)) = (sector, camera, ccd) {
            let asked = Self { sector, camera, ccd };
            if asked.list_path(data_root).is_file() {
                return Ok(asked);
            }
        }
        let fits = |asked: Option<u32>, value: u32| asked.is_none_or(|asked| asked == value);
        let all = Self::all_below(data_root);
        let fitting: Vec<&Self> =
            all.iter().filter(|d| fits(sector, d.sector) && fits(camera, d.camera) && fits(ccd, d.ccd)).collect();
        let names = |list: &[&Self]| {
            let name = |d: &&Self| format!("--sector {} --camera {} --ccd {}", d.sector, d.camera, d.ccd);
            list.iter().map(name).collect::<Vec<_>>().join("; ")
        };
        match fitting.as_slice() {
            [one] => Ok(**one),
            [] if all.is_empty() => {
                Err(Error::new(ErrorKind::Missing, "there is no list of skycells below the data root")
                    .file(data_root.join("skycell_pixel_mapping"))
                    .help("give --data-root, or see docs/formats.md for the list's place and columns"))
            }
            [] => Err(Error::new(ErrorKind::Missing, "there is no list of skycells for this sector, camera and CCD")
                .file(data_root.join("skycell_pixel_mapping"))
                .help(format!("there are: {}", names(&all.iter().collect::<Vec<_>>())))),
            several => Err(Error::new(ErrorKind::Parameter, format!("{} lists of skycells fit", several.len()))
                .file(data_root.join("skycell_pixel_mapping"))
                .help(format!("choose one of: {}", names(several)))),
        }
    }
}

impl List {
    /// Reads a list. Columns are found by name, others are left alone; quoted fields may span
    /// lines. Projections come in the order of their numbers' text, as the predecessor has them.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] without the file, a needed column, or any line;
    /// [`ErrorKind::Damaged`] if it is no CSV. A single bad line is only rejected.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|cause| Error::io("open the list of skycells", path, cause))?;
        if !text.iter().filter(|byte| **byte == b'"').count().is_multiple_of(2) {
            // Whatever follows the open quote would be one field, and its cells lost without a word.
            return Err(Error::new(ErrorKind::Damaged, "a quote in the list of skycells is never closed")
                .file(path)
                .help("close it, or run the mapping step again"));
        }
        let damaged = |cause: csv::Error| {
            Error::new(ErrorKind::Damaged, "the list of skycells is not a CSV file")
                .file(path)
                .cause(cause)
                .help("run the mapping step again for this sector, camera and CCD")
        };
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::Headers).from_reader(text.as_slice());
        let headers = reader.byte_headers().map_err(damaged)?.clone();
        let headers: Vec<String> = headers.iter().map(|header| String::from_utf8_lossy(header).into_owned()).collect();
        let column = |name: &str| headers.iter().position(|header| header.trim_start_matches('\u{feff}') == name);
        let missing: Vec<&str> = COLUMNS.into_iter().filter(|name| column(name).is_none()).collect();
        if !missing.is_empty() {
            let found: Vec<&str> = headers.iter().map(String::as_str).filter(|header| !header.is_empty()).collect();
            let what = format!("the list of skycells has no column {}", missing.join(", "));
            return Err(Error::new(ErrorKind::Missing, what).file(path).help(format!(
                "its columns are: {}; needed are: {}",
                found.join(", "),
                COLUMNS.join(", ")
            )));
        }
        let columns = COLUMNS.map(|name| column(name).expect("missing columns were refused above"));

        let pad_columns: Vec<usize> = PAD_COLUMNS.into_iter().filter_map(column).collect();

        let mut list = Self::default();
        let mut seen = BTreeSet::new();
        let mut by_projection: BTreeMap<String, (u32, Vec<ListedCell>)> = BTreeMap::new();
        let mut n_lines = 0;
        for record in reader.byte_records() {
            let record = record.map_err(damaged)?;
            n_lines += 1;
            let line = record.position().map_or(0, csv::Position::line);
            let field = |index: usize| String::from_utf8_lossy(record.get(index).unwrap_or_default()).trim().to_owned();
            let fields = columns.map(field);
            if record.len() != headers.len() {
                let reason = format!(
                    "it has {} fields, the first line {}; a quote may be left open",
                    record.len(),
                    headers.len()
                );
                list.reject(path, line, &fields[1], &reason);
                continue;
            }
            match parse_line(&fields.each_ref().map(String::as_str)) {
                Ok(cell) if seen.insert(cell.cell.id) => {
                    let number = cell.cell.id.projection;
                    let pads: Vec<Skycell> = pad_columns.iter().flat_map(|index| pad_cells(&field(*index))).collect();
                    if !pads.is_empty() {
                        list.pads.insert(cell.cell.id, pads);
                    }
                    by_projection.entry(number.to_string()).or_insert((number, Vec::new())).1.push(cell);
                }
                Ok(cell) => {
                    list.reject(path, line, &cell.cell.name, "it stands in the list twice; the first line counts")
                }
                Err((name, reason)) => list.reject(path, line, &name, &reason),
            }
        }
        if n_lines == 0 {
            return Err(Error::new(ErrorKind::Missing, "the list of skycells has no lines")
                .file(path)
                .help("run the mapping step again for this sector, camera and CCD"));
        }
        list.projections = by_projection.into_values().collect();
        for (_, cells) in &mut list.projections {
            cells.sort_by_key(|cell| cell.cell.id);
        }
        list.reject_other_shapes(path);
        Ok(list)
    }

    fn reject(&mut self, path: &Path, line: u64, name: &str, reason: &str) {
        self.rejected.push(Rejected {
            name: name.to_owned(),
            reason: format!("line {line} of the list: {reason}"),
            file: Some(path.to_path_buf()),
            help: Some("correct the line in the list".to_owned()),
        });
    }

    /// Within a projection all cells have one shape: the most frequent, of equals the larger.
    fn reject_other_shapes(&mut self, path: &Path) {
        let mut rejected = Vec::new();
        for (_, cells) in &mut self.projections {
            let count = |shape: (usize, usize)| cells.iter().filter(|cell| cell.shape == shape).count();
            let rank = |shape: &(usize, usize)| (count(*shape), shape.0 * shape.1, shape.0);
            let Some(nominal) = cells.iter().map(|cell| cell.shape).max_by_key(rank) else { continue };
            cells.retain(|cell| {
                if cell.shape != nominal {
                    let ((ny, nx), (nominal_ny, nominal_nx)) = (cell.shape, nominal);
                    rejected.push(Rejected {
                        name: cell.cell.name.clone(),
                        reason: format!(
                            "NAXIS1 x NAXIS2 is {nx} x {ny}, other skycells of the projection have {nominal_nx} x {nominal_ny}"
                        ),
                        file: Some(path.to_path_buf()),
                        help: Some("correct the line in the list".to_owned()),
                    });
                }
                cell.shape == nominal
            });
        }
        self.rejected.extend(rejected);
    }
}

/// The skycells that a pad column names; empty fields and words such as `None` name none.
fn pad_cells(field: &str) -> Vec<Skycell> {
    field.split('/').filter_map(|name| Skycell::parse(name, None).ok()).collect()
}

/// One line's cell, or its name and why it is refused.
fn parse_line([projection, name, x, y, naxis1, naxis2]: &[&str; 6]) -> Result<ListedCell, (String, String)> {
    let number = |column: &str, text: &str| -> Result<u32, (String, String)> {
        // Columns that pandas once held as floats read "5.0".
        let whole = text.strip_suffix(".0").unwrap_or(text);
        whole.parse().map_err(|_| ((*name).to_owned(), format!("{column} is {text:?}, not a whole number")))
    };
    let projection = number("projection", projection)?;
    let cell = Skycell::parse(name, Some(projection)).map_err(|error| ((*name).to_owned(), error.to_string()))?;
    let (x, y) = (number("x", x)?, number("y", y)?);
    let SkycellId { x: named_x, y: named_y, .. } = cell.id;
    if (x, y) != (u32::from(named_x), u32::from(named_y)) {
        return Err((cell.name, format!("x, y are {x}, {y}, but the name says {named_x}, {named_y}")));
    }
    let shape = (number("NAXIS2", naxis2)? as usize, number("NAXIS1", naxis1)? as usize);
    if shape.0 == 0 || shape.1 == 0 || shape.0.max(shape.1) > 100_000 {
        return Err((cell.name, format!("NAXIS1 x NAXIS2 is {naxis1} x {naxis2}")));
    }
    Ok(ListedCell { cell, shape })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<List> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        List::read(file.path())
    }

    #[test]
    fn lists_come_sorted_and_survive_the_noise_columns() {
        let list = read(
            ",NAME,y,x,projection,NAXIS1,NAXIS2,pixel_indices\n\
             0,skycell.2556.081,8,1,2556,6365,6350,\"[1 2\n 3 ... 4]\"\n\
             1,skycell.2556.080,8,0,2556,6365,6350,\"[]\"\n\
             2,skycell.0812.045,4,5,812,6279,6261,\n\
             3,skycell.1000.000,0,0.0,1000.0,6248,6250,\n",
        )
        .unwrap();
        assert!(list.rejected.is_empty(), "{:?}", list.rejected);
        let projections: Vec<u32> = list.projections.iter().map(|(number, _)| *number).collect();
        assert_eq!(projections, [1000, 2556, 812]);
        assert_eq!(list.projections[1].1[0].cell.name, "skycell.2556.080");
        assert_eq!(list.projections[1].1[0].shape, (6350, 6365));
    }

    #[test]
    fn pad_columns_name_neighbours_of_any_projection() {
        let list = read(
            "NAME,projection,x,y,NAXIS1,NAXIS2,pad_skycell_top,pad_skycell_left,pad_skycell_right\n\
             skycell.2556.080,2556,0,8,6365,6350,skycell.2584.010/skycell.2584.011,None,\n\
             skycell.2556.081,2556,1,8,6365,6350,nan,skycell.2556.080,rings.v3.skycell.0812.045\n\
             skycell.2556.082,2556,2,8,6365,6350,,,\n",
        )
        .unwrap();
        assert!(list.rejected.is_empty(), "{:?}", list.rejected);
        let pads: Vec<Vec<&str>> =
            list.pads.values().map(|pads| pads.iter().map(|pad| pad.name.as_str()).collect()).collect();
        let expected = [["skycell.2584.010", "skycell.2584.011"], ["skycell.0812.045", "skycell.2556.080"]];
        assert_eq!(pads, expected);
    }

    #[test]
    fn bad_lines_are_rejected_by_name_and_the_rest_is_kept() {
        let list = read(
            "NAME,projection,x,y,NAXIS1,NAXIS2\n\
             skycell.2556.080,2556,0,8,6365,6350\n\
             skycell.2556.080,2556,0,8,6365,6350\n\
             skycell.2556.081,2556,2,8,6365,6350\n\
             skycell.2557.081,2556,1,8,6365,6350\n\
             skycell.2556.082,2556,2,8,100,100\n\
             skycell.2556.083,2556,3,8,wide,6350\n",
        )
        .unwrap();
        assert_eq!(list.projections[0].1.len(), 1);
        let names: Vec<&str> = list.rejected.iter().map(|rejected| rejected.name.as_str()).collect();
        let expected = ["080", "081", "7.081", "083", "082"];
        assert!(names.iter().zip(expected).all(|(name, end)| name.ends_with(end)), "{names:?}");
    }

    #[test]
    fn a_missing_column_is_named_with_those_there_are() {
        let refusal = read("NAME,projection,x,y,NAXIS1\n").unwrap_err();
        assert!(refusal.to_string().contains("NAXIS2"), "{refusal}");
        assert!(refusal.advice().unwrap().contains("NAXIS1"));
        assert!(read("").is_err() && read("NAME,projection,x,y,NAXIS1,NAXIS2\n").is_err());
    }
}
