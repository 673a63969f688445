//! A camera with 8 parallel lines, taken by a state machine of PIO 0 and DMA channel 0.
//!
//! The state machine waits for a row to begin (HREF), and for each rising clock of a pixel (PCLK) shifts the 8 lines in, as often as
//! the row has bytes: a sensor may send more. It pushes words, whose lowest byte came first. DMA writes the words of a frame round a ring of 32 KB and counts them, so that nothing
//! has to happen in time but the taking of rows (RP2350 Datasheet, 11 "PIO" and 12.6 "DMA").

use crate::Irqs;
use core::ptr::with_exposed_provenance_mut;
use core::sync::atomic::{Ordering, fence};
use embassy_rp::Peri;
use embassy_rp::gpio::Pull;
use embassy_rp::pac;
use embassy_rp::peripherals::{
    DMA_CH0, PIN_6, PIN_7, PIN_8, PIN_9, PIN_10, PIN_11, PIN_12, PIN_13, PIN_14, PIN_15, PIN_16,
    PIO0,
};
use embassy_rp::pio::program::pio_asm;
use embassy_rp::pio::{
    Common, Config, Pin, Pio, PioPin, ShiftConfig, ShiftDirection, StateMachine,
};
use embassy_time::{Duration, Instant};
use parts::ring::{Ring, Turn};
use pinhole_firmware::camera::{PortFault, RowPort};

/// Words of a row at most: 640 pixels of two bytes.
const ROW_WORDS: usize = 320;
/// The slowest frame: longer than the longest exposure of the sensors at this clock.
const FRAME_TIME: Duration = Duration::from_millis(2000);
/// The channel that the port has for itself.
const CHANNEL: usize = 0;
/// Ring of 2^15 bytes, the largest there is.
const RING_BITS: u8 = 15;
const RING_WORDS: u32 = (1 << RING_BITS) / 4;

unsafe extern "C" {
    static __bands_start: u8;
}

/// The lines of a camera, in the order of their numbers: the program counts them from D0 on.
pub struct Lines {
    pub d0: Peri<'static, PIN_6>,
    pub d1: Peri<'static, PIN_7>,
    pub d2: Peri<'static, PIN_8>,
    pub d3: Peri<'static, PIN_9>,
    pub d4: Peri<'static, PIN_10>,
    pub d5: Peri<'static, PIN_11>,
    pub d6: Peri<'static, PIN_12>,
    pub d7: Peri<'static, PIN_13>,
    pub pclk: Peri<'static, PIN_14>,
    pub href: Peri<'static, PIN_15>,
    pub vsync: Peri<'static, PIN_16>,
}

/// The port.
pub struct Dvp {
    machine: StateMachine<'static, PIO0, 0>,
    config: Config<'static, PIO0>,
    /// The level of VSYNC between two frames.
    blank: bool,
    vsync: u8,
    ring: Ring,
    row: [u32; ROW_WORDS],
    row_words: usize,
    deadline: Instant,
    /// Lines that this value keeps from others.
    _lines: [Pin<'static, PIO0>; 11],
    _channel: Peri<'static, DMA_CH0>,
}

impl Dvp {
    /// A port that takes nothing yet; `blank` is the level of VSYNC between two frames.
    pub fn new(
        pio: Peri<'static, PIO0>,
        channel: Peri<'static, DMA_CH0>,
        lines: Lines,
        blank: bool,
    ) -> Self {
        let Pio {
            mut common, sm0, ..
        } = Pio::new(pio, Irqs);
        let lines = [
            input(&mut common, lines.d0),
            input(&mut common, lines.d1),
            input(&mut common, lines.d2),
            input(&mut common, lines.d3),
            input(&mut common, lines.d4),
            input(&mut common, lines.d5),
            input(&mut common, lines.d6),
            input(&mut common, lines.d7),
            input(&mut common, lines.pclk),
            input(&mut common, lines.href),
            input(&mut common, lines.vsync),
        ];
        let program = pio_asm!(
            // Bytes of a row, less one.
            "pull block",
            "mov y, osr",
            ".wrap_target",
            "wait 0 pin 9", // HREF
            "wait 1 pin 9",
            "mov x, y",
            "pixel:",
            "wait 1 pin 8", // PCLK
            "in pins, 8",
            "wait 0 pin 8",
            "jmp x-- pixel",
            ".wrap",
        );
        let mut config = Config::default();
        config.use_program(&common.load_program(&program.program), &[]);
        let [d0, d1, d2, d3, d4, d5, d6, d7, pclk, href, vsync] = &lines;
        config.set_in_pins(&[d0, d1, d2, d3, d4, d5, d6, d7, pclk, href, vsync]);
        config.shift_in = ShiftConfig {
            auto_fill: true,
            threshold: 32,
            direction: ShiftDirection::Right,
        };
        Self {
            machine: sm0,
            config,
            blank,
            vsync: vsync.pin(),
            ring: Ring::new(RING_WORDS, 0),
            row: [0; ROW_WORDS],
            row_words: 0,
            deadline: Instant::now(),
            _lines: lines,
            _channel: channel,
        }
    }

    /// Whether VSYNC says that no frame is being sent.
    fn is_blank(&self) -> bool {
        let levels = pac::SIO.gpio_in(0).read();
        (levels >> self.vsync & 1 == 1) == self.blank
    }

    fn wait_for(&self, blank: bool) -> Result<(), PortFault> {
        while self.is_blank() != blank {
            self.in_time()?;
        }
        Ok(())
    }

    fn in_time(&self) -> Result<(), PortFault> {
        match Instant::now() < self.deadline {
            true => Ok(()),
            false => Err(PortFault::Timeout),
        }
    }

    /// Words that the channel wrote since the frame began.
    fn written(&self, total: u32) -> u32 {
        let left = pac::DMA.ch(CHANNEL).trans_count().read().count();
        total.saturating_sub(left)
    }

    /// Begins to write `total` words round the ring.
    fn arm(&mut self, total: u32) {
        self.machine.clear_fifos();
        self.machine.restart();
        // To the start of the program, with an empty shift register.
        self.machine.set_config(&self.config);
        self.machine.tx().push(4 * self.row_words as u32 - 1);
        let channel = pac::DMA.ch(CHANNEL);
        channel
            .read_addr()
            .write_value(self.machine.rx_fifo_ptr().addr() as u32);
        channel
            .write_addr()
            .write_value((&raw const __bands_start).addr() as u32);
        channel.trans_count().write(|count| count.set_count(total));
        fence(Ordering::SeqCst);
        let treq = self.machine.rx_treq();
        channel.ctrl_trig().write(|control| {
            control.set_treq_sel(treq);
            control.set_data_size(pac::dma::vals::DataSize::SIZE_WORD);
            control.set_incr_read(false);
            control.set_incr_write(true);
            control.set_ring_sel(true);
            control.set_ring_size(RING_BITS);
            // To itself: to nothing.
            control.set_chain_to(CHANNEL as u8);
            control.set_en(true);
        });
        self.machine.set_enable(true);
    }

    /// Copies a row out of the ring.
    fn copy(&mut self, first: usize) {
        let start = (&raw const __bands_start).addr();
        for (step, word) in self.row.iter_mut().take(self.row_words).enumerate() {
            let index = (first + step) % RING_WORDS as usize;
            let cell = with_exposed_provenance_mut::<u32>(start + 4 * index);
            // SAFETY: `memory.x` sets BANDS apart, 32 KB at a multiple of 32 KB; `index` is within them. The channel writes
            // there, and nothing else does; what it overwrote meanwhile `Ring::took` finds.
            *word = unsafe { cell.read_volatile() };
        }
    }
}

fn input(
    common: &mut Common<'static, PIO0>,
    pin: Peri<'static, impl PioPin + 'static>,
) -> Pin<'static, PIO0> {
    let mut pin = common.make_pio_pin(pin);
    pin.set_pull(Pull::None);
    pin
}

impl RowPort for Dvp {
    fn start(&mut self, row_bytes: usize, rows: u32) -> Result<(), PortFault> {
        self.row_words = row_bytes / 4;
        // A file without rows, or rows of parts of words, which no sensor of this board has.
        if self.row_words == 0 || self.row_words > ROW_WORDS || !row_bytes.is_multiple_of(4) {
            return Err(PortFault::Overrun);
        }
        self.deadline = Instant::now() + FRAME_TIME;
        self.wait_for(true)?;
        let total = self.row_words as u32 * rows;
        self.ring = Ring::new(RING_WORDS, total);
        self.arm(total);
        self.wait_for(false)
    }

    fn next(&mut self) -> Result<&[u8], PortFault> {
        let count = self.row_words as u32;
        let total = self.ring.total();
        loop {
            match self.ring.turn(self.written(total), count) {
                Turn::End => return Ok(&[]),
                Turn::Overrun => return Err(PortFault::Overrun),
                Turn::Take { first } => {
                    self.copy(first);
                    if !self.ring.took(self.written(total), count) {
                        return Err(PortFault::Overrun);
                    }
                    let row = self.row.get(..self.row_words).unwrap_or_default();
                    return Ok(parts::ring::bytes(row));
                }
                // Between two frames nothing comes any more: the frame is short.
                Turn::Wait if self.is_blank() => return Ok(&[]),
                Turn::Wait => self.in_time()?,
            }
        }
    }

    fn stop(&mut self) {
        self.machine.set_enable(false);
        pac::DMA
            .chan_abort()
            .write(|abort| abort.set_chan_abort(1 << CHANNEL));
        while pac::DMA.ch(CHANNEL).ctrl_trig().read().busy() {}
    }
}
