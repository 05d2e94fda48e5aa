use super::*;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_appears_only_when_published() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out.fits");
    let staged = Staged::file(&target).unwrap();
    fs::write(staged.path(), "new").unwrap();
    assert!(!target.exists());
    assert!(names(dir.path())[0].starts_with(".out.fits.partial-"));
    staged.publish(false).unwrap();
    assert_eq!(names(dir.path()), ["out.fits"]);
}

#[test]
fn what_is_dropped_unpublished_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(Staged::file(&dir.path().join("a")).unwrap());
    let staged = Staged::dir(&dir.path().join("b")).unwrap();
    fs::write(staged.path().join("inside"), "x").unwrap();
    drop(staged);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_target_that_appears_meanwhile_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (file, folder) = (dir.path().join("file"), dir.path().join("folder"));
    let staged = (Staged::file(&file).unwrap(), Staged::dir(&folder).unwrap());
    fs::write(&file, "other").unwrap();
    fs::create_dir(&folder).unwrap();
    let error = staged.0.publish(false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    assert!(error.advice().unwrap().contains("--overwrite"));
    assert_eq!(staged.1.publish(false).unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(fs::read_to_string(&file).unwrap(), "other");
    assert_eq!(names(dir.path()), ["file", "folder"]);
    // The rename itself refuses too, where the look before it came too early.
    fs::write(dir.path().join("from"), "mine").unwrap();
    assert!(is_taken(&rename_new(&dir.path().join("from"), &file, false).unwrap_err()));
}

#[test]
fn overwrite_replaces_files_and_whole_directories() {
    let dir = tempfile::tempdir().unwrap();
    let (file, folder) = (dir.path().join("file"), dir.path().join("folder"));
    fs::write(&file, "old").unwrap();
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("old"), "old").unwrap();
    let staged = Staged::file(&file).unwrap();
    fs::write(staged.path(), "new").unwrap();
    staged.publish(true).unwrap();
    let staged = Staged::dir(&folder).unwrap();
    fs::write(staged.path().join("new"), "new").unwrap();
    staged.publish(true).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    assert_eq!(names(&folder), ["new"]);
    assert_eq!(names(dir.path()), ["file", "folder"]);
}

#[test]
fn devices_other_kinds_and_missing_parents_are_refused_early() {
    let dir = tempfile::tempdir().unwrap();
    let error = ensure_free(Path::new("/dev/full"), true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert_eq!(ensure_free(&file, false).unwrap_err().kind(), ErrorKind::Exists);
    ensure_free(&file, true).unwrap();
    assert_eq!(ensure_free(&dir.path().join("no/out"), false).unwrap_err().kind(), ErrorKind::Missing);
    assert_eq!(Staged::file(&dir.path().join("no/out")).unwrap_err().kind(), ErrorKind::Missing);
    assert_eq!(Staged::file(&file.join("out")).unwrap_err().kind(), ErrorKind::Parameter);
    assert!(Staged::dir(&file).unwrap().publish(true).is_err());
}

#[test]
fn two_at_once_publish_one_directory_that_is_always_there() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    let publish = |text: String| {
        let staged = Staged::dir(&target).unwrap();
        fs::write(staged.path().join("a"), &text).unwrap();
        fs::write(staged.path().join("b"), &text).unwrap();
        staged.publish(true).unwrap();
    };
    std::thread::scope(|scope| {
        let publish_many = |name: &'static str| (0..200).for_each(|count| publish(format!("{name} {count}")));
        let runs = ["first", "second"].map(|name| scope.spawn(move || publish_many(name)));
        while !target.exists() && !runs.iter().all(|run| run.is_finished()) {}
        while !runs.iter().all(|run| run.is_finished()) {
            assert!(target.is_dir());
        }
    });
    assert_eq!(names(dir.path()), ["target"]);
    assert_eq!(names(&target), ["a", "b"]);
    assert_eq!(fs::read(target.join("a")).unwrap(), fs::read(target.join("b")).unwrap());
}

#[test]
fn a_staged_name_that_is_taken_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let tries = std::cell::Cell::new(0);
    let make = |path: &Path| {
        tries.set(tries.get() + 1);
        if tries.get() < 3 {
            fs::create_dir(path)?;
        }
        fs::create_dir(path)
    };
    let staged = Staged::make(&dir.path().join("a"), true, "make it", make).unwrap();
    assert_eq!((tries.get(), names(staged.path()).len(), names(dir.path()).len()), (3, 0, 3));
    let full = |_: &Path| Err(io::ErrorKind::StorageFull.into());
    assert_eq!(Staged::make(&dir.path().join("a"), true, "make it", full).unwrap_err().kind(), ErrorKind::NoSpace);
}

#[test]
fn a_search_for_leftovers_takes_nothing_that_is_being_made() {
    let dir = tempfile::tempdir().unwrap();
    let n_found = std::sync::atomic::AtomicUsize::new(0);
    let make = |count: usize| {
        let (folder, file) = (dir.path().join(format!("folder-{count}")), dir.path().join(format!("file-{count}")));
        let staged = Staged::dir(&folder).unwrap();
        fs::write(staged.path().join("a"), "a").unwrap();
        staged.expecting(1).publish(false).unwrap();
        write_file(&file, b"b", false).unwrap();
        assert_eq!(fs::read(file).unwrap(), b"b");
    };
    std::thread::scope(|scope| {
        let maker = scope.spawn(|| (0..300).for_each(make));
        while !maker.is_finished() {
            // What was taken before it was locked is made again under another name.
            n_found.fetch_add(remove_stale(dir.path()).unwrap(), std::sync::atomic::Ordering::Relaxed);
        }
    });
    assert_eq!(names(dir.path()).len(), 600, "{n_found:?} were taken");
}

#[test]
fn a_file_is_written_whole_and_replaced_only_if_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    write_file(&path, b"one", false).unwrap();
    assert_eq!(write_file(&path, b"two", false).unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(fs::read(&path).unwrap(), b"one");
    write_file(&path, b"two", true).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(names(dir.path()), ["a.png"]);
}

#[test]
fn outputs_in_one_place_with_the_input_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("store.zarr")).unwrap();
    fs::write(at("in.fits"), "x").unwrap();
    std::os::unix::fs::symlink(at("in.fits"), at("link.fits")).unwrap();
    for (output, input) in [
        ("in.fits", "in.fits"),
        ("link.fits", "in.fits"),
        ("store.zarr/../in.fits", "in.fits"),
        ("new.fits", "store.zarr/../new.fits"),
        ("store.zarr", "store.zarr/array"),
        ("store.zarr/new.fits", "store.zarr"),
    ] {
        let error = ensure_apart(&at(output), &at(input), "the input").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Parameter, "{output} and {input}");
    }
    ensure_apart(&at("out.fits"), &at("in.fits"), "the input").unwrap();
    ensure_apart(&at("store.zarr/b"), &at("store.zarr/a"), "the input").unwrap();
    ensure_apart(&at("store.zarr2"), &at("store.zarr"), "the input").unwrap();
}

#[test]
fn of_several_outputs_none_appears_where_one_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let staged = || vec![Staged::file(&at("a")).unwrap(), Staged::file(&at("b")).unwrap()];
    fs::write(at("b"), "old").unwrap();
    assert_eq!(publish_all(staged(), false).unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(names(dir.path()), ["b"]);
    publish_all(staged(), true).unwrap();
    assert_eq!(fs::read(at("b")).unwrap(), b"");
    assert!(at("a").exists());
}
