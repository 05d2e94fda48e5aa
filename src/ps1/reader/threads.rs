//! The threads of both stages, and what they hand to each other.

use super::Arrival;
use super::loading::Loading;
use super::shared::Shared;
use crate::error::Result;
use crate::ps1::progress::Spent;
use crate::ps1::store::RawChunks;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::time::Duration;

/// How often a wait looks up to see whether it should end.
const LOOK_UP: Duration = Duration::from_millis(100);

/// A cell for the readers, and where its tiles go; those channels close when the last cell has been opened.
pub struct CellToOpen {
    pub index: usize,
    pub tiles: Sender<TileToRead>,
}

pub struct TileToRead {
    cell: Arc<Loading>,
    tile: usize,
}

/// What stage 1 hands to stage 2.
pub struct TileToDecode {
    cell: Arc<Loading>,
    tile: usize,
    raw: RawChunks,
    read: Result<()>,
}

/// A thread of stage 1.
#[derive(Clone)]
pub struct Reader {
    pub shared: Arc<Shared>,
    pub tiles: Receiver<TileToRead>,
    pub buffers: Receiver<Vec<u8>>,
    pub raw_tiles: Sender<TileToDecode>,
    pub arrivals: Sender<Arrival>,
}

enum ToDo {
    Cell(CellToOpen),
    Tile(TileToRead),
}

impl Reader {
    /// Works until there is nothing left to read.
    pub fn run(&self, mut cells: Receiver<CellToOpen>) {
        let clock = &self.shared.progress.reader;
        while let Some(work) = clock.time(Spent::WaitingForInput, || self.next(&mut cells)) {
            let is_wanted = match work {
                ToDo::Cell(cell) => self.open(&cell),
                ToDo::Tile(tile) => self.read(tile),
            };
            if !is_wanted {
                return;
            }
        }
    }

    /// A cell or a tile, whichever is there; `None` when the last tile has been taken.
    fn next(&self, cells: &mut Receiver<CellToOpen>) -> Option<ToDo> {
        loop {
            crossbeam_channel::select! {
                recv(cells) -> cell => match cell {
                    Ok(cell) => return Some(ToDo::Cell(cell)),
                    Err(_) => *cells = crossbeam_channel::never(),
                },
                recv(self.tiles) -> tile => return tile.ok().map(ToDo::Tile),
            }
        }
    }

    /// Opens a cell and hands out its tiles; false as for [`Self::read`].
    fn open(&self, to_open: &CellToOpen) -> bool {
        let shared = &self.shared;
        let clock = &shared.progress.reader;
        clock.about(&shared.task(to_open.index).listed.cell.name, 0);
        let index = to_open.index;
        if !shared.enter(index) {
            return true;
        }
        let opened = clock.time(Spent::Busy, || shared.open(index));
        if !shared.leave(index) {
            return false;
        }
        match opened {
            Ok(cell) => {
                let cell = Arc::new(cell);
                let tile = |tile: &usize| TileToRead { cell: Arc::clone(&cell), tile: *tile };
                cell.tiles().iter().all(|number| to_open.tiles.send(tile(number)).is_ok())
            }
            Err(failed) => {
                clock.add_item();
                let arrival = shared.arrival(index, *failed);
                clock.time(Spent::WaitingForOutput, || self.arrivals.send(arrival).is_ok())
            }
        }
    }

    /// Reads a tile into the next free buffer; false if nobody wants more, or this reader was replaced by another
    /// because it did not come back: its buffer was, too.
    fn read(&self, TileToRead { cell, tile }: TileToRead) -> bool {
        let shared = &self.shared;
        let clock = &shared.progress.reader;
        if !shared.enter(cell.index) {
            return true;
        }
        let Some(buffer) = clock.time(Spent::WaitingForOutput, || self.buffer()) else { return false };
        let task = shared.task(cell.index);
        clock.about(&task.listed.cell.name, task.facts.decoding.stored_bytes);
        let (raw, read) = clock.time(Spent::Busy, || shared.read(&cell, tile, buffer));
        if !shared.leave(cell.index) {
            return false;
        }
        if cell.tiles().last() == Some(&tile) {
            clock.add_item();
        }
        self.raw_tiles.send(TileToDecode { cell, tile, raw, read }).is_ok()
    }

    /// `None` if nobody wants more.
    fn buffer(&self) -> Option<Vec<u8>> {
        loop {
            match self.buffers.recv_timeout(LOOK_UP) {
                Ok(buffer) => return Some(buffer),
                Err(RecvTimeoutError::Timeout) if self.shared.still_wanted().is_ok() => {}
                Err(_) => return None,
            }
        }
    }
}

/// A thread of stage 2: it has its work done on the threads of rayon, so that they are never more than asked for.
pub struct Preprocessor {
    pub shared: Arc<Shared>,
    pub raw_tiles: Receiver<TileToDecode>,
    pub buffers: Sender<Vec<u8>>,
    pub arrivals: Sender<Arrival>,
}

impl Preprocessor {
    /// Works until no reader is left.
    pub fn run(&self) {
        let clock = &self.shared.progress.preprocessor;
        while let Ok(next) = clock.time(Spent::WaitingForInput, || self.raw_tiles.recv()) {
            let TileToDecode { cell, tile, raw, read } = next;
            let name = &self.shared.task(cell.index).listed.cell.name;
            let n_bytes = raw.buffer.len() as u64;
            clock.add_bytes_in(n_bytes);
            let settled = rayon::scope(|_| {
                clock.about(name, n_bytes);
                clock.time(Spent::Busy, || self.shared.decode(&cell, tile, &raw, read))
            });
            // Once no reader is left nobody needs it.
            let _ = self.buffers.send(raw.buffer);
            let Some(settled) = settled else { continue };
            clock.about(name, 0);
            // On this thread: storage that does not answer must not keep one of rayon's.
            let arrival = clock.time(Spent::Busy, || self.shared.arrival(cell.index, cell.identify(settled)));
            if arrival.outcome.is_ok() {
                clock.add_bytes_out(self.shared.task(cell.index).combined_bytes());
            }
            clock.add_item();
            if !clock.time(Spent::WaitingForOutput, || self.arrivals.send(arrival).is_ok()) {
                return;
            }
        }
    }
}
