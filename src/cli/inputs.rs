//! Input files as a command line names them: files, directories, quoted globs, `@list.txt`, and `-` for stdin.

use crate::error::{Error, ErrorKind, Result};
use crate::image::{self, zarr};
use crate::ps1::Rejected;
use crate::tiles::companion;
use std::collections::HashSet;
use std::io::BufRead;
use std::path::{Path, PathBuf};

/// What a command takes as an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// FITS files by their names; Zarr directories are not searched.
    Fits,
    /// Images: FITS files, each Zarr array wherever it lies, and an HDU in brackets behind the name of a file.
    Images,
}

/// What the arguments name.
#[derive(Debug, Default)]
pub struct Inputs {
    /// Files and arrays that are there, in the order of the arguments; those of a directory or a glob by name.
    pub files: Vec<PathBuf>,
    /// Arguments that name nothing.
    pub rejected: Vec<Rejected>,
    /// Those of the files that were named themselves, not by a directory or a glob.
    pub named: HashSet<PathBuf>,
}

/// Finds all files that the arguments name; of a directory, searched to any depth, those that are `wanted`.
///
/// Hidden entries are not searched. In a list and on stdin, each line is an argument; empty
/// lines and those that begin with `#` are not.
///
/// # Errors
/// If a list or stdin cannot be read, or a signal comes.
pub fn find(arguments: &[String], wanted: Wanted) -> Result<Inputs> {
    let mut inputs = Inputs::default();
    for argument in arguments {
        // A file of that very name wins.
        if Path::new(argument).exists() {
            inputs.add(argument, wanted)?;
        } else if argument == "-" {
            inputs.add_lines(std::io::stdin().lock(), Path::new("standard input"), wanted)?;
        } else if let Some(list) = argument.strip_prefix('@').map(Path::new) {
            let file = std::fs::File::open(list).map_err(|cause| Error::io("read the list of files", list, cause))?;
            inputs.add_lines(std::io::BufReader::new(file), list, wanted)?;
        } else {
            inputs.add(argument, wanted)?;
        }
    }
    Ok(inputs)
}

impl Wanted {
    /// Whether a directory is an input itself and not a place to search.
    fn takes_directory(self, directory: &Path) -> bool {
        self == Self::Images && zarr::is_array(directory)
    }

    fn searches(self, directory: &Path) -> bool {
        self == Self::Images || directory.extension().is_none_or(|extension| extension != "zarr")
    }

    /// Whether the argument names an HDU of a file that is there.
    fn takes_hdu(self, argument: &str) -> bool {
        self == Self::Images && argument.ends_with(']') && image::input_path(argument).is_ok()
    }
}

/// Where a file is, whatever links lead there; a name that nothing answers to stays as it is.
pub fn whole_path(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// Whether a file name ends as FITS files do, compressed or not.
fn is_fits(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let stem = [".gz", ".fz", ".bz2"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
    [".fits", ".fit", ".fts"].iter().any(|suffix| stem.ends_with(suffix))
}

impl Inputs {
    /// Leaves out what a directory or a glob names and is the primary beam or the noise map of another input; returns
    /// how many files those were.
    pub fn without_companions(&mut self) -> usize {
        let beside = |file: &PathBuf| [companion::find(file), companion::find_noise(file)];
        let companions: HashSet<PathBuf> =
            self.files.iter().flat_map(beside).flatten().map(|path| whole_path(&path)).collect();
        let before = self.files.len();
        self.files.retain(|file| self.named.contains(file) || !companions.contains(&whole_path(file)));
        before - self.files.len()
    }

    /// Leaves out what was named before, by this name or another; returns how often that was.
    pub fn without_repeats(&mut self) -> usize {
        let mut seen = HashSet::new();
        let before = self.files.len();
        self.files.retain(|input| {
            let text = input.to_string_lossy();
            let file = image::input_path(&text).unwrap_or_else(|_| input.clone());
            let hdu = text.strip_prefix(&*file.to_string_lossy()).unwrap_or_default().to_owned();
            seen.insert((whole_path(&file), hdu))
        });
        before - self.files.len()
    }

    fn add_lines(&mut self, lines: impl BufRead, from: &Path, wanted: Wanted) -> Result<()> {
        for line in lines.lines() {
            let line = line.map_err(|cause| Error::io("read the list of files", from, cause))?;
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                self.add(line, wanted)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, argument: &str, wanted: Wanted) -> Result<()> {
        match self.try_add(argument, wanted) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                let file = error.path().unwrap_or(Path::new(argument)).to_path_buf();
                self.rejected.push(Rejected::new(argument, &error.file(file)));
            }
            Ok(()) => {}
        }
        Ok(())
    }

    fn try_add(&mut self, argument: &str, wanted: Wanted) -> Result<()> {
        let path = Path::new(argument);
        match std::fs::metadata(path) {
            Err(cause) if !argument.contains(['*', '?', '[']) => return Err(Error::io("read the file", path, cause)),
            Ok(found) if found.is_dir() => {
                if wanted.takes_directory(path) {
                    self.named.insert(path.to_path_buf());
                }
                return self.add_directory(path, wanted);
            }
            Err(_) if !wanted.takes_hdu(argument) => {}
            Ok(_) | Err(_) => {
                self.named.insert(path.to_path_buf());
                self.files.push(path.to_path_buf());
                return Ok(());
            }
        }
        let paths = glob::glob(argument).map_err(|cause| {
            Error::new(ErrorKind::Parameter, "the argument is neither a file nor a pattern of names").cause(cause)
        })?;
        let mut is_empty = true;
        for path in paths {
            let path = path.map_err(|cause| {
                let directory = cause.path().to_path_buf();
                Error::io("search the directory", directory, cause.into())
            })?;
            is_empty = false;
            if path.is_dir() {
                self.add_directory(&path, wanted)?;
            } else {
                self.files.push(path);
            }
        }
        if is_empty {
            return Err(Error::new(ErrorKind::Missing, "no file matches the pattern"));
        }
        Ok(())
    }

    fn add_directory(&mut self, directory: &Path, wanted: Wanted) -> Result<()> {
        if wanted.takes_directory(directory) {
            self.files.push(directory.to_path_buf());
            return Ok(());
        }
        let before = self.files.len();
        search(directory, wanted, &mut self.files, &mut HashSet::new())?;
        if self.files.len() == before {
            return Err(Error::new(ErrorKind::Missing, "the directory holds no such files").file(directory));
        }
        Ok(())
    }
}

fn search(directory: &Path, wanted: Wanted, files: &mut Vec<PathBuf>, seen: &mut HashSet<PathBuf>) -> Result<()> {
    crate::interrupt::check()?;
    let refused = |cause| Error::io("search the directory", directory, cause);
    // A link that leads back up is followed once.
    if !seen.insert(directory.canonicalize().map_err(refused)?) {
        return Ok(());
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(refused)? {
        paths.push(entry.map_err(refused)?.path());
    }
    paths.sort();
    for path in paths {
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        match path.is_dir() {
            _ if is_hidden => {}
            true if wanted.takes_directory(&path) => files.push(path),
            true if wanted.searches(&path) => search(&path, wanted, files, seen)?,
            false if is_fits(&path) => files.push(path),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(inputs: &Inputs, below: &Path) -> Vec<String> {
        let name = |file: &PathBuf| file.strip_prefix(below).unwrap_or(file).display().to_string();
        inputs.files.iter().map(name).collect()
    }

    #[test]
    fn files_directories_globs_and_lists_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        for name in ["d/b.fits", "d/e/a.fits.fz", "d/notes.txt", "d/.hidden.fits", "d/s.zarr/x.fits", "c[1].fits"] {
            std::fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::os::unix::fs::symlink(dir.path().join("d"), dir.path().join("d/e/up")).unwrap();
        std::fs::write(dir.path().join("list"), format!("# files\n\n{}\n", at("c[1].fits"))).unwrap();
        let found = |arguments: &[String]| find(arguments, Wanted::Fits).unwrap();
        assert_eq!(names(&found(&[at("d")]), dir.path()), ["d/b.fits", "d/e/a.fits.fz"]);
        assert_eq!(names(&found(&[at("d/*.txt"), at("c[1].fits")]), dir.path()), ["d/notes.txt", "c[1].fits"]);
        assert_eq!(names(&found(&[format!("@{}", at("list"))]), dir.path()), ["c[1].fits"]);
        let mixed = found(&[at("d/*.fits"), at("d/b.fits"), format!("@{}", at("list")), at("d/e")]);
        let named: Vec<bool> = mixed.files.iter().map(|file| mixed.named.contains(file)).collect();
        // A file that is named once is named, whatever else finds it.
        assert_eq!(named, [false, true, true, true, false, false]);
    }

    #[test]
    fn arrays_and_hdus_are_inputs_where_images_are_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        for name in ["a.zarr/.zarray", "a.zarr/0.fits", "s.zarr/.zgroup", "s.zarr/cell/.zarray", "b.fits", "c.txt"] {
            std::fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found = |arguments: &[String]| names(&find(arguments, Wanted::Images).unwrap(), dir.path());
        assert_eq!(found(&[dir.path().display().to_string()]), ["a.zarr", "b.fits", "s.zarr/cell"]);
        assert_eq!(found(&[at("*.zarr"), at("b.fits[SCI,1]")]), ["a.zarr", "s.zarr/cell", "b.fits[SCI,1]"]);
        let of_fits = find(&[at("b.fits[SCI,1]"), dir.path().display().to_string()], Wanted::Fits).unwrap();
        assert_eq!((names(&of_fits, dir.path()), of_fits.rejected.len()), (vec!["b.fits".to_owned()], 1));
    }

    #[test]
    fn companions_are_inputs_only_by_their_own_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        for name in ["a-beam-0.fits", "a-image-pb.fits", "a-image.fits", "b.fits", "b.pb.fits", "b.rms.fits"] {
            std::fs::write(at(name), "").unwrap();
        }
        let mut inputs = find(&[dir.path().display().to_string()], Wanted::Images).unwrap();
        assert_eq!(inputs.without_companions(), 3);
        assert_eq!(names(&inputs, dir.path()), ["a-image-pb.fits", "a-image.fits", "b.fits"]);
        let mut inputs = find(&[at("b*.fits"), at("a-beam-0.fits"), at("a-image.fits")], Wanted::Images).unwrap();
        assert_eq!(inputs.without_companions(), 2);
        assert_eq!(names(&inputs, dir.path()), ["b.fits", "a-beam-0.fits", "a-image.fits"]);
    }

    #[test]
    fn an_input_counts_once_by_whatever_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("a.fits"), "").unwrap();
        let arguments = [at("a.fits"), at("./a.fits"), at("a.fits[1]"), at("*.fits"), at("a.fits[1]")];
        let mut inputs = find(&arguments, Wanted::Images).unwrap();
        assert_eq!((inputs.without_repeats(), inputs.files.len()), (3, 2));
    }

    #[test]
    fn arguments_that_name_nothing_are_listed_and_the_others_taken() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("a.fits"), "").unwrap();
        std::fs::create_dir(at("empty")).unwrap();
        let inputs = find(&[at("none.fits"), at("*.none"), at("empty"), at("a.fits")], Wanted::Fits).unwrap();
        assert_eq!((inputs.files.len(), inputs.rejected.len()), (1, 3));
        assert!(find(&[format!("@{}", at("none"))], Wanted::Fits).is_err());
    }
}
