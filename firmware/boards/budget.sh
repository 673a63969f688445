#!/usr/bin/env bash
# What the program of each board with a chip takes of its flash and RAM, against `memory.x`; fails when a stack would have less
# than STACK bytes. `budget.sh BOARD…`, after `cargo build --release` in the folder of each.
set -euo pipefail
cd "$(dirname "$0")"

STACK=$((32 << 10))
size=$(ls "$(rustc --print sysroot)"/lib/rustlib/*/bin/llvm-size) || { echo "no llvm-size: rustup component add llvm-tools"; exit 2; }

# Bytes of a region of a board's memory map; 0 where it has none.
region() {
  local length
  length=$(sed -n "s/^ *$2 .*LENGTH = \([0-9]*[KM]\).*/\1/p" "$1/memory.x")
  case $length in
    *K) echo $((${length%K} << 10)) ;;
    *M) echo $((${length%M} << 20)) ;;
    *) echo 0 ;;
  esac
}

# Bytes of those sections of a program whose names match.
sections() { "$size" -A "$1" | awk -v names="^($2)\$" '$1 ~ names { bytes += $2 } END { print bytes + 0 }'; }

model=$(stat -c %s ../../models/nano/image.phm)
printf '%-10s %9s %9s %6s %9s %9s %9s %9s\n' board flash of '' statics stack arena 'nano slot'
failed=0
for board in "$@"; do
  program=$(ls target/"$board"/*/release/"$board")
  flash=$(region "$board" FLASH) ram=$(region "$board" RAM) stack=$(region "$board" STACK)
  used=$(sections "$program" '\.vector_table|\.start_block|\.text|\.rodata|\.data|\.gnu\.sgstubs')
  statics=$(sections "$program" '\.data|\.bss|\.uninit')
  [ "$stack" -gt 0 ] || stack=$((ram - statics))
  # The rest of the storage's flash, as firmware/boards/mps/src/layout.rs shares it out.
  slot=$(((($(region "$board" NOR) - (64 << 10) - 2 * (512 << 10)) / 2) / 4096 * 4096))
  printf '%-10s %9d %9d %5d%% %9d %9d %9d %8d%%\n' \
    "$board" "$used" "$flash" $((100 * used / flash)) "$statics" "$stack" "$(region "$board" ARENA)" $((100 * model / slot))
  [ "$used" -le "$flash" ] || { echo "$board: the program does not fit its flash"; failed=1; }
  [ "$stack" -ge "$STACK" ] || { echo "$board: less than $STACK bytes of stack"; failed=1; }
  [ "$model" -le "$slot" ] || { echo "$board: models/nano does not fit its slot"; failed=1; }
done
exit $failed
