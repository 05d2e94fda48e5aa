//! What is in a file or a directory, as a hash; and what the file system says of it, which spares reading it again.

use crate::error::{Error, ErrorKind, Result};
use ndarray::ArrayView2;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file changed as lately as this could change again without another time of change: the racy-clean rule.
const RACY: Duration = Duration::from_secs(2);

/// Directories in directories beyond this are a loop of links.
const MOST_LEVELS: usize = 64;

/// Bytes that are read and hashed at once.
const PIECE_BYTES: usize = 1 << 20;

/// BLAKE3 of a file's bytes; of a directory, of its files' names and hashes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads a file, or all files of a directory: there in the order of their names, with lock files left out.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] or [`ErrorKind::Io`] for what cannot be read; [`ErrorKind::Unsupported`] for what is
    /// neither a file nor a directory.
    pub fn of_path(path: &Path) -> Result<Self> {
        let metadata = metadata(path)?;
        if metadata.is_dir() { of_directory(path, 0) } else { of_file(path, &metadata) }
    }

    /// Of bytes in memory; those of a file give the file's hash.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }

    /// Of the pixels of a plane and its shape, however the file they come from has them.
    pub fn of_pixels(pixels: ArrayView2<f32>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("skycache-gpu pixels of a plane");
        let (ny, nx) = pixels.dim();
        hasher.update(&(ny as u64).to_le_bytes()).update(&(nx as u64).to_le_bytes());
        match pixels.as_slice() {
            Some(pixels) => {
                hasher.update_rayon(bytemuck::cast_slice(pixels));
            }
            None => {
                for pixel in pixels {
                    hasher.update(&pixel.to_ne_bytes());
                }
            }
        }
        Self(hasher.finalize().into())
    }
}

/// What is in a file or directory, and what the file system said of it when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub hash: ContentHash,
    pub(super) fingerprint: Fingerprint,
}

impl Content {
    /// Whether nothing has written to it since; what was read of it in the meantime has this hash.
    pub fn is_still(&self, path: &Path) -> bool {
        Fingerprint::of_path(path).is_ok_and(|now| now == self.fingerprint)
    }
}

impl From<[u8; 32]> for ContentHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

/// What the file system says of a file, or of all files of a directory: device, inode, size, and the times of the
/// last write and the last change. Whoever writes to a file moves the last, also who sets the others back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    pub digest: [u8; 32],
    /// When the youngest of the files was changed.
    youngest: SystemTime,
}

impl Fingerprint {
    /// # Errors
    /// As [`ContentHash::of_path`].
    pub fn of_path(path: &Path) -> Result<Self> {
        let mut walk = Walk { hasher: blake3::Hasher::new(), youngest: UNIX_EPOCH };
        walk.add(path, &metadata(path)?, 0)?;
        Ok(Self { digest: walk.hasher.finalize().into(), youngest: walk.youngest })
    }

    /// Whether a content that was read beginning at `read_at` may be known by this fingerprint from then on.
    ///
    /// Not for files changed within the two seconds before, nor in the future of the clock: they may change again
    /// without a trace.
    pub fn is_trusted(&self, read_at: SystemTime) -> bool {
        self.youngest.checked_add(RACY).is_some_and(|safe_at| safe_at <= read_at)
    }
}

struct Walk {
    hasher: blake3::Hasher,
    youngest: SystemTime,
}

impl Walk {
    fn add(&mut self, path: &Path, metadata: &Metadata, level: usize) -> Result<()> {
        for number in [metadata.dev(), metadata.ino()] {
            self.hasher.update(&number.to_le_bytes());
        }
        if metadata.is_dir() {
            let names = names_in(path, level)?;
            self.hasher.update(b"directory").update(&(names.len() as u64).to_le_bytes());
            for (name, path) in names {
                self.hasher.update(&(name.len() as u64).to_le_bytes()).update(&name);
                self.add(&path, &self::metadata(&path)?, level + 1)?;
            }
            return Ok(());
        }
        self.hasher.update(b"file").update(&metadata.size().to_le_bytes());
        for (seconds, nanos) in [(metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec())] {
            self.hasher.update(&seconds.to_le_bytes()).update(&nanos.to_le_bytes());
            let since = Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0));
            self.youngest = self.youngest.max(UNIX_EPOCH + since);
        }
        Ok(())
    }
}

fn metadata(path: &Path) -> Result<Metadata> {
    let metadata = fs::metadata(path).map_err(|cause| Error::io("read the file", path, cause))?;
    if metadata.is_file() || metadata.is_dir() {
        return Ok(metadata);
    }
    Err(Error::new(ErrorKind::Unsupported, "this is neither a file nor a directory").file(path))
}

/// Names and paths of what is in a directory, in the order of their bytes.
fn names_in(path: &Path, level: usize) -> Result<Vec<(Vec<u8>, PathBuf)>> {
    if level > MOST_LEVELS {
        return Err(Error::new(ErrorKind::Unsupported, "directories are nested too deep, a link may lead back")
            .file(path)
            .help("remove the link that leads back"));
    }
    let refused = |cause| Error::io("read the directory", path, cause);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let name = entry.file_name().into_encoded_bytes();
        if !is_lock(&name) {
            names.push((name, entry.path()));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Lock files change though the data do not, as `table.lock` of CASA images.
fn is_lock(name: &[u8]) -> bool {
    name.ends_with(b".lock")
}

fn of_file(path: &Path, metadata: &Metadata) -> Result<ContentHash> {
    let refused = |cause| Error::io("read the file", path, cause);
    let mut file = File::open(path).map_err(refused)?;
    let mut hasher = blake3::Hasher::new();
    let piece_bytes = usize::try_from(metadata.size()).map_or(PIECE_BYTES, |size| size.clamp(1, PIECE_BYTES));
    let mut piece = vec![0; piece_bytes];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(ContentHash(hasher.finalize().into())),
            Ok(n_bytes) => hasher.update_rayon(&piece[..n_bytes]),
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(refused(cause)),
        };
    }
}

fn of_directory(path: &Path, level: usize) -> Result<ContentHash> {
    let mut hasher = blake3::Hasher::new_derive_key("skycache-gpu content of a directory");
    for (name, path) in names_in(path, level)? {
        let metadata = metadata(&path)?;
        let (sort, hash) = if metadata.is_dir() {
            (b'd', of_directory(&path, level + 1)?)
        } else {
            (b'f', of_file(&path, &metadata)?)
        };
        hasher.update(&(name.len() as u64).to_le_bytes()).update(&name).update(&[sort]).update(hash.as_bytes());
    }
    Ok(ContentHash(hasher.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(path: &Path) -> ContentHash {
        ContentHash::of_path(path).unwrap()
    }

    #[test]
    fn a_file_has_the_hash_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for n_bytes in [0, 1, 100, PIECE_BYTES, 2 * PIECE_BYTES + 5] {
            let bytes: Vec<u8> = (0..n_bytes).map(|i| (i % 251) as u8).collect();
            fs::write(&path, &bytes).unwrap();
            assert_eq!(hash(&path).to_string(), blake3::hash(&bytes).to_string());
        }
    }

    #[test]
    fn pixels_are_known_by_their_bits_and_shape() {
        let plane = ndarray::Array2::from_shape_fn((4, 6), |(y, x)| (y * 6 + x) as f32);
        let hash = |plane: &ndarray::Array2<f32>| ContentHash::of_pixels(plane.view());
        let columns_first = plane.t().as_standard_layout().into_owned();
        assert_eq!(hash(&plane), ContentHash::of_pixels(columns_first.t()));
        assert_ne!(hash(&plane), hash(&plane.clone().into_shape_with_order((6, 4)).unwrap()));
        let mut other = plane.clone();
        other[(0, 0)] = -0.0;
        assert_ne!(hash(&plane), hash(&other));
    }

    #[test]
    fn a_directory_is_known_by_names_and_contents_without_locks() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, files: &[(&str, &str)]| {
            for (file, text) in files {
                let path = folder.path().join(name).join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            hash(&folder.path().join(name))
        };
        let first = make("first", &[("zarr.json", "{}"), ("c/0/0", "chunk")]);
        assert_eq!(first, make("same", &[("c/0/0", "chunk"), ("zarr.json", "{}"), ("table.lock", "now")]));
        assert_ne!(first, make("changed", &[("zarr.json", "{}"), ("c/0/0", "chunK")]));
        assert_ne!(first, make("renamed", &[("zarr.json", "{}"), ("c/0/1", "chunk")]));
        assert_ne!(first, make("more", &[("zarr.json", "{}"), ("c/0/0", "chunk"), ("c/0/1", "")]));
        assert_ne!(first, make("flat", &[("zarr.json", "{}"), ("c00", "chunk")]));
    }

    #[test]
    fn a_change_with_the_old_size_and_time_has_another_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "before").unwrap();
        let (before, modified) =
            (Fingerprint::of_path(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
        assert_eq!(before, Fingerprint::of_path(&path).unwrap());
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&path, "after!").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_ne!(before.digest, Fingerprint::of_path(&path).unwrap().digest);
        assert_ne!(Fingerprint::of_path(folder.path()).unwrap().digest, before.digest);
    }

    #[test]
    fn young_files_and_files_of_the_future_are_not_trusted() {
        let now = SystemTime::now();
        let changed = |youngest| Fingerprint { digest: [0; 32], youngest };
        assert!(!changed(now).is_trusted(now));
        assert!(!changed(now - Duration::from_millis(1999)).is_trusted(now));
        assert!(changed(now - RACY).is_trusted(now));
        assert!(!changed(now + Duration::from_secs(3600)).is_trusted(now));
    }

    #[test]
    fn what_is_no_file_is_refused_by_name() {
        let error = ContentHash::of_path(Path::new("/dev/null")).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Unsupported, Some(Path::new("/dev/null"))));
        assert_eq!(ContentHash::of_path(Path::new("/no/such")).unwrap_err().kind(), ErrorKind::Missing);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_back_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("back")).unwrap();
        let error = ContentHash::of_path(folder.path()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Io), "{error:?}");
    }
}
