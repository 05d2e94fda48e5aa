//! A FITS image written row by row: for images that are never in memory as a whole.

use super::super::header::Header;
use super::super::publish::Staged;
use super::{data_sum, filling, fold_carries, output_header, write_rows};
use crate::error::{Error, ErrorKind, Result};
use ndarray::ArrayView2;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// An image in the making: its rows come in order, the header in the end, when the sum of the data is known.
#[derive(Debug)]
pub struct RowWriter {
    staged: Staged,
    file: BufWriter<File>,
    path: PathBuf,
    header: Header,
    shape: (usize, usize),
    rows_written: usize,
    sum: u32,
}

impl RowWriter {
    /// An image of (ny, nx) pixels with these cards, as [`super::super::stage`] writes one; not compressed.
    ///
    /// # Errors
    /// As [`super::super::stage`].
    pub fn new(path: &Path, header: Header, shape: (usize, usize)) -> Result<Self> {
        let room = output_header(&header, shape, 0)?;
        let staged = Staged::file(path)?;
        let mut file = BufWriter::with_capacity(1 << 20, staged.open_file()?);
        file.write_all(room.as_bytes()).map_err(|cause| Error::io("write the FITS file", path, cause))?;
        Ok(Self { staged, file, path: path.to_path_buf(), header, shape, rows_written: 0, sum: 0 })
    }

    /// Writes the next rows.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] for rows of another length, or too many; [`ErrorKind::Io`] or [`ErrorKind::NoSpace`].
    pub fn push(&mut self, rows: ArrayView2<f32>) -> Result<()> {
        let (ny, nx) = self.shape;
        if rows.ncols() != nx || self.rows_written + rows.nrows() > ny {
            let what = format!("{} rows of {} px do not fit an image of {nx} x {ny} px", rows.nrows(), rows.ncols());
            return Err(Error::new(ErrorKind::Shape, what).file(&self.path));
        }
        self.sum = fold_carries(u64::from(self.sum) + u64::from(data_sum(rows)));
        self.rows_written += rows.nrows();
        write_rows(&mut self.file, &self.path, rows)
    }

    /// Writes the header, and leaves it to the caller to publish the image.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if rows are missing; [`ErrorKind::Io`] or [`ErrorKind::NoSpace`].
    pub fn finish(mut self) -> Result<Staged> {
        let (ny, nx) = self.shape;
        if self.rows_written != ny {
            let what = format!("{} of {ny} rows of the image were written", self.rows_written);
            return Err(Error::new(ErrorKind::Shape, what).file(&self.path));
        }
        let header = output_header(&self.header, self.shape, self.sum)?;
        let refused = |cause| Error::io("write the FITS file", &self.path, cause);
        self.file.write_all(&filling(ny * nx)).map_err(refused)?;
        self.file.seek(SeekFrom::Start(0)).map_err(refused)?;
        self.file.write_all(header.as_bytes()).map_err(refused)?;
        self.file.flush().map_err(refused)?;
        Ok(self.staged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{self, Image};
    use ndarray::{Array2, s};

    #[test]
    fn rows_make_the_file_that_the_whole_image_makes() {
        let folder = tempfile::tempdir().unwrap();
        let pixels = Array2::from_shape_fn((57, 83), |(y, x)| (y * 83 + x) as f32 * -0.25);
        let mut header = Header::new();
        header.set("BUNIT", "Jy/beam", "").unwrap();
        let (whole, rows) = (folder.path().join("whole.fits"), folder.path().join("rows.fits"));
        image::write(&whole, &Image { pixels: pixels.clone(), header: header.clone() }, false).unwrap();
        let mut writer = RowWriter::new(&rows, header, (57, 83)).unwrap();
        for range in [0..1, 1..40, 40..57] {
            writer.push(pixels.slice(s![range, ..])).unwrap();
        }
        writer.finish().unwrap().publish(false).unwrap();
        let bytes = |path| {
            let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()[..2880]).into_owned();
            let sum = text.find("DATASUM").unwrap();
            (std::fs::read(path).unwrap()[2880..].to_vec(), text[sum..sum + 40].to_owned())
        };
        assert_eq!(bytes(&rows), bytes(&whole));
        assert_eq!(image::read(rows.to_str().unwrap()).unwrap().pixels, pixels);
        assert_eq!(image::read_rows(whole.to_str().unwrap(), 0, 5..9).unwrap(), pixels.slice(s![5..9, ..]));
    }

    #[test]
    fn rows_that_are_missing_or_do_not_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.fits");
        let mut writer = RowWriter::new(&path, Header::new(), (3, 4)).unwrap();
        assert_eq!(writer.push(Array2::zeros((1, 5)).view()).unwrap_err().kind(), ErrorKind::Shape);
        writer.push(Array2::zeros((2, 4)).view()).unwrap();
        assert_eq!(writer.push(Array2::zeros((2, 4)).view()).unwrap_err().kind(), ErrorKind::Shape);
        assert_eq!(writer.finish().unwrap_err().kind(), ErrorKind::Shape);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
