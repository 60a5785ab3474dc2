//! The program from outside, through its ports.

mod common;
mod conference;
mod ops;
mod pages;
mod process;
mod rooms;
mod sessions;
mod whip;
