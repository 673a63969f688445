//! The drivers of image sensors against chips of memory and against a mock of the bus: what ends up in which register, what an
//! identity that is another chip's gives, and what a byte without acknowledge gives, wherever it is.
//!
//! The tables here are sorted by register and were written from the sources that `docs/cameras.md` names, not from the drivers.

use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use embedded_hal_mock::eh1::delay::{CheckedDelay, NoopDelay, Transaction as Wait};
use embedded_hal_mock::eh1::digital::{Mock as Pin, State, Transaction as Level};
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use pinhole_firmware::camera::*;
use std::collections::BTreeMap;

/// What went over the bus.
#[derive(Clone, Debug, PartialEq)]
enum Transfer {
    Write(Vec<u8>),
    Read(Vec<u8>),
    WriteRead(Vec<u8>, Vec<u8>),
}

/// How a chip numbers its registers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Numbers {
    /// 8 bits, a stop before a read.
    Short,
    /// Likewise, with the bank in register 0xff.
    Banked,
    /// 16 bits.
    Long,
}

/// A chip of memory.
#[derive(Debug)]
struct Chip {
    numbers: Numbers,
    registers: BTreeMap<u16, u8>,
    /// Register and value that clear the registers which were written.
    reset: (u16, u8),
    bank: u8,
    pointer: u16,
    identity: Vec<(u16, u8)>,
    log: Vec<Transfer>,
}

#[derive(Debug)]
struct Nack;

impl embedded_hal::i2c::Error for Nack {
    fn kind(&self) -> ErrorKind {
        ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address)
    }
}

impl Chip {
    fn store(&mut self, bytes: &[u8]) {
        let (register, values) = match (self.numbers, bytes) {
            (Numbers::Long, [high, low, values @ ..]) => {
                (u16::from_be_bytes([*high, *low]), values)
            }
            (Numbers::Banked, [0xff, bank]) => {
                self.bank = *bank;
                return;
            }
            (Numbers::Short, [register, values @ ..]) => (u16::from(*register), values),
            (Numbers::Banked, [register, values @ ..]) => {
                (u16::from_be_bytes([self.bank, *register]), values)
            }
            _ => panic!("a write of nothing"),
        };
        self.pointer = register;
        assert!(values.len() <= 1, "one register a transfer");
        if let [value] = values {
            if (register, *value) == self.reset {
                self.registers.clear();
                // OV2640 comes back with another bank than the driver left.
                self.bank = 0x7f;
            } else {
                self.registers.insert(register, *value);
            }
        }
    }

    fn value(&self) -> u8 {
        let fixed = self.identity.iter().find(|(at, _)| *at == self.pointer);
        let stored = self.registers.get(&self.pointer).copied();
        fixed.map(|(_, value)| *value).or(stored).unwrap_or(0)
    }
}

impl ErrorType for Chip {
    type Error = Nack;
}

impl I2c for Chip {
    fn transaction(&mut self, _: u8, operations: &mut [Operation<'_>]) -> Result<(), Nack> {
        let transfer = match operations {
            [Operation::Write(bytes)] => {
                self.store(bytes);
                Transfer::Write(bytes.to_vec())
            }
            [Operation::Read(bytes)] => {
                assert_ne!(self.numbers, Numbers::Long);
                bytes.fill(self.value());
                Transfer::Read(bytes.to_vec())
            }
            [Operation::Write(number), Operation::Read(bytes)] => {
                assert_eq!(self.numbers, Numbers::Long, "SCCB has a stop before a read");
                self.store(number);
                bytes.fill(self.value());
                Transfer::WriteRead(number.to_vec(), bytes.to_vec())
            }
            _ => panic!("{operations:?}"),
        };
        self.log.push(transfer);
        Ok(())
    }
}

/// A kind of sensor: how to make its driver, and what it is.
struct Kind {
    name: &'static str,
    address: u8,
    numbers: Numbers,
    identity: [(u16, u8); 2],
    chip_id: u16,
    reset: (u16, u8),
    /// What `start` and `configure` are asked for, and what is in the registers then.
    configuration: Configuration,
    registers: &'static str,
}

const QVGA: FrameSize = FrameSize::QVGA;

const fn configuration(size: FrameSize, format: FrameFormat) -> Configuration {
    Configuration { size, format }
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "ov2640",
        address: 0x30,
        numbers: Numbers::Banked,
        identity: [(0x10a, 0x26), (0x10b, 0x42)],
        chip_id: 0x2642,
        reset: (0x112, 0x80),
        configuration: configuration(QVGA, FrameFormat::RGB565_BE),
        // 640×480 of 800×600 from (80, 60), halved; RGB565 with the high byte first.
        registers:
            "
            0005:00 002c:ff 002e:df 0033:a0 0041:24 0042:20 0043:18 0044:0c 004c:00
            0050:89 0051:a0 0052:78 0053:50 0054:3c 0055:00 0057:00 005a:50 005b:3c 005c:00
            0076:ff 007c:08 007d:0e 007f:00 0086:3d 0087:d0 0088:3f 008c:00
            0090:00 0091:20 0092:00 0093:04 0096:00 0097:00 00a4:00 00a8:00
            00b0:c5 00b1:94 00b2:0f 00b3:af 00b4:97 00b5:ff 00b6:66 00b7:64 00b8:a5 00b9:7c 00bf:80
            00c0:64 00c1:4b 00c3:fd 00c4:5c 00c5:11 00c6:51 00c7:10 00c8:08 00c9:80
            00d3:02 00d7:03 00d9:10 00da:08 00dd:7f 00e0:00 00e1:77 00e5:1f 00f9:c0
            0103:0a 0104:28 0106:88 0107:c0 0109:02 010c:3a 010d:87 010e:41 0111:00 0112:40 0113:e5
            0114:48 0116:10 0117:11 0118:43 0119:00 011a:4b 0120:80 0121:99 0122:1a 0123:00 0124:40
            0125:38 0126:82 0128:30 012c:0c 0132:09 0133:78 0134:c0 0135:da 0137:c3 0139:92 013a:33
            013b:fb 013c:32 013d:38 013e:00 0142:03 0143:11 014a:81 014c:00 014f:ca 0150:a8 015a:23
            015c:00 0161:70 0162:80 0163:00 016c:00 016d:00 016e:00 0170:02 0171:94 0173:c1 017c:05",
    },
    Kind {
        name: "ov5640",
        address: 0x3c,
        numbers: Numbers::Long,
        identity: [(0x300a, 0x56), (0x300b, 0x40)],
        chip_id: 0x5640,
        reset: (0x3008, 0x82),
        configuration: configuration(QVGA, FrameFormat::RGB565_BE),
        registers: "
            3000:00 3002:1c 3004:ff 3006:c3 3008:02 3017:ff 3018:ff 302d:60 302e:08
            3034:1a 3035:41 3036:46 3037:13 3103:03 3108:01
            3600:08 3601:33 3612:29 3618:00 3620:52 3621:e0 3622:01 3630:36 3631:0e 3632:e2 3633:12
            3634:40 3635:13 3636:03 3703:5a 3704:a0 3705:1a 3708:64 3709:52 370b:60 370c:03 3715:78
            3717:01 371b:20 3731:12
            3800:00 3801:00 3802:00 3803:04 3804:0a 3805:3f 3806:07 3807:9b
            3808:01 3809:40 380a:00 380b:f0 380c:07 380d:68 380e:03 380f:d8
            3810:00 3811:10 3812:00 3813:06 3814:31 3815:31 3820:41 3821:01 3824:02
            3901:0a 3905:02 3906:10
            3a02:03 3a03:d8 3a08:01 3a09:27 3a0a:00 3a0b:f6 3a0d:04 3a0e:03 3a0f:30 3a10:28 3a11:60
            3a13:43 3a14:03 3a15:d8 3a18:00 3a19:f8 3a1b:30 3a1e:26 3a1f:14
            4001:02 4004:02 4300:61 460c:22 5000:a7 5001:a3 501f:01",
    },
    Kind {
        name: "ov7670",
        address: 0x21,
        numbers: Numbers::Short,
        identity: [(0x0a, 0x76), (0x0b, 0x73)],
        chip_id: 0x7673,
        reset: (0x12, 0x80),
        configuration: configuration(QVGA, FrameFormat::YUYV),
        // Columns from 168 to 24 of 784, rows from 10 to 490.
        registers: "
            0001:40 0002:60 0003:0a 000c:04 000d:40 0011:01 0012:00 0013:e7 0014:2a 0015:20
            0017:15 0018:03 0019:02 001a:7a 0032:80 003a:04 003b:12 003d:c0 003e:19 0040:c0 0041:08
            0043:0a 0044:f0 0045:34 0046:58 0047:28 0048:3a 004f:80 0050:80 0051:00 0052:22 0053:5e
            0054:80 0058:9e 0059:88 005a:88 005b:44 005c:67 005d:49 005e:0e 006a:40 006b:4a 006c:0a
            006d:55 006e:11 006f:9e 0070:3a 0071:35 0072:11 0073:f1 00a2:02 00b0:84",
    },
    Kind {
        name: "hm01b0",
        address: 0x24,
        numbers: Numbers::Long,
        identity: [(0x0000, 0x01), (0x0001, 0xb0)],
        chip_id: 0x01b0,
        reset: (0x0103, 0x01),
        configuration: configuration(FrameSize::QQVGA, FrameFormat::GREY8),
        // 132 lines of 376 clocks, pairs joined both ways.
        registers: "
            0100:01 0104:01 0205:00 020e:01 020f:00 0340:00 0341:84 0342:01 0343:78
            0383:03 0387:03 0390:03 1000:43 1003:08 1006:01 1007:08 1008:01 2000:07
            2100:01 2101:64 2102:0a 2103:03 2104:05 2105:00 2106:82 2108:03 2109:03 210b:c0 210d:20
            2150:00 3010:01 3011:70 3044:0a 3045:00 3047:0a 3050:c0 3051:42 3052:50 3053:00 3054:03
            3055:f7 3056:f8 3057:29 3058:1f 3059:02 3060:0a 3064:00 3065:04 3067:00 3068:20",
    },
];

impl Kind {
    fn chip(&self) -> Chip {
        Chip {
            numbers: self.numbers,
            registers: BTreeMap::new(),
            reset: self.reset,
            bank: 0x7f,
            pointer: 0,
            identity: self.identity.to_vec(),
            log: Vec::new(),
        }
    }

    fn driver<'i, I: I2c + 'i>(&self, i2c: I) -> Box<dyn Sensor + 'i> {
        match self.name {
            "ov2640" => Box::new(Ov2640::new(i2c, NoopDelay::new(), Pins::NONE)),
            "ov5640" => Box::new(Ov5640::new(i2c, NoopDelay::new(), Pins::NONE)),
            "ov7670" => Box::new(Ov7670::new(i2c, NoopDelay::new(), Pins::NONE)),
            _ => Box::new(Hm01b0::new(i2c, NoopDelay::new(), Pins::NONE)),
        }
    }

    /// The registers after `start`, `configure` and `controls`.
    fn after(&self, configuration: Configuration, controls: &[Control]) -> BTreeMap<u16, u8> {
        let mut chip = self.chip();
        let mut driver = self.driver(&mut chip);
        driver.start().unwrap();
        driver.configure(configuration).unwrap();
        for control in controls {
            driver.control(*control).unwrap();
        }
        drop(driver);
        chip.registers
    }

    fn named(name: &str) -> &'static Self {
        KINDS.iter().find(|kind| kind.name == name).unwrap()
    }
}

fn table(text: &str) -> BTreeMap<u16, u8> {
    let entries: Vec<(u16, u8)> = text
        .split_whitespace()
        .map(|entry| {
            let (register, value) = entry.split_once(':').unwrap();
            (
                u16::from_str_radix(register, 16).unwrap(),
                u8::from_str_radix(value, 16).unwrap(),
            )
        })
        .collect();
    assert!(entries.is_sorted(), "a register is there once");
    entries.into_iter().collect()
}

#[test]
fn start_and_configure_leave_the_registers_as_the_sources_say() {
    for kind in &KINDS {
        let found = kind.after(kind.configuration, &[]);
        let expected = table(kind.registers);
        for (register, value) in &expected {
            let found = found.get(register);
            assert_eq!(found, Some(value), "{} {register:04x}", kind.name);
        }
        assert_eq!(found.len(), expected.len(), "{}", kind.name);
    }
}

#[test]
fn another_chip_is_refused_with_both_identities_before_anything_is_written() {
    for kind in &KINDS {
        let mut chip = kind.chip();
        chip.identity[0].1 = 0x77;
        let low = chip.identity[1].1;
        let refused = kind.driver(&mut chip).start();
        let expected = CameraError::WrongChip {
            address: kind.address,
            expected: kind.chip_id,
            found: 0x7700 | u16::from(low),
        };
        assert_eq!(refused, Err(expected));
        assert!(chip.registers.is_empty(), "{}", kind.name);
    }
}

#[test]
fn an_early_ov2640_is_known() {
    let kind = Kind::named("ov2640");
    let mut chip = kind.chip();
    chip.identity[1].1 = 0x41;
    kind.driver(&mut chip).start().unwrap();
}

#[test]
fn a_byte_without_acknowledge_names_its_register_wherever_it_is() {
    for kind in &KINDS {
        let mut chip = kind.chip();
        let mut driver = kind.driver(&mut chip);
        driver.start().unwrap();
        driver.configure(kind.configuration).unwrap();
        drop(driver);
        assert!(chip.log.len() > 50, "{}", kind.name);
        for at in 0..chip.log.len() {
            let fault = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data);
            let mut expected: Vec<Transaction> = chip.log[..=at]
                .iter()
                .map(|t| transaction(kind.address, t))
                .collect();
            let last = expected.pop().unwrap().with_error(fault);
            expected.push(last);
            let mut mock = Mock::new(&expected);
            let mut driver = kind.driver(mock.clone());
            let failed = driver
                .start()
                .and_then(|()| driver.configure(kind.configuration));
            let expected = CameraError::NoAcknowledge {
                address: kind.address,
                register: register_at(kind.numbers, &chip.log, at),
                source: NoAcknowledgeSource::Data,
            };
            assert_eq!(failed, Err(expected), "{} {at}", kind.name);
            mock.done();
        }
    }
}

fn transaction(address: u8, transfer: &Transfer) -> Transaction {
    match transfer.clone() {
        Transfer::Write(bytes) => Transaction::write(address, bytes),
        Transfer::Read(bytes) => Transaction::read(address, bytes),
        Transfer::WriteRead(number, bytes) => Transaction::write_read(address, number, bytes),
    }
}

/// The register that the transfer at `at` is about.
fn register_at(numbers: Numbers, log: &[Transfer], at: usize) -> u16 {
    match (&log[at], numbers) {
        (Transfer::Write(bytes) | Transfer::WriteRead(bytes, _), Numbers::Long) => {
            u16::from_be_bytes([bytes[0], bytes[1]])
        }
        (Transfer::Write(bytes), Numbers::Short) => bytes[0].into(),
        (Transfer::Read(_), _) => register_at(numbers, log, at - 1),
        // A change of the bank is for the register that comes after it.
        (Transfer::Write(bytes), _) if bytes[0] == 0xff => register_at(numbers, log, at + 1),
        (Transfer::Write(bytes), _) => {
            let before = log[..at].iter().rev();
            let mut banks = before.filter_map(|transfer| match transfer {
                Transfer::Write(bytes) if bytes[0] == 0xff => Some(bytes[1]),
                _ => None,
            });
            u16::from_be_bytes([banks.next().unwrap(), bytes[0]])
        }
        (Transfer::WriteRead(..), _) => panic!("SCCB has a stop before a read"),
    }
}

#[test]
fn pins_and_delays_come_in_their_order() {
    let mut reset = Pin::new(&[Level::set(State::Low), Level::set(State::High)]);
    let mut power_down = Pin::new(&[Level::set(State::Low)]);
    let mut delay = CheckedDelay::new(&[Wait::delay_ms(5), Wait::delay_ms(20), Wait::delay_ms(10)]);
    let kind = Kind::named("ov5640");
    let mut chip = kind.chip();
    let pins = Pins {
        reset: reset.clone(),
        power_down: power_down.clone(),
    };
    Ov5640::new(&mut chip, delay.clone(), pins).start().unwrap();
    reset.done();
    power_down.done();
    delay.done();
}

#[test]
fn sccb_reads_have_a_stop_and_16_bit_numbers_a_repeated_start() {
    let mut bus = Mock::new(&[
        Transaction::write(0x21, vec![0x0a]),
        Transaction::read(0x21, vec![0x76]),
        Transaction::write(0x21, vec![0x0b]),
        Transaction::read(0x21, vec![0x00]),
    ]);
    let mut driver = Ov7670::new(bus.clone(), NoopDelay::new(), Pins::NONE);
    assert!(matches!(
        driver.start(),
        Err(CameraError::WrongChip { found: 0x7600, .. })
    ));
    bus.done();
    let mut bus = Mock::new(&[
        Transaction::write_read(0x24, vec![0, 0], vec![0x01]),
        Transaction::write_read(0x24, vec![0, 1], vec![0xb1]),
    ]);
    let mut driver = Hm01b0::new(bus.clone(), NoopDelay::new(), Pins::NONE);
    assert!(matches!(
        driver.start(),
        Err(CameraError::WrongChip { found: 0x01b1, .. })
    ));
    bus.done();
}

/// The registers that differ from those of the kind's own configuration.
fn changes(name: &str, configuration: Configuration, controls: &[Control]) -> String {
    let kind = Kind::named(name);
    let before = table(kind.registers);
    let after = kind.after(configuration, controls);
    let changed = after
        .iter()
        .filter(|(at, value)| before.get(at) != Some(value));
    let changed: Vec<String> = changed
        .map(|(at, value)| format!("{at:04x}:{value:02x}"))
        .collect();
    changed.join(" ")
}

#[test]
fn sizes_set_the_windows_of_the_sources() {
    let size = |name, size| {
        changes(
            name,
            configuration(size, Kind::named(name).configuration.format),
            &[],
        )
    };
    // No division; the upper bit of 640 / 4 does not exist, those of the offsets neither.
    assert_eq!(
        size("ov2640", FrameSize::VGA),
        "0050:80 005a:a0 005b:78 00d3:01"
    );
    assert_eq!(
        size("ov2640", FrameSize::QQVGA),
        "0050:92 005a:28 005b:1e 00d3:04"
    );
    // 384×384 from (208, 108), over 4.
    assert_eq!(
        size("ov2640", FrameSize::SQUARE_96),
        "0050:92 0051:60 0052:60 0053:d0 0054:6c 005a:18 005b:18 00d3:04"
    );
    assert_eq!(
        size("ov7670", FrameSize::VGA),
        "000c:00 0017:13 0018:01 0032:b6 003e:00 0073:f0"
    );
    assert_eq!(
        size("ov7670", FrameSize::QQVGA),
        "0017:16 0018:04 0032:a4 003e:1a 0072:22 0073:f2"
    );
    assert_eq!(
        size("ov5640", FrameSize::VGA),
        "3808:02 3809:80 380a:01 380b:e0"
    );
    assert_eq!(
        size("ov5640", FrameSize::SQUARE_96),
        "3800:01 3801:40 3804:08 3805:ef 3808:00 3809:60 380b:60"
    );
    assert_eq!(
        size("hm01b0", QVGA),
        "0340:01 0341:04 0383:01 0387:01 0390:00 2105:01 2106:02"
    );
}

#[test]
fn formats_set_the_bits_of_the_sources() {
    let format = |name, format| changes(name, configuration(QVGA, format), &[]);
    assert_eq!(format("ov2640", FrameFormat::RGB565), "00da:09");
    assert_eq!(format("ov2640", FrameFormat::YUYV), "00da:00 00e1:67");
    assert_eq!(format("ov2640", FrameFormat::UYVY), "00da:01 00e1:67");
    assert_eq!(format("ov2640", FrameFormat::GREY8), "00da:40 00e1:67");
    assert_eq!(format("ov2640", FrameFormat::Jpeg), "00da:12");
    assert_eq!(format("ov5640", FrameFormat::RGB565), "4300:6f");
    assert_eq!(format("ov5640", FrameFormat::YUYV), "4300:30 501f:00");
    assert_eq!(format("ov5640", FrameFormat::UYVY), "4300:32 501f:00");
    assert_eq!(format("ov5640", FrameFormat::GREY8), "4300:10 501f:00");
    assert_eq!(format("ov7670", FrameFormat::UYVY), "003a:0c");
    assert_eq!(
        format("ov7670", FrameFormat::RGB565_BE),
        "0012:04 0040:d0 004f:b3 0050:b3 0052:3d 0053:a7 0054:e4"
    );
}

#[test]
fn what_a_sensor_lacks_is_refused_before_anything_is_written() {
    use pinhole_runtime::preprocess::BayerPattern;
    let bggr = FrameFormat::Bayer(BayerPattern::Bggr);
    for (name, size, format, by_size) in [
        (
            "ov2640",
            FrameSize::new(1600, 1200),
            FrameFormat::YUYV,
            true,
        ),
        ("ov2640", FrameSize::new(100, 96), FrameFormat::YUYV, true),
        ("ov2640", QVGA, bggr, false),
        ("ov5640", FrameSize::new(0, 0), FrameFormat::YUYV, true),
        ("ov5640", QVGA, FrameFormat::Jpeg, false),
        ("ov7670", FrameSize::SQUARE_96, FrameFormat::YUYV, true),
        ("ov7670", QVGA, FrameFormat::RGB565, false),
        ("ov7670", QVGA, bggr, false),
        ("hm01b0", FrameSize::VGA, FrameFormat::GREY8, true),
        ("hm01b0", QVGA, FrameFormat::YUYV, false),
    ] {
        let kind = Kind::named(name);
        let mut chip = kind.chip();
        let asked = configuration(size, format);
        let refused = kind.driver(&mut chip).configure(asked);
        let expected = match by_size {
            true => CameraError::SizeNotSupported { asked },
            false => CameraError::FormatNotSupported { asked },
        };
        assert_eq!(refused, Err(expected), "{name}");
        assert!(chip.log.is_empty(), "{name}");
    }
    assert_eq!(
        changes("ov7670", configuration(FrameSize::VGA, bggr), &[]),
        "000c:00 0012:01 0017:13 0018:01 0032:b6 003d:08 003e:00 0073:f0"
    );
}

#[test]
fn controls_set_the_bits_of_the_sources() {
    let set = |name, controls: &[Control]| changes(name, Kind::named(name).configuration, controls);
    let lines = |lines| Control::Exposure(Exposure::Lines(lines));
    let factor = |sixteenths| Control::Gain(Gain::Sixteenths(sixteenths));
    let ceiling = |ceiling| Control::Gain(Gain::Auto { ceiling });
    let balance = Control::WhiteBalance(WhiteBalance::Manual {
        red: 0x50,
        green: 0x40,
        blue: 0x61,
    });
    for (name, control, expected) in [
        // 0x175 = 01 0111 0101: 0x5d and 1.
        ("ov2640", lines(0x175), "0104:29 0110:5d 0113:e4 0145:00"),
        ("ov2640", factor(5 * 16), "0100:34 0113:e1 0145:00"),
        ("ov2640", ceiling(128), "0114:c8"),
        ("ov2640", balance, "00c7:50 00cc:50 00cd:40 00ce:61"),
        ("ov2640", Control::Mirror(true), "0104:a8"),
        ("ov2640", Control::Flip(true), "0104:78"),
        ("ov2640", Control::TestPattern(true), "0112:42"),
        ("ov2640", Control::ClockDivider(4), "0111:03"),
        ("ov5640", lines(0x175), "3500:00 3501:17 3502:50 3503:01"),
        ("ov5640", factor(40), "3503:02 350a:00 350b:28"),
        ("ov5640", ceiling(32), "3503:00 3a18:02 3a19:00"),
        (
            "ov5640",
            balance,
            "3400:05 3401:00 3402:04 3403:00 3404:06 3405:10 3406:01",
        ),
        ("ov5640", Control::Mirror(true), "3821:07"),
        ("ov5640", Control::Flip(true), "3820:47"),
        ("ov5640", Control::TestPattern(true), "503d:80"),
        ("ov5640", Control::ClockDivider(8), "3035:81"),
        ("ov7670", lines(0x175), "0004:01 0007:00 0010:5d 0013:e6"),
        ("ov7670", factor(24), "0000:08 0013:e3"),
        ("ov7670", ceiling(16), "0014:3a"),
        ("ov7670", balance, "0001:61 0002:50 0013:e5"),
        ("ov7670", Control::Mirror(true), "001e:20"),
        ("ov7670", Control::Flip(true), "001e:10"),
        ("ov7670", Control::TestPattern(true), "0071:b5"),
        ("ov7670", Control::ClockDivider(64), "0011:3f"),
        ("hm01b0", lines(0x60), "0202:00 0203:60 2100:00"),
        // 6 = 4 by the analogue part, 1.5 by the digital one.
        ("hm01b0", factor(6 * 16), "0205:20 020f:80 2100:00"),
        ("hm01b0", ceiling(16), "2108:04 2109:04"),
        ("hm01b0", Control::Mirror(true), "0101:01"),
        ("hm01b0", Control::Flip(true), "0101:02"),
        ("hm01b0", Control::TestPattern(true), "0601:01"),
        ("hm01b0", Control::ClockDivider(8), "3060:08"),
    ] {
        assert_eq!(set(name, &[control]), expected, "{name} {control:?}");
    }
    // Back to automatic, and off again.
    for name in ["ov2640", "ov5640", "ov7670", "hm01b0"] {
        let there_and_back = [
            Control::Mirror(true),
            Control::Flip(true),
            Control::TestPattern(true),
            lines(9),
            Control::Mirror(false),
            Control::Flip(false),
            Control::TestPattern(false),
            Control::Exposure(Exposure::Auto),
        ];
        let changed = set(name, &there_and_back);
        for bit in [
            "0112:", "0113:", "3820:", "3821:", "0071:", "0013:", "2100:",
        ] {
            assert!(!changed.contains(bit), "{name} {changed}");
        }
    }
}

#[test]
fn controls_out_of_range_are_refused_with_the_limits() {
    let found = |name, control| {
        let kind = Kind::named(name);
        let mut chip = kind.chip();
        let mut driver = kind.driver(&mut chip);
        driver.start().unwrap();
        driver.configure(kind.configuration).unwrap();
        driver.control(control)
    };
    // QQVGA of HM01B0 has 132 lines.
    assert_eq!(
        found("hm01b0", Control::Exposure(Exposure::Lines(131))),
        Err(CameraError::OutOfRange {
            setting: Setting::ExposureLines,
            found: 131,
            min: 2,
            max: 130
        })
    );
    for (name, control) in [
        ("ov2640", Control::Exposure(Exposure::Lines(0))),
        ("ov2640", Control::Gain(Gain::Sixteenths(15))),
        ("ov5640", Control::ClockDivider(1)),
        ("ov5640", Control::Gain(Gain::Auto { ceiling: 64 })),
        ("ov7670", Control::ClockDivider(0)),
        ("ov7670", Control::Gain(Gain::Auto { ceiling: 3 })),
        ("hm01b0", Control::ClockDivider(3)),
    ] {
        let refused = found(name, control);
        assert!(
            matches!(refused, Err(CameraError::OutOfRange { .. })),
            "{name} {refused:?}"
        );
    }
    assert_eq!(
        found("hm01b0", Control::WhiteBalance(WhiteBalance::Auto)),
        Err(CameraError::ControlNotSupported {
            setting: Setting::WhiteBalance
        })
    );
}
