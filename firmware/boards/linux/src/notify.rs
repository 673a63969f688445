//! The watchdog of systemd (sd_notify(3)): a service that stops saying that it lives is started again.

use pinhole_firmware::stats::Watchdog;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The socket that systemd gave.
pub(crate) struct Notify {
    socket: UnixDatagram,
    fed: Instant,
}

/// Not more often than this, whatever the frame rate.
const FEED_EVERY: Duration = Duration::from_millis(500);

impl Notify {
    /// `None` where the process is no service of systemd.
    pub(crate) fn of_systemd() -> Option<Self> {
        let name = std::env::var("NOTIFY_SOCKET").ok()?;
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&name),
        };
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect_addr(&address.ok()?).ok()?;
        let fed = Instant::now();
        Some(Self { socket, fed })
    }

    /// The service has started.
    pub(crate) fn ready(&mut self) {
        self.say("READY=1");
    }

    fn say(&self, what: &str) {
        // A lost word is one that the next one makes good, and systemd may have gone.
        let _ = self.socket.send(what.as_bytes());
    }
}

impl Watchdog for Notify {
    fn feed(&mut self) {
        if self.fed.elapsed() >= FEED_EVERY {
            self.fed = Instant::now();
            self.say("WATCHDOG=1");
        }
    }
}
