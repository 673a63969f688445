#![no_std]
//! The device application, generic over its hardware.
