//! What the plugin uses of QEMU's interface, version 1: <https://www.qemu.org/docs/master/devel/tcg-plugins.html>.
#![allow(unsafe_code, reason = "the interface is C")]

use std::ffi::{c_char, c_int, c_uint, c_void};

/// The version of the interface.
pub(crate) const VERSION: c_int = 1;
/// `qemu_plugin_op`: the only one, an addition to a `u64`.
pub(crate) const INLINE_ADD_U64: c_int = 0;
/// `qemu_plugin_cb_flags`: the callback reads no registers.
pub(crate) const NO_REGISTERS: c_int = 0;

/// Names the plugin in calls.
pub(crate) type PluginId = u64;

/// `qemu_info_t`, up to what is read here.
#[repr(C)]
pub(crate) struct Info {
    /// As in the emulator's name: `aarch64`, `arm`.
    pub(crate) target_name: *const c_char,
}

/// `struct qemu_plugin_tb`, a block that is being translated.
#[repr(C)]
pub(crate) struct TranslationBlock {
    _opaque: [u8; 0],
}

/// `struct qemu_plugin_insn`.
#[repr(C)]
pub(crate) struct Instruction {
    _opaque: [u8; 0],
}

/// `qemu_plugin_vcpu_tb_trans_cb_t`.
pub(crate) type OnTranslation = extern "C" fn(PluginId, *mut TranslationBlock);
/// `qemu_plugin_vcpu_udata_cb_t`.
pub(crate) type OnRun = extern "C" fn(c_uint, *mut c_void);
/// `qemu_plugin_udata_cb_t`.
pub(crate) type OnExit = extern "C" fn(PluginId, *mut c_void);
/// `qemu_plugin_vcpu_syscall_cb_t`: the number and eight arguments.
pub(crate) type OnSystemCall =
    extern "C" fn(PluginId, c_uint, i64, u64, u64, u64, u64, u64, u64, u64, u64);

unsafe extern "C" {
    pub(crate) fn qemu_plugin_register_vcpu_tb_trans_cb(id: PluginId, callback: OnTranslation);
    pub(crate) fn qemu_plugin_register_vcpu_syscall_cb(id: PluginId, callback: OnSystemCall);
    pub(crate) fn qemu_plugin_register_atexit_cb(
        id: PluginId,
        callback: OnExit,
        userdata: *mut c_void,
    );
    pub(crate) fn qemu_plugin_register_vcpu_tb_exec_cb(
        block: *mut TranslationBlock,
        callback: OnRun,
        flags: c_int,
        userdata: *mut c_void,
    );
    pub(crate) fn qemu_plugin_register_vcpu_tb_exec_inline(
        block: *mut TranslationBlock,
        op: c_int,
        number: *mut c_void,
        addend: u64,
    );
    pub(crate) fn qemu_plugin_tb_n_insns(block: *const TranslationBlock) -> usize;
    pub(crate) fn qemu_plugin_tb_vaddr(block: *const TranslationBlock) -> u64;
    pub(crate) fn qemu_plugin_tb_get_insn(
        block: *const TranslationBlock,
        index: usize,
    ) -> *mut Instruction;
    pub(crate) fn qemu_plugin_insn_data(instruction: *const Instruction) -> *const c_void;
    pub(crate) fn qemu_plugin_insn_size(instruction: *const Instruction) -> usize;
    /// Null when the instruction lies in no known symbol.
    pub(crate) fn qemu_plugin_insn_symbol(instruction: *const Instruction) -> *const c_char;
}
