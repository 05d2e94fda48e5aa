//! Compiled pipelines kept between processes: what the driver makes of shaders, in a file of the user's.
//!
//! [`Folder`] is all that knows of files. A file that is damaged, foreign or of another driver is as good as none,
//! and one that cannot be written is no failure: pipelines are then compiled again.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// What a file begins with; its last character is the version of the form.
const MAGIC: &[u8; 8] = b"skypipe1";

/// The pipelines of this program take some 100 kB; more than this is no file of ours.
const MOST_BYTES: u64 = 64 << 20;

/// A folder of values by key, each with a checksum over both.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// `$SKYCACHE_CACHE_DIR/pipelines`, or that of the user's caches; `None` if the user has none.
    pub fn of_user() -> Option<Self> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let chosen = std::env::var_os("SKYCACHE_CACHE_DIR").filter(|path| !path.is_empty()).map(PathBuf::from);
        let of_platform = || absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        let own = chosen.or_else(|| Some(of_platform()?.join("skycache-gpu")))?;
        Some(Self(own.join("pipelines")))
    }

    fn file(&self, key: &str) -> PathBuf {
        self.0.join(&blake3::hash(key.as_bytes()).to_hex()[..32])
    }

    /// The value that was saved under this key; `None` if there is none that is whole and this user's own.
    pub fn load(&self, key: &str) -> Option<Vec<u8>> {
        let file = std::fs::File::open(self.file(key)).ok()?;
        if !is_own(&file) {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes).ok()?;
        let (sum, value) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<{ blake3::OUT_LEN }>()?;
        (bytes.len() as u64 <= MOST_BYTES && *sum == *checksum(key, value).as_bytes()).then(|| value.to_vec())
    }

    /// Saves a value for this user alone; it appears whole or not at all.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self, key: &str, value: &[u8]) -> std::io::Result<()> {
        private_folder(&self.0)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
        for part in [&MAGIC[..], checksum(key, value).as_bytes(), value] {
            file.write_all(part)?;
        }
        file.persist(self.file(key)).map(drop).map_err(|failed| failed.error)
    }
}

/// Of the key too: a file under another's name is not taken.
fn checksum(key: &str, value: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes()).update(key.as_bytes()).update(value);
    hasher.finalize()
}

#[cfg(unix)]
fn private_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn private_folder(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(path)
}

/// Whether nobody but this user can have written it: a driver trusts what it is given.
#[cfg(unix)]
fn is_own(file: &std::fs::File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let user = rustix::process::geteuid().as_raw();
    file.metadata().is_ok_and(|found| found.is_file() && found.uid() == user && found.mode() & 0o022 == 0)
}

#[cfg(not(unix))]
fn is_own(file: &std::fs::File) -> bool {
    file.metadata().is_ok_and(|found| found.is_file())
}

/// The driver's cache of one device, and where it is kept.
#[derive(Debug)]
pub struct KeptPipelines {
    folder: Folder,
    key: String,
    /// What it was made from.
    loaded: Option<blake3::Hash>,
    driver_cache: wgpu::PipelineCache,
}

impl KeptPipelines {
    /// That of the user's folder; `None` if the device cannot keep pipelines, or the user has no folder.
    pub fn of_user(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let adapter = wgpu::util::pipeline_cache_key(info)?;
        let driver = format!("{} {}", info.driver, info.driver_info);
        let key = format!("{adapter}\n{driver}\n{}", env!("CARGO_PKG_VERSION"));
        let folder = Folder::of_user()?;
        let data = folder.load(&key);
        let description =
            wgpu::PipelineCacheDescriptor { label: Some("pipelines"), data: data.as_deref(), fallback: true };
        // SAFETY: the bytes must be what `get_data` gave for this adapter. Only this program's `save` writes such files,
        // from `get_data`; the key, which the checksum covers, names the adapter, its driver and this version, and the
        // checksum shows that no byte has changed since. The file can be written by this user alone.
        let driver_cache = unsafe { device.create_pipeline_cache(&description) };
        Some(Self { folder, key, loaded: data.as_deref().map(blake3::hash), driver_cache })
    }

    pub fn of_driver(&self) -> &wgpu::PipelineCache {
        &self.driver_cache
    }

    /// Keeps what has been compiled since, for the next process; a failure is only logged.
    pub fn save(&self) {
        let Some(data) = self.driver_cache.get_data() else { return };
        if self.loaded == Some(blake3::hash(&data)) {
            return;
        }
        if let Err(cause) = self.folder.save(&self.key, &data) {
            tracing::debug!("compiled shaders are not kept: {cause}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder(dir.path().join("a/b"));
        (dir, folder)
    }

    #[test]
    fn what_was_saved_is_loaded_and_replaced() {
        let (_dir, folder) = folder();
        assert_eq!(folder.load("key"), None);
        folder.save("key", b"first").unwrap();
        folder.save("key", b"second").unwrap();
        assert_eq!(folder.load("key").unwrap(), b"second");
        assert_eq!(folder.load("another"), None);
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_damaged_or_of_another_key_is_not_there() {
        let (_dir, folder) = folder();
        folder.save("key", b"some pipelines").unwrap();
        let path = folder.file("key");
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, &flipped).unwrap();
            assert_eq!(folder.load("key"), None, "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(folder.load("key"), None, "{at} bytes");
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(folder.load("key").is_some());
        std::fs::copy(&path, folder.file("another")).unwrap();
        assert_eq!(folder.load("another"), None);
    }

    #[cfg(unix)]
    #[test]
    fn files_are_the_users_alone_and_others_are_not_trusted() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, folder) = folder();
        folder.save("key", b"some pipelines").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.0), mode(&folder.file("key"))), (0o700, 0o600));
        std::fs::set_permissions(folder.file("key"), std::fs::Permissions::from_mode(0o620)).unwrap();
        assert_eq!(folder.load("key"), None);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error_and_no_panic() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(Folder(dir.path().join("file/below")).save("key", b"").is_err());
    }
}
