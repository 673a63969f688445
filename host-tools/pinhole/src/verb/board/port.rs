//! A board that runs already, and the port it is spoken with over.

use pinhole_device::{BAUD, Options};

/// Where a board that runs already answers.
#[derive(clap::Args)]
pub(crate) struct Port {
    /// Speak with a board that runs: a serial port (/dev/ttyACM0, COM3), or ADDRESS:PORT of pinhole-linux --listen.
    #[arg(long, value_name = "PORT", conflicts_with_all = ["board", "flash"])]
    pub(crate) port: Option<String>,
    /// Bits a second of a serial port.
    #[arg(long, default_value_t = BAUD, value_name = "BITS", conflicts_with_all = ["board", "flash"])]
    baud: u32,
}

impl Port {
    /// Its name.
    pub(crate) fn name(&self) -> Option<&str> {
        self.port.as_deref()
    }

    /// Options with its speed.
    pub(crate) fn options(&self, options: Options) -> Options {
        Options {
            baud: self.baud,
            ..options
        }
    }
}
