//! Boards as the host sees them: the emulator, serial lines, the protocol's host side.
