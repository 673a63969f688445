//! A camera behind the digital camera interface (DCMI), whose words DMA writes round a ring.
//!
//! The interface takes one frame at a time (snapshot): it waits for VSYNC itself, and ends with the frame. Four bytes make a
//! word, the first of them its lowest (RM0433, 31.3.6 "Data format").

use embassy_stm32::dma::ReadableRingBuffer;
use embassy_stm32::pac::DCMI;
use embassy_time::{Duration, Instant};
use pinhole_firmware::camera::{PortFault, RowPort};

/// Words of a row at most: 640 pixels of two bytes.
const ROW_WORDS: usize = 320;
/// The slowest frame: longer than the longest exposure of the sensors.
const FRAME_TIME: Duration = Duration::from_millis(2000);

/// The ring of a board's DMA channel.
pub type Ring = ReadableRingBuffer<'static, u32>;

/// Where the interface gives its words out, for the ring's peripheral address.
pub fn data_register() -> *mut u32 {
    DCMI.dr().as_ptr().cast()
}

/// The port over an interface that the board has set up, with its pins.
pub struct Port {
    open: fn() -> Ring,
    ring: Option<Ring>,
    row: [u32; ROW_WORDS],
    row_words: usize,
    rows_left: u32,
    filled: usize,
    deadline: Instant,
}

impl Port {
    /// A port that takes nothing yet. `open` makes the ring anew; the one before is dropped then.
    pub const fn new(open: fn() -> Ring) -> Self {
        Self {
            open,
            ring: None,
            row: [0; ROW_WORDS],
            row_words: 0,
            rows_left: 0,
            filled: 0,
            deadline: Instant::MIN,
        }
    }

    fn in_time(&self) -> Result<(), PortFault> {
        match Instant::now() < self.deadline {
            true => Ok(()),
            false => Err(PortFault::Timeout),
        }
    }
}

impl RowPort for Port {
    fn start(&mut self, row_bytes: usize, rows: u32) -> Result<(), PortFault> {
        self.row_words = row_bytes / 4;
        // A file without rows, or rows of parts of words, which no configuration of these boards has.
        if self.row_words == 0 || self.row_words > ROW_WORDS || !row_bytes.is_multiple_of(4) {
            return Err(PortFault::Overrun);
        }
        (self.rows_left, self.filled) = (rows, 0);
        self.deadline = Instant::now() + FRAME_TIME;
        // The old ring gives its channel back first.
        self.ring = None;
        let ring = self.ring.insert((self.open)());
        ring.start();
        DCMI.icr().write(|clear| clear.set_ovr_isc(true));
        DCMI.cr().modify(|control| control.set_enable(true));
        DCMI.cr().modify(|control| control.set_capture(true));
        Ok(())
    }

    fn next(&mut self) -> Result<&[u8], PortFault> {
        if self.rows_left == 0 {
            return Ok(&[]);
        }
        while self.filled < self.row_words {
            let Some(ring) = &mut self.ring else {
                return Err(PortFault::Timeout);
            };
            // Asked before the ring is emptied: what comes between is taken the next time.
            let is_over = !DCMI.cr().read().capture();
            let place = self.row.get_mut(self.filled..self.row_words);
            let (count, _) = ring
                .read(place.unwrap_or_default())
                .map_err(|_| PortFault::Overrun)?;
            if DCMI.ris().read().ovr_ris() {
                return Err(PortFault::Overrun);
            }
            if count == 0 && is_over {
                // The frame is short.
                return Ok(&[]);
            }
            self.filled += count;
            self.in_time()?;
        }
        self.filled = 0;
        self.rows_left -= 1;
        let row = self.row.get(..self.row_words).unwrap_or_default();
        Ok(parts::ring::bytes(row))
    }

    fn stop(&mut self) {
        DCMI.cr().modify(|control| control.set_capture(false));
        DCMI.cr().modify(|control| control.set_enable(false));
        self.ring = None;
    }
}
