//! The entry point and the callbacks.
#![allow(unsafe_code, reason = "QEMU calls and is called through C")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, OnceLock};

use crate::MARK;
use crate::class::Class;
use crate::count::{Block, Counts, Tally};
use crate::options::{Arrival, Options};
use crate::qemu::{
    INLINE_ADD_U64, Info, Instruction, NO_REGISTERS, PluginId, TranslationBlock, VERSION,
    qemu_plugin_insn_data, qemu_plugin_insn_size, qemu_plugin_insn_symbol,
    qemu_plugin_register_atexit_cb, qemu_plugin_register_vcpu_syscall_cb,
    qemu_plugin_register_vcpu_tb_exec_cb, qemu_plugin_register_vcpu_tb_exec_inline,
    qemu_plugin_register_vcpu_tb_trans_cb, qemu_plugin_tb_get_insn, qemu_plugin_tb_n_insns,
    qemu_plugin_tb_vaddr,
};

/// What the callbacks read.
struct Setup {
    options: Options,
    is_aarch64: bool,
}

static SETUP: OnceLock<Setup> = OnceLock::new();
static TALLY: Mutex<Tally> = Mutex::new(Tally::new());

/// The version of the interface that the plugin is written for; QEMU reads it before anything else.
#[unsafe(no_mangle)]
static qemu_plugin_version: c_int = VERSION;

/// QEMU calls it once, before the guest starts.
///
/// # Safety
/// `info` and `count` strings at `arguments` are valid during the call.
#[unsafe(no_mangle)]
unsafe extern "C" fn qemu_plugin_install(
    id: PluginId,
    info: *const Info,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    // SAFETY: QEMU passes its description, whose first field is the name.
    let name = unsafe { (*info).target_name };
    let arguments: &[*const c_char] = match usize::try_from(count) {
        Err(_) | Ok(0) => &[],
        // SAFETY: QEMU passes `count` strings; the array itself may be null when it is empty.
        Ok(count) => unsafe { std::slice::from_raw_parts(arguments, count) },
    };
    let arguments: Vec<String> = arguments.iter().map(|argument| text(*argument)).collect();
    let options = match Options::parse(arguments.iter().map(String::as_str)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("tcg_count: {error}");
            return 1;
        }
    };
    let setup = Setup {
        options,
        is_aarch64: text(name) == "aarch64",
    };
    if SETUP.set(setup).is_err() {
        eprintln!("tcg_count: the plugin is there twice");
        return 1;
    }
    // SAFETY: The callback has the type that the interface asks for, and lives as long as the process.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation) };
    // SAFETY: As above.
    unsafe { qemu_plugin_register_vcpu_syscall_cb(id, on_system_call) };
    // SAFETY: As above.
    unsafe { qemu_plugin_register_atexit_cb(id, on_exit, null_mut()) };
    0
}

/// A string of QEMU's, empty when there is none.
fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: Not null, and the interface's strings end with a zero and live during the call.
    let string = unsafe { CStr::from_ptr(string) };
    string.to_string_lossy().into_owned()
}

fn tally() -> MutexGuard<'static, Tally> {
    // A thread that panicked has ended the process.
    TALLY.lock().unwrap_or_else(|poison| poison.into_inner())
}

extern "C" fn on_translation(_id: PluginId, block: *mut TranslationBlock) {
    let Some(setup) = SETUP.get() else { return };
    // SAFETY: QEMU passes a block that is valid during the call; so for the other uses of `block` here.
    let address = unsafe { qemu_plugin_tb_vaddr(block) };
    // SAFETY: As above.
    let len = unsafe { qemu_plugin_tb_n_insns(block) };
    let mut counts: Counts = [0; Class::COUNT];
    let mut symbol = String::new(); // of its first instruction
    for index in 0..len {
        // SAFETY: As above, and `index` is below the number of its instructions.
        let instruction = unsafe { qemu_plugin_tb_get_insn(block, index) };
        counts[class(setup, instruction) as usize] += 1;
        if index == 0 {
            // SAFETY: An instruction of the block.
            symbol = text(unsafe { qemu_plugin_insn_symbol(instruction) });
        }
    }
    if let Some(arrival) = arrival(setup, block, address) {
        let userdata = Box::into_raw(Box::new(arrival)).cast();
        // SAFETY: The callback reads an `Arrival` through `userdata`, which is never freed: this code may run at any time.
        unsafe { qemu_plugin_register_vcpu_tb_exec_cb(block, on_arrival, NO_REGISTERS, userdata) };
    }
    let counted = Block::new(address, symbol, counts);
    let runs: *mut c_void = counted.runs.as_ptr().cast();
    tally().add(counted);
    // SAFETY: `runs` points to a u64 that is never freed, and that is read as an atomic.
    unsafe { qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, runs, 1) };
}

fn class(setup: &Setup, instruction: *const Instruction) -> Class {
    match encoding(instruction) {
        Some(bytes) if setup.is_aarch64 => Class::of_a64(u32::from_le_bytes(bytes)),
        _ => Class::Other,
    }
}

/// The mark that a block is, when it is one.
fn arrival(setup: &Setup, block: *const TranslationBlock, address: u64) -> Option<Arrival> {
    let from_outside = setup.options.arrivals.iter().find(|(at, _)| *at == address);
    if let Some((_, arrival)) = from_outside {
        return Some(*arrival);
    }
    // SAFETY: A block that is being translated has a first instruction.
    let first = unsafe { qemu_plugin_tb_get_insn(block, 0) };
    match setup.is_aarch64 {
        true => None,
        false => Arrival::of_hint(encoding(first)?),
    }
}

/// The bytes of an instruction of four.
fn encoding(instruction: *const Instruction) -> Option<[u8; 4]> {
    // SAFETY: An instruction of the block that is being translated.
    let len = unsafe { qemu_plugin_insn_size(instruction) };
    if len != 4 {
        return None;
    }
    // SAFETY: As above.
    let data: *const [u8; 4] = unsafe { qemu_plugin_insn_data(instruction) }.cast();
    // SAFETY: The interface gives `len` bytes, which is 4; bytes are aligned anywhere.
    Some(unsafe { *data })
}

extern "C" fn on_arrival(_cpu: c_uint, userdata: *mut c_void) {
    // SAFETY: `on_translation` registers this callback with an `Arrival` that it leaks.
    match unsafe { *userdata.cast_const().cast::<Arrival>() } {
        Arrival::Enter(region) => tally().enter(region),
        Arrival::EnterNext => tally().enter_next(),
    }
}

extern "C" fn on_system_call(
    _id: PluginId,
    _cpu: c_uint,
    number: i64,
    region: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
) {
    if number == MARK {
        tally().enter(region);
    }
}

extern "C" fn on_exit(_id: PluginId, _userdata: *mut c_void) {
    let Some(Setup { options, .. }) = SETUP.get() else {
        return;
    };
    let mut tally = tally();
    tally.settle();
    let report = tally.report(options.blocks);
    match &options.out {
        None => eprint!("{report}"),
        Some(path) => {
            if let Err(error) = std::fs::write(path, report) {
                eprintln!("tcg_count: {}: {error}", path.display());
            }
        }
    }
}
