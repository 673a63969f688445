//! A board that runs already, and the port it is spoken with over.

use pinhole_device::{BAUD, Options};

use crate::failure::{Failure, Outcome};

/// Where a board that runs already answers.
#[derive(clap::Args)]
pub(crate) struct Port {
    /// Speak with a board that runs: a serial port (/dev/ttyACM0, COM3), or ADDRESS:PORT of pinhole-linux --listen.
    #[arg(long, value_name = "PORT", conflicts_with_all = ["board", "flash"])]
    pub(crate) port: Option<String>,
    /// Bits a second of a serial port; 921600 when left out.
    #[arg(long, value_name = "BITS")]
    baud: Option<u32>,
}

impl Port {
    /// Its name.
    pub(crate) fn name(&self) -> Option<&str> {
        self.port.as_deref()
    }

    /// Options with its speed.
    pub(crate) fn options(&self, options: Options) -> Outcome<Options> {
        // Clap asks for no port where one would be in conflict with another option.
        if self.baud.is_some() && self.port.is_none() {
            return Err(Failure::new("found --baud without a port, expected both or none")
                .help("name the serial port: --port /dev/ttyACM0; pinhole board list says which there are"));
        }
        Ok(Options {
            baud: self.baud.unwrap_or(BAUD),
            ..options
        })
    }
}
