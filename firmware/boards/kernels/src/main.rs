//! The kernel sets of the Cortex-M on emulated boards: `check [PART]` runs the tests of `runtime/tests/kernels_s8` and
//! `runtime/tests/float_kernels`, those with PART in their name, `count` counts the instructions of single layers,
//! `start MODEL` those before the first operator.
//!
//! One program for `mps2-an386` (M4), `mps2-an500` (M7) and `mps3-an547` (M55); the flags that it is compiled with say
//! which CPU it is for, and so which sets there are. `cargo test -p pinhole-tests --test cortex_m_kernels` builds and
//! runs it on all three; see `docs/boards/kernels.md`.
#![no_std]
#![no_main]

#[macro_use]
extern crate alloc;
// What the tests use of the standard library is in `core`.
extern crate core as std;

macro_rules! println {
    ($($words:tt)*) => { semihosting::println!($($words)*) };
}

#[path = "../../../../runtime/tests/kernels_s8/attention.rs"]
mod attention;
mod count;
#[path = "../../../../runtime/tests/kernels_s8/elementwise.rs"]
mod elementwise;
mod float_layers;
mod floats;
mod layers;
#[path = "../../size/src/nothing.rs"]
mod nothing;
mod operations;
#[path = "../../../../runtime/tests/kernels_s8/pixels.rs"]
mod pixels;
#[path = "../../../../runtime/tests/kernels_s8/products.rs"]
mod products;
mod start;
#[path = "../../../../runtime/tests/kernels_s8/support.rs"]
mod support;
#[path = "../../../../runtime/tests/kernels_s8/transformer.rs"]
mod transformer;
#[path = "../../../../runtime/tests/kernels_s8/windows.rs"]
mod windows;

use cortex_m_rt::entry;
use embedded_alloc::LlffHeap;
use pinhole_runtime::kernel;
use semihosting::process::ExitCode;

// The critical section that the heap needs.
use cortex_m as _;

unsafe extern "C" {
    /// First byte of the memory that the tests allocate from, 8-byte aligned; the linker script places it.
    static mut __heap_start: u8;
    /// Its length: the address is the number of bytes.
    static __heap_bytes: u8;
}

#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();

/// The tests by name, as `cargo test` runs them on the host.
macro_rules! tests {
    ($($module:ident::$name:ident,)*) => {
        [$((stringify!($name), $module::$name as fn()),)*]
    };
}

#[entry]
fn main() -> ! {
    let heap_start = (&raw mut __heap_start).addr();
    let heap_bytes = (&raw const __heap_bytes).addr();
    // SAFETY: Called once, before anything allocates; the linker script places nothing else in this memory.
    unsafe { HEAP.init(heap_start, heap_bytes) };
    // The arguments that QEMU got: the name of the program, what to do, and to what.
    let words = semihosting::experimental::env::args::<1024>();
    let mut words = words.iter().flatten().flatten();
    match (words.nth(1), words.next()) {
        (Some("count"), _) => count::count(),
        (Some("start"), Some(model)) => start::start(model),
        (_, part) => check(part.unwrap_or_default()),
    }
    ExitCode::SUCCESS.exit_process()
}

/// Runs the tests whose name has `part` in it.
fn check(part: &str) {
    for set in kernel::available() {
        println!("set {}", set.name());
    }
    let integers = tests![
        products::requantisation_equals_the_golden_values,
        products::every_set_requantises_golden_values,
        products::scalar_product_equals_a_plain_loop,
        products::products_of_all_sizes_are_equal,
        products::products_around_tiles_are_equal,
        products::scalar_products_are_equal_in_every_layout,
        products::products_of_real_layers_are_equal,
        products::dots_with_many_rows_are_equal,
        windows::convolutions_of_all_windows_are_equal,
        windows::depthwise_convolutions_of_all_windows_are_equal,
        windows::depthwise_convolutions_of_16_bits_are_equal,
        windows::depthwise_convolutions_of_real_layers_are_equal,
        windows::scalar_windows_equal_plain_loops,
        windows::pooling_is_equal_and_rounds_like_tflite,
        windows::global_average_of_a_picture_is_equal,
        windows::means_of_pictures_are_equal,
        elementwise::sums_and_products_of_tensors_are_equal,
        elementwise::scalar_add_is_the_sum_of_real_numbers,
        elementwise::tables_dots_and_conversions_are_equal,
        elementwise::tables_of_channels_are_equal,
        elementwise::tables_of_pixels_are_equal,
        elementwise::tables_of_16_bits_are_equal,
        elementwise::tables_of_channels_of_16_bits_are_equal,
        elementwise::functions_of_16_bits_are_near_the_real_ones,
        elementwise::scalar_conversions_are_what_they_say,
        pixels::resampled_rows_are_equal,
        pixels::resampled_columns_are_equal,
        pixels::weighted_sums_of_rows_are_equal,
        transformer::sums_in_16_bits_are_equal_and_exact,
        transformer::layer_normalisation_is_equal_and_near_the_real_one,
        transformer::rows_of_a_table_are_equal_and_exact,
        attention::attention_is_equal_in_every_set,
        attention::causal_attention_is_equal_and_does_not_see_what_follows,
        attention::attention_over_real_shapes_and_extremes_is_equal,
        attention::attention_over_fused_projections_of_real_shapes_is_equal,
        attention::scalar_attention_is_near_the_real_one,
        transformer::softmax_is_equal_and_within_a_step,
        transformer::softmax_of_any_scale_is_equal,
        transformer::means_in_16_bits_are_equal_and_near,
    ];
    for (name, test) in integers
        .iter()
        .chain(&float_tests())
        .filter(|(name, _)| name.contains(part))
    {
        test();
        println!("passed {name}");
    }
}

/// The tests of the float kernels.
fn float_tests() -> [(&'static str, fn()); 39] {
    use floats::{
        attention, attention_halves, elementwise, errors, halves, products, rows, windows,
    };
    tests![
        products::gemm_agrees_for_every_size_up_to_67,
        products::gemm_agrees_for_the_shapes_of_minilm_and_efficientnet,
        products::gemm_uses_every_panel_of_a_tall_product,
        products::nan_in_a_row_of_a_product_stays_in_its_row,
        products::nan_and_infinity_in_a_channel_stay_in_their_channel,
        products::matmul_agrees_with_and_without_transposition,
        windows::conv_agrees_for_random_windows,
        windows::conv_agrees_for_the_stem_and_for_pointwise_layers,
        windows::depthwise_conv_agrees_for_random_windows_and_every_channel_count,
        windows::depthwise_conv_agrees_for_the_layers_of_efficientnet,
        windows::pools_agree_for_random_windows_and_every_channel_count,
        windows::nan_in_a_picture_reaches_the_windows_that_see_it_and_no_others,
        windows::a_window_without_taps_is_0_on_average_and_minus_infinity_at_most,
        elementwise::unary_functions_keep_their_stated_errors,
        elementwise::unary_functions_write_every_length_up_to_67,
        elementwise::binary_functions_are_exactly_the_scalar_ones_for_every_length,
        rows::softmax_agrees_for_every_width_up_to_67_and_for_1000_classes,
        rows::softmax_of_rows_with_infinity_and_nan_is_defined,
        rows::layer_norm_agrees_for_every_width_up_to_67_and_real_ones,
        rows::layer_norm_of_a_constant_row_is_beta_and_nan_stays_in_its_row,
        rows::reductions_agree_for_every_size_up_to_67,
        attention::attention_agrees_for_every_number_of_tokens_up_to_67,
        attention::attention_agrees_for_minilm_and_clip,
        attention::attention_of_one_sequence_to_another_agrees,
        attention::nan_in_a_query_stays_in_its_token_and_head,
        errors::measured_errors,
        halves::products_of_halves_agree,
        halves::special_halves_of_products_are_defined,
        halves::matrices_of_halves_agree,
        halves::convolutions_of_halves_agree,
        halves::depthwise_convolutions_of_halves_agree,
        halves::pools_of_halves_agree,
        halves::halves_are_converted_exactly_and_to_the_nearest,
        halves::unary_functions_of_halves_keep_their_stated_errors,
        halves::binary_functions_of_halves_are_those_of_f32_rounded_once,
        halves::rows_of_halves_agree,
        halves::softmax_of_masked_and_infinite_halves_is_defined,
        attention_halves::attention_over_halves_agrees,
        attention_halves::attention_over_halves_of_one_sequence_to_another_agrees,
    ]
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    println!("{info}");
    ExitCode::FAILURE.exit_process()
}

#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    println!("hard fault at {:#010x}", frame.pc());
    ExitCode::FAILURE.exit_process()
}
