#![no_std]
//! The messages that host and device share.
