//! Boards that run already: the program of the board `linux` at the end of a pseudo-terminal, as a chip at a serial port, and at
//! a TCP address.

use super::Files;
use crate::common::Random;
use pinhole_device::{
    DeviceError, Kind, Options, ReadyBoard, RgbRows, RunningBoard, SelfTest, Which, board,
    build_firmware,
};
use pinhole_runtime::preprocess::PixelFormat;
use serial2::SerialPort;
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A program that ends with the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(files: &Files) -> Command {
    let elf = build_firmware(board("linux").unwrap()).expect("the program builds");
    let runner = std::env::var("PINHOLE_LINUX_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let mut command = match words.next() {
        Some(runner) => {
            let mut command = Command::new(runner);
            command.args(words).arg(elf);
            command
        }
        None => Command::new(elf),
    };
    command.arg("--flash").arg(files.path("flash"));
    command
}

/// Gives an empty board its model and bank, and compares a picture.
fn teach(files: &Files, port: &str) {
    let options = Options::default();
    let mut board = RunningBoard::connect(port, &options).unwrap();
    let empty = board.ask(|link| link.hello()).unwrap_err();
    assert!(matches!(empty, DeviceError::Refused { .. }), "{empty}");
    for (kind, name) in [(Kind::Model, "model"), (Kind::Bank, "bank")] {
        let bytes = std::fs::read(files.path(name)).unwrap();
        board.ask(|link| link.upload(kind, &bytes, |_| ())).unwrap();
    }
    board.ask(|link| link.activate(Which::Both)).unwrap();
    let tested = board.ask(|link| link.self_test()).unwrap();
    assert_eq!(tested, SelfTest::NoGolden);
    drop(board);
    compare(files, port);
}

fn compare(files: &Files, port: &str) {
    let mut board = ReadyBoard::connect(port, &Options::default()).unwrap();
    assert_eq!(board.info().board, "linux");
    let (width, height) = (40, 23);
    let bytes = Random(5).bytes(width as usize * height as usize * 3);
    let picture = RgbRows {
        width,
        height,
        bytes: &bytes,
    };
    let result = board.classify(&picture).unwrap();
    let found: Vec<u8> = result.embedding.iter().map(|x| *x as u8).collect();
    let expected = files.embedding((width, height), PixelFormat::Rgb888, &bytes);
    assert_eq!(found, expected);
}

#[test]
#[ignore = "builds the program of the board; ./ci.sh linux"]
fn linux_at_a_serial_port_learns_and_gives_the_bits_of_the_host() {
    let files = Files::new();
    let (near, far) = SerialPort::pair().unwrap();
    let path = std::fs::read_link(format!("/proc/self/fd/{}", far.as_raw_fd())).unwrap();
    let line = || File::from(OwnedFd::from(near.try_clone().unwrap()));
    let _board = Started(
        program(&files)
            .stdin(Stdio::from(line()))
            .stdout(Stdio::from(line()))
            .spawn()
            .unwrap(),
    );
    // Each verb opens the port anew, and another board than the one before may have spoken meanwhile.
    teach(&files, &path.display().to_string());
    near.write_all(b"\xff\x00noise of an adapter that was plugged in\x00")
        .unwrap();
    compare(&files, &path.display().to_string());
}

#[test]
#[ignore = "builds the program of the board; ./ci.sh linux"]
fn linux_at_an_address_serves_one_host_after_the_other() {
    let files = Files::new();
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let address = address.to_string();
    let nobody = RunningBoard::connect(&address, &Options::default())
        .err()
        .unwrap();
    assert!(matches!(nobody, DeviceError::Connect { .. }), "{nobody}");
    assert!(nobody.help().unwrap().contains(&address));
    let _board = Started(
        program(&files)
            .args(["--listen", &address])
            .stdin(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let patience = std::time::Instant::now();
    while std::net::TcpStream::connect(&address).is_err() {
        assert!(patience.elapsed() < Duration::from_secs(60), "it listens");
        std::thread::sleep(Duration::from_millis(50));
    }
    teach(&files, &address);
    compare(&files, &address);
}
