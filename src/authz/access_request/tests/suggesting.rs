//! R6.
#![cfg(test)]
